"""The nemesis: strikes hosts and links with the faults of a swarm, and heals them.

Theory of operation. In the safety phase strikes come at random gaps, each with an end of its own; any number of
hosts may be down or cut off at once, for safety must hold all the same. ``heal`` ends everything for the liveness
phase: links, clocks and disks are well, everybody runs but those chosen to stay dead, at most f a committee.

What does not live here: which faults a seed has (``swarm``), what links and hosts make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import assert_never

from consensus.committee import Committee
from testnet.simulator.host import SimulatedHost
from testnet.simulator.network import CALM, Network
from testnet.simulator.scheduler import US_PER_MS, Scheduler
from testnet.simulator.swarm import Fault, Swarm

MAX_SKEW_MS = 3_000
MAX_TORN_STEPS = 60
SLOW_DISK_FACTOR = 100


class Nemesis:
    """Owns the chance of one run's faults."""

    def __init__(
        self,
        swarm: Swarm,
        hosts: Sequence[SimulatedHost],
        committees: Mapping[int, Committee],
        network: Network,
        scheduler: Scheduler,
        rng: Random,
        note: Callable[[str], None],
    ) -> None:
        self._swarm = swarm
        self._hosts = hosts
        self._committees = committees
        self._network = network
        self._scheduler = scheduler
        self._rng = rng
        self._note = note
        self._is_over = False
        self.struck: dict[Fault, int] = {}

    def start(self) -> None:
        """Weather and strikes from now on."""
        self._network.weather = self._swarm.weather
        if self._swarm.faults:
            self._plan_strike()

    def _plan_strike(self) -> None:
        self._scheduler.after(self._rng.randint(1, 2 * self._swarm.mean_gap_us), self._strike)

    def _strike(self) -> None:
        if self._is_over:
            return
        fault = self._rng.choice(self._swarm.faults)
        shard = self._rng.choice(list(self._committees))
        group = [host for host in self._hosts if host.member.shard == shard]
        if self._rng.random() < 0.2:
            group = list(self._hosts)
        self.struck[fault] = self.struck.get(fault, 0) + 1
        undo = self._apply(fault, group)
        self._scheduler.after(self._rng.randint(1, self._swarm.max_strike_us), lambda: self._end(undo))
        self._plan_strike()

    def _end(self, undo: Callable[[], None]) -> None:
        if not self._is_over:
            undo()

    # --- strikes ---------------------------------------------------------------------------------------

    def _apply(self, fault: Fault, group: list[SimulatedHost]) -> Callable[[], None]:
        """Strike; returns what ends it."""
        host = self._rng.choice(group)
        names = [member.name for member in group]
        match fault:
            case Fault.CRASH:
                self._note(f"crash {host.name}")
                host.crash()
                return host.start
            case Fault.TORN:
                self._note(f"torn {host.name}")
                host.die_after_steps = self._rng.randint(1, MAX_TORN_STEPS)
                return lambda: _spare(host)
            case Fault.CRASH_ALL:
                return self._crash_all(group)
            case Fault.SPLIT | Fault.BRIDGE | Fault.ONE_WAY:
                self._split(fault, names)
            case Fault.ISOLATE_LEADER:
                self._isolate(self._find_leader(group), names)
            case Fault.SEVER:
                other = self._rng.choice(self._network.neighbours(host.name))
                self._note(f"sever {host.name} {other}")
                self._network.sever(host.name, other)
                return lambda: self._network.heal((host.name, other))
            case Fault.CLOG:
                other = self._rng.choice(self._network.neighbours(host.name))
                self._note(f"clog {host.name} to {other}")
                self._network.clog(host.name, other)
                return lambda: self._network.heal((host.name, other))
            case Fault.PAUSE:
                self._note(f"pause {host.name}")
                host.pause()
                return host.resume
            case Fault.SKEW:
                host.wall.skew_ms = self._rng.randint(-MAX_SKEW_MS, MAX_SKEW_MS)
                self._note(f"skew {host.name} {host.wall.skew_ms} ms")
                return lambda: _set_skew(host, 0)
            case Fault.SLOW_DISK:
                self._note(f"slow disk {host.name}")
                host.disk.slowdown = SLOW_DISK_FACTOR
                return lambda: _set_slowdown(host, 1)
            case _:
                assert_never(fault)
        return lambda: self._network.heal(names)

    def _crash_all(self, group: list[SimulatedHost]) -> Callable[[], None]:
        self._note(f"crash all of {len(group)}")
        for host in group:
            host.crash()

        def restart() -> None:
            for host in group:
                host.start()

        return restart

    def _split(self, fault: Fault, names: list[str]) -> None:
        """Two groups that do not hear each other; one of them does, or one host hears both."""
        shuffled = list(names)
        self._rng.shuffle(shuffled)
        middle = self._rng.randint(1, len(shuffled) - 1)
        left, right = shuffled[:middle], shuffled[middle:]
        if fault is Fault.BRIDGE and len(right) > 1:
            del right[0]
        self._note(f"{fault.value} {','.join(left)} | {','.join(right)}")
        is_silent = self._rng.random() < 0.5
        for one in left:
            for other in right:
                if fault is Fault.ONE_WAY:
                    self._network.cut(one, other)
                elif is_silent:
                    self._network.cut(one, other)
                    self._network.cut(other, one)
                else:
                    self._network.sever(one, other)

    def _isolate(self, leader: str, names: list[str]) -> None:
        self._note(f"isolate leader {leader}")
        for other in names:
            self._network.cut(leader, other)
            self._network.cut(other, leader)

    def _find_leader(self, group: list[SimulatedHost]) -> str:
        """Whom most of the group take for the primary of their committee; any host where nobody runs."""
        votes: dict[str, int] = {}
        for host in group:
            if host.replica is None:
                continue
            primary = host.replica.statistics().primary
            for other in group:
                if (other.member.shard, other.member.index) == (host.member.shard, primary):
                    votes[other.name] = votes.get(other.name, 0) + 1
        return max(votes, key=lambda name: (votes[name], name), default=group[0].name)

    # --- the end ---------------------------------------------------------------------------------------

    def heal(self) -> list[SimulatedHost]:
        """End every fault; returns the hosts that stay dead."""
        self._is_over = True
        self._network.weather = CALM
        dead = self._choose_dead()
        for host in self._hosts:
            host.die_after_steps = None
            host.resume()
            host.wall.skew_ms = self._rng.randint(-100, 100)
            host.disk.slowdown = 1
            if host in dead:
                host.crash()
        self._network.heal([host.name for host in self._hosts])
        for host in self._hosts:
            if host not in dead:
                delay_us = self._rng.randint(1, 500) * US_PER_MS
                self._scheduler.after(delay_us, host.start)
        self._note(f"heal, dead: {','.join(host.name for host in dead) or 'none'}")
        return dead

    def _choose_dead(self) -> list[SimulatedHost]:
        """At most f a committee, liars counted."""
        dead: list[SimulatedHost] = []
        if not self._swarm.leave_dead:
            return dead
        for shard, committee in self._committees.items():
            members = [host for host in self._hosts if host.member.shard == shard]
            liars = {host.member.index for host in members if not host.is_honest}
            honest = [host for host in members if host.is_honest]
            spare = max(0, committee.faults - len(liars))
            dead += self._rng.sample(honest, min(spare, len(honest)))
        return dead


def _spare(host: SimulatedHost) -> None:
    """The host did not come to its death, or is started again."""
    host.die_after_steps = None
    host.start()


def _set_skew(host: SimulatedHost, skew_ms: int) -> None:
    host.wall.skew_ms = skew_ms


def _set_slowdown(host: SimulatedHost, factor: int) -> None:
    host.disk.slowdown = factor
