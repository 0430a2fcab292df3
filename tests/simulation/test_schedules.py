"""Schedules: a failure is written down, replays byte for byte anywhere, and shrinks to something readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from primitives.errors import LocalError
from testnet.simulator.plan import Kind, Lie, Plan, Role, Shape
from testnet.simulator.schedule import (
    FORMAT,
    Schedule,
    decode_schedule,
    encode_schedule,
    read_schedule,
    write_schedule,
)
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.shrink import shrink
from testnet.simulator.simulation import simulate
from testnet.simulator.swarm import draw_plan
from tests.simulation.runs import SHARDED, TOY

ROOT = Path(__file__).parents[2]
SEED = 12
LIARS = ("s0v1", "s0v2", "s0v3")


def draw_failing_plan() -> Plan:
    """A seed's faults, and more liars than any protocol bears."""
    roles = tuple([Role(name, Lie.WRONG_HEADER, amount=3) for name in LIARS])
    return replace(draw_plan(SEED, Shape(Kind.TOY, members=4), 2 * US_PER_S), roles=roles)


def run_command(arguments: list[str], hash_seed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testnet.cli", "simulate", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("shape", [TOY, SHARDED], ids=["toy", "sharded"])
def test_a_schedule_says_everything_that_its_run_depends_on(shape: Shape) -> None:
    for seed in range(40):
        schedule = Schedule(FORMAT, "c0ffee", draw_plan(seed, shape), ("[votes] …",), "ab" * 32)
        assert decode_schedule(encode_schedule(schedule), "here") == schedule


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 99}, "format 99"),
        ({"plan": 7}, "no schedule"),
        ({"plan": {"seed": 1, "shape": {"kind": "toy"}, "safety_us": 0}}, "times are positive"),
        ({"plan": {"seed": 1, "shape": {"kind": "toy"}, "safety_us": 9, "outside": ["s7v7"]}}, "no member 's7v7'"),
        ({"plan": {"seed": 1, "shape": {"kind": "toy", "members": 999}, "safety_us": 9}}, "1 to 40 members"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused_with_its_place(change: dict[str, object], complaint: str) -> None:
    table = json.loads(encode_schedule(Schedule(FORMAT, "", draw_plan(1, TOY))))
    with pytest.raises(LocalError, match=f"f.json: .*{complaint}"):
        decode_schedule(json.dumps({**table, **change}).encode(), "f.json")


def test_a_failure_replays_byte_for_byte_in_other_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    plan = draw_failing_plan()
    outcome = simulate(plan)
    assert not outcome.is_ok
    file = tmp_path / "failure.json"
    write_schedule(file, Schedule(FORMAT, "here", plan, (), outcome.trace_hash))
    for hash_seed in ("1", "4242"):
        finished = run_command(["--replay", str(file), "--json"], hash_seed)
        assert finished.returncode == 1, finished.stderr
        table = json.loads(finished.stdout)
        assert table["same"] and table["trace_hash"] == outcome.trace_hash
        assert table["violations"] == [str(violation) for violation in outcome.violations]


def test_a_sharded_network_replays_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    plan = draw_plan(SEED, SHARDED, US_PER_S // 2)
    file = tmp_path / "sharded.json"
    outcome = simulate(plan)
    write_schedule(file, Schedule(FORMAT, "here", plan, (), outcome.trace_hash))
    finished = run_command(["--replay", str(file), "--json"], "31337")
    assert json.loads(finished.stdout)["same"], finished.stderr


def test_a_failure_shrinks_to_what_causes_it(tmp_path: Path) -> None:
    plan = draw_failing_plan()
    plan = replace(plan, shape=replace(plan.shape, members=7), weather=draw_plan(3, TOY).weather)
    plan = replace(plan, roles=tuple([Role(f"s0v{index}", Lie.WRONG_HEADER, amount=2) for index in range(1, 7)]))
    outcome = simulate(plan)
    found = shrink(plan, outcome, simulate, budget=80)
    assert found.outcome.violations[0].checker == outcome.violations[0].checker
    assert found.runs <= 80
    smaller = found.plan
    assert not smaller.strikes and not smaller.outside and not smaller.has_liveness
    assert smaller.shape.members == 4 and len(smaller.roles) <= 3
    assert smaller.load.max_transactions < 10
    assert smaller.safety_us < plan.safety_us
    write_schedule(tmp_path / "small.json", Schedule(FORMAT, "here", smaller))
    assert simulate(read_schedule(tmp_path / "small.json").plan).trace_hash == found.outcome.trace_hash
