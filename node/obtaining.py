"""Payloads on their way to a vote or to execution: held, fetched, checked, admitted.

Theory of operation. Each (slot, digest) that the engine wants or has decided is a ``PayloadTask``, which goes
through: bytes here → well formed → bodies here and verified → *valid or not* (final) → admitted → answered. Where
something is missing it is asked for after ``fetch_delay_ms`` (lanes reorder, it is probably on its way): payloads
from the engine's sources, bodies from author, proposer, then the sources, then anybody, one after the other.

Validity is pure (``node.payload``). Signatures of a decided payload are not verified here any more: a quorum did.
Admission only defers: the timestamp may lie ``clock_drift_ms`` ahead of our wall clock (not asked of a payload that
is proven), and the beacon block must be executed here. A deferred answer is given when time or the beacon has come.

Bounds: ``MAX_TASKS``, and whatever a task names is bounded by the payload rules. What does not live here: pinning
and the engine (``node.replica``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consensus.committee import Committee
from consensus.engine import NULL_PAYLOAD, Decided, ObtainPayload, compute_payload_digest
from node.batches import BatchPool, BatchState, HeldBatch
from node.executor import BeaconView, ResolvedPayload
from node.payload import (
    Payload,
    decode_payload,
    has_valid_bodies,
    open_inline,
    validate_payload,
)
from node.replica_setup import ReplicaLimits
from node.wire import MAX_REQUESTED_BODIES, SignedBatch
from primitives.errors import RemoteError
from primitives.parameters import ProtocolParameters

MAX_TASKS: Final = 256
"""An engine has at most its window in flight, in a few views each."""


class PayloadTask:
    """One payload for one slot. ``is_valid`` is ``None`` until it is known."""

    __slots__ = (
        "attempts",
        "batches",
        "data",
        "digest",
        "is_answered",
        "is_decided",
        "is_proven",
        "is_valid",
        "is_wanted",
        "missing",
        "next_fetch_ms",
        "payload",
        "recalls",
        "slot",
        "sources",
    )

    def __init__(self, slot: int, digest: bytes, first_fetch_ms: int) -> None:
        self.slot = slot
        self.digest = digest
        self.data: bytes | None = None
        self.payload: Payload | None = None
        self.sources: tuple[int, ...] = ()
        self.batches: dict[bytes, HeldBatch] = {}
        self.missing: dict[bytes, int] = {}
        self.is_valid: bool | None = None
        self.is_wanted = False
        self.is_answered = False
        self.is_proven = False
        self.is_decided = False
        self.attempts = 0
        self.recalls = -1
        self.next_fetch_ms = first_fetch_ms

    def ordered_batches(self) -> tuple[HeldBatch, ...]:
        """The bodies in payload order, once all are here."""
        if self.payload is None:
            return ()
        return tuple([self.batches[reference.digest] for reference in self.payload.batches])

    def resolve(self) -> ResolvedPayload:
        """For execution; only of a valid payload."""
        assert self.data is not None and self.is_valid, "only a valid payload is executed"
        return ResolvedPayload(self.digest, self.data, self.payload, self.ordered_batches())


class FetchRequest:
    """What to ask of one member: a payload, or bodies."""

    __slots__ = ("bodies", "payload", "target")

    def __init__(self, target: int, payload: bytes | None, bodies: tuple[bytes, ...]) -> None:
        self.target = target
        self.payload = payload
        self.bodies = bodies


class Obtaining:
    """All payload tasks of the slots above the executed height."""

    def __init__(
        self,
        committee: Committee,
        own_index: int,
        pool: BatchPool,
        beacon: BeaconView,
        parameters: ProtocolParameters,
        limits: ReplicaLimits,
        wall: Callable[[], int],
        receive_inline: Callable[[bytes, SignedBatch, bytes, int], None],
        recall_executed: Callable[[bytes, int], HeldBatch | None],
        prioritise: Callable[[HeldBatch], None],
        accept_proven: Callable[[HeldBatch], None],
    ) -> None:
        """``receive_inline(digest, batch, encoded, now)`` takes a body that rode inside a payload (it raises
        ``RemoteError`` for a bad one), ``recall_executed(digest, now)`` finds a batch of an earlier block in the
        chain store, ``prioritise`` moves a batch up in the verification queue, ``accept_proven`` decodes one whose
        signatures a quorum verified (it raises ``RemoteError`` where it does not decode)."""
        self._committee = committee
        self._own_index = own_index
        self._pool = pool
        self._beacon = beacon
        self._parameters = parameters
        self._limits = limits
        self._wall = wall
        self._receive_inline = receive_inline
        self._recall_executed = recall_executed
        self._prioritise = prioritise
        self._accept_proven = accept_proven
        self.tasks: dict[tuple[int, bytes], PayloadTask] = {}
        """By slot and digest; others only look whether there are any."""
        self._floor = 0

    # --- filling ---------------------------------------------------------------------------------------

    def want(self, wish: ObtainPayload, now_ms: int) -> None:
        """The engine wants to vote on this payload."""
        task = self._open(wish.slot, wish.digest, now_ms)
        if task is None:
            return
        task.is_wanted = True
        task.is_answered = False
        task.is_proven = task.is_proven or wish.proven
        task.sources = _merge(task.sources, wish.sources)
        if wish.payload is not None and task.data is None:
            self._take_data(task, wish.payload, now_ms)

    def decide(self, decided: Decided, now_ms: int) -> None:
        """The payload is final for its slot, and is needed for execution whether we voted on it or not."""
        task = self._open(decided.slot, decided.digest, now_ms)
        if task is not None:
            task.is_decided = True
            task.sources = _merge(task.sources, decided.sources)

    def adopt(self, slot: int, digest: bytes, data: bytes, batches: Sequence[HeldBatch], now_ms: int) -> None:
        """A payload that we built, or that our log pins: valid, with all bodies."""
        task = self._open(slot, digest, now_ms)
        if task is None or task.data is not None:
            return
        task.data = data
        task.is_valid = True
        task.is_answered = True
        if data != NULL_PAYLOAD:
            task.payload = decode_payload(data)
            task.batches = {batch.digest: batch for batch in batches}

    def supply(self, payload: bytes, now_ms: int) -> bool:
        """Payload bytes that a peer sent; false where nobody asked for them."""
        digest = compute_payload_digest(payload)
        asked = [task for task in self.tasks.values() if task.digest == digest and task.data is None]
        for task in asked:
            self._take_data(task, payload, now_ms)
        return bool(asked)

    def wants_body(self, digest: bytes) -> bool:
        """Whether some task waits for this batch."""
        return any(digest in task.missing for task in self.tasks.values())

    # --- progress --------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> list[PayloadTask]:
        """Look at what came in; returns the tasks that can be answered now, each once."""
        ready = []
        for task in self.tasks.values():
            if task.is_valid is None and task.data is not None:
                self._look_for_bodies(task, now_ms)
            if task.is_valid is None or not task.is_wanted or task.is_answered:
                continue
            if self.compute_admission_delay(task) == 0:
                task.is_answered = True
                ready.append(task)
        return ready

    def decided_task(self, slot: int) -> PayloadTask | None:
        """The decided task of this slot."""
        for task in self.tasks.values():
            if task.slot == slot and task.is_decided:
                return task
        return None

    def find_batches_of(self, digests: Sequence[bytes]) -> dict[bytes, None]:
        """The batches that these payloads name, and those of every decided payload: a builder leaves them out."""
        named: dict[bytes, None] = {}
        for task in self.tasks.values():
            if task.payload is not None and (task.is_decided or task.digest in digests):
                named.update(dict.fromkeys([reference.digest for reference in task.payload.batches]))
        return named

    def find_payload(self, digest: bytes) -> bytes | None:
        """Payload bytes in flight, to serve them."""
        for task in self.tasks.values():
            if task.digest == digest and task.data is not None:
                return task.data
        return None

    def has_decided(self, executed_height: int) -> bool:
        """Whether something decided is not executed."""
        if not self.tasks:
            return False
        return any(task.is_decided and task.slot > executed_height for task in self.tasks.values())

    def compute_admission_delay(self, task: PayloadTask) -> int | None:
        """0 where the task may be answered, ms to wait for the clock, ``None`` where only the beacon can help."""
        if task.payload is None or not task.is_valid:
            return 0
        if self._beacon.follows and task.payload.beacon_height > self._beacon.height:
            return None
        if task.is_proven or task.is_decided:
            return 0
        return max(0, task.payload.timestamp_ms - self._parameters.clock_drift_ms - self._wall())

    def awaited_beacon(self) -> tuple[int, int]:
        """(the highest beacon block that a payload names, a member that had it); (0, -1) for none."""
        if not self.tasks:
            return 0, -1
        awaited = [
            (task.payload.beacon_height, task.sources[0] if task.sources else -1)
            for task in self.tasks.values()
            if task.payload is not None
        ]
        return max(awaited, default=(0, -1))

    def compute_delay(self, now_ms: int) -> int | None:
        """Milliseconds until ``advance`` or ``collect_requests`` should be called without any event."""
        soonest: int | None = None
        for task in self.tasks.values():
            delay: int | None = None
            if task.missing or task.data is None:
                delay = max(0, task.next_fetch_ms - now_ms)
            elif task.is_wanted and not task.is_answered:
                delay = self.compute_admission_delay(task)
            if delay is not None and (soonest is None or delay < soonest):
                soonest = delay
        return soonest

    def collect_requests(self, now_ms: int) -> list[FetchRequest]:
        """What to ask for now; each call moves on to the next source."""
        requests: list[FetchRequest] = []
        for task in self.tasks.values():
            if now_ms < task.next_fetch_ms or not (task.missing or task.data is None):
                continue
            attempt = task.attempts
            task.attempts += 1
            task.next_fetch_ms = now_ms + self._limits.fetch_retry_ms
            if task.data is None:
                targets = self._rank(task.sources)
                if targets:
                    requests.append(FetchRequest(targets[attempt % len(targets)], task.digest, ()))
                continue
            requests.extend(self._request_bodies(task, attempt))
        return requests

    def settle(self, height: int) -> None:
        """Everything at or below ``height`` is executed and certified."""
        self._floor = max(self._floor, height)
        for key in [key for key in self.tasks if key[0] <= height]:
            del self.tasks[key]

    # --- the steps of a task ---------------------------------------------------------------------------

    def _open(self, slot: int, digest: bytes, now_ms: int) -> PayloadTask | None:
        if slot <= self._floor:
            return None
        key = (slot, digest)
        task = self.tasks.get(key)
        if task is None:
            if len(self.tasks) >= MAX_TASKS:
                self._evict()
            task = self.tasks[key] = PayloadTask(slot, digest, now_ms + self._limits.fetch_delay_ms)
            if digest == compute_payload_digest(NULL_PAYLOAD):
                task.data = NULL_PAYLOAD
                task.is_valid = True
        return task

    def _evict(self) -> None:
        """Something undecided goes: the engine asks again for what it still wants."""
        undecided = [key for key, task in self.tasks.items() if not task.is_decided]
        del self.tasks[undecided[0] if undecided else next(iter(self.tasks))]

    def _take_data(self, task: PayloadTask, data: bytes, now_ms: int) -> None:
        assert compute_payload_digest(data) == task.digest, "an engine hands over the payload that it names"
        task.data = data
        task.next_fetch_ms = now_ms + self._limits.fetch_delay_ms
        try:
            payload = decode_payload(data)
            validate_payload(payload, self._committee, self._parameters, follows_beacon=self._beacon.follows)
            for digest, batch, encoded in open_inline(payload, self._committee):
                self._receive_inline(digest, batch, encoded, now_ms)
        except RemoteError:
            task.is_valid = False
            return
        task.payload = payload
        task.missing = {reference.digest: reference.author for reference in payload.batches}

    def _look_for_bodies(self, task: PayloadTask, now_ms: int) -> None:
        assert task.payload is not None
        # The store is asked once per round of requests, not at every event.
        may_recall = task.recalls < task.attempts
        task.recalls = task.attempts
        for digest in list(task.missing):
            batch = self._pool.find(digest)
            if batch is None and may_recall:
                batch = self._recall_executed(digest, now_ms)
            if batch is None:
                continue
            del task.missing[digest]
            task.batches[digest] = batch
            if batch.state is BatchState.UNVERIFIED:
                self._prioritise(batch)
        if task.missing:
            return
        if task.is_decided:
            self._trust_quorum(task)
        states = {batch.state for batch in task.batches.values()}
        if BatchState.REFUSED in states:
            task.is_valid = False
        elif BatchState.UNVERIFIED not in states:
            task.is_valid = has_valid_bodies(task.payload, task.batches, task.slot, self._parameters)

    def _trust_quorum(self, task: PayloadTask) -> None:
        """A quorum voted for this payload, so f + 1 honest members verified its signatures: one that is behind
        does not do it again, and so does not fall further behind."""
        for batch in task.batches.values():
            if batch.state is BatchState.UNVERIFIED:
                try:
                    self._accept_proven(batch)
                except RemoteError:
                    batch.state = BatchState.REFUSED

    def _request_bodies(self, task: PayloadTask, attempt: int) -> list[FetchRequest]:
        by_target: dict[int, list[bytes]] = {}
        for digest, author in task.missing.items():
            targets = self._rank((author, *task.sources))
            if targets:
                by_target.setdefault(targets[attempt % len(targets)], []).append(digest)
        return [
            FetchRequest(target, None, tuple(digests[start : start + MAX_REQUESTED_BODIES]))
            for target, digests in by_target.items()
            for start in range(0, len(digests), MAX_REQUESTED_BODIES)
        ]

    def _rank(self, preferred: tuple[int, ...]) -> tuple[int, ...]:
        everybody = dict.fromkeys((*preferred, *range(self._committee.size)))
        everybody.pop(self._own_index, None)
        return tuple(index for index in everybody if 0 <= index < self._committee.size)


def _merge(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*first, *second)))
