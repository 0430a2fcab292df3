"""The mempool: verified transactions of our own clients, from acceptance until they are executed or expire.

Theory of operation. A transaction is *pending* until it leaves in one of our batches, then *batched* until its
batch (or another member's with the same transaction) is executed. Both count against the limits, so a slow chain
pushes back on clients and not on memory. Pending ones leave in turns over the senders, each sender's in the order
of arrival, so one busy sender delays nobody else. A share of the room is kept for transactions that the
application calls a priority (cancels).

What does not live here: signatures (``node.verification``), batches, and the application's own admission rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from node.application import Transaction
from node.replica_setup import ReplicaLimits
from primitives.errors import RemoteError

BUSY: Final = "BUSY"
SENDER_BUSY: Final = "SENDER_BUSY"
DUPLICATE: Final = "DUPLICATE"
ACCEPTED: Final = "ACCEPTED"

PRIORITY_SHARE: Final = 8
"""An eighth of the room is for priority transactions alone."""
MAX_EXPIRED_REMEMBERED: Final = 16_384
"""So that a client that asks soon learns ``EXPIRED``; later the answer is ``UNKNOWN``, which is never wrong."""


class TransactionStatus(Enum):
    """What this member can say about a transaction id."""

    ACCEPTED = "accepted"
    CERTIFIED = "certified"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MempoolStatistics:
    """Counts now, and totals since the start."""

    transactions: int
    bytes: int
    pending: int
    senders: int
    refused_busy: int
    expired: int


class _Entry:
    __slots__ = ("data", "gone", "transaction")

    def __init__(self, transaction: Transaction, data: bytes) -> None:
        self.transaction = transaction
        self.data = data
        self.gone = False


class Mempool:
    """Bounded by count, bytes and count per sender."""

    def __init__(self, limits: ReplicaLimits) -> None:
        self._limits = limits
        self._known: dict[bytes, _Entry] = {}
        self._bytes = 0
        self._sender_counts: dict[bytes, int] = {}
        self._pending: dict[bytes, deque[_Entry]] = {}
        self._turns: deque[bytes] = deque()
        self.pending_count = 0
        self.pending_bytes = 0
        self._expired: dict[bytes, None] = {}
        self._expired_total = 0
        self._refused_busy = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, transaction: bytes) -> bool:
        return transaction in self._known

    def holds_identical(self, transaction: bytes, data: bytes) -> bool:
        """Whether these very bytes wait here, and so were verified. An id alone would not do: it need not cover
        the signature."""
        entry = self._known.get(transaction)
        return entry is not None and entry.data == data

    def validate_room(self, transaction: Transaction) -> None:
        """Raise ``RemoteError`` (``BUSY``, ``SENDER_BUSY``) where there is no room. Cheap: asked before the
        signature is looked at."""
        limits = self._limits
        share = 0 if getattr(transaction, "priority", False) else PRIORITY_SHARE
        reserved = limits.mempool_transactions // share if share else 0
        reserved_bytes = limits.mempool_bytes // share if share else 0
        if (
            len(self._known) >= limits.mempool_transactions - reserved
            or self._bytes + transaction.size_bytes > limits.mempool_bytes - reserved_bytes
        ):
            self._refused_busy += 1
            raise RemoteError(BUSY, "the mempool is full; send it again in a second")
        if self._sender_counts.get(transaction.sender, 0) >= limits.sender_transactions:
            self._refused_busy += 1
            raise RemoteError(
                SENDER_BUSY,
                f"{limits.sender_transactions} transactions of this sender wait already; wait for some of them",
            )

    def add(self, transaction: Transaction, data: bytes) -> None:
        """Take a verified and admitted transaction for which there is room."""
        assert transaction.id not in self._known, "the caller looked for duplicates"
        entry = _Entry(transaction, data)
        sender = transaction.sender
        self._known[transaction.id] = entry
        self._bytes += len(data)
        self._sender_counts[sender] = self._sender_counts.get(sender, 0) + 1
        queue = self._pending.get(sender)
        if queue is None:
            queue = self._pending[sender] = deque()
            self._turns.append(sender)
        queue.append(entry)
        self.pending_count += 1
        self.pending_bytes += len(data)

    def take(self, max_bytes: int, max_transactions: int) -> list[tuple[Transaction, bytes]]:
        """Pending transactions for a batch, one sender after the other; the first fits whatever its size."""
        taken: list[tuple[Transaction, bytes]] = []
        size = 0
        while self._turns and len(taken) < max_transactions:
            sender = self._turns[0]
            queue = self._pending[sender]
            while queue and queue[0].gone:
                queue.popleft()
            if queue:
                if taken and size + len(queue[0].data) > max_bytes:
                    break
                entry = queue.popleft()
                taken.append((entry.transaction, entry.data))
                size += len(entry.data)
                self.pending_count -= 1
                self.pending_bytes -= len(entry.data)
            if queue:
                self._turns.rotate(-1)
            else:
                self._turns.popleft()
                del self._pending[sender]
        for transaction, _ in taken:
            self._known[transaction.id].gone = True
        return taken

    def settle(self, transactions: Iterable[bytes]) -> None:
        """These ids were executed, ours or not; forget them."""
        known = self._known
        for transaction in transactions:
            if transaction in known:
                self._forget(transaction)

    def expire(self, transactions: Iterable[bytes]) -> None:
        """These were in a batch of ours that expired unexecuted."""
        for transaction in transactions:
            if transaction not in self._known:
                continue
            self._forget(transaction)
            self._expired_total += 1
            self._expired[transaction] = None
            if len(self._expired) > MAX_EXPIRED_REMEMBERED:
                del self._expired[next(iter(self._expired))]

    def status(self, transaction: bytes) -> TransactionStatus:
        """``ACCEPTED``, ``EXPIRED`` or ``UNKNOWN``; what is executed is the chain's to say."""
        if transaction in self._known:
            return TransactionStatus.ACCEPTED
        return TransactionStatus.EXPIRED if transaction in self._expired else TransactionStatus.UNKNOWN

    def statistics(self) -> MempoolStatistics:
        """A snapshot."""
        return MempoolStatistics(
            len(self._known),
            self._bytes,
            self.pending_count,
            len(self._sender_counts),
            self._refused_busy,
            self._expired_total,
        )

    def _forget(self, transaction: bytes) -> None:
        entry = self._known.pop(transaction)
        size = len(entry.data)
        self._bytes -= size
        sender = entry.transaction.sender
        left = self._sender_counts[sender] - 1
        if left:
            self._sender_counts[sender] = left
        else:
            del self._sender_counts[sender]
        if not entry.gone:
            entry.gone = True
            self.pending_count -= 1
            self.pending_bytes -= size
