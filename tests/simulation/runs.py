"""Plans that several tests run, and how a failure tells what replays it."""

from __future__ import annotations

from testnet.simulator.plan import Kind, Lie, Plan, Role, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import Outcome, simulate
from testnet.simulator.swarm import draw_plan

TOY = Shape(Kind.TOY)
SHARDED = Shape(Kind.SHARDED, shards=2)
SAFETY_US = 3 * US_PER_S


def run_seed(seed: int, shape: Shape, safety_us: int = SAFETY_US) -> Outcome:
    """The seed's own plan."""
    return simulate(draw_plan(seed, shape, safety_us))


def require_ok(outcome: Outcome) -> None:
    """Fail with the seed, the violations and the last transitions."""
    assert outcome.is_ok, "\n".join([*outcome.tail[-60:], outcome.describe()])


def calm_plan(seed: int, shape: Shape, *roles: Role) -> Plan:
    """No faults but members that lie."""
    return Plan(seed, shape, SAFETY_US, roles=roles)


def twin(member: str, *seen_by: str) -> Role:
    """Two processes with one key; these hosts see the second."""
    return Role(member, Lie.EQUIVOCATE, seen_by)
