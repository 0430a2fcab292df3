"""The registry: what the beacon has registered of every shard, and what may be registered next.

State and its rules; the beacon's block around them is ``crosslink.beacon``. Every ``assess_…`` reads and
answers with a code, every ``apply_…`` follows an ``OK`` and cannot fail.

Records of the beacon's state, shard numbers in 4 bytes:

    tip/ ‖ shard                TipRecord, with the certificate for naming the guilty of a fork
    summary/ ‖ shard            the tip's summary
    flow/ ‖ source ‖ dest       conservation.FlowRecord
    hash/ ‖ shard ‖ slot        ring of the newest registered header hashes
    beacon/ ‖ slot              ring of the newest beacon header hashes
    freeze/ ‖ shard             FreezeRecord
    refusal/ ‖ shard            the newest refusal that an honest shard cannot earn
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias

from consensus.certificate import Certificate
from crosslink.conservation import (
    Flow,
    PeerPosition,
    apply_locks,
    apply_verdicts,
    check_locks,
    check_summary,
    check_verdicts,
    decode_flow,
)
from crosslink.hash_ring import HashRing
from crosslink.header import InboxCursor, ShardHeader
from crosslink.header_rules import order_cursor
from crosslink.records import Freeze
from crosslink.submission import ChannelTally, CheckedSubmission
from crosslink.summary import EMPTY_SUMMARY, ShardSummary, decode_summary
from crosslink.tips import UNREGISTERED, RegisteredTip
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.parameters import ProtocolParameters

SHARD_HASHES: Final = 1_024
"""Registered ancestors kept per shard: a fork off one of them shows at its first submission; a deeper one is
reported with both certificates (``ReportFork``)."""
BEACON_HASHES: Final = 8_192
"""Own hashes kept (20 minutes at full pace, above K2). A reference older than that is checked by height alone;
the references after it, up to the first that is younger, are checked by hash."""
_MAX_TIP_BYTES: Final = 64 << 10
_MAX_FREEZE_BYTES: Final = 512 << 10

_FlowChange: TypeAlias = Callable[[Flow, ChannelTally], None]

OK: Final = "OK"
ALARMING: Final = frozenset(
    {"CONSERVATION", "COUNTERS", "WINDOW_EXCEEDED", "UNSOLICITED_VERDICT", "SEQUENCE_GAP", "BAD_REFERENCE"}
)
"""Refusals of a *certified* header that more than f of its committee must have signed against the rules."""


class TipRecord(Wire, frozen=True):
    """The newest registered header of a shard, as stored."""

    incarnation: Unsigned
    epoch: Unsigned
    height: Unsigned
    hash: Digest
    timestamp_ms: Unsigned
    beacon_ref_height: Unsigned
    cursor: InboxCursor
    registered_at: Unsigned
    certificate: Certificate


class FreezeRecord(Wire, frozen=True):
    """Why and when a shard was frozen, with both certificates."""

    freeze: Freeze
    frozen_at: Unsigned
    first: Certificate
    second: Certificate


class RefusalRecord(Wire, frozen=True):
    """A certified submission that no honest committee makes: the shard cannot register past ``height`` − 1."""

    code: str
    height: Unsigned
    tip_hash: Digest
    refused_at: Unsigned


class Registry:
    """The tables over all shards of the genesis."""

    def __init__(self, shards: Collection[int], parameters: ProtocolParameters) -> None:
        self._parameters = parameters
        self.shards: tuple[int, ...] = tuple(sorted(shards))
        self._clear()

    def _clear(self) -> None:
        self._tips: dict[int, TipRecord] = {}
        self._summaries: dict[int, ShardSummary] = {}
        self._flows: dict[tuple[int, int], Flow] = {}
        self._freezes: dict[int, FreezeRecord] = {}
        self._refusals: dict[int, RefusalRecord] = {}
        self._ancestors = {shard: HashRing(b"hash/" + _number(shard), SHARD_HASHES) for shard in self.shards}
        self._beacon_hashes = HashRing(b"beacon/", BEACON_HASHES)
        self._changes: dict[bytes, bytes | None] = {}

    # --- reads ---------------------------------------------------------------------------------------------

    def tip(self, shard: int) -> RegisteredTip:
        """The registered tip; ``UNREGISTERED`` before the first."""
        record = self._tips.get(shard)
        frozen = shard in self._freezes
        if record is None:
            return RegisteredTip(frozen=True) if frozen else UNREGISTERED
        return RegisteredTip(
            record.incarnation,
            record.height,
            record.hash,
            record.beacon_ref_height,
            record.registered_at,
            frozen,
        )

    def summary(self, shard: int) -> ShardSummary:
        """The registered tip's summary; empty before the first."""
        return self._summaries.get(shard, EMPTY_SUMMARY)

    def summaries(self) -> tuple[ShardSummary, ...]:
        """Those of all registered tips, by shard."""
        return tuple(self._summaries[shard] for shard in self.shards if shard in self._summaries)

    def flow(self, source: int, destination: int) -> Flow:
        """The transfers from one shard to another as far as they are registered; not to be changed."""
        return self._flows.get((source, destination)) or Flow()

    def freeze(self, shard: int) -> FreezeRecord | None:
        """Why the shard is frozen, if it is."""
        return self._freezes.get(shard)

    def refusal(self, shard: int) -> RefusalRecord | None:
        """The newest alarming refusal since the last registration of the shard."""
        return self._refusals.get(shard)

    def lowest_followed(self) -> int:
        """Beacon blocks up to here are consumed by every shard, as far as its headers are registered; 0 where one
        has registered none. A shard that stands still holds it back: it needs the blocks when it goes on."""
        consumed = [min(tip.cursor.beacon_height, tip.beacon_ref_height) for tip in self._tips.values()]
        return min(consumed, default=0) if len(consumed) == len(self.shards) else 0

    # --- what may be registered ----------------------------------------------------------------------------

    def find_conflict(self, submission: CheckedSubmission) -> tuple[int, bytes, bytes] | None:
        """(height, registered hash, certified hash) where the submission contradicts a registered header.

        Its certificate commits to all its headers and to the parent of the first.
        """
        tip = self._tips.get(submission.shard)
        if tip is None or tip.incarnation != submission.tip.incarnation:
            return None
        first = submission.headers[0]
        certified = [(first.height - 1, first.parent)]
        certified += [
            (header.height, block_hash)
            for header, block_hash in zip(submission.headers, submission.hashes, strict=True)
        ]
        for height, block_hash in certified:
            registered = self._ancestors[submission.shard].get(height)
            if height <= tip.height and registered is not None and registered != block_hash:
                return height, registered, block_hash
        return None

    def assess(self, submission: CheckedSubmission, beacon_height: int) -> str:
        """``OK`` where beacon block ``beacon_height`` may register it, else a code. Reads only."""
        code = self.assess_place(submission)
        if code == OK:
            code = self._assess_references(submission, beacon_height)
        if code == OK:
            code = self._assess_channels(submission)
        return code

    def assess_place(self, submission: CheckedSubmission) -> str:
        """Its place: ``FROZEN``, ``FORK`` (see ``find_conflict``), ``STALE`` (nothing new), ``OVERLAP``,
        ``GAP`` or ``OK``."""
        if submission.shard in self._freezes:
            return "FROZEN"
        if self.find_conflict(submission) is not None:
            return "FORK"
        tip = self._tips.get(submission.shard)
        height = 0 if tip is None else tip.height
        if submission.tip.height <= height:
            return "STALE"
        if submission.headers[0].height <= height:
            return "OVERLAP"
        if submission.headers[0].height > height + 1:
            return "GAP"
        return OK

    def _assess_references(self, submission: CheckedSubmission, beacon_height: int) -> str:
        """Continuity with the registered tip, and every reference on the beacon's own chain, below its height."""
        tip = self._tips.get(submission.shard)
        first = submission.headers[0]
        if tip is not None:
            if (first.incarnation, first.epoch) != (tip.incarnation, tip.epoch):
                return "WRONG_EPOCH"
            step = first.beacon_ref.height - tip.beacon_ref_height
            if not 0 <= step <= self._parameters.beacon_ref_step_blocks:
                return "BAD_REFERENCE"
            cursor_falls = order_cursor(first.inbox_cursor) < order_cursor(tip.cursor)
            if cursor_falls or first.timestamp_ms <= tip.timestamp_ms:
                return "BAD_REFERENCE"
        for header in submission.headers:
            if not self._is_own_reference(header, beacon_height):
                return "BAD_REFERENCE"
        return OK

    def _is_own_reference(self, header: ShardHeader, beacon_height: int) -> bool:
        reference = header.beacon_ref
        if reference.height == 0:
            return True
        if reference.height >= beacon_height:
            return False
        known = self._beacon_hashes.get(reference.height)
        return known is None or known == reference.hash

    def _assess_channels(self, submission: CheckedSubmission) -> str:
        shard, window = submission.shard, self._parameters.channel_window
        positions: dict[int, PeerPosition] = {}
        for peer in self.shards:
            if peer == shard:
                continue
            tally = submission.tallies.get(peer) or ChannelTally()
            outgoing, incoming = self.flow(shard, peer), self.flow(peer, shard)
            code = check_locks(outgoing, tally, window) or check_verdicts(incoming, tally)
            if code is not None:
                return code
            positions[peer] = PeerPosition(outgoing, incoming, tally)
        return check_summary(submission.summary, self.summary(shard), positions, window) or OK

    # --- what changes --------------------------------------------------------------------------------------

    def apply_submission(self, submission: CheckedSubmission, beacon_height: int) -> None:
        """Register its headers; ``assess`` has just answered ``OK``."""
        shard, tip = submission.shard, submission.tip
        record = TipRecord(
            tip.incarnation,
            tip.epoch,
            tip.height,
            submission.tip_hash,
            tip.timestamp_ms,
            tip.beacon_ref.height,
            tip.inbox_cursor,
            beacon_height,
            submission.certificate,
        )
        self._tips[shard] = record
        self._summaries[shard] = submission.summary
        self._changes[b"tip/" + _number(shard)] = encode(record)
        self._changes[b"summary/" + _number(shard)] = encode(submission.summary)
        for header, block_hash in zip(submission.headers, submission.hashes, strict=True):
            self._ancestors[shard].put(header.height, block_hash, self._changes)
        for peer, tally in submission.tallies.items():
            if tally.locks:
                self._change_flow(shard, peer, apply_locks, tally)
            if tally.verdicts:
                self._change_flow(peer, shard, apply_verdicts, tally)
        if self._refusals.pop(shard, None) is not None:
            self._changes[b"refusal/" + _number(shard)] = None

    def _change_flow(self, source: int, destination: int, apply: _FlowChange, tally: ChannelTally) -> None:
        flow = self._flows.setdefault((source, destination), Flow())
        apply(flow, tally)
        self._changes[b"flow/" + _number(source) + _number(destination)] = flow.encode()

    def apply_freeze(self, freeze: Freeze, first: Certificate, second: Certificate, beacon_height: int) -> None:
        """Nothing of the shard registers any more."""
        assert freeze.shard not in self._freezes, "a shard is frozen once"
        record = FreezeRecord(freeze, beacon_height, first, second)
        self._freezes[freeze.shard] = record
        self._changes[b"freeze/" + _number(freeze.shard)] = encode(record)

    def apply_refusal(self, submission: CheckedSubmission, code: str, beacon_height: int) -> None:
        """Keep an alarming refusal where everybody can read it."""
        record = RefusalRecord(code, submission.tip.height, submission.tip_hash, beacon_height)
        self._refusals[submission.shard] = record
        self._changes[b"refusal/" + _number(submission.shard)] = encode(record)

    def apply_own_hash(self, height: int, block_hash: bytes) -> None:
        """Remember one of the beacon's own headers, for references to come."""
        self._beacon_hashes.put(height, block_hash, self._changes)

    def certificate(self, shard: int) -> Certificate:
        """The registered tip's certificate; there is a registered tip."""
        return self._tips[shard].certificate

    # --- records -------------------------------------------------------------------------------------------

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call (``None``: deleted)."""
        changes, self._changes = self._changes, {}
        return changes

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace everything by ``records``; raises ``LocalError`` where they are not this registry's."""
        self._clear()
        try:
            for key, value in records:
                self._load_record(key, value)
        except (RemoteError, KeyError) as error:
            raise LocalError(f"the stored registry is damaged: {error}") from error

    def _load_record(self, key: bytes, value: bytes) -> None:
        kind, _, rest = key.partition(b"/")
        shard = int.from_bytes(rest[:4], "big")
        match kind:
            case b"tip":
                self._tips[shard] = decode(TipRecord, value, max_bytes=_MAX_TIP_BYTES)
            case b"summary":
                self._summaries[shard] = decode_summary(value)
            case b"flow":
                self._flows[shard, int.from_bytes(rest[4:], "big")] = decode_flow(value)
            case b"hash":
                self._ancestors[shard].load(key, value)
            case b"beacon":
                self._beacon_hashes.load(key, value)
            case b"freeze":
                self._freezes[shard] = decode(FreezeRecord, value, max_bytes=_MAX_FREEZE_BYTES)
            case b"refusal":
                self._refusals[shard] = decode(RefusalRecord, value, max_bytes=_MAX_TIP_BYTES)
            case _:
                raise LocalError(f"no registry writes records like {key[:32]!r}")


def _number(shard: int) -> bytes:
    return shard.to_bytes(4, "big")
