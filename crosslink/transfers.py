"""Transfers between shards: lock, receive, settle, release.

What lives here: the rules of the two-phase transfer over the channels of one shard. What does not: accounts
and margin (the venue's, behind ``TransferLedger``), the channels' state (``crosslink.channels``), and which
messages a block consumes (``crosslink.inbox``).

Theory of operation (A sends to B)

    A: validate_lock, apply_lock    funds → escrow, entry OPEN, a ``TransferLock`` leaves, ``next_send`` += 1
    beacon registers A's header
    B: consume(lock)                EXPIRED past the deadline, else ACCEPTED (credit *pending*) or REJECTED; a
                                    ``TransferVerdict`` leaves in any case, ``next_recv`` += 1 in any case
    beacon registers B's header
    B: release                      the pending credit becomes free
    A: consume(verdict)             the OPEN entry goes first; ACCEPTED burns the escrow, else it goes back to the
                                    owner; ``next_ack`` += 1

A never refunds by its own clock: only B's verdict settles. A credit stays pending, and so in flight, until B
executes a beacon block that registered the accepting block, because only then can it not be voided.

Messages come through the beacon, which checks sequences and bindings. One that does not fit all the same (only
a beacon with more than f faulty members could send it) changes nothing: it cannot stop a block.

In one block: ``begin_block``, ``release``, ``consume`` for each inbox item, then locks as transactions ask for
them. ``savepoint`` and ``rollback`` take back the locks of a transaction that failed after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, assert_never

from crosslink.channels import ChannelTable, PendingCredit
from crosslink.messages import (
    Message,
    Purpose,
    RejectReason,
    TransferLock,
    TransferVerdict,
    Verdict,
    compute_xid,
    encode_message,
)
from crosslink.summary import PeerSummary
from crosslink.tips import RegistryView, is_stalled
from primitives.parameters import ProtocolParameters
from primitives.quantities import MAX_INT


def compute_outbox_capacity(parameters: ProtocolParameters) -> int:
    """Most leaves that one block may send: half of what one beacon block registers, so that every header can be
    registered, and two full shards in one beacon block."""
    return max(1, parameters.messages_per_beacon_block // 2)


class TransferLedger(Protocol):
    """What the machine needs of the venue. Amounts are positive quantums of ``asset``.

    ``refund`` and ``release_pending`` must succeed whatever became of the account: ``check_lock`` and
    ``check_credit`` keep the room for them.
    """

    def check_lock(self, owner: bytes, subaccount: int, asset: int, amount: int) -> str | None:
        """``None`` where the subaccount passes its margin check with ``amount`` gone, else a stable code."""
        ...

    def escrow(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Take ``amount`` out of every bucket: it is in flight from now on."""
        ...

    def refund(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Put an escrowed ``amount`` back."""
        ...

    def check_credit(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> RejectReason | None:
        """``None`` where ``amount`` may be credited (the account may be created by it), else the reason."""
        ...

    def hold_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Note a pending credit: it counts for maintenance margin only, and is in no bucket."""
        ...

    def release_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Turn a pending credit into free cash."""
        ...


@dataclass(frozen=True, slots=True)
class LockRequest:
    """What a transaction asks for; ``deadline`` is a beacon height."""

    destination: int
    owner: bytes
    owner_subaccount: int
    recipient: bytes
    recipient_subaccount: int
    asset: int
    amount: int
    deadline: int
    purpose: Purpose = Purpose.TRANSFER


class TransferPhase(IntEnum):
    """The steps that the two shards see."""

    LOCKED = 1
    JUDGED = 2
    RELEASED = 3
    SETTLED = 4


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """One step of the transfer that is lock ``sequence`` from ``source`` to ``destination``.

    ``account`` and ``subaccount`` are the local ones: the owner's at the source, the recipient's at the
    destination. ``verdict`` is set from JUDGED on.
    """

    phase: TransferPhase
    xid: bytes
    source: int
    destination: int
    sequence: int
    account: bytes
    subaccount: int
    asset: int
    amount: int
    verdict: Verdict | None = None
    reason: RejectReason = RejectReason.NONE


class TransferMachine:
    """All transfers that touch one shard.

    ``minimum_amounts`` names the assets that may cross and the least amount of each, so that dust cannot fill a
    window.
    """

    def __init__(
        self,
        chain: bytes,
        shard: int,
        peers: Iterable[int],
        parameters: ProtocolParameters,
        minimum_amounts: Mapping[int, int],
        ledger: TransferLedger,
    ) -> None:
        self._chain = chain
        self._shard = shard
        self._parameters = parameters
        self._minimum_amounts = dict(minimum_amounts)
        self._ledger = ledger
        self._table = ChannelTable(peer for peer in peers if peer != shard)
        self._height = 0
        self._beacon_height = 0
        self._registry: RegistryView | None = None
        self._sent: list[TransferLock | TransferVerdict] = []
        self._leaves: list[bytes] = []

    # --- the block -----------------------------------------------------------------------------------------

    def begin_block(self, height: int, beacon_height: int, registry: RegistryView) -> None:
        """Start block ``height``. ``beacon_height`` is its effective beacon reference's, and ``registry`` shows
        the beacon as of exactly that height."""
        self._height = height
        self._beacon_height = beacon_height
        self._registry = registry
        self._sent = []
        self._leaves = []

    @property
    def outbox(self) -> tuple[bytes, ...]:
        """The leaves of this block in order."""
        return tuple(self._leaves)

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The state records that changed since the last call (``None``: deleted)."""
        return self._table.take_changes()

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace the state by the records under ``channels.RECORD_PREFIX``; raises ``LocalError``.

        The ledger loads its own pending sums, or is told of each by ``restore_pending``.
        """
        self._table.load(records)

    def restore_pending(self) -> None:
        """Tell the ledger of every pending credit again, after ``load``, if it keeps no record of them."""
        for entry in self._table.pending:
            credit = entry.credit
            self._ledger.hold_pending(credit.recipient, credit.subaccount, credit.asset, credit.amount)

    # --- release -------------------------------------------------------------------------------------------

    def release(self) -> tuple[TransferEvent, ...]:
        """Free every pending credit whose accepting block is registered; the first step of a block.

        Bounded by the windows of the peers: a peer's next lock comes after its verdict, which is registered
        with the accepting block.
        """
        assert self._registry is not None, "release is called inside a block"
        registered = self._registry.tip(self._shard).height
        events: list[TransferEvent] = []
        while self._table.pending and self._table.pending[0].height <= registered:
            credit = self._table.pop_pending().credit
            self._ledger.release_pending(credit.recipient, credit.subaccount, credit.asset, credit.amount)
            events.append(
                TransferEvent(
                    TransferPhase.RELEASED,
                    compute_xid(self._chain, credit.peer, self._shard, credit.sequence),
                    credit.peer,
                    self._shard,
                    credit.sequence,
                    credit.recipient,
                    credit.subaccount,
                    credit.asset,
                    credit.amount,
                    Verdict.ACCEPTED,
                )
            )
        return tuple(events)

    def is_release_due(self, registry: RegistryView) -> bool:
        """Whether a block that referenced the beacon as ``registry`` shows it would free a credit."""
        pending = self._table.pending
        return bool(pending) and pending[0].height <= registry.tip(self._shard).height

    # --- consume -------------------------------------------------------------------------------------------

    def consume(self, message: Message) -> TransferEvent | None:
        """Apply one inbox message; ``None`` where it does not fit and changed nothing."""
        if message.chain != self._chain or message.destination != self._shard:
            return None
        if message.source not in self._table.channels:
            return None
        match message:
            case TransferLock():
                return self._receive(message)
            case TransferVerdict():
                return self._settle(message)
            case _:
                assert_never(message)

    def _receive(self, lock: TransferLock) -> TransferEvent | None:
        channel = self._table.channels[lock.source]
        if lock.sequence != channel.next_recv:
            return None
        verdict, reason = self._judge(lock)
        xid = compute_xid(self._chain, lock.source, self._shard, lock.sequence)
        channel.next_recv += 1
        self._table.touch(lock.source)
        if verdict is Verdict.ACCEPTED:
            self._ledger.hold_pending(lock.recipient, lock.recipient_subaccount, lock.asset, lock.amount)
            credit = PendingCredit(
                lock.source, lock.sequence, lock.recipient, lock.recipient_subaccount, lock.asset, lock.amount
            )
            self._table.add_pending(self._height, credit)
        answer = TransferVerdict(
            chain=self._chain,
            source=self._shard,
            destination=lock.source,
            sequence=lock.sequence,
            xid=xid,
            verdict=verdict,
            reason=reason,
            asset=lock.asset,
            amount=lock.amount,
        )
        self._send(answer)
        return TransferEvent(
            TransferPhase.JUDGED,
            xid,
            lock.source,
            self._shard,
            lock.sequence,
            lock.recipient,
            lock.recipient_subaccount,
            lock.asset,
            lock.amount,
            verdict,
            reason,
        )

    def _judge(self, lock: TransferLock) -> tuple[Verdict, RejectReason]:
        if self._beacon_height > lock.deadline:
            return Verdict.EXPIRED, RejectReason.NONE
        if lock.asset not in self._minimum_amounts:
            return Verdict.REJECTED, RejectReason.UNKNOWN_ASSET
        reason = self._ledger.check_credit(lock.recipient, lock.recipient_subaccount, lock.asset, lock.amount)
        if reason is not None:
            assert reason is not RejectReason.NONE, "a ledger that rejects says why"
            return Verdict.REJECTED, reason
        return Verdict.ACCEPTED, RejectReason.NONE

    def _settle(self, verdict: TransferVerdict) -> TransferEvent | None:
        channel = self._table.channels[verdict.source]
        lock = channel.open.get(verdict.sequence)
        if verdict.sequence != channel.next_ack or lock is None:
            return None
        # The entry goes first: whatever happens below, nothing settles twice.
        self._table.remove_open(lock)
        channel.next_ack += 1
        sums = channel.amounts_of(lock.asset)
        if verdict.verdict is Verdict.ACCEPTED:
            sums.burned += lock.amount
        else:
            sums.refunded += lock.amount
            self._ledger.refund(lock.owner, lock.owner_subaccount, lock.asset, lock.amount)
        return TransferEvent(
            TransferPhase.SETTLED,
            compute_xid(self._chain, self._shard, verdict.source, lock.sequence),
            self._shard,
            verdict.source,
            lock.sequence,
            lock.owner,
            lock.owner_subaccount,
            lock.asset,
            lock.amount,
            verdict.verdict,
            verdict.reason,
        )

    # --- lock ----------------------------------------------------------------------------------------------

    def validate_lock(self, request: LockRequest) -> str | None:
        """``None`` where ``apply_lock`` may follow, else a stable code; changes nothing.

        Retryable as they are: WINDOW_FULL, ACCOUNT_WINDOW_FULL, OUTBOX_FULL (of this block), DESTINATION_STALLED.
        """
        assert self._registry is not None, "locks are made inside a block"
        channel = self._table.channels.get(request.destination)
        if channel is None:
            return "UNKNOWN_SHARD"
        minimum = self._minimum_amounts.get(request.asset)
        if minimum is None:
            return "UNKNOWN_ASSET"
        if request.amount < minimum:
            return "BELOW_MINIMUM"
        parameters = self._parameters
        ahead = request.deadline - self._beacon_height
        if not parameters.transfer_deadline_min_blocks <= ahead <= parameters.transfer_deadline_max_blocks:
            return "BAD_DEADLINE"
        tip = self._registry.tip(request.destination)
        if tip.frozen:
            return "DESTINATION_FROZEN"
        if is_stalled(tip, self._beacon_height, parameters.stall_after_blocks):
            return "DESTINATION_STALLED"
        if len(self._sent) >= compute_outbox_capacity(parameters):
            return "OUTBOX_FULL"
        reserve = 0 if request.purpose is Purpose.TOP_UP else parameters.topup_reserve
        if len(channel.open) >= parameters.channel_window - reserve:
            return "WINDOW_FULL"
        if channel.open_by_owner.get(request.owner, 0) >= parameters.window_per_account:
            return "ACCOUNT_WINDOW_FULL"
        sums = channel.amounts.get(request.asset)
        if sums is not None and sums.sent + request.amount > MAX_INT:
            return "OVERFLOW"
        return self._ledger.check_lock(request.owner, request.owner_subaccount, request.asset, request.amount)

    def apply_lock(self, request: LockRequest) -> TransferEvent:
        """Escrow the funds and send the lock; ``validate_lock`` has just answered ``None``."""
        channel = self._table.channels[request.destination]
        lock = TransferLock(
            chain=self._chain,
            source=self._shard,
            destination=request.destination,
            sequence=channel.next_send,
            owner=request.owner,
            owner_subaccount=request.owner_subaccount,
            recipient=request.recipient,
            recipient_subaccount=request.recipient_subaccount,
            asset=request.asset,
            amount=request.amount,
            deadline=request.deadline,
            purpose=request.purpose,
        )
        self._ledger.escrow(lock.owner, lock.owner_subaccount, lock.asset, lock.amount)
        self._table.add_open(lock, self._send(lock))
        return TransferEvent(
            TransferPhase.LOCKED,
            compute_xid(self._chain, self._shard, lock.destination, lock.sequence),
            self._shard,
            lock.destination,
            lock.sequence,
            lock.owner,
            lock.owner_subaccount,
            lock.asset,
            lock.amount,
        )

    def _send(self, message: TransferLock | TransferVerdict) -> bytes:
        leaf = encode_message(message)
        assert len(leaf) <= self._parameters.message_bytes, "our own messages fit their limit"
        self._sent.append(message)
        self._leaves.append(leaf)
        return leaf

    def savepoint(self) -> int:
        """Where ``rollback`` returns to; valid inside this block."""
        return len(self._sent)

    def rollback(self, savepoint: int) -> None:
        """Take back every lock made since ``savepoint``: no message survives a transaction that failed.

        The ledger undoes the escrows itself, with the rest of what the transaction did.
        """
        while len(self._sent) > savepoint:
            lock = self._sent.pop()
            self._leaves.pop()
            assert isinstance(lock, TransferLock), "only transactions are taken back, and they only lock"
            self._table.undo_open(lock)

    # --- queries -------------------------------------------------------------------------------------------

    def summarise_peers(self) -> tuple[PeerSummary, ...]:
        """The peers' records of the summary, in ascending order."""
        return tuple(channel.summarise() for channel in self._table.channels.values())

    def find_open(self, destination: int, sequence: int) -> TransferLock | None:
        """The open transfer, or ``None`` where it is settled or never was."""
        channel = self._table.channels.get(destination)
        return None if channel is None else channel.open.get(sequence)

    def count_open(self, destination: int) -> int:
        """Open transfers towards ``destination``."""
        return len(self._table.channels[destination].open)

    def count_pending(self) -> int:
        """Credits accepted here that are not free yet."""
        return len(self._table.pending)
