"""Running Twins scenarios: scripted leaders and partitions while the script lasts, then a healed network.

Theory of operation

    SCRIPTED --every honest node is past the last round--> HEALED --new slots certified--> done
    HEALED --compute_liveness_bound() without them--> violation

A node is in the round that its engine says (``RoundMap``: views, or rounds and heights), or in the one that the
script's clock says where that is later: a round without a quorum would hold everybody for ever. What a node sends
goes to the nodes that share one of its round's sets with it; past the script everybody hears everybody. A node
whose round lasts too long is told that work is overdue, as a replica tells its engine when clients wait; so engines
whose views last while all is well leave them, and every round of the script is played.

Twins run the production engine unchanged, with one key; in some runs what they propose is no valid payload, in some
they fall silent at the end of the script. Members differ in the work they know of. Honest members have no twin.
Safety is asked of honest nodes throughout; liveness after the script, where a quorum of members is honest. All
chances are drawn from the scenario's own bytes: a scenario is all that a replay needs. What does not live here:
scenarios (``twins_scenarios``), campaigns (``twins_campaign``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from consensus.engine import EngineFactory, EngineParameters, EngineStatistics, WorkLevel
from primitives.hashing import hash_tagged
from testnet.simulator.engine_committee import Complaint, EngineCommittee
from testnet.simulator.engine_host import EngineHost
from testnet.simulator.scheduler import US_PER_MS, US_PER_S, Chance
from testnet.simulator.twins_scenarios import Scenario, format_scenarios

ROUND_US: Final = 150 * US_PER_MS
"""How long a node may stay in one round before its work counts as overdue: above the engines' base timeout."""
SCRIPT_CLOCK_US: Final = 400 * US_PER_MS
"""How long the script waits for nodes to leave a round by themselves."""
RESTARTS: Final = (0.0, 0.0, 0.0, 0.4)
"""A run has one of these chances that a node dies and comes back as it comes into a round."""
MAX_TIMEOUT_MS: Final = 400
LEAST_LIVENESS_BOUND_US: Final = 50 * MAX_TIMEOUT_MS * US_PER_MS
TIMEOUTS_PER_ROUND: Final = 3
"""Tendermint's: to propose, to prevote, to precommit."""
LIVE_SLOTS: Final = 2
"""Slots that every honest node must certify above the highest one of the moment of healing."""
POWER_FAILURES: Final = (0.0, 0.0, 0.0, 0.3)
"""A run has one of these chances that all nodes die and come back at one moment of a round."""
NOISY_RUNS: Final = 0.25
"""Runs whose twins propose payloads that are not valid."""
UNKNOWING_RUNS: Final = 0.25
"""Runs in which some members have no work of their own, up to all but f + 1 of the honest ones."""
SILENT_RUNS: Final = 0.5
"""Runs whose twins say nothing once all is healed: those who are honest must come on by themselves."""
SCRIPTED_SCHEDULE: Final = "scripted"


@dataclass(frozen=True, slots=True)
class RoundMap:
    """The round of a node is ``offset`` + view + ``per_height`` · (last certified height), where who asked for a
    view is in it already."""

    offset: int
    per_height: int

    def compute_round(self, statistics: EngineStatistics) -> int:
        """Of a node whose engine has these statistics."""
        view = max(statistics.view, statistics.asked_view)
        return self.offset + view + self.per_height * statistics.last_certified


ROUND_MAPS: Final[Mapping[str, RoundMap]] = {
    "pbft": RoundMap(offset=1, per_height=0),
    "hotstuff": RoundMap(offset=0, per_height=0),
    "tendermint": RoundMap(offset=1, per_height=1),
}
"""PBFT's views begin at 0, HotStuff's at 1. Tendermint's rounds begin at 0 for each height, so a decision moves the
script on as a failed round does. Engines that are not named here are read as PBFT is."""


@dataclass(frozen=True, slots=True)
class TwinsOutcome:
    """What became of a scenario. Equal scenarios give equal outcomes."""

    scenario: Scenario
    complaints: tuple[Complaint, ...]
    events: int
    simulated_ms: int
    certified: int
    rounds: int

    @property
    def is_ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.complaints


def run_scenario(
    scenario: Scenario, factory: EngineFactory, sink: Callable[[str], None] | None = None
) -> TwinsOutcome:
    """Play it; ``sink`` gets a line per message, decision and complaint."""
    return _Play(scenario, factory, sink).run()


def compute_seed(scenario: Scenario) -> int:
    """Of everything that chance decides in its run."""
    if scenario.seed is not None:
        return scenario.seed
    return int.from_bytes(hash_tagged(b"rialto/twins-scenario", format_scenarios([scenario]))[:8], "big")


class _Play:
    def __init__(self, scenario: Scenario, factory: EngineFactory, sink: Callable[[str], None] | None) -> None:
        self._scenario = scenario
        # A variant of an engine is called "engine-variant".
        self._map = ROUND_MAPS.get(factory.name.partition("-")[0], ROUND_MAPS["pbft"])
        seed = compute_seed(scenario)
        self._committee = EngineCommittee(
            scenario.setting,
            factory,
            build_engine_parameters(scenario, self._map),
            seed,
            self._reach,
            self._round_of,
            sink,
        )
        self._sets = [
            None if entry.sets is None else {node: frozenset(group) for group in entry.sets for node in group}
            for entry in scenario.rounds
        ]
        self._entered: dict[int, tuple[int, int]] = {}
        self._is_healed = False
        self._rng = Chance(seed).stream("restarts")
        self._restarts = self._rng.choice(RESTARTS)
        self._unknowing: frozenset[int] = frozenset()
        self._has_silent_twins = False
        self._failing: dict[int, int] = {}
        self._draw_rare(Chance(seed).stream("rare"))

    def _draw_rare(self, rng: Random) -> None:
        """What only some runs have."""
        committee = self._committee
        if rng.random() < NOISY_RUNS:
            for host in committee.hosts:
                host.builds_noise = not host.is_honest
        if rng.random() < UNKNOWING_RUNS:
            spare = max(0, len(committee.honest) - committee.committee.faults - 1)
            honest = rng.sample([host.node for host in committee.honest], rng.randint(0, spare))
            self._unknowing = frozenset(honest)
        self._has_silent_twins = rng.random() < SILENT_RUNS
        power_failures = rng.choice(POWER_FAILURES)
        for number in range(len(self._scenario.rounds)):
            if rng.random() < power_failures:
                self._failing[number + 1] = rng.randint(0, ROUND_US)

    def run(self) -> TwinsOutcome:
        committee = self._committee
        committee.start(self._on_tick)
        committee.run_until(self._is_script_over, SCRIPT_CLOCK_US * len(self._scenario.rounds))
        rounds = max(self._round_of(host) for host in committee.hosts)
        if not committee.complaints:
            self._heal()
        return TwinsOutcome(
            self._scenario,
            tuple(committee.complaints),
            sum(host.events for host in committee.hosts),
            committee.now_ms,
            max((host.certified for host in committee.honest), default=0),
            rounds,
        )

    # --- the script ------------------------------------------------------------------------------------

    def _round_of(self, host: EngineHost) -> int:
        by_clock = 1 + self._committee.scheduler.now_us // SCRIPT_CLOCK_US
        return max(by_clock, self._map.compute_round(host.statistics))

    def _is_script_over(self) -> bool:
        return all(self._round_of(host) > len(self._scenario.rounds) for host in self._committee.honest)

    def _reach(self, sender: EngineHost) -> frozenset[int] | None:
        number = self._round_of(sender)
        if self._is_healed or number > len(self._sets):
            is_silent = self._is_healed and self._has_silent_twins and not sender.is_honest
            return frozenset() if is_silent else None
        sets = self._sets[number - 1]
        return None if sets is None else sets.get(sender.node, frozenset())

    def _on_tick(self, host: EngineHost) -> None:
        """Work is pending, and overdue where the script wants the round to end."""
        now_us = self._committee.scheduler.now_us
        number = self._map.compute_round(host.statistics)
        known, since_us = self._entered.get(host.node, (0, 0))
        if number != known:
            self._entered[host.node] = number, now_us
            since_us = now_us
            delay_us = self._failing.pop(number, None)
            if delay_us is not None and not self._is_healed:
                self._committee.scheduler.after(delay_us, self._fail_power)
            if self._restarts and not self._is_healed:
                self._restart_by_chance(host)
        is_late = not self._is_healed and now_us - since_us >= ROUND_US
        usual = WorkLevel.IDLE if host.node in self._unknowing else WorkLevel.PENDING
        host.set_work(WorkLevel.OVERDUE if is_late else usual)

    def _fail_power(self) -> None:
        for host in self._committee.hosts:
            host.restart()

    def _restart_by_chance(self, host: EngineHost) -> None:
        """At some moment of the round, or between its next records and what it sends after them."""
        if self._rng.random() < self._restarts:
            if self._rng.random() < 0.5:
                self._committee.scheduler.after(self._rng.randint(0, ROUND_US), host.restart)
            else:
                host.is_doomed = True

    # --- after the script ------------------------------------------------------------------------------

    def _heal(self) -> None:
        committee, setting = self._committee, self._scenario.setting
        self._is_healed = True
        committee.links.settle()
        honest = committee.honest
        goal = max((host.certified for host in committee.hosts), default=0) + LIVE_SLOTS
        if len(honest) < setting.quorum or not honest:
            return

        def is_live() -> bool:
            return all(host.certified >= goal for host in honest)

        bound_us = compute_liveness_bound(self._scenario)
        committee.run_until(is_live, bound_us)
        if not committee.complaints and not is_live():
            stuck = next(host for host in honest if host.certified < goal)
            sentence = f"has certified {stuck.certified} of {goal} slots {bound_us // US_PER_S} s after healing"
            committee.complain("liveness", stuck, sentence)


def compute_liveness_bound(scenario: Scenario) -> int:
    """µs. Where rounds are counted by height, the script's leaders come again at each, and may all be liars or have
    nothing to propose; after them everybody has a turn."""
    failing = LIVE_SLOTS * (len(scenario.rounds) + scenario.setting.nodes)
    return max(LEAST_LIVENESS_BOUND_US, failing * TIMEOUTS_PER_ROUND * MAX_TIMEOUT_MS * US_PER_MS)


def build_engine_parameters(scenario: Scenario, rounds: RoundMap) -> EngineParameters:
    """Short timeouts, a small window, and the script's leaders; the usual ones where it names none."""
    usual = range(scenario.setting.nodes)
    leaders = [
        usual[place % len(usual)] if entry.leader is None else entry.leader
        for place, entry in enumerate(scenario.rounds)
    ]
    return EngineParameters(
        window_slots=4,
        leader_schedule=SCRIPTED_SCHEDULE,
        leader_options={
            "script": ",".join(str(leader) for leader in leaders),
            "offset": rounds.offset,
            "by_slot": rounds.per_height,
        },
        base_timeout_ms=100,
        max_timeout_ms=MAX_TIMEOUT_MS,
        resend_ms=100,
    )
