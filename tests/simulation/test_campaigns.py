"""Campaigns: the same results wherever the plans run; bounded; tidy when interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from primitives.errors import LocalError
from testnet.cli import run
from testnet.simulator.campaign import HereExecutor, PlanExecutor, PlanResult, ProcessExecutor, run_campaign
from testnet.simulator.fleet import DaskExecutor
from testnet.simulator.plan import Lie, Plan, Role
from testnet.simulator.requests import parse_seeds
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.swarm import draw_plan
from tests.simulation.runs import TOY

SHORT_US = US_PER_S // 2
DEADLINE_S = 60.0


def draw_plans(count: int) -> list[Plan]:
    plans = [draw_plan(seed, TOY, SHORT_US) for seed in range(count)]
    liars = tuple([Role(name, Lie.WRONG_HEADER, amount=1) for name in ("s0v0", "s0v1", "s0v2")])
    return [*plans, replace(plans[0], roles=liars)]


def collect(executor: PlanExecutor, plans: list[Plan]) -> list[tuple[int, str, tuple[str, ...]]]:
    found: list[tuple[int, str, tuple[str, ...]]] = []

    def on_result(result: PlanResult, _: object) -> None:
        found.append((result.plan.seed, result.trace_hash, result.violations))

    tally = run_campaign(iter(plans), executor, max_failures=99, on_result=on_result)
    assert (tally.plans, tally.failed) == (len(plans), 1)
    assert tally.failures[0].plan == plans[-1] and tally.failures[0].tail
    return found


def test_processes_find_what_one_process_finds_in_the_same_order() -> None:
    plans = draw_plans(5)
    assert collect(ProcessExecutor(2), plans) == collect(HereExecutor(), plans)


def test_a_cluster_of_two_workers_finds_what_one_process_finds() -> None:
    distributed = pytest.importorskip("distributed")
    plans = draw_plans(3)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        assert collect(DaskExecutor(cluster.scheduler_address), plans) == collect(HereExecutor(), plans)


def test_a_campaign_ends_at_the_failures_that_are_enough_and_draws_no_further_plans() -> None:
    drawn: list[int] = []

    def draw() -> Iterator[Plan]:
        for plan in [draw_plans(1)[-1]] * 5:
            drawn.append(plan.seed)
            yield plan

    tally = run_campaign(draw(), HereExecutor(), max_failures=2, on_result=lambda result, tally: None)
    assert (tally.plans, tally.failed, len(drawn)) == (2, 2, 2)


@pytest.mark.parametrize("text", ["", "a", "5..1", "1..x", "-3", "1...4"])
def test_seeds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LocalError, match="--seeds"):
        parse_seeds(text)


def test_seeds_run_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert parse_seeds("7") == range(7, 8) and parse_seeds("2..4") == range(2, 5)
    assert run(["simulate", "--seeds", "1..2", "--seconds", "0.5", "--json", "--schedules", str(tmp_path)]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["seeds"] == {"first": 1, "last": 2, "run": 2}
    assert table["failed"] == 0 and table["events"] > 0 and not list(tmp_path.iterdir())


def test_a_failing_seed_is_written_down_and_the_exit_status_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenario = tmp_path / "lies.toml"
    liars = [f'[[liars]]\nmember = "s0v{index}"\nlie = "wrong-header"\namount = 1\n' for index in range(3)]
    scenario.write_text("[run]\nsafety_s = 1\n" + "".join(liars))
    arguments = ["simulate", "--seeds", "5", "--scenario", str(scenario), "--schedules", str(tmp_path)]
    assert run([*arguments, "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)["failures"][0]
    assert failure["seed"] == 5 and failure["violations"]
    assert run(["simulate", "--replay", failure["schedule"], "--shrink", "--trace"]) == 1
    shown = capsys.readouterr().out
    assert "smaller after" in shown and " ENGINE " in shown and "VIOLATED" in shown
    assert run(["simulate", "--replay", str(tmp_path / "pbft-toy-seed-5.shrunk.json")]) == 1
    assert "byte for byte" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "either --seeds"),
        (["--seeds", "1", "--replay", "x"], "either --seeds"),
        (["--seeds", "1", "--shrink"], "--shrink belongs to --replay"),
        (["--seeds", "1", "--executor", "dask"], "needs --scheduler"),
        (["--seeds", "1", "--executor", "cloud"], "neither processes nor dask"),
        (["--seeds", "1", "--engine", "raft"], "no consensus engine 'raft'"),
        (["--seeds", "1", "--engine", "nowhere:Factory"], "no engine factory"),
        (["--seeds", "1", "--application", "game"], "none of toy, venue"),
        (["--seeds", "1", "--scenario", "unheard-of"], "one of leader-dies"),
        (["--replay", "/nonexistent.json"], "cannot read"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and complaint in error and error.count("\n") == 1


def wait_children(parent: int, count: int) -> list[psutil.Process]:
    """Two workers and the resource tracker of multiprocessing, say."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        children = psutil.Process(parent).children(recursive=True)
        if len(children) >= count:
            return children
        time.sleep(0.05)
    raise AssertionError(f"fewer than {count} children after {DEADLINE_S} s")


def test_an_interrupted_campaign_ends_its_workers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testnet.cli", "simulate", "--seeds", "1..100000", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--schedules", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it runs in the background ignore Ctrl-C, and the tests may be run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    workers = wait_children(process.pid, 3)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=DEADLINE_S)
    assert not alive
