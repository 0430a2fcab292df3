"""The pool of batches: every member's unexecuted batches, held until they are executed or expire.

Theory of operation. A batch is UNVERIFIED on arrival (its author's signature is checked, its transactions are not
yet), then VERIFIED, and so a candidate for payloads, or REFUSED: one bad transaction makes a batch invalid for
everybody, and it stays findable so that a payload that names it is known to be invalid. Verification happens once;
the mark is kept with the batch by digest. What is executed stays findable until its block is certified and synced
(``forget_executed``), because a second payload in flight may name it again.

Bounds: bytes and batches per author. What a payload in flight needs is exempt (``wanted``): a quota must not be
able to stop a vote, and the engine's window bounds it. What does not live here: making our own batches
(``node.dissemination``), fetching (``node.obtaining``), pins (``node.pins``).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum
from typing import Final

from node.application import Transaction
from node.wire import BatchBody
from primitives.errors import RemoteError

MAX_AUTHOR_BYTES: Final = 4 << 20
MAX_AUTHOR_BATCHES: Final = 1_024
"""What one author may have unexecuted here. An honest author stops at half of either (``node.dissemination``)."""
MAX_PAYLOAD_BATCHES: Final = 1_024
MAX_PAYLOAD_TRANSACTIONS: Final = 1_536
"""Bounds the time that a block takes to check and execute: some 150 ms of CPU for single actions, so that backups
on a machine whose cores are shared answer well within a view's timeout."""


class BatchState(Enum):
    UNVERIFIED = 0
    VERIFIED = 1
    REFUSED = 2


class HeldBatch:
    """One batch. ``frame`` is the encoded ``SignedBatch``; ``transactions`` grow while they are verified."""

    __slots__ = (
        "author",
        "body",
        "count",
        "digest",
        "executed_height",
        "frame",
        "received_ms",
        "relayed_ms",
        "state",
        "transactions",
    )

    def __init__(self, digest: bytes, body: BatchBody, frame: bytes, received_ms: int) -> None:
        self.digest = digest
        self.author = body.author
        self.body = body
        self.count = len(body.transactions)
        """Number of transactions."""
        self.frame = frame
        self.received_ms = received_ms
        self.state = BatchState.UNVERIFIED
        self.transactions: list[Transaction] = []
        self.executed_height = 0
        self.relayed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """What is held now."""

    batches: int
    bytes: int
    candidates: int
    over_quota: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Batches for a payload, and whether something was left out because the payload is full."""

    batches: tuple[HeldBatch, ...]
    is_full: bool


class BatchPool:
    """Held batches by digest and, in order of arrival, by author."""

    def __init__(self, authors: int) -> None:
        self._held: dict[bytes, HeldBatch] = {}
        self._queues: list[dict[bytes, HeldBatch]] = [{} for _ in range(authors)]
        self._bytes = [0] * authors
        self._executed: dict[bytes, HeldBatch] = {}
        self.candidate_count = 0
        """Verified and unexecuted batches."""
        self._candidate_bytes = 0
        self._candidate_transactions = 0
        self._over_quota = 0

    # --- taking ----------------------------------------------------------------------------------------

    def find(self, digest: bytes) -> HeldBatch | None:
        """Held, executed a moment ago, or ``None``."""
        return self._held.get(digest) or self._executed.get(digest)

    def validate_quota(self, author: int, size_bytes: int) -> None:
        """Raise ``RemoteError`` (``OVER_QUOTA``) where ``author`` has too much here already. One batch always
        fits, whatever its size."""
        if not self._queues[author]:
            return
        if len(self._queues[author]) >= MAX_AUTHOR_BATCHES or self._bytes[author] + size_bytes > MAX_AUTHOR_BYTES:
            self._over_quota += 1
            raise RemoteError("OVER_QUOTA", f"too many unexecuted batches of member {author}")

    def hold(self, batch: HeldBatch) -> None:
        """Take a batch whose author's signature is good."""
        assert batch.digest not in self._held, "the caller looked for duplicates"
        self._held[batch.digest] = batch
        self._queues[batch.author][batch.digest] = batch
        self._bytes[batch.author] += len(batch.frame)
        if batch.state is BatchState.VERIFIED:
            self._count_candidate(batch, 1)

    def mark_verified(self, batch: HeldBatch) -> None:
        """Verification ended well: it may go into payloads."""
        assert batch.state is BatchState.VERIFIED, "only a verified batch becomes a candidate"
        if batch.digest in self._held:
            self._count_candidate(batch, 1)

    # --- giving ----------------------------------------------------------------------------------------

    def may_fill(self, max_bytes: int) -> bool:
        """False where there is certainly not enough for a full payload; cheap."""
        return (
            self._candidate_bytes > max_bytes
            or self._candidate_transactions > MAX_PAYLOAD_TRANSACTIONS
            or self.candidate_count > MAX_PAYLOAD_BATCHES
        )

    def author_load(self, author: int) -> tuple[int, int]:
        """(batches, bytes) unexecuted of one author."""
        return len(self._queues[author]), self._bytes[author]

    def oldest(self, author: int) -> HeldBatch | None:
        """The author's first verified batch that is not executed."""
        for batch in self._queues[author].values():
            if batch.state is BatchState.VERIFIED:
                return batch
        return None

    def of_author(self, author: int) -> tuple[HeldBatch, ...]:
        """All unexecuted batches of an author, oldest first."""
        return tuple(self._queues[author].values())

    def select(self, first_author: int, excluded: Set[bytes], max_bytes: int, height: int) -> Selection:
        """Batches for the payload of ``height``: the authors in turn from ``first_author`` on, the oldest of each
        first, without the ``excluded`` ones and those that would be skipped as expired."""
        authors = len(self._queues)
        lanes = [
            self._candidates_of((first_author + offset) % authors, excluded, height) for offset in range(authors)
        ]
        chosen: list[HeldBatch] = []
        size = count = 0
        while lanes:
            remaining = []
            for lane in lanes:
                batch = next(lane, None)
                if batch is None:
                    continue
                if (
                    len(chosen) == MAX_PAYLOAD_BATCHES
                    or (chosen and size + len(batch.frame) > max_bytes)
                    or (chosen and count + batch.count > MAX_PAYLOAD_TRANSACTIONS)
                ):
                    return Selection(tuple(chosen), True)
                chosen.append(batch)
                size += len(batch.frame)
                count += batch.count
                remaining.append(lane)
            lanes = remaining
        return Selection(tuple(chosen), False)

    def _candidates_of(self, author: int, excluded: Set[bytes], height: int) -> Iterator[HeldBatch]:
        for batch in self._queues[author].values():
            if (
                batch.state is BatchState.VERIFIED
                and batch.digest not in excluded
                and batch.body.expiry_height >= height
            ):
                yield batch

    # --- letting go ------------------------------------------------------------------------------------

    def mark_executed(self, batch: HeldBatch, height: int) -> None:
        """It was ordered at ``height``."""
        batch.executed_height = height
        self._drop(batch)
        self._executed[batch.digest] = batch

    def forget_executed(self, height: int) -> None:
        """Everything executed at or below ``height`` is certified and durable in the chain store."""
        done = [digest for digest, batch in self._executed.items() if batch.executed_height <= height]
        for digest in done:
            del self._executed[digest]

    def expire(self, height: int) -> tuple[HeldBatch, ...]:
        """Drop and return what execution at ``height`` + 1 would skip as expired."""
        expired = tuple(batch for batch in self._held.values() if batch.body.expiry_height <= height)
        for batch in expired:
            self._drop(batch)
        return expired

    def statistics(self) -> BatchStatistics:
        """A snapshot."""
        return BatchStatistics(len(self._held), sum(self._bytes), self.candidate_count, self._over_quota)

    def _drop(self, batch: HeldBatch) -> None:
        if self._held.pop(batch.digest, None) is None:
            return
        del self._queues[batch.author][batch.digest]
        self._bytes[batch.author] -= len(batch.frame)
        if batch.state is BatchState.VERIFIED:
            self._count_candidate(batch, -1)

    def _count_candidate(self, batch: HeldBatch, sign: int) -> None:
        self.candidate_count += sign
        self._candidate_bytes += sign * len(batch.frame)
        self._candidate_transactions += sign * batch.count
