"""Client signatures, verified once each, in chunks that leave the loop free for votes.

Theory of operation. Two queues: submissions of our own clients, and batches of other members. One ``work`` call
makes at most ``CHUNK`` verifications (50 µs each): first for batches that a payload in flight waits for, then from
the two queues in turns, so that neither starves the other. Authors take turns too, a batch each: a member that
sends more than its share waits for itself. A transaction that our mempool holds was verified already and is not
verified again.

Both queues are bounded: submissions here (the client is told to come back), batches by the quotas of the pool.
What does not live here: what becomes of a verified transaction or batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, TypeAlias

import msgspec

from node.application import Application
from node.batches import BatchPool, BatchState, HeldBatch
from node.events import SubmissionReply, SubmissionResult, TransactionsSubmitted
from node.members import Member
from node.mempool import ACCEPTED, BUSY, DUPLICATE, Mempool
from node.replica_setup import ReplicaLimits
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST

CHUNK: Final = 16
"""0.9 ms of signatures between two looks at the votes."""
CLIENT_TURN: Final = 4
"""Of so many turns, clients get one and other members' batches the rest: what is accepted here must not outrun what
the committee can order, or every slot waits for signatures while the mempool fills."""
DECODES_PER_VERIFICATION: Final = 8
"""A decode costs about an eighth of a verification."""


class _Submission:
    __slots__ = ("cursor", "event", "results")

    def __init__(self, event: TransactionsSubmitted) -> None:
        self.event = event
        self.cursor = 0
        self.results: list[SubmissionResult] = []


class BatchChecked(msgspec.Struct, frozen=True):
    """All transactions of the batch were looked at; ``error`` is why it is invalid, if it is."""

    batch: HeldBatch
    error: RemoteError | None


Outcome: TypeAlias = BatchChecked | SubmissionReply


class VerificationQueue:
    """Work that is done in chunks."""

    def __init__(
        self,
        application: Application,
        mempool: Mempool,
        pool: BatchPool,
        limits: ReplicaLimits,
        wall: Callable[[], int],
        find_executed: Callable[[bytes], int | None],
    ) -> None:
        """``find_executed`` gives the height at which a transaction id was executed, if it was."""
        self._application = application
        self._mempool = mempool
        self._pool = pool
        self._limits = limits
        self._wall = wall
        self._find_executed = find_executed
        self._submissions: deque[_Submission] = deque()
        self._urgent: deque[HeldBatch] = deque()
        self._lanes: dict[int, deque[HeldBatch]] = {}
        """Batches of each author that has any here; the first author is the next."""
        self._turn = 0
        self._queued = 0
        self._queued_bytes = 0
        self.verified_total = 0

    @property
    def busy(self) -> bool:
        return bool(self._submissions or self._urgent or self._lanes)

    @property
    def queued(self) -> int:
        """Transactions of clients that wait for verification."""
        return self._queued

    def count_waiting(self) -> int:
        """Transactions that wait for verification, clients' and those in other members' batches."""
        waiting = [batch.count - len(batch.transactions) for lane in self._lanes.values() for batch in lane]
        return self._queued + sum(waiting)

    # --- filling ---------------------------------------------------------------------------------------

    def add_submission(self, event: TransactionsSubmitted) -> SubmissionReply | None:
        """Queue it, or refuse it whole at once."""
        count = len(event.transactions)
        size = sum([len(data) for data in event.transactions])
        if (
            self._queued + count > self._limits.unverified_transactions
            or self._queued_bytes + size > self._limits.unverified_bytes
        ):
            busy = SubmissionResult(ZERO_DIGEST, BUSY, "too many transactions wait; send it again in a second")
            return SubmissionReply(event.ticket, (busy,) * count)
        if not count:
            return SubmissionReply(event.ticket, ())
        self._queued += count
        self._queued_bytes += size
        self._submissions.append(_Submission(event))
        return None

    def add_batch(self, batch: HeldBatch) -> None:
        """A batch to verify when there is time."""
        self._lanes.setdefault(batch.author, deque()).append(batch)

    def add_urgent(self, batch: HeldBatch) -> None:
        """A batch that a payload in flight waits for; where it is queued already it moves up."""
        if batch not in self._urgent:
            self._urgent.append(batch)

    def accept_proven(self, batch: HeldBatch) -> None:
        """Take a batch of a block that a quorum voted for: it verified the signatures, so decoding is enough.

        Raises ``RemoteError`` where a transaction does not decode, which contradicts the quorum.
        """
        batch.transactions = [self._application.decode(raw) for raw in batch.body.transactions]
        batch.state = BatchState.VERIFIED
        self._pool.mark_verified(batch)

    # --- working ---------------------------------------------------------------------------------------

    def work(self) -> list[Outcome]:
        """One chunk; returns what was finished by it."""
        outcomes: list[Outcome] = []
        budget = CHUNK * DECODES_PER_VERIFICATION
        while budget > 0 and self.busy:
            if self._urgent:
                budget = self._check_next(self._urgent, budget, outcomes)
            elif self._submissions and (self._turn % CLIENT_TURN == 0 or not self._lanes):
                self._turn += 1
                budget = self._check_submission(budget, outcomes)
            else:
                self._turn += 1
                budget = self._check_lane(budget, outcomes)
        return outcomes

    def _check_lane(self, budget: int, outcomes: list[Outcome]) -> int:
        """The author whose turn it is; the turn ends with a batch that needed work."""
        author, lane = next(iter(self._lanes.items()))
        while lane and not self._needs_work(lane[0]):
            lane.popleft()
        waiting = len(lane)
        if lane:
            budget = self._check_next(lane, budget, outcomes)
        if not waiting or len(lane) < waiting:
            del self._lanes[author]
            if lane:
                self._lanes[author] = lane
        return budget

    def _needs_work(self, batch: HeldBatch) -> bool:
        """Neither verified as urgent meanwhile, nor expired."""
        return batch.state is BatchState.UNVERIFIED and self._pool.find(batch.digest) is not None

    def _check_next(self, queue: deque[HeldBatch], budget: int, outcomes: list[Outcome]) -> int:
        batch = queue[0]
        if batch.state is not BatchState.UNVERIFIED:
            queue.popleft()
            return budget
        raw = batch.body.transactions
        found = batch.transactions
        try:
            while len(found) < len(raw):
                if budget <= 0:
                    return budget
                transaction = self._application.decode(raw[len(found)])
                if self._mempool.holds_identical(transaction.id, raw[len(found)]):
                    budget -= 1
                else:
                    self._application.verify(transaction)
                    self.verified_total += 1
                    budget -= DECODES_PER_VERIFICATION
                found.append(transaction)
        except RemoteError as error:
            queue.popleft()
            batch.state = BatchState.REFUSED
            outcomes.append(BatchChecked(batch, error))
            return budget - DECODES_PER_VERIFICATION
        queue.popleft()
        batch.state = BatchState.VERIFIED
        outcomes.append(BatchChecked(batch, None))
        return budget - 1

    def _check_submission(self, budget: int, outcomes: list[Outcome]) -> int:
        submission = self._submissions[0]
        transactions = submission.event.transactions
        now_ms = self._wall()
        while submission.cursor < len(transactions) and budget > 0:
            data = transactions[submission.cursor]
            submission.cursor += 1
            self._queued -= 1
            self._queued_bytes -= len(data)
            submission.results.append(self._admit(data, now_ms))
            budget -= DECODES_PER_VERIFICATION
        if submission.cursor == len(transactions):
            self._submissions.popleft()
            outcomes.append(SubmissionReply(submission.event.ticket, tuple(submission.results)))
        return budget

    def _admit(self, data: bytes, now_ms: int) -> SubmissionResult:
        """Decode, look for it, look for room, ask the application, and only then verify: cheapest first."""
        identifier = ZERO_DIGEST
        try:
            transaction = self._application.decode(data)
            identifier = transaction.id
            if identifier in self._mempool:
                return SubmissionResult(identifier, ACCEPTED, "it waits here already")
            self._mempool.validate_room(transaction)
            self._application.admit(transaction, now_ms)
            self._application.verify(transaction)
            self.verified_total += 1
        except RemoteError as error:
            return self._explain(identifier, error)
        self._mempool.add(transaction, data)
        return SubmissionResult(identifier, ACCEPTED, "")

    def _explain(self, identifier: bytes, error: RemoteError) -> SubmissionResult:
        """A refused transaction that was executed before is a duplicate, whatever else is wrong with it now."""
        height = None if identifier == ZERO_DIGEST else self._find_executed(identifier)
        if height is not None:
            return SubmissionResult(identifier, DUPLICATE, f"it was executed in block {height}")
        return SubmissionResult(identifier, error.code, error.message)


class SubmissionTickets:
    """Submissions of shard members wait in the same queue as those of clients, under tickets below zero."""

    def __init__(self, verification: VerificationQueue) -> None:
        self._verification = verification
        self._numbers = count(-1, -1)
        self._submitters: dict[int, Member] = {}

    def submit(self, member: Member, data: bytes) -> None:
        """Queue it; raises ``RemoteError`` where the queue is full."""
        ticket = next(self._numbers)
        if self._verification.add_submission(TransactionsSubmitted(ticket, (data,))) is not None:
            raise RemoteError("BUSY", "too many submissions wait")
        self._submitters[ticket] = member

    def finish(self, ticket: int) -> Member | None:
        """Whose submission this was; ``None`` for a client's."""
        return self._submitters.pop(ticket, None)
