"""What ``rialto simulate`` is asked for, and what it prints: seeds run, schedules written, replayed and shrunk.

What does not live here: the options' spelling (``commands``), running (``campaign``), making smaller (``shrink``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.cli.output import print_json, print_line
from primitives.errors import LocalError
from testnet.progress import Progress, close_progress, open_progress
from testnet.report import find_commit
from testnet.simulator.campaign import (
    HereExecutor,
    PlanExecutor,
    PlanResult,
    ProcessExecutor,
    Tally,
    run_campaign,
)
from testnet.simulator.plan import Kind, Plan, Shape
from testnet.simulator.scenario import find_scenario, read_scenario
from testnet.simulator.schedule import FORMAT, Schedule, read_schedule, write_schedule
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.shrink import shrink
from testnet.simulator.simulation import Outcome, simulate
from testnet.simulator.swarm import draw_plan

DEFAULT_ENGINE: Final = "pbft"
DEFAULT_APPLICATION: Final = Kind.TOY.value
MAX_SEED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CampaignRequest:
    """The options of a campaign; see ``commands``."""

    seeds: str
    engine: str | None = None
    shards: int = 1
    validators: int = 4
    application: str = DEFAULT_APPLICATION
    rotation: int = 0
    seconds: float = 6.0
    scenario: str | None = None
    jobs: int = 1
    executor: str = "processes"
    scheduler: str | None = None
    schedules: Path = Path("simulations")
    max_failures: int = 10
    trace: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """A schedule to run again; ``engine`` runs it against another one."""

    file: Path
    engine: str | None = None
    shrink: bool = False
    trace: bool = False
    as_json: bool = False


# --- campaigns ---------------------------------------------------------------------------------------------


def run_seeds(request: CampaignRequest) -> bool:
    """Run the seeds and print what was found; false where something was violated."""
    seeds = parse_seeds(request.seeds)
    make_plan = make_planner(request)
    if request.trace:
        return _trace_seeds([make_plan(seed) for seed in seeds])
    executor = _choose_executor(request)
    commit = find_commit()
    traces = sha256()
    files: list[str] = []
    progress = open_progress(silent=request.as_json)

    def on_result(result: PlanResult, tally: Tally) -> None:
        traces.update(result.trace_hash.encode())
        if not result.is_ok and len(files) < len(tally.failures):
            files.append(str(_write_failure(result, request.schedules, commit)))
            _note_failure(progress, result, files[-1])
        progress.show(f"seed {result.plan.seed}, {tally.failed} failed", tally.plans, len(seeds))

    tally = Tally()
    try:
        run_campaign(_draw(make_plan, seeds), executor, request.max_failures, on_result, tally)
    except KeyboardInterrupt:
        if tally.last_seed is not None and tally.last_seed < seeds[-1]:
            close_progress(progress)
            left = f"{tally.last_seed + 1}..{seeds[-1]}"
            sys.stderr.write(f"{tally.plans} seeds run, {tally.failed} failed; go on with --seeds {left}\n")
        raise
    finally:
        close_progress(progress)
    table = _describe(request, seeds, tally, traces.hexdigest(), files, commit)
    if request.as_json:
        print_json(table)
    else:
        _print_tally(table, tally)
    return not tally.failed


def parse_seeds(text: str) -> range:
    """``7`` or ``1..1000``, both ends included; raises ``LocalError``."""
    first, dots, last = text.partition("..")
    ends = [first, last if dots else first]
    if not all(end.isdecimal() for end in ends):
        raise LocalError(f"--seeds {text!r} is neither a number nor FIRST..LAST")
    low, high = int(ends[0]), int(ends[1])
    if not low <= high <= MAX_SEED:
        raise LocalError(f"--seeds {text!r}: the first is above the last, or absurdly large")
    return range(low, high + 1)


def make_planner(request: CampaignRequest) -> Callable[[int], Plan]:
    """How a seed becomes a plan: drawn, or the scenario's with other chances."""
    if request.scenario is not None:
        scenario = read_scenario(find_scenario(request.scenario), request.engine)
        return lambda seed: replace(scenario, seed=seed)
    engine = request.engine or DEFAULT_ENGINE
    kinds = {kind.value: kind for kind in (Kind.TOY, Kind.VENUE)}
    if request.application not in kinds:
        raise LocalError(f"--application {request.application!r} is none of {', '.join(kinds)}")
    kind = Kind.SHARDED if request.shards > 1 else kinds[request.application]
    shape = Shape(kind, request.validators, request.shards, engine=engine, rotation_slots=request.rotation)
    return lambda seed: draw_plan(seed, shape, round(request.seconds * US_PER_S))


def _draw(make_plan: Callable[[int], Plan], seeds: range) -> Iterator[Plan]:
    for seed in seeds:
        plan = make_plan(seed)
        plan.check()
        yield plan


def _choose_executor(request: CampaignRequest) -> PlanExecutor:
    match request.executor:
        case "processes":
            return HereExecutor() if request.jobs == 1 else ProcessExecutor(request.jobs)
        case "dask":
            from testnet.simulator.fleet import DaskExecutor

            if request.scheduler is None:
                raise LocalError("--executor dask needs --scheduler ADDRESS")
            return DaskExecutor(request.scheduler)
        case _:
            raise LocalError(f"--executor {request.executor!r} is neither processes nor dask")


def _trace_seeds(plans: list[Plan]) -> bool:
    is_ok = True
    for plan in plans:
        outcome = simulate(plan, _print_raw)
        _print_raw(outcome.describe())
        is_ok &= outcome.is_ok
    return is_ok


def _write_failure(result: PlanResult, folder: Path, commit: str) -> Path:
    engine = "".join([letter if letter.isalnum() else "-" for letter in result.plan.shape.engine])
    path = folder / f"{engine}-{result.plan.shape.kind.value}-seed-{result.plan.seed}.json"
    write_schedule(path, Schedule(FORMAT, commit, result.plan, result.violations, result.trace_hash))
    return path


def _note_failure(progress: Progress, result: PlanResult, path: str) -> None:
    progress.note(f"seed {result.plan.seed} failed: {path}")


def _describe(
    request: CampaignRequest, seeds: range, tally: Tally, trace_hash: str, files: list[str], commit: str
) -> dict[str, Any]:
    return {
        "engine": request.engine or DEFAULT_ENGINE,
        "commit": commit,
        "seeds": {"first": seeds[0], "last": seeds[-1], "run": tally.plans},
        "failed": tally.failed,
        "failures": [
            {"seed": result.plan.seed, "violations": list(result.violations), "schedule": path}
            for result, path in zip(tally.failures, files, strict=True)
        ],
        "events": tally.events,
        "handled": tally.handled,
        "events_per_s": tally.events_per_s,
        "simulated_s": round(tally.simulated_us / US_PER_S, 1),
        "cpu_s": round(tally.cpu_us / US_PER_S, 1),
        "trace_hash": trace_hash,
    }


def _print_tally(table: dict[str, Any], tally: Tally) -> None:
    for result, failure in zip(tally.failures, table["failures"], strict=True):
        print_line(result.summary)
        print_line(f"  at {table['commit']}; rialto simulate --replay {failure['schedule']}")
    verdict = f"{tally.failed} failed" if tally.failed else "everything holds"
    print_line(
        f"{tally.plans} seeds from {table['seeds']['first']}: {verdict}; {tally.events:,} events, "
        f"{tally.events_per_s:,} a second of CPU, {table['simulated_s']:,} simulated seconds in "
        f"{table['cpu_s']:,}"
    )


# --- replay ------------------------------------------------------------------------------------------------


def replay(request: ReplayRequest) -> bool:
    """Run a schedule again, make it smaller where asked, and print it; false where something was violated."""
    schedule = read_schedule(request.file)
    plan = schedule.plan
    if request.engine is not None:
        plan = replace(plan, shape=replace(plan.shape, engine=request.engine))
    outcome = simulate(plan, None if request.shrink or not request.trace else _print_raw)
    path = request.file
    if request.shrink and not outcome.is_ok:
        plan, outcome, path = _shrink(plan, outcome, request)
    table = {
        "schedule": str(path),
        "plan": plan.describe(),
        "violations": [str(violation) for violation in outcome.violations],
        "trace_hash": outcome.trace_hash,
        "same": outcome.trace_hash == schedule.trace_hash,
        "events": outcome.events,
    }
    if request.as_json:
        print_json(table)
    else:
        for line in plan.describe():
            _print_raw(line)
        _print_raw(outcome.describe())
        _print_comparison(schedule, outcome, is_smaller=path != request.file)
    return outcome.is_ok


def _shrink(plan: Plan, outcome: Outcome, request: ReplayRequest) -> tuple[Plan, Outcome, Path]:
    progress = open_progress(silent=request.as_json)
    try:
        found = shrink(
            plan,
            outcome,
            simulate,
            on_run=lambda runs, best: progress.show(f"{runs} runs, {len(best.strikes)} faults left"),
        )
    finally:
        close_progress(progress)
    path = request.file.with_suffix(".shrunk.json")
    violations = tuple([str(violation) for violation in found.outcome.violations])
    write_schedule(path, Schedule(FORMAT, find_commit(), found.plan, violations, found.outcome.trace_hash))
    if request.trace:
        simulate(found.plan, _print_raw)
    if not request.as_json:
        _print_raw(f"smaller after {found.runs} runs: {path}")
    return found.plan, found.outcome, path


def _print_comparison(schedule: Schedule, outcome: Outcome, *, is_smaller: bool) -> None:
    if is_smaller or not schedule.trace_hash:
        return
    if outcome.trace_hash == schedule.trace_hash:
        _print_raw("byte for byte the run that was written down")
    else:
        _print_raw(f"another run than the one written at {schedule.commit}: the code has changed since")


def _print_raw(line: str) -> None:
    sys.stdout.write(line + "\n")
