"""Executing decided payloads: the one path, keyed by height, by which blocks are applied.

Theory of operation. ``apply`` takes the payload of the next height, whoever brought it (the engine's decision, a
range of catch-up, our own log after a restart), resolves the block's inputs, lets the application execute, builds
the header and adds to the draft: the log record (the height, and the header where we attest it), one atomic store
write, and nothing else. A height is applied once; the callers ask ``height`` first. Where our log says that we
attested another header at this height, ``Diverged`` is raised: never a second attestation.

The chain store is synced every ``sync_blocks`` or ``sync_ms``. What the vote log pins may go once that write is
done, which is certain when the timer fires that is set in the same effects as the write (timers follow writes).
What does not live here: bodies and their fetching, certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from consensus.committee import Committee
from consensus.engine import Record, SetTimer
from crosslink.block import BlockBatch, BlockInput, BlockResult, TopicMessage
from crosslink.header import NO_BEACON_REF, START_CURSOR, BeaconRef, ShardHeader, compute_header_hash
from node.application import Application
from node.batches import HeldBatch
from node.chain_records import Areas, build_block_records, build_tip_record
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.payload import Payload
from node.replica_setup import ReplicaLimits
from node.vote_records import Pins, build_attested_record, build_executed_records
from primitives.codec import encode
from primitives.parameters import ProtocolParameters

RELEASE_TIMER: Final = "release/"
"""Followed by the height that is durable with its certificate when it fires: each synced write has a timer of its
own."""


class BeaconView(Protocol):
    """The followed beacon, as execution sees it."""

    @property
    def follows(self) -> bool: ...

    @property
    def height(self) -> int:
        """The last beacon block that is executed here."""
        ...

    def hash_at(self, height: int) -> bytes:
        """The header hash of an executed beacon block."""
        ...


class Diverged(Exception):
    """Two headers for one height; ``messages`` keep both (encoded). Ends the replica."""

    def __init__(self, sentence: str, messages: tuple[bytes, ...]) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.messages = messages


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block between execution and certification."""

    header: ShardHeader
    hash: bytes
    receipts: tuple[tuple[bytes, bytes], ...]
    events: Iterable[TopicMessage]
    outbox: tuple[bytes, ...]
    summary: bytes


@dataclass(frozen=True, slots=True)
class ResolvedPayload:
    """A payload with its bodies. ``payload`` is ``None`` for the null payload."""

    digest: bytes
    data: bytes
    payload: Payload | None
    batches: tuple[HeldBatch, ...]


class Executor:
    """Owns the tip of the executed chain."""

    def __init__(
        self,
        committee: Committee,
        application: Application,
        beacon: BeaconView,
        parameters: ProtocolParameters,
        limits: ReplicaLimits,
        pins: Pins,
        attested: Mapping[int, ShardHeader],
        tip: ShardHeader | None,
        genesis_hash: bytes,
        genesis_time_ms: int,
        areas: Areas,
        on_written: Callable[[ShardHeader, EffectsDraft], None],
    ) -> None:
        """``tip`` is the header of the application's state, ``None`` for genesis. ``attested`` are the headers
        that our log says we attested. ``on_written`` hears of a block whose batch is the last in the draft."""
        self._committee = committee
        self._application = application
        self._beacon = beacon
        self._parameters = parameters
        self._limits = limits
        self._pins = pins
        self._attested = dict(attested)
        self._tip = tip
        self._genesis_time_ms = genesis_time_ms
        self._areas = areas
        self._on_written = on_written
        self.height = 0 if tip is None else tip.height
        """The last executed height."""
        self.tip_hash = genesis_hash if tip is None else compute_header_hash(tip)
        self._unsynced_blocks = 0
        self._last_sync_ms: int | None = None
        self._certified_height = 0
        self._has_unsynced_certificate = False
        self.executed_blocks = 0
        self.executed_transactions = 0

    @property
    def tip(self) -> ShardHeader | None:
        """The header of the last executed block; ``None`` at genesis."""
        return self._tip

    @property
    def beacon_ref(self) -> BeaconRef:
        """The effective beacon reference of the last executed block."""
        return NO_BEACON_REF if self._tip is None else self._tip.beacon_ref

    # --- applying --------------------------------------------------------------------------------------

    def compute_beacon_height(self, payload: Payload | None) -> int:
        """The effective beacon height of the next block: min(max(parent's, payload's), parent's + step)."""
        parent = self.beacon_ref.height
        if payload is None:
            return parent
        wanted = max(parent, payload.beacon_height)
        return min(wanted, parent + self._parameters.beacon_ref_step_blocks)

    def can_apply(self, payload: Payload | None) -> bool:
        """Whether the followed beacon has come far enough to execute the next block with this payload."""
        return not self._beacon.follows or self.compute_beacon_height(payload) <= self._beacon.height

    def apply(self, resolved: ResolvedPayload, draft: EffectsDraft, now_ms: int, *, attest: bool) -> ExecutedBlock:
        """Execute the next height; raises ``Diverged`` where we attested another header for it."""
        block = self._build_input(resolved)
        result = self._application.execute(block)
        header = self._build_header(block, resolved.digest, result)
        logged = self._attested.get(header.height)
        if logged is not None and logged != header:
            raise Diverged(
                f"executing block {header.height} again gave another header than the one that we attested",
                (encode(logged), encode(header)),
            )
        self._tip = header
        self.height = header.height
        self.tip_hash = compute_header_hash(header)
        self.executed_blocks += 1
        self.executed_transactions += len(result.receipts)
        if attest:
            self._attested[header.height] = header
            self._pins.note_attested(header.height)
        draft.persist.extend(build_executed_records(header, self._pins.highest_executed, attested=attest))
        bodies = {batch.digest: batch.frame for batch in resolved.batches}
        records = build_block_records(header, resolved.data, bodies, result, self._areas)
        draft.writes.append(StoreWrite(tuple(records), sync=self._note_write(draft, now_ms)))
        self._on_written(header, draft)
        receipts = tuple([(receipt.transaction, receipt.encoded) for receipt in result.receipts])
        return ExecutedBlock(header, self.tip_hash, receipts, result.events, result.outbox, result.summary)

    def _build_input(self, resolved: ResolvedPayload) -> BlockInput:
        tip, payload = self._tip, resolved.payload
        parent_ms = self._genesis_time_ms if tip is None else tip.timestamp_ms
        return BlockInput(
            height=self.height + 1,
            timestamp_ms=parent_ms + 1 if payload is None else max(parent_ms + 1, payload.timestamp_ms),
            beacon_ref=self._build_beacon_ref(payload),
            parent_timestamp_ms=parent_ms,
            parent_cursor=START_CURSOR if tip is None else tip.inbox_cursor,
            parent_beacon_ref=self.beacon_ref,
            batches=_build_block_batches(resolved.batches),
            parent_hash=self.tip_hash,
        )

    def _build_beacon_ref(self, payload: Payload | None) -> BeaconRef:
        if not self._beacon.follows:
            return NO_BEACON_REF
        height = self.compute_beacon_height(payload)
        if height == self.beacon_ref.height:
            return self.beacon_ref
        return BeaconRef(height, self._beacon.hash_at(height))

    def _build_header(self, block: BlockInput, digest: bytes, result: BlockResult) -> ShardHeader:
        committee = self._committee
        return ShardHeader(
            chain=committee.chain,
            shard=committee.shard,
            incarnation=committee.incarnation,
            epoch=committee.epoch,
            height=block.height,
            parent=self.tip_hash,
            payload_digest=digest,
            timestamp_ms=block.timestamp_ms,
            state_root=result.state_root,
            receipts_root=result.receipts_root,
            outbox_root=result.outbox_root,
            summary_root=result.summary_root,
            inbox_cursor=result.inbox_cursor,
            beacon_ref=block.beacon_ref,
            next_committee_root=result.next_committee_root,
        )

    def log_attested(self, headers: Iterable[ShardHeader]) -> list[Record]:
        """What to log before these executed blocks are attested: those that the log does not hold yet."""
        fresh = [header for header in headers if header.height not in self._attested]
        for header in fresh:
            self._attested[header.height] = header
            self._pins.note_attested(header.height)
        return [build_attested_record(header) for header in fresh]

    # --- syncing ---------------------------------------------------------------------------------------

    def _note_write(self, draft: EffectsDraft, now_ms: int) -> bool:
        """Whether this block's write is to be synced."""
        self._unsynced_blocks += 1
        if self._last_sync_ms is None:
            self._last_sync_ms = now_ms
        due = (
            self._unsynced_blocks >= self._limits.sync_blocks or now_ms - self._last_sync_ms >= self._limits.sync_ms
        )
        if due:
            self._start_sync(draft, now_ms)
        return due

    def sync_if_due(self, draft: EffectsDraft, now_ms: int) -> None:
        """The last blocks before a pause are synced too."""
        if not (self._unsynced_blocks or self._has_unsynced_certificate) or self._last_sync_ms is None:
            return
        if now_ms - self._last_sync_ms >= self._limits.sync_ms:
            self._start_sync(draft, now_ms)
            draft.writes.append(StoreWrite((build_tip_record(self.height),), sync=True))

    def _start_sync(self, draft: EffectsDraft, now_ms: int) -> None:
        self._unsynced_blocks = 0
        self._has_unsynced_certificate = False
        self._last_sync_ms = now_ms
        draft.timers.append(SetTimer(f"{RELEASE_TIMER}{self._certified_height}", 0))

    def note_certified(self, height: int) -> None:
        """The certificate of ``height`` is written, but durable only after the next sync: a block that is synced
        before its certificate must stay in the log, or a crash forgets that it was certified."""
        self._certified_height = height
        self._has_unsynced_certificate = True

    def on_release_timer(self, timer: str, draft: EffectsDraft) -> int:
        """A synced write is done: unpin what it made durable. Returns the height up to which that holds."""
        settled = int(timer.removeprefix(RELEASE_TIMER))
        draft.persist.extend(self._pins.release(settled))
        for height in [known for known in self._attested if known <= settled]:
            del self._attested[height]
        return settled


def _build_block_batches(batches: Sequence[HeldBatch]) -> tuple[BlockBatch, ...]:
    return tuple(
        [BlockBatch(batch.digest, batch.body.expiry_height, tuple(batch.transactions)) for batch in batches]
    )
