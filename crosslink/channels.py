"""Ordered channels: one per peer shard, with counters, open transfers and sums; state only.

A ``Channel`` is our end of both directions that join us with one peer: locks that we send (``next_send``),
verdicts on them (``next_ack``), and locks that the peer sends and we judge (``next_recv``). The rules for
moving these live in ``crosslink.transfers``; here are the state, its records and what can be counted in it.

Records (all under ``RECORD_PREFIX``, so that they may share a key space with the venue's):

    crosslink/c ‖ peer(4)                         → ChannelRecord
    crosslink/o ‖ peer(4) ‖ sequence(8)           → the lock's leaf, while the transfer is open
    crosslink/p ‖ height(8) ‖ index(4)            → PendingCredit, until it is free
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from crosslink.messages import Address, Amount, ShardNumber, Subaccount, TransferLock, decode_message
from crosslink.summary import PeerAmounts, PeerSummary
from primitives.codec import Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError

RECORD_PREFIX: Final = b"crosslink/"
_CHANNEL_KEY: Final = RECORD_PREFIX + b"c"
_OPEN_KEY: Final = RECORD_PREFIX + b"o"
_PENDING_KEY: Final = RECORD_PREFIX + b"p"
_MAX_RECORD_BYTES: Final = 64 << 10
"""A channel record with every asset a summary may have is 12 KB."""


class ChannelRecord(Wire, frozen=True):
    """The counters and sums of one channel as stored; ``amounts`` ascend by asset."""

    next_send: Unsigned
    next_recv: Unsigned
    next_ack: Unsigned
    amounts: tuple[PeerAmounts, ...]


class PendingCredit(Wire, frozen=True):
    """Lock ``sequence`` of ``peer``, accepted here: in flight until the accepting block is registered."""

    peer: ShardNumber
    sequence: Unsigned
    recipient: Address
    subaccount: Subaccount
    asset: Unsigned
    amount: Amount


@dataclass(slots=True)
class ChannelAmounts:
    """Sums of one asset since genesis; see ``PeerAmounts``."""

    sent: int = 0
    refunded: int = 0
    burned: int = 0
    released: int = 0


@dataclass(slots=True)
class Channel:
    """Our end of the two directions to ``peer``."""

    peer: int
    next_send: int = 0
    next_recv: int = 0
    next_ack: int = 0
    amounts: dict[int, ChannelAmounts] = field(default_factory=dict)
    open: dict[int, TransferLock] = field(default_factory=dict)
    open_by_owner: dict[bytes, int] = field(default_factory=dict)

    def amounts_of(self, asset: int) -> ChannelAmounts:
        """The sums of ``asset``, from zero at first use."""
        found = self.amounts.get(asset)
        if found is None:
            found = self.amounts[asset] = ChannelAmounts()
        return found

    def summarise(self) -> PeerSummary:
        """The peer's record in the summary."""
        return PeerSummary(
            peer=self.peer,
            next_send=self.next_send,
            next_recv=self.next_recv,
            next_ack=self.next_ack,
            open_count=len(self.open),
            amounts=self._list_amounts(),
        )

    def encode(self) -> bytes:
        """The value of the channel's own record."""
        return encode(ChannelRecord(self.next_send, self.next_recv, self.next_ack, self._list_amounts()))

    def _list_amounts(self) -> tuple[PeerAmounts, ...]:
        return tuple(
            PeerAmounts(asset, sums.sent, sums.refunded, sums.burned, sums.released)
            for asset, sums in sorted(self.amounts.items())
        )


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A pending credit and when it was accepted: at our ``height``, as number ``index`` of that block."""

    height: int
    index: int
    credit: PendingCredit


class ChannelTable:
    """Every channel of one shard, the pending credits, and which records a block has touched."""

    __slots__ = ("_dirty_channels", "_dirty_records", "channels", "pending")

    def __init__(self, peers: Iterable[int]) -> None:
        self.channels: dict[int, Channel] = {peer: Channel(peer) for peer in sorted(peers)}
        self.pending: deque[PendingEntry] = deque()
        """In the order of acceptance, which is the order in which they become free."""
        self._dirty_channels: dict[int, None] = {}
        self._dirty_records: dict[bytes, bytes | None] = {}

    # --- open transfers ------------------------------------------------------------------------------------

    def add_open(self, lock: TransferLock, leaf: bytes) -> None:
        """Enter ``lock`` as open and count it; ``leaf`` is its encoding."""
        channel = self.channels[lock.destination]
        assert lock.sequence == channel.next_send, "locks leave in order"
        channel.next_send += 1
        channel.open[lock.sequence] = lock
        channel.open_by_owner[lock.owner] = channel.open_by_owner.get(lock.owner, 0) + 1
        channel.amounts_of(lock.asset).sent += lock.amount
        self._dirty_records[_key_open(lock.destination, lock.sequence)] = leaf
        self.touch(lock.destination)

    def undo_open(self, lock: TransferLock) -> None:
        """Take back the newest ``add_open`` of its channel, as if it had never been."""
        channel = self.channels[lock.destination]
        assert lock.sequence == channel.next_send - 1, "locks are taken back newest first"
        channel.next_send -= 1
        channel.amounts_of(lock.asset).sent -= lock.amount
        if channel.amounts[lock.asset] == ChannelAmounts():
            # Sums that this lock created must not stay: a record may not depend on what never happened.
            del channel.amounts[lock.asset]
        self.remove_open(lock)

    def remove_open(self, lock: TransferLock) -> None:
        """Forget an open transfer and its count."""
        channel = self.channels[lock.destination]
        del channel.open[lock.sequence]
        left = channel.open_by_owner[lock.owner] - 1
        if left:
            channel.open_by_owner[lock.owner] = left
        else:
            del channel.open_by_owner[lock.owner]
        self._dirty_records[_key_open(lock.destination, lock.sequence)] = None
        self.touch(lock.destination)

    # --- pending credits -----------------------------------------------------------------------------------

    def add_pending(self, height: int, credit: PendingCredit) -> None:
        """Enter a credit accepted at our ``height`` at the end of the queue."""
        newest = self.pending[-1] if self.pending else None
        assert newest is None or newest.height <= height, "credits are accepted in order"
        index = newest.index + 1 if newest is not None and newest.height == height else 0
        entry = PendingEntry(height, index, credit)
        self.pending.append(entry)
        self._dirty_records[_key_pending(entry)] = encode(credit)

    def pop_pending(self) -> PendingEntry:
        """Take the oldest pending credit out and count it as released."""
        entry = self.pending.popleft()
        credit = entry.credit
        self.channels[credit.peer].amounts_of(credit.asset).released += credit.amount
        self._dirty_records[_key_pending(entry)] = None
        self.touch(credit.peer)
        return entry

    # --- records -------------------------------------------------------------------------------------------

    def touch(self, peer: int) -> None:
        """Note that the channel's own record changed."""
        self._dirty_channels[peer] = None

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call (``None``: deleted); each channel is encoded once."""
        changes = self._dirty_records
        for peer in self._dirty_channels:
            changes[_key_channel(peer)] = self.channels[peer].encode()
        self._dirty_records = {}
        self._dirty_channels = {}
        return changes

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace everything by ``records`` (those under ``RECORD_PREFIX``, in any order).

        Raises ``LocalError`` where they are not what this table wrote.
        """
        self.channels = {peer: Channel(peer) for peer in self.channels}
        self._dirty_channels, self._dirty_records = {}, {}
        pending: list[PendingEntry] = []
        try:
            for key, value in sorted(records):
                self._load_record(key, value, pending)
        except (RemoteError, KeyError) as error:
            raise LocalError(f"the stored channels are damaged: {error}") from error
        self.pending = deque(pending)
        for channel in self.channels.values():
            if sorted(channel.open) != list(range(channel.next_ack, channel.next_send)):
                raise LocalError(f"the stored channel to shard {channel.peer} has gaps in its open transfers")

    def _load_record(self, key: bytes, value: bytes, pending: list[PendingEntry]) -> None:
        kind, rest = key[: len(_CHANNEL_KEY)], key[len(_CHANNEL_KEY) :]
        if kind == _CHANNEL_KEY:
            self._load_channel(int.from_bytes(rest, "big"), value)
        elif kind == _OPEN_KEY:
            lock = decode_message(value, _MAX_RECORD_BYTES)
            if not isinstance(lock, TransferLock) or key != _key_open(lock.destination, lock.sequence):
                raise LocalError("a stored open transfer is not the lock that its key names")
            channel = self.channels[lock.destination]
            channel.open[lock.sequence] = lock
            channel.open_by_owner[lock.owner] = channel.open_by_owner.get(lock.owner, 0) + 1
        elif kind == _PENDING_KEY:
            credit: PendingCredit = decode(PendingCredit, value, max_bytes=_MAX_RECORD_BYTES)
            height, index = int.from_bytes(rest[:8], "big"), int.from_bytes(rest[8:], "big")
            if credit.peer not in self.channels:
                raise LocalError(f"a stored pending credit comes from shard {credit.peer}, which is no peer")
            pending.append(PendingEntry(height, index, credit))
        else:
            raise LocalError(f"no channel table writes records like {key[:32]!r}")

    def _load_channel(self, peer: int, value: bytes) -> None:
        record: ChannelRecord = decode(ChannelRecord, value, max_bytes=_MAX_RECORD_BYTES)
        channel = self.channels[peer]
        channel.next_send, channel.next_recv = record.next_send, record.next_recv
        channel.next_ack = record.next_ack
        for sums in record.amounts:
            channel.amounts[sums.asset] = ChannelAmounts(sums.sent, sums.refunded, sums.burned, sums.released)


def _key_channel(peer: int) -> bytes:
    return _CHANNEL_KEY + peer.to_bytes(4, "big")


def _key_open(peer: int, sequence: int) -> bytes:
    return _OPEN_KEY + peer.to_bytes(4, "big") + sequence.to_bytes(8, "big")


def _key_pending(entry: PendingEntry) -> bytes:
    return _PENDING_KEY + entry.height.to_bytes(8, "big") + entry.index.to_bytes(4, "big")
