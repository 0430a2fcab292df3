"""The kinds of campaign that hunt mutants: each turns a seed into one run, and a run into what it violated.

A hunt depends on its seed alone, so a killing seed kills again wherever it is replayed. What does not live here:
the mutants, and which hunt finds which of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from consensus.engine import EngineFactory
from testnet.simulator.plan import Fault, Kind, Load, Plan, Shape, Strike
from testnet.simulator.scheduler import US_PER_MS, US_PER_S, Chance
from testnet.simulator.simulation import simulate
from testnet.simulator.swarm import draw_plan
from testnet.simulator.twins import run_scenario
from testnet.simulator.twins_scenarios import Setting, draw_scenarios


class Hunt(Protocol):
    """One kind of run."""

    def strike(self, factory: EngineFactory, seed: int) -> list[str]:
        """What the run of this seed violated, as sentences."""
        ...


@dataclass(frozen=True, slots=True)
class Twins(Hunt):
    """One drawn Twins scenario a seed."""

    nodes: int = 4
    twins: int = 1
    rounds: int = 7

    def strike(self, factory: EngineFactory, seed: int) -> list[str]:
        (scenario,) = draw_scenarios(Setting(self.nodes, self.twins), self.rounds, 1, seed)
        return [str(complaint) for complaint in run_scenario(scenario, factory).complaints]


@dataclass(frozen=True, slots=True)
class Swarm(Hunt):
    """The plan of a seed of the simulator: whole replicas, crashes, disks, liars."""

    members: int = 4
    safety_us: int = 3 * US_PER_S

    def strike(self, factory: EngineFactory, seed: int) -> list[str]:
        return strike_plan(factory, draw_plan(seed, Shape(Kind.TOY, members=self.members), self.safety_us))


@dataclass(frozen=True, slots=True)
class LongSplit(Hunt):
    """A swarm's plan in which the committee is parted into halves for minutes."""

    members: int = 4
    split_us: int = 150 * US_PER_S

    def strike(self, factory: EngineFactory, seed: int) -> list[str]:
        shape = Shape(Kind.TOY, members=self.members)
        names = list(shape.list_members()[0])
        Chance(seed).stream("long-split").shuffle(names)
        half = len(names) // 2
        split = Strike(US_PER_S, self.split_us, Fault.SPLIT, tuple(names[:half]), tuple(names[half:]))
        drawn = draw_plan(seed, shape, US_PER_S)
        plan = replace(
            drawn, safety_us=self.split_us, strikes=(split,), roles=(), outside=(), load=Load(400 * US_PER_MS, 40)
        )
        return strike_plan(factory, plan)


def strike_plan(factory: EngineFactory, plan: Plan) -> list[str]:
    """What a plan of the simulator violated."""
    return [str(violation) for violation in simulate(plan, factory=factory).violations]
