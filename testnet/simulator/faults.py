"""The nemesis: strikes hosts and links as the plan says, and heals them.

Theory of operation. In the safety phase every strike comes at its time and has an end of its own; several may hold
one link or host at once. ``heal`` ends everything for the liveness phase: links, clocks and disks are well,
everybody runs but those outside the core, who meet the plan's fate. Which member leads is looked up when a strike
comes, for no plan can know it.

What does not live here: which strikes there are (``swarm``, ``scenario``), what links and hosts make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import Final, assert_never

from testnet.simulator.host import Doom, SimulatedHost
from testnet.simulator.network import CALM, Network
from testnet.simulator.plan import Fate, Fault, Plan, Strike
from testnet.simulator.scheduler import US_PER_MS, Scheduler

MAX_RESTART_US: Final = 500 * US_PER_MS
MAX_RESIDUAL_SKEW_MS: Final = 100
MIN_TURN_MS: Final = 10


class Nemesis:
    """Carries out one plan's faults."""

    def __init__(
        self,
        plan: Plan,
        hosts: Mapping[str, SimulatedHost],
        network: Network,
        scheduler: Scheduler,
        rng: Random,
        note: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._hosts = hosts
        self._network = network
        self._scheduler = scheduler
        self._rng = rng
        self._note = note
        self._is_over = False
        self.struck: dict[Fault, int] = {}

    def start(self) -> None:
        """Weather and strikes from now on."""
        self._network.weather = self._plan.weather
        for strike in self._plan.strikes:
            self._scheduler.at(strike.at_us, partial(self._strike, strike))

    def _strike(self, strike: Strike) -> None:
        if self._is_over:
            return
        self.struck[strike.fault] = self.struck.get(strike.fault, 0) + 1
        self._note(
            f"{strike.fault.value} {','.join(strike.struck)}{' | ' * bool(strike.others)}{','.join(strike.others)}"
        )
        undo = self._apply(strike)
        self._scheduler.after(strike.lasts_us, partial(self._end, undo))

    def _end(self, undo: Callable[[], None]) -> None:
        if not self._is_over:
            undo()

    def _find_hosts(self, names: Iterable[str]) -> list[SimulatedHost]:
        """All processes of these members: a twin has two."""
        wanted = dict.fromkeys(names)
        return [host for host in self._hosts.values() if host.name in wanted or host.member.name in wanted]

    # --- strikes ---------------------------------------------------------------------------------------

    def _apply(self, strike: Strike) -> Callable[[], None]:
        """Strike; returns what ends it."""
        hosts, network = self._find_hosts(strike.struck), self._network
        pairs = [
            (one.name, other.name)
            for one, other in product(hosts, self._find_hosts(strike.others))
            if one is not other
        ]
        both = pairs + [(other, one) for one, other in pairs]
        match strike.fault:
            case Fault.CRASH:
                return _on_each(hosts, SimulatedHost.crash, SimulatedHost.start)
            case Fault.TORN:
                return _on_each(hosts, partial(_doom, steps=max(1, strike.amount), unsent=False), _spare)
            case Fault.CRASH_UNSENT:
                return _on_each(hosts, partial(_doom, steps=0, unsent=True), _spare)
            case Fault.SPLIT | Fault.BRIDGE:
                return _on_pairs(both, network.cut, network.uncut)
            case Fault.ONE_WAY:
                return _on_pairs(pairs, network.cut, network.uncut)
            case Fault.SEVER:
                return _on_pairs(pairs, network.sever, network.mend)
            case Fault.CLOG:
                return _on_pairs(pairs, network.clog, network.unclog)
            case Fault.ISOLATE_LEADER:
                return self._isolate_leader(hosts)
            case Fault.ISOLATE_LEADERS:
                return self._isolate_in_turn(hosts, max(MIN_TURN_MS, strike.amount) * US_PER_MS)
            case Fault.PAUSE:
                return _on_each(hosts, SimulatedHost.pause, SimulatedHost.resume)
            case Fault.SKEW:
                return _on_each(hosts, partial(_set_skew, skew_ms=strike.amount), partial(_set_skew, skew_ms=0))
            case Fault.SLOW_DISK:
                slow = partial(_set_slowdown, factor=max(1, strike.amount))
                return _on_each(hosts, slow, partial(_set_slowdown, factor=1))
            case _:
                assert_never(strike.fault)

    def _isolate_leader(self, hosts: Sequence[SimulatedHost]) -> Callable[[], None]:
        """Cut whoever leads from all its neighbours."""
        leader = _find_leader(hosts)
        self._note(f"isolate {leader}")
        pairs = [
            (host.name, other)
            for host in self._find_hosts([leader])
            for other in self._network.neighbours(host.name)
        ]
        return _on_pairs(pairs + [(other, one) for one, other in pairs], self._network.cut, self._network.uncut)

    def _isolate_in_turn(self, hosts: Sequence[SimulatedHost], turn_us: int) -> Callable[[], None]:
        restore = [self._isolate_leader(hosts)]

        def turn() -> None:
            if restore and not self._is_over:
                restore.pop()()
                restore.append(self._isolate_leader(hosts))
                self._scheduler.after(turn_us, turn)

        def end() -> None:
            if restore:
                restore.pop()()

        self._scheduler.after(turn_us, turn)
        return end

    # --- the end ---------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault; those outside the core meet their fate."""
        self._is_over = True
        self._network.weather = CALM
        outside = self._find_hosts(self._plan.outside)
        for host in self._hosts.values():
            host.doom = None
            host.resume()
            host.wall.skew_ms = self._rng.randint(-MAX_RESIDUAL_SKEW_MS, MAX_RESIDUAL_SKEW_MS)
            host.disk.slowdown = 1
            delay_us = self._rng.randint(1, MAX_RESTART_US)
            if host not in outside or self._plan.fate is Fate.CUT:
                self._scheduler.after(delay_us, host.start)
        self._network.heal(self._hosts)
        for host in outside:
            self._leave(host)
        self._note(
            f"heal all but {','.join(self._plan.outside)} ({self._plan.fate.value})" if outside else "heal all"
        )

    def _leave(self, host: SimulatedHost) -> None:
        host.is_outside = True
        match self._plan.fate:
            case Fate.DEAD:
                host.crash()
            case Fate.PAUSED:
                host.pause()
            case Fate.CUT:
                for other in self._network.neighbours(host.name):
                    self._network.cut(host.name, other)
                    self._network.cut(other, host.name)
            case _:
                assert_never(self._plan.fate)


def _on_each(
    hosts: Sequence[SimulatedHost], do: Callable[[SimulatedHost], None], undo: Callable[[SimulatedHost], None]
) -> Callable[[], None]:
    for host in hosts:
        do(host)

    def end() -> None:
        for host in hosts:
            undo(host)

    return end


def _on_pairs(
    pairs: Sequence[tuple[str, str]], do: Callable[[str, str], None], undo: Callable[[str, str], None]
) -> Callable[[], None]:
    for pair in pairs:
        do(*pair)

    def end() -> None:
        for pair in pairs:
            undo(*pair)

    return end


def _find_leader(hosts: Sequence[SimulatedHost]) -> str:
    """Whom most of them take for the primary of their committee; the first where nobody runs."""
    by_place = {(host.member.shard, host.member.index): host.member.name for host in hosts}
    votes: dict[str, int] = {}
    for host in hosts:
        if host.replica is not None:
            name = by_place.get((host.member.shard, host.replica.statistics().primary))
            if name is not None:
                votes[name] = votes.get(name, 0) + 1
    return max(votes, key=lambda name: (votes[name], name), default=hosts[0].member.name)


def _doom(host: SimulatedHost, *, steps: int, unsent: bool) -> None:
    host.doom = Doom(steps, unsent)


def _spare(host: SimulatedHost) -> None:
    """The host did not come to its death, or is started again."""
    host.doom = None
    host.start()


def _set_skew(host: SimulatedHost, *, skew_ms: int) -> None:
    host.wall.skew_ms = skew_ms


def _set_slowdown(host: SimulatedHost, *, factor: int) -> None:
    host.disk.slowdown = factor
