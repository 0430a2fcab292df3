"""One committee under faults: safety throughout, liveness after healing, for many seeds."""

from __future__ import annotations

import pytest

from testnet.simulator.plan import Fault, Kind, Lie, Shape
from testnet.simulator.simulation import simulate
from testnet.simulator.swarm import draw_plan
from tests.simulation.runs import SAFETY_US, TOY, require_ok, run_seed

SEEDS = range(200, 204)
LARGER = [Shape(Kind.TOY, members=7), Shape(Kind.TOY, members=5), Shape(Kind.TOY, rotation_slots=3, window_slots=4)]


@pytest.mark.parametrize("seed", SEEDS)
def test_four_members_agree_and_go_on_after_healing(seed: int) -> None:
    outcome = run_seed(seed, TOY)
    require_ok(outcome)
    assert outcome.certified[0] > 0


@pytest.mark.parametrize("shape", LARGER, ids=["seven", "five", "rotating"])
@pytest.mark.parametrize("seed", [300, 301])
def test_other_committees_agree_and_go_on_after_healing(seed: int, shape: Shape) -> None:
    require_ok(run_seed(seed, shape))


@pytest.mark.parametrize("seed", [400, 401])
def test_a_shard_with_the_real_venue_agrees_with_its_invariants_checked_in_every_block(seed: int) -> None:
    outcome = run_seed(seed, Shape(Kind.VENUE, paranoid=True))
    require_ok(outcome)
    assert outcome.answered > 20


def test_real_signatures_decide_as_simulated_ones() -> None:
    plan = draw_plan(99, TOY, SAFETY_US // 2)
    assert plan.has_real_signatures
    require_ok(simulate(plan))


def test_the_swarm_strikes_with_every_fault_over_the_seeds() -> None:
    plans = [draw_plan(seed, TOY) for seed in range(200)]
    assert {strike.fault for plan in plans for strike in plan.strikes} == set(Fault)
    assert {role.lie for plan in plans for role in plan.roles} == set(Lie)
