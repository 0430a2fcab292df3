"""A whole sharded network under faults: conservation, exactly-once transfers, quiescence after healing."""

from __future__ import annotations

import pytest

from testnet.simulator.plan import Kind, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import simulate
from tests.simulation.runs import SHARDED, calm_plan, require_ok, run_seed

MAX_BEACON_TIMERS_PER_S = 25
"""Of one shard member: a few submissions a second, each with a gap before and after it."""


@pytest.mark.parametrize("seed", range(500, 506))
def test_transfers_settle_exactly_once_and_money_is_conserved(seed: int) -> None:
    outcome = run_seed(seed, SHARDED)
    require_ok(outcome)
    assert outcome.transfers > 0


@pytest.mark.parametrize("seed", [600])
def test_three_shards_settle_among_each_other(seed: int) -> None:
    outcome = run_seed(seed, Shape(Kind.SHARDED, shards=3, paranoid=True))
    require_ok(outcome)
    assert outcome.transfers > 0


def test_members_that_wait_for_their_turn_to_submit_do_not_spin() -> None:
    lines: list[str] = []
    outcome = simulate(calm_plan(610, SHARDED), lines.append)
    require_ok(outcome)
    fired = sum("timer beacon" in line for line in lines)
    members = SHARDED.shards * SHARDED.members
    assert fired < MAX_BEACON_TIMERS_PER_S * members * (outcome.simulated_us // US_PER_S)
