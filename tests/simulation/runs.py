"""Plans that several tests run, and how a failure tells what replays it."""

from __future__ import annotations

from testnet.simulator.network import CALM
from testnet.simulator.networks import Kind, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import Outcome, SimulationPlan, draw_plan, simulate
from testnet.simulator.swarm import Swarm

NO_FAULTS = Swarm((), CALM, US_PER_S, US_PER_S, leave_dead=False)
TOY = Shape(Kind.TOY)
SHARDED = Shape(Kind.SHARDED, shards=2)
SAFETY_US = 3 * US_PER_S


def run_seed(seed: int, shape: Shape, safety_us: int = SAFETY_US) -> Outcome:
    """The seed's own plan."""
    return simulate(draw_plan(seed, shape, safety_us))


def require_ok(outcome: Outcome) -> None:
    """Fail with the seed, the violations and the last transitions."""
    assert outcome.is_ok, "\n".join([*outcome.tail[-60:], outcome.describe()])


def calm_plan(seed: int, shape: Shape, **changes: object) -> SimulationPlan:
    """No faults but those in ``changes``."""
    return SimulationPlan(seed, shape, NO_FAULTS, SAFETY_US, 25_000, **changes)  # type: ignore[arg-type]
