"""Exact replay: a seed gives the same trace always, on any run and under any ``PYTHONHASHSEED``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testnet.simulator.plan import Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import simulate
from testnet.simulator.swarm import draw_plan
from tests.simulation.runs import SHARDED, TOY

SEED = 17
SHORT_US = US_PER_S


def replay_elsewhere(seed: int, network: str, hash_seed: str) -> str:
    """The head of the trace hash that another process prints."""
    command = [
        sys.executable,
        "-m",
        "testnet.simulator",
        "--seed",
        str(seed),
        "--network",
        network,
        "--seconds",
        "1",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    root = Path(__file__).parents[2]
    finished = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    line = next(line for line in finished.stdout.splitlines() if line.lstrip().startswith("trace "))
    return line.split()[1].rstrip(",")


def hash_here(seed: int, shape: Shape) -> str:
    return simulate(draw_plan(seed, shape, SHORT_US)).trace_hash


def test_a_seed_gives_the_same_trace_again_and_another_seed_another() -> None:
    first = hash_here(SEED, TOY)
    assert hash_here(SEED, TOY) == first
    assert hash_here(SEED + 1, TOY) != first


def test_a_committee_replays_in_other_processes_with_other_hash_seeds() -> None:
    expected = hash_here(SEED, TOY)[:16]
    assert [replay_elsewhere(SEED, "toy", hash_seed) for hash_seed in ("1", "4242")] == [expected] * 2


def test_a_sharded_network_replays_in_another_process_with_another_hash_seed() -> None:
    assert replay_elsewhere(SEED, "sharded", "31337") == hash_here(SEED, SHARDED)[:16]


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
