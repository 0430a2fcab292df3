"""One simulated process: a pump over virtual time, with the semantics of ``node.pump``, that can die at any step.

Theory of operation

    DOWN --start--> RUNNING --halt, exception, refused disk--> DOWN
    RUNNING --crash--> DOWN           RUNNING <--pause, resume--> PAUSED

A round takes due timers, then events (control before votes before bulk) until its budget is used up, and one chunk
of the replica's own work. Its records are durable one sync later; only then come, in order, each store write, each
frame, the timers, the replies and the notices. Between any two of these the process may die (``doom``): before the
group commit, between commit and write, between write and send, between two sends. A paused process takes no step;
what arrives waits within the bounds of the production pump.

What does not live here: what a replica decides, and when a fault comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from random import Random
from typing import Final, Protocol

from consensus.engine import Record
from node.event_queue import EventQueue
from node.events import (
    NO_EFFECTS,
    BlockCertified,
    Effects,
    Lane,
    LinkDown,
    LinkUp,
    Outgoing,
    ReplicaEvent,
    Start,
    SubmissionReply,
    TransactionsSubmitted,
)
from node.members import Member
from node.pump import MAX_ROUND_EVENTS, ROUND_BUDGET_MS
from node.replica import Replica, open_replica
from node.replica_setup import ReplicaSetup
from primitives.errors import LocalError
from testnet.promises import RecordingSigner
from testnet.simulator.disk import Disk
from testnet.simulator.network import Network
from testnet.simulator.scheduler import US_PER_MS, Scheduler

EVENT_US: Final = 60
"""CPU of one event: most of them verify one signature."""
WORK_US: Final = 900
"""A chunk of sixteen verifications."""


class HostState(Enum):
    DOWN = 0
    RUNNING = 1
    PAUSED = 2


class Step(Enum):
    """What just happened among the effects of a round; a process may die after each."""

    BEGUN = 0
    COMMITTED = 1
    WRITTEN = 2
    SENT = 3
    TOLD = 4


@dataclass(slots=True)
class Doom:
    """When the process will die: after so many steps, or (``unsent``) right after its next group commit, before
    anything that depends on it leaves."""

    steps: int = 0
    unsent: bool = False

    def strikes(self, step: Step) -> bool:
        """Whether it dies after this one."""
        if self.unsent:
            return step is Step.COMMITTED
        self.steps -= 1
        return self.steps <= 0


class HostObserver(Protocol):
    """Who looks at everything that hosts do; never acts on them from inside a call."""

    def on_event(self, host: SimulatedHost, event: ReplicaEvent) -> None: ...

    def on_commit(self, host: SimulatedHost, records: list[Record]) -> None: ...

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None: ...

    def on_reply(self, host: SimulatedHost, reply: SubmissionReply) -> None: ...

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None: ...

    def on_alarm(self, host: SimulatedHost, sentence: str) -> None: ...

    def on_opened(self, host: SimulatedHost) -> None: ...

    def on_started(self, host: SimulatedHost) -> None:
        """Everything that followed from ``Start`` alone is done: what its API tells from now on."""
        ...

    def on_down(self, host: SimulatedHost, how: str) -> None: ...

    def on_halt(self, host: SimulatedHost, sentence: str) -> None:
        """It stopped itself; the sentence says why."""
        ...

    def on_exception(self, host: SimulatedHost, error: Exception) -> None:
        """Production code raised what it never raises."""
        ...


@dataclass(slots=True)
class WallClock:
    """The wall clock of one host: virtual time, and how wrong it is."""

    scheduler: Scheduler
    base_ms: int
    skew_ms: int = 0

    def __call__(self) -> int:
        return self.base_ms + self.scheduler.now_us // US_PER_MS + self.skew_ms


class Conduct(Protocol):
    """How a process treats what its replica wants sent: for members that lie."""

    def alter(self, effects: Effects) -> Effects:
        """What leaves in place of these effects."""
        ...

    def draw_delay_us(self, outgoing: Outgoing) -> int:
        """How long this frame is held back."""
        ...


class SimulatedHost:
    """One member's process, from its first start to the end of the world. Satisfies ``network.Endpoint``."""

    def __init__(
        self,
        name: str,
        member: Member,
        prepare: Callable[[Disk, WallClock], ReplicaSetup],
        scheduler: Scheduler,
        network: Network,
        disk: Disk,
        wall: WallClock,
        observer: HostObserver,
        rng: Random,
        conduct: Conduct | None = None,
    ) -> None:
        """``prepare`` makes what a fresh process opens its replica from. Without ``conduct`` it is honest."""
        self.name = name
        self.member = member
        self.disk = disk
        self.wall = wall
        self.is_honest = conduct is None
        self.is_outside = False
        """Set once the liveness phase leaves it behind."""
        self.doom: Doom | None = None
        self.recorder: RecordingSigner | None = None
        """The signer of this life, where its promises are recorded."""
        self.state = HostState.DOWN
        self.lives = 0
        self.setup: ReplicaSetup | None = None
        self.replica: Replica | None = None
        self.handled = 0
        """Its starts, messages, timers, links and requests, and its group commits."""
        self.has_lost_votes = False
        """Somebody took its vote log away: it may say so."""
        self._dropped_before = 0
        self._prepare = prepare
        self._scheduler = scheduler
        self._network = network
        self._observer = observer
        self._conduct = conduct
        # Processes have clocks of their own: an interval measured across two hosts must show as nonsense.
        self._monotonic_offset_ms = rng.randint(0, 10**7)
        self._queue = EventQueue()
        self._forget()

    def _forget(self) -> None:
        """What a process loses when it dies."""
        self._dropped_before = self.dropped_frames
        self._queue = EventQueue()
        self._is_round_planned = False
        self._has_started = False
        self._held_back: Callable[[], None] | None = None

    # --- life ------------------------------------------------------------------------------------------

    @property
    def dropped_frames(self) -> int:
        """In all its lives."""
        return self._dropped_before + self._queue.dropped_frames

    @property
    def is_running(self) -> bool:
        """Whether there is a process (a paused one too)."""
        return self.state is not HostState.DOWN

    def start(self) -> None:
        """Open the replica from its disk and let it start."""
        if self.is_running:
            return
        self.lives += 1
        self._forget()
        try:
            self.setup = self._prepare(self.disk, self.wall)
            signer = self.setup.signer
            self.recorder = signer if isinstance(signer, RecordingSigner) else None
            self.replica = open_replica(self.setup)
        except LocalError as error:
            self._observer.on_halt(self, f"refuses to start: {error}")
            return
        except Exception as error:
            self._observer.on_exception(self, error)
            return
        self.state = HostState.RUNNING
        self._observer.on_opened(self)
        self._queue.post(Start())
        self._network.on_started(self.name)
        self._wake()

    def crash(self) -> None:
        """Kill the process; unsynced writes are torn from the end."""
        if not self.is_running:
            return
        self._end(f"crash, {self.disk.crash()} batches lost")

    def _end(self, how: str) -> None:
        self.state = HostState.DOWN
        self.lives += 1
        self.doom = None
        self.replica = None
        self._forget()
        self._network.on_stopped(self.name)
        self._observer.on_down(self, how)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.state is HostState.RUNNING:
            self.state = HostState.PAUSED

    def resume(self) -> None:
        """SIGCONT."""
        if self.state is not HostState.PAUSED:
            return
        self.state = HostState.RUNNING
        held_back, self._held_back = self._held_back, None
        if held_back is not None:
            held_back()
        self._wake()

    # --- what comes in ---------------------------------------------------------------------------------

    def post_frame(self, sender: Member, lane: Lane, kind: int, body: bytes) -> None:
        """A frame from the network; dropped where that peer has too much waiting."""
        if self._queue.post_frame(sender, lane, kind, body):
            self._wake()

    def post_link(self, event: LinkUp | LinkDown) -> None:
        """A link came up or went down."""
        self._queue.post(event)
        self._wake()

    def submit(self, event: TransactionsSubmitted) -> bool:
        """A client's request; false where nobody takes it."""
        if self.state is not HostState.RUNNING or not self._queue.post_submission(event):
            return False
        self._wake()
        return True

    # --- rounds ----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Take what waits, unless a round is under way: then the next one takes it."""
        if not self._is_round_planned and self.state is HostState.RUNNING:
            self._is_round_planned = True
            self._run_round()

    def _run_round(self) -> None:
        replica, conduct, queue = self.replica, self._conduct, self._queue
        assert replica is not None, "a running host has a replica"
        now_us = self._scheduler.now_us
        end_us = now_us + ROUND_BUDGET_MS * US_PER_MS
        queue.post_due_timers(now_us)
        gathered: list[Effects] = []
        try:
            for _ in range(MAX_ROUND_EVENTS):
                event = queue.take()
                if event is None:
                    break
                self.handled += 1
                self._observer.on_event(self, event)
                gathered.append(replica.handle(event, self._monotonic_offset_ms + now_us // US_PER_MS))
                now_us += EVENT_US
                if now_us >= end_us:
                    break
            while is_busy := replica.busy:
                gathered.append(replica.work(self._monotonic_offset_ms + now_us // US_PER_MS))
                now_us += WORK_US
                if now_us >= end_us:
                    break
            if conduct is not None:
                gathered = [conduct.alter(effects) for effects in gathered]
        except Exception as error:
            self._end("exception")
            self._observer.on_exception(self, error)
            return
        gathered = [effects for effects in gathered if effects is not NO_EFFECTS]
        if gathered and any(effects.persist for effects in gathered):
            now_us += self.disk.draw_sync_us()
        self._scheduler.at(now_us, partial(self._honour, self.lives, gathered, is_busy))

    # --- effects ---------------------------------------------------------------------------------------

    def _honour(self, life: int, gathered: list[Effects], is_busy: bool) -> None:
        """Every effect in order, dying in between where a fault says so. A paused process does it when it is
        resumed, a dead one never."""
        if self.lives != life:
            return
        if self.state is HostState.PAUSED:
            assert self._held_back is None, "a process is in one place"
            self._held_back = partial(self._honour, life, gathered, is_busy)
            return
        if gathered or self.doom is not None:
            for step in self._steps(gathered):
                if self.doom is not None and self.doom.strikes(step):
                    self.crash()
                    return
        for effects in gathered:
            if effects.halt is not None:
                self._end("halted")
                self._observer.on_halt(self, effects.halt)
                return
            if effects.reopens:
                self._end("opened anew")
                self.start()
                return
        self._is_round_planned = False
        if not self._has_started:
            self._has_started = True
            self._observer.on_started(self)
        if is_busy or self._queue or self._has_due_timer():
            self._wake()

    def _has_due_timer(self) -> bool:
        due_us = self._queue.next_due()
        return due_us is not None and due_us <= self._scheduler.now_us

    def _steps(self, gathered: list[Effects]) -> Iterator[Step]:
        """Before each ``yield`` one indivisible thing has happened."""
        yield Step.BEGUN
        records = [record for effects in gathered for record in effects.persist]
        if records:
            self.handled += 1
            self.disk.vote_log.write(records)
            self._observer.on_commit(self, records)
            yield Step.COMMITTED
        for effects in gathered:
            for write in effects.writes:
                self.disk.store.write(write.records, sync=write.sync)
                yield Step.WRITTEN
            for outgoing in effects.sends:
                self._send(outgoing)
                yield Step.SENT
            for timer in effects.timers:
                self._set_timer(timer.timer, timer.delay_ms)
            for reply in effects.replies:
                self._observer.on_reply(self, reply)
            for block in effects.certified:
                self._observer.on_certified(self, block)
                yield Step.TOLD
            for alarm in effects.alarms:
                self._observer.on_alarm(self, alarm)

    def _send(self, outgoing: Outgoing) -> None:
        if self._conduct is None:
            self._observer.on_send(self, outgoing)
        else:
            delay_us = self._conduct.draw_delay_us(outgoing)
            if delay_us:
                self._scheduler.after(delay_us, partial(self._send_late, self.lives, outgoing))
                return
        self._network.transmit(self, outgoing)

    def _send_late(self, life: int, outgoing: Outgoing) -> None:
        if self.lives == life:
            self._network.transmit(self, outgoing)

    # --- timers ----------------------------------------------------------------------------------------

    def _set_timer(self, timer: str, delay_ms: int | None) -> None:
        if delay_ms is None:
            self._queue.set_timer(timer, None)
            return
        due_us = self._scheduler.now_us + delay_ms * US_PER_MS
        self._queue.set_timer(timer, due_us)
        self._scheduler.at(due_us, partial(self._on_due, self.lives))

    def _on_due(self, life: int) -> None:
        if self.lives == life and self._has_due_timer():
            self._wake()
