"""The no-op application: a state machine that counts opaque records. Satisfies ``node.application.Application``.

Theory of operation. The state is a count of records, commands and bytes, and a rolling hash over the ids of all
records in the order in which they were executed, so two members that executed anything differently have different
state roots. A block costs a fixed number of hashes and records, a record two hashes over its bytes (its id here,
the batch's digest before), a command nothing at all.

**Exactly once.** Nobody signs anything and there are no nonces, so a record is known by its id alone. A record
whose id was executed within the last ``replay_blocks`` blocks gets a receipt ``DUPLICATE`` and changes nothing.
After that the same bytes count again: whoever needs more makes his records distinct. The ids of each block are one
state record, which goes when its block leaves the window.

With a beacon the shard registers headers like any other: its outbox is empty, it holds no assets, and whatever is
addressed to it is consumed without effect (venues do not take it for a peer, so nothing honest is). What does not
live here: how records look (``shards.noop.records``), batches and their digests (``crosslink.executed_batches``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from crosslink.block import BlockInput, BlockResult, Readiness, TransactionReceipt
from crosslink.executed_batches import RECORD_PREFIX as BATCH_PREFIX
from crosslink.executed_batches import ExecutedBatches
from crosslink.follower import BeaconFollower
from crosslink.header import START_CURSOR, InboxCursor
from crosslink.inbox import assess_readiness, derive_inbox
from crosslink.summary import EMPTY_SUMMARY, compute_summary_root
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import DIGEST_BYTES, ZERO_DIGEST, hash_tagged
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters
from primitives.state_tree import StateTree
from shards.noop.parameters import NoopParameters
from shards.noop.records import DUPLICATE, OK, OpaqueRecord, decode_record, encode_receipt

TOTALS_KEY: Final = b"noop/totals"
SEEN_PREFIX: Final = b"noop/seen/"
_HEIGHT_BYTES: Final = 8
_MAX_TOTALS_BYTES: Final = 256
_ROLLING_TAG: Final = b"rialto/noop/rolling"
_SUMMARY: Final = encode(EMPTY_SUMMARY)
_SUMMARY_ROOT: Final = compute_summary_root(EMPTY_SUMMARY)
_OUTBOX_ROOT: Final = compute_root([])


class Totals(Wire, frozen=True):
    """Everything that was executed, duplicates apart, and how far the beacon was consumed."""

    records: Unsigned
    commands: Unsigned
    size_bytes: Unsigned
    rolling: Digest
    beacon_height: Unsigned
    cursor: InboxCursor


GENESIS_TOTALS: Final = Totals(0, 0, 0, ZERO_DIGEST, 0, START_CURSOR)


class NoopApplication:
    """One no-op shard's state machine. ``follower`` is ``None`` on a chain without a beacon."""

    def __init__(
        self, parameters: NoopParameters, protocol: ProtocolParameters, follower: BeaconFollower | None
    ) -> None:
        self._parameters = parameters
        self._protocol = protocol
        self._follower = follower
        self._totals = GENESIS_TOTALS
        self._executed = ExecutedBatches(protocol.batch_lifetime_blocks)
        self._window: deque[tuple[int, tuple[bytes, ...]]] = deque()
        self._seen: dict[bytes, int] = {}
        self._tree = StateTree(protocol.bucket_count)
        self.load(self.genesis_records())

    @property
    def totals(self) -> Totals:
        """The state after the last block, its replay window apart."""
        return self._totals

    # --- transactions --------------------------------------------------------------------------------------

    def decode(self, data: bytes) -> OpaqueRecord:
        """The record in ``data``; raises ``RemoteError``."""
        return decode_record(data, self._parameters)

    def verify(self, transaction: OpaqueRecord) -> None:
        """Nobody signed it: there is nothing to find out."""

    def admit(self, transaction: OpaqueRecord, now_ms: int) -> None:
        """Refuse (``DUPLICATE``) what was executed within the replay window; raises ``RemoteError``."""
        height = self._seen.get(transaction.id)
        if height is not None:
            raise RemoteError(DUPLICATE, f"these very bytes were executed in block {height}")

    # --- the block -----------------------------------------------------------------------------------------

    def execute(self, block: BlockInput) -> BlockResult:
        """Apply one block."""
        height, before = block.height, self._totals
        changes = self._forget(height)
        beacon_height, cursor = block.beacon_ref.height, before.cursor
        if self._follower is not None:
            cursor = derive_inbox(self._follower, block.parent_cursor, beacon_height, self._protocol).cursor
        fresh, receipts = self._execute_records(block)
        rolling = before.rolling
        if fresh:
            ids = [record.id for record in fresh]
            rolling = hash_tagged(_ROLLING_TAG, rolling, *ids)
            self._window.append((height, tuple(ids)))
            changes[_seen_key(height)] = b"".join(ids)
        self._totals = Totals(
            before.records + len(fresh),
            before.commands + sum([record.commands for record in fresh]),
            before.size_bytes + sum([record.size_bytes for record in fresh]),
            rolling,
            beacon_height,
            cursor,
        )
        if self._totals != before:
            changes[TOTALS_KEY] = encode(self._totals)
        changes.update(self._executed.take_changes())
        return BlockResult(
            state_root=self._tree.update(changes),
            receipts_root=compute_root([receipt.encoded for receipt in receipts]),
            outbox_root=_OUTBOX_ROOT,
            summary_root=_SUMMARY_ROOT,
            changes=changes,
            receipts=receipts,
            summary=_SUMMARY,
            inbox_cursor=cursor,
        )

    def _execute_records(self, block: BlockInput) -> tuple[list[OpaqueRecord], tuple[TransactionReceipt, ...]]:
        """The records that count, and a receipt for each by payload position."""
        fresh: list[OpaqueRecord] = []
        receipts: list[TransactionReceipt] = []
        for batch in self._executed.filter(block.height, block.batches):
            for record in batch.transactions:
                is_new = record.id not in self._seen
                if is_new:
                    self._seen[record.id] = block.height
                    fresh.append(record)
                code, commands = (OK, record.commands) if is_new else (DUPLICATE, 0)
                encoded = encode_receipt(record.id, len(receipts), code, commands)
                receipts.append(TransactionReceipt(record.id, encoded))
        return fresh, tuple(receipts)

    def _forget(self, height: int) -> dict[bytes, bytes | None]:
        """Drop the ids of blocks that have left the window; returns the state records that go."""
        gone: dict[bytes, bytes | None] = {}
        while self._window and self._window[0][0] + self._parameters.replay_blocks < height:
            executed_height, ids = self._window.popleft()
            for identifier in ids:
                del self._seen[identifier]
            gone[_seen_key(executed_height)] = None
        return gone

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        """A shard that follows a beacon keeps its reference fresh; apart from that nothing is wanted."""
        assert now_ms >= 0 and last_block_ms >= 0, "times count from the epoch"
        if self._follower is None:
            return Readiness.IDLE
        totals = self._totals
        return assess_readiness(self._follower, totals.cursor, totals.beacon_height, False, self._protocol)

    # --- state ---------------------------------------------------------------------------------------------

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether a batch is known as executed, which it is until it expires."""
        return digest in self._executed

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        """The state at height 0."""
        return ((TOTALS_KEY, encode(GENESIS_TOTALS)),)

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Replace the state; the root is returned. Raises ``LocalError`` where ``records`` are no state."""
        everything = dict(records)
        executed = ExecutedBatches(self._protocol.batch_lifetime_blocks)
        executed.load([item for item in everything.items() if item[0].startswith(BATCH_PREFIX)])
        window: deque[tuple[int, tuple[bytes, ...]]] = deque()
        seen: dict[bytes, int] = {}
        for key in sorted(key for key in everything if key.startswith(SEEN_PREFIX)):
            height, ids = _read_seen(key, everything[key])
            window.append((height, ids))
            seen.update(dict.fromkeys(ids, height))
        known = len(window) + len(executed) + (TOTALS_KEY in everything)
        if known != len(everything) or TOTALS_KEY not in everything:
            raise LocalError("the stored records are not the state of a no-op shard")
        self._totals = _read_totals(everything[TOTALS_KEY])
        self._executed = executed
        self._window = window
        self._seen = seen
        self._tree = StateTree(self._protocol.bucket_count)
        return self._tree.update(dict[bytes, Any](everything))


def _seen_key(height: int) -> bytes:
    return SEEN_PREFIX + height.to_bytes(_HEIGHT_BYTES, "big")


def _read_seen(key: bytes, value: bytes) -> tuple[int, tuple[bytes, ...]]:
    suffix = key[len(SEEN_PREFIX) :]
    if len(suffix) != _HEIGHT_BYTES or not value or len(value) % DIGEST_BYTES:
        raise LocalError("the stored ids of a no-op shard are damaged")
    ids = [value[start : start + DIGEST_BYTES] for start in range(0, len(value), DIGEST_BYTES)]
    return int.from_bytes(suffix, "big"), tuple(ids)


def _read_totals(data: bytes) -> Totals:
    try:
        totals: Totals = decode(Totals, data, max_bytes=_MAX_TOTALS_BYTES)
    except RemoteError as error:
        raise LocalError(f"the stored totals of a no-op shard are damaged: {error}") from None
    return totals
