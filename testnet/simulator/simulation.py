"""One run of one plan: a safety phase with faults, then a liveness phase without, then quiescence.

Safety phase: load and faults for a while; the checkers look on. Liveness phase: a core quorum of each committee
heals, everybody outside it stays dead, stopped or cut off; within ``LIVENESS_BOUND_US`` each committee with clients
certifies all that they wait for. Then the load stops, and within ``QUIET_BOUND_US`` everything is certified, every
transfer settled, every live member at the same tip. What does not live here: rules (the checkers), many seeds
(``campaign``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from consensus.engine import EngineFactory, WorkLevel
from testnet.simulator.checker import Violation
from testnet.simulator.faults import Nemesis
from testnet.simulator.plan import Plan
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.world import World

LIVENESS_BOUND_US: Final = 120 * US_PER_S
"""Many capped view timeouts (8 s): a leader that shows members different faces lets one of them have its batches
ordered only as fast as the others relay them."""
QUIET_BOUND_US: Final = 120 * US_PER_S
"""As long for the same reason: what a liar gave to one member alone must be ordered before anybody rests."""
LIVE_LOAD_US: Final = US_PER_S
"""How long clients go on after healing, so that new work is certified and not only old."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. Equal plans give equal outcomes."""

    seed: int
    violations: tuple[Violation, ...]
    trace_hash: str
    tail: tuple[str, ...]
    events: int
    handled: int
    simulated_us: int
    certified: Mapping[int, int]
    submitted: int
    answered: int
    refused: int
    transfers: int
    struck: Mapping[str, int]
    roles: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    def describe(self) -> str:
        """A line for people, and the violations with the seed to replay them."""
        heights = ", ".join(f"{shard}: {height}" for shard, height in self.certified.items())
        struck = ", ".join(f"{name} {count}" for name, count in self.struck.items()) or "no faults"
        line = (
            f"seed {self.seed}: {'ok' if self.is_ok else 'VIOLATED'}; {self.simulated_us / US_PER_S:.1f} s, "
            f"{self.events} events, heights {{{heights}}}, {self.answered} of {self.submitted} certified, "
            f"{self.refused} refused, {self.transfers} transfers; {struck}"
        )
        return "\n".join(
            [line, *[f"  {role}" for role in self.roles], *[str(violation) for violation in self.violations]]
        )


def build_world(
    plan: Plan, sink: Callable[[str], None] | None = None, *, factory: EngineFactory | None = None
) -> World:
    """The plan's world, nothing started. ``factory`` replaces the engine that the plan names, say by a mutant."""
    plan.check()
    return World(plan, sink, factory)


def simulate(
    plan: Plan, sink: Callable[[str], None] | None = None, *, factory: EngineFactory | None = None
) -> Outcome:
    """Run it all; ``sink`` gets every line of the trace, ``factory`` is as in ``build_world``."""
    world = build_world(plan, sink, factory=factory)
    nemesis = Nemesis(plan, world.hosts, world.links, world.scheduler, world.chance.stream("nemesis"), world.note)
    for host in world.hosts.values():
        host.start()
    world.load.start()
    nemesis.start()
    world.run_for(plan.safety_us)
    if plan.has_liveness and not world.verdicts.violations:
        nemesis.heal()
        _check_liveness(world)
    return Outcome(
        seed=plan.seed,
        violations=tuple(world.verdicts.violations),
        trace_hash=world.trace.digest(),
        tail=tuple(world.trace.tail),
        events=world.events,
        handled=world.handled,
        simulated_us=world.scheduler.now_us,
        certified={shard: world.agreement.certified_height(shard) for shard in world.network.committees},
        submitted=sum(clients.submitted for clients in world.load.clients),
        answered=sum(clients.certified for clients in world.load.clients),
        refused=sum(clients.refused for clients in world.load.clients),
        transfers=0 if world.money is None else sum(len(locks) for locks in world.money.transfers.values()),
        struck={fault.value: count for fault, count in nemesis.struck.items()},
        roles=tuple([str(role) for role in plan.roles]),
    )


def _check_liveness(world: World) -> None:
    before = {clients.shard: world.agreement.certified_height(clients.shard) for clients in world.load.clients}
    world.run_for(LIVE_LOAD_US)
    world.load.stop()
    world.note("load stopped")

    def is_live() -> bool:
        return all(
            not clients.waiting and world.agreement.certified_height(clients.shard) > before[clients.shard]
            for clients in world.load.clients
        )

    if not world.run_until(is_live, LIVENESS_BOUND_US):
        for clients in world.load.clients:
            height = world.agreement.certified_height(clients.shard)
            if clients.waiting or height <= before[clients.shard]:
                sentence = f"{clients.waiting} transactions wait {LIVENESS_BOUND_US // US_PER_S} s after healing"
                _report(world, "liveness", f"shard {clients.shard}", f"{sentence}, height {height}")
        return
    _check_quiescence(world)


def _check_quiescence(world: World) -> None:
    money = world.money
    if money is not None and not world.run_until(money.is_settled, QUIET_BOUND_US):
        money.check_settled(world.network.shards, world.read_cash)
        _report(world, "quiescence", "network", f"{money.count_open()} transfers have no verdict")
        return
    if not world.run_until(lambda: _is_quiet(world), QUIET_BOUND_US):
        heights = ", ".join(f"{host.name} {world.describe_host(host)}" for host in world.live_honest)
        _report(world, "quiescence", "network", f"never comes to rest: {heights}")
        return
    world.check_quiescence()
    if money is not None:
        money.check_settled(world.network.shards, world.read_cash)


def _is_quiet(world: World) -> bool:
    """Whether every live member has nothing to order or to certify, all of a committee at one height."""
    heights: dict[int, set[int]] = {}
    for host in world.live_honest:
        assert host.replica is not None, "a live host has a replica"
        statistics = host.replica.statistics()
        if statistics.work_level is not WorkLevel.IDLE or statistics.height != statistics.certified_height:
            return False
        heights.setdefault(host.member.shard, set()).add(statistics.height)
    return all(len(found) == 1 for found in heights.values())


def _report(world: World, checker: str, subject: str, sentence: str) -> None:
    if not world.verdicts.violations:
        world.verdicts.report(checker, subject, sentence)
