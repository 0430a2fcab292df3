"""A whole sharded network under faults: conservation, exactly-once transfers, quiescence after healing."""

from __future__ import annotations

import pytest

from testnet.simulator.networks import Kind, Shape
from tests.simulation.runs import SHARDED, require_ok, run_seed


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
