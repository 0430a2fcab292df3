"""Following the beacon from one shard: certified blocks in, a queue of messages and a picture of the registry out.

Sans-IO and shared: the replica feeds it (``accept``), the shard's application reads it. What does not live here:
making bundles (``crosslink.bundle``), which messages a block consumes (``crosslink.inbox``).

Theory of operation

    FOLLOWING --bundle at head + 1, certified, consistent----> FOLLOWING, head + 1
    FOLLOWING --certified block that contradicts another-----> STOPPED
    FOLLOWING --certified block that the rules exclude-------> STOPPED
    STOPPED   --anything-------------------------------------> STOPPED

Trust is in the beacon's certificate alone. Whoever sends a bundle may lie about what is *under* the header
(records, messages): a ``RemoteError``; the block is taken from somebody else. Only what the beacon's quorum
itself contradicts stops the follower: two certified hashes at one height, a certified block that does not extend
the chain, or certified records that no honest beacon makes. Then the shard's ``beacon_ref`` stays where it is, the
evidence is kept, and ``stopped`` says why: the shard trades on, and nothing crosses.

The queue is bounded by the windows of the channels, which the beacon enforces. Blocks are kept until the
application has executed past them (``prune``), and ``RETAINED_BLOCKS`` longer, for peers that are behind.

Records, under a prefix that the store gives the follower: ``block ‖ height(8)`` → the bundle; ``base`` →
FollowerBase, everything known of the blocks that are pruned; ``stopped`` → StopRecord.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from consensus.committee import Committee
from crosslink.bundle import MAX_BUNDLE_BYTES, BeaconBlock, decode_bundle
from crosslink.followed_registry import (
    FollowedRegistry,
    FollowerBase,
    TipHistory,
    advance_tip,
    restore_histories,
    summarise_histories,
)
from crosslink.follower_base import verify_base, verify_certified
from crosslink.header import BeaconRef, InboxCursor, compute_header_hash
from crosslink.header_rules import order_cursor, validate_header
from crosslink.messages import Message, decode_message
from crosslink.records import Freeze, Offence, Registration, decode_record
from crosslink.tips import UNREGISTERED, RegisteredTip
from primitives.codec import Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import ZERO_DIGEST
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme

RETAINED_BLOCKS: Final = 256
"""Executed blocks still held for peers that are a little behind; further back they ask the beacon."""
_BLOCK_KEY: Final = b"block"
_BASE_KEY: Final = b"base"
_STOPPED_KEY: Final = b"stopped"
_MAX_BASE_BYTES: Final = 8 << 20
"""A base names every shard once, in about 60 bytes."""


class FollowResult(IntEnum):
    """What a bundle did."""

    ADVANCED = 1
    KNOWN = 2
    GAP = 3
    """It is above head + 1: ask for the blocks between."""
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One message in the queue, and its place."""

    cursor: InboxCursor
    message: Message


class StopRecord(Wire, frozen=True):
    """Why the follower stopped, and the encoded bundles that prove it."""

    reason: str
    height: Unsigned
    evidence: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    hash: bytes
    items: tuple[InboxItem, ...]


class BeaconFollower:
    """One shard validator's picture of the beacon. ``committee`` is the beacon's."""

    def __init__(
        self, shard: int, committee: Committee, parameters: ProtocolParameters, scheme: SignatureScheme
    ) -> None:
        self._shard = shard
        self._committee = committee
        self._parameters = parameters
        self._scheme = scheme
        self._clear()

    def _clear(self) -> None:
        self._base = 0
        self._head = 0
        self._head_hash = ZERO_DIGEST
        self._blocks: dict[int, _Block] = {}
        self._busy_heights: list[int] = []
        """Heights of retained blocks with messages for us, ascending."""
        self._histories: dict[int, TipHistory] = {}
        self._stopped: StopRecord | None = None
        self._offences: list[Offence] = []
        """Since the last ``take_offences``; the beacon bounds how many it ever says."""
        self._changes: dict[bytes, bytes | None] = {}

    # --- reads ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> BeaconRef:
        """The newest followed block: what a proposer refers to."""
        return BeaconRef(self._head, self._head_hash)

    @property
    def stopped(self) -> StopRecord | None:
        """Set for good once the beacon contradicted itself: an alarm."""
        return self._stopped

    def hash_at(self, height: int) -> bytes | None:
        """The hash of a retained block; zeros at height 0; ``None`` where we do not have it."""
        if height == 0:
            return ZERO_DIGEST
        block = self._blocks.get(height)
        if block is None:
            return self._head_hash if height == self._head else None
        return block.hash

    def view_at(self, height: int) -> FollowedRegistry:
        """The registry as of beacon block ``height``, which is neither above the head nor pruned."""
        assert self._base <= height <= self._head, "a view of a block that is followed and not pruned"
        return FollowedRegistry(self._histories, height)

    def find_items(self, after: InboxCursor, up_to_height: int) -> Iterable[InboxItem]:
        """Messages for us behind the cursor, up to and including beacon block ``up_to_height``, in order."""
        threshold = order_cursor(after)
        start = bisect_right(self._busy_heights, after.beacon_height - 1)
        for height in self._busy_heights[start:]:
            if height > up_to_height:
                return
            for item in self._blocks[height].items:
                if order_cursor(item.cursor) > threshold:
                    yield item

    # --- feeding -------------------------------------------------------------------------------------------

    def accept(self, data: bytes) -> FollowResult:
        """Take one encoded ``BeaconBlock``.

        Raises ``RemoteError`` where the sender is to blame: bad bytes, a bad certificate, or bodies that are not
        those the header commits to.
        """
        if self._stopped is not None:
            return FollowResult.STOPPED
        block = decode_bundle(data)
        header = block.header
        validate_header(header, self._committee.chain)
        if header.shard != self._committee.shard:
            raise RemoteError("WRONG_SHARD", "a header that is not the beacon's", penalise=True)
        if header.height > self._head + 1:
            return FollowResult.GAP
        block_hash = compute_header_hash(header)
        if header.height <= self._head:
            return self._compare_known(block, block_hash, data)
        self._verify(block)
        if self._head and header.parent != self._head_hash:
            return self._stop("a certified block does not extend the followed chain", self._head, data)
        items = self._open_bodies(block)
        if items is None:
            return self._stop("a certified block breaks the beacon's rules", header.height, data)
        self._append(block, block_hash, items)
        self._changes[block_key(header.height)] = data
        return FollowResult.ADVANCED

    def _compare_known(self, block: BeaconBlock, block_hash: bytes, data: bytes) -> FollowResult:
        known = self.hash_at(block.header.height)
        if known is None or known == block_hash:
            return FollowResult.KNOWN
        self._verify(block)
        return self._stop("two certified blocks at one height", block.header.height, data)

    def _verify(self, block: BeaconBlock) -> None:
        """The certificate is good and is of this header or of a descendant that is shown."""
        verify_certified(block.header, block.certificate, block.descendants, self._committee, self._scheme)

    def _open_bodies(self, block: BeaconBlock) -> tuple[InboxItem, ...] | None:
        """The messages for us; ``None`` where the *certified* content breaks the beacon's rules.

        Raises ``RemoteError`` where the bodies are not the certified ones.
        """
        if compute_root(block.records) != block.header.outbox_root:
            raise RemoteError("BAD_BODY", "records that the header does not commit to", penalise=True)
        items: list[InboxItem] = []
        next_heights: dict[int, int] = {}
        deliveries = list(reversed(block.deliveries))
        for index, leaf in enumerate(block.records):
            try:
                record = decode_record(leaf)
            except RemoteError:
                return None
            if isinstance(record, Freeze | Offence):
                continue
            expected = next_heights.get(record.shard, self._tip(record.shard).height + 1)
            if record.first_height != expected or record.height < expected:
                return None
            next_heights[record.shard] = record.height + 1
            leaves = _take_delivery(record, self._shard, deliveries)
            decoded = self._decode_leaves(block.header.height, index, record, leaves)
            if decoded is None:
                return None
            items += decoded
        if deliveries:
            raise RemoteError("BAD_BODY", "more deliveries than the records announce", penalise=True)
        return tuple(items)

    def _decode_leaves(
        self, height: int, index: int, record: Registration, leaves: Sequence[bytes]
    ) -> list[InboxItem] | None:
        """The certified leaves of one registration as items; ``None`` where the beacon should have refused one."""
        items: list[InboxItem] = []
        for position, leaf in enumerate(leaves):
            try:
                message = decode_message(leaf, self._parameters.message_bytes)
            except RemoteError:
                return None
            if (message.source, message.destination) != (record.shard, self._shard):
                return None
            items.append(InboxItem(InboxCursor(height, index, position), message))
        return items

    def _append(self, block: BeaconBlock, block_hash: bytes, items: tuple[InboxItem, ...]) -> None:
        height = block.header.height
        self._head, self._head_hash = height, block_hash
        self._blocks[height] = _Block(block_hash, items)
        if items:
            insort(self._busy_heights, height)
        for leaf in block.records:
            record = decode_record(leaf)
            if isinstance(record, Offence):
                self._offences.append(record)
                continue
            history = self._histories.setdefault(record.shard, TipHistory())
            history.put(height, advance_tip(history.at(height), record, height))

    def _tip(self, shard: int) -> RegisteredTip:
        history = self._histories.get(shard)
        return UNREGISTERED if history is None else history.at(self._head)

    def _stop(self, reason: str, height: int, data: bytes) -> FollowResult:
        """Keep the evidence and stop. The other side of a contradiction is the stored block at ``height``."""
        self._stopped = StopRecord(reason, height, (data,))
        self._changes[_STOPPED_KEY] = encode(self._stopped)
        return FollowResult.STOPPED

    # --- starting from a base ------------------------------------------------------------------------------

    def covers(self, height: int) -> bool:
        """Whether a shard's chain that has consumed the beacon up to ``height`` can go on with what is here."""
        return self._base <= height <= self._head

    def open_base(self, data: bytes, height: int) -> dict[bytes, bytes]:
        """The records of a follower that starts at beacon block ``height``, which ``data`` (an encoded
        ``BeaconBase``) proves; raises ``RemoteError``. Ours stay as they are."""
        return {_BASE_KEY: encode(verify_base(data, height, self._committee, self._scheme))}

    # --- pruning and records -------------------------------------------------------------------------------

    def prune(self, cursor: InboxCursor, beacon_ref_height: int) -> None:
        """Forget what a block with this cursor and reference, and every later one, does not need.

        Called after that block is certified, never before: a replica may execute again from its store.
        """
        stop = min(cursor.beacon_height, beacon_ref_height) - RETAINED_BLOCKS
        if stop <= self._base:
            return
        for height in range(self._base + 1, stop + 1):
            self._changes[block_key(height)] = None
        base_hash = self._blocks[stop].hash
        for height in range(self._base + 1, stop + 1):
            del self._blocks[height]
        del self._busy_heights[: bisect_right(self._busy_heights, stop)]
        self._base = stop
        for history in self._histories.values():
            history.prune(stop)
        base = FollowerBase(stop, base_hash, summarise_histories(self._histories, stop))
        self._changes[_BASE_KEY] = encode(base)

    def take_offences(self) -> tuple[Offence, ...]:
        """What the followed blocks recorded against members since the last call; after loading, once more what the
        retained blocks say."""
        offences, self._offences = tuple(self._offences), []
        return offences

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call (``None``: deleted)."""
        changes, self._changes = self._changes, {}
        return changes

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace everything by our own stored records; raises ``LocalError`` where they are damaged.

        Signatures are not verified again: what was stored was verified.
        """
        self._clear()
        stored = dict(records)
        try:
            self._load_base(stored.pop(_BASE_KEY, None))
            stopped = stored.pop(_STOPPED_KEY, None)
            if stopped is not None:
                self._stopped = decode(StopRecord, stopped, max_bytes=2 * MAX_BUNDLE_BYTES)
            for key in sorted(stored):
                self._load_block(key, stored[key])
        except RemoteError as error:
            raise LocalError(f"the stored beacon blocks are damaged: {error}") from error

    def _load_base(self, data: bytes | None) -> None:
        if data is None:
            return
        base: FollowerBase = decode(FollowerBase, data, max_bytes=_MAX_BASE_BYTES)
        self._base = self._head = base.height
        self._head_hash = base.hash
        self._histories = restore_histories(base)

    def _load_block(self, key: bytes, data: bytes) -> None:
        block = decode_bundle(data)
        if key != block_key(block.header.height) or block.header.height != self._head + 1:
            raise LocalError("the stored beacon blocks are not consecutive")
        items = self._open_bodies(block)
        if items is None:
            raise LocalError("a stored beacon block breaks the beacon's rules")
        self._append(block, compute_header_hash(block.header), items)


def _take_delivery(record: Registration, shard: int, deliveries: list[tuple[bytes, ...]]) -> tuple[bytes, ...]:
    """The next delivery, where ``record`` announces one to ``shard``; it must be the one committed to."""
    for delivery in record.deliveries:
        if delivery.destination != shard:
            continue
        leaves = deliveries.pop() if deliveries else ()
        if len(leaves) != delivery.count or compute_root(leaves) != delivery.root:
            raise RemoteError("BAD_BODY", "messages that the record does not commit to", penalise=True)
        return leaves
    return ()


def block_key(height: int) -> bytes:
    """The key of a followed block's bundle among the follower's records, for serving it to peers."""
    return _BLOCK_KEY + height.to_bytes(8, "big")
