"""Every installed engine under swarms of faults, fifty seeds each: safe throughout, alive after healing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from consensus.registry import ENGINES, list_registered
from testnet.simulator.campaign import ProcessExecutor, run_campaign
from testnet.simulator.plan import Kind, Plan, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.swarm import draw_plan

SEEDS = range(200, 250)
SAFETY_US = 2 * US_PER_S


def draw_plans(engine: str) -> Iterator[Plan]:
    for seed in SEEDS:
        # One in five with a committee that is no 3f + 1, one in five with a proposer that moves on.
        members = 5 if seed % 5 == 3 else 4
        yield draw_plan(
            seed, Shape(Kind.TOY, members, engine=engine, rotation_slots=3 * (seed % 5 == 4)), SAFETY_US
        )


@pytest.mark.parametrize("engine", list_registered(ENGINES))
def test_fifty_seeds_break_no_promise(engine: str) -> None:
    executor = ProcessExecutor(os.cpu_count() or 1)
    tally = run_campaign(draw_plans(engine), executor, max_failures=3, on_result=lambda result, tally: None)
    assert not tally.failed, "\n".join(
        [line for failure in tally.failures for line in (*failure.tail, failure.summary)]
    )
    assert tally.plans == len(SEEDS)
