"""The pump: feeds the replica one event at a time and honours its effects in order.

Theory of operation. Events wait in an ``EventQueue``. A round takes what is there up to ``ROUND_BUDGET_MS``, lets
the replica do chunks of its own queued work with what is left (one at least), and gathers the effects. Then
everything to persist is written to the vote log in one synced write (the group commit); only after that do frames
leave, timers start and clients get answers. The commit is shielded from cancellation, and a failed one ends the
process: ``LocalError`` passes through ``run``.

What does not live here: any decision. The simulator has a pump of its own over virtual time and tests the same
replica with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from consensus.engine import Record
from node.clock import monotonic_ms, monotonic_us
from node.event_queue import EventQueue
from node.events import (
    BlockCertified,
    Effects,
    Lane,
    LinkDown,
    LinkUp,
    Outgoing,
    ReplicaEvent,
    SubmissionReply,
    TransactionsSubmitted,
)
from node.members import Member
from node.store import Store, VoteLog
from primitives.errors import LocalError

ROUND_BUDGET_MS = 8
"""A round longer than this would let votes of other slots wait; a shorter one would sync more often."""
MAX_ROUND_EVENTS = 512


class Halted(LocalError):
    """The replica stopped itself: a divergence, a lost log. The sentence says which."""


class ReplicaLike(Protocol):
    """What the pump needs of ``node.replica.Replica``."""

    @property
    def busy(self) -> bool: ...

    def handle(self, event: ReplicaEvent, now_ms: int) -> Effects: ...

    def work(self, now_ms: int) -> Effects: ...


@dataclass(frozen=True, slots=True)
class PumpStatistics:
    """Counts since the start; times in µs."""

    rounds: int
    events: int
    dropped_frames: int
    commit_us_total: int
    commits: int
    busy_us_total: int
    queued: int


class Pump:
    """Owns the queues, the timers and the order of effects of one process."""

    def __init__(
        self,
        replica: ReplicaLike,
        store: Store,
        vote_log: VoteLog,
        *,
        send: Callable[[Outgoing], None],
        on_reply: Callable[[SubmissionReply], None],
        on_certified: Callable[[BlockCertified], None],
        on_alarm: Callable[[str], None],
        on_sync: Callable[[int], None],
        sync_in_thread: bool,
    ) -> None:
        """``on_sync`` hears how long each commit took, in µs. ``sync_in_thread``: the disk is so slow that a sync
        would stall the loop (see the start-up probe)."""
        self._replica = replica
        self._store = store
        self._vote_log = vote_log
        self._send = send
        self._on_reply = on_reply
        self._on_certified = on_certified
        self._on_alarm = on_alarm
        self._on_sync = on_sync
        self._sync_in_thread = sync_in_thread
        self._queue = EventQueue()
        self._wake = trio.Event()
        self._rounds = self._events = self._commits = 0
        self._commit_us = self._busy_us = 0

    # --- what the edges call: never blocks, never raises ---------------------------------------------------

    def post_frame(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        """A frame from the transport; dropped and counted where that peer has too much waiting."""
        if self._queue.post_frame(member, lane, kind, body):
            self._wake.set()

    def post_link(self, event: LinkUp | LinkDown) -> None:
        """A link came up or went down."""
        self._queue.post(event)
        self._wake.set()

    def post_submission(self, event: TransactionsSubmitted) -> bool:
        """False where too many requests wait already: the client is told that we are busy."""
        is_taken = self._queue.post_submission(event)
        if is_taken:
            self._wake.set()
        return is_taken

    def statistics(self) -> PumpStatistics:
        """A snapshot."""
        return PumpStatistics(
            rounds=self._rounds,
            events=self._events,
            dropped_frames=self._queue.dropped_frames,
            commit_us_total=self._commit_us,
            commits=self._commits,
            busy_us_total=self._busy_us,
            queued=len(self._queue),
        )

    # --- the loop ------------------------------------------------------------------------------------------

    async def run(self, first: ReplicaEvent) -> None:
        """Run until cancelled, or until the replica is to be opened anew: then return. Raises ``Halted``, or
        ``LocalError`` from a disk that refuses."""
        self._queue.post(first)
        while True:
            await self._wait_for_work()
            started = monotonic_us()
            gathered = self._gather()
            self._busy_us += monotonic_us() - started
            await self._honour(gathered)
            if any(effects.reopens for effects in gathered):
                return
            self._rounds += 1
            await trio.lowlevel.checkpoint()

    async def _wait_for_work(self) -> None:
        if self._queue or self._replica.busy:
            return
        self._wake = trio.Event()
        due = self._queue.next_due()
        if due is None:
            await self._wake.wait()
            return
        with trio.move_on_after(max(0, due - monotonic_ms()) / 1000):
            await self._wake.wait()

    def _gather(self) -> list[Effects]:
        gathered: list[Effects] = []
        now = monotonic_ms()
        stop = now + ROUND_BUDGET_MS
        self._queue.post_due_timers(now)
        for _ in range(MAX_ROUND_EVENTS):
            event = self._queue.take()
            if event is None:
                break
            self._events += 1
            gathered.append(self._replica.handle(event, now))
            now = monotonic_ms()
            if now >= stop:
                break
        while self._replica.busy:
            gathered.append(self._replica.work(now))
            now = monotonic_ms()
            if now >= stop:
                break
        return gathered

    async def _honour(self, gathered: list[Effects]) -> None:
        records: list[Record] = []
        for effects in gathered:
            records.extend(effects.persist)
        if records:
            await self._commit(records)
        now = monotonic_ms()
        for effects in gathered:
            for write in effects.writes:
                self._store.write(write.records, sync=write.sync)
            for outgoing in effects.sends:
                self._send(outgoing)
            for timer in effects.timers:
                self._queue.set_timer(timer.timer, None if timer.delay_ms is None else now + timer.delay_ms)
            for reply in effects.replies:
                self._on_reply(reply)
            for block in effects.certified:
                self._on_certified(block)
            for alarm in effects.alarms:
                self._on_alarm(alarm)
            if effects.halt is not None:
                raise Halted(effects.halt)

    async def _commit(self, records: list[Record]) -> None:
        started = monotonic_us()
        if self._sync_in_thread:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._vote_log.write, records)
        else:
            self._vote_log.write(records)
        took_us = monotonic_us() - started
        self._commit_us += took_us
        self._commits += 1
        self._on_sync(took_us)
