"""Exact replay: a seed gives the same trace always. In other processes: ``test_schedules``."""

from __future__ import annotations

from testnet.simulator.plan import Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import simulate
from testnet.simulator.swarm import draw_plan
from tests.simulation.runs import TOY

SEED = 17
SHORT_US = US_PER_S


def hash_here(seed: int, shape: Shape) -> str:
    return simulate(draw_plan(seed, shape, SHORT_US)).trace_hash


def test_a_seed_gives_the_same_trace_again_and_another_seed_another() -> None:
    first = hash_here(SEED, TOY)
    assert hash_here(SEED, TOY) == first
    assert hash_here(SEED + 1, TOY) != first


def test_a_run_that_is_looked_at_has_the_same_hash() -> None:
    assert simulate(draw_plan(SEED, TOY, SHORT_US), [].append).trace_hash == hash_here(SEED, TOY)


def test_every_line_has_the_same_width_and_names_its_member_by_its_column() -> None:
    lines: list[str] = []
    simulate(draw_plan(SEED, TOY, SHORT_US // 4), lines.append)
    assert len({len(line) for line in lines}) == 1
    columns = {}
    for line in lines:
        name = line[22:26]
        if name.startswith("s0v"):
            columns[name] = next(place for place in range(4) if line[13 + 2 * place] != ".")
    assert columns == {"s0v0": 0, "s0v1": 1, "s0v2": 2, "s0v3": 3}
