"""``rialto simulate twins``: scenarios drawn by seed or read from a file, and what became of them.

Exit status 0 where every promise was kept, 1 where one was broken; bad options and bad files are ``LocalError``.
What does not live here: running and shrinking (``twins_campaign``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from node.cli.options import JsonOption
from node.clock import monotonic_us
from primitives.errors import LocalError
from testnet.simulator.networks import load_factory
from testnet.simulator.scheduler import US_PER_MS
from testnet.simulator.twins import TwinsOutcome, run_scenario
from testnet.simulator.twins_campaign import run_campaign, shrink_scenario
from testnet.simulator.twins_scenarios import Scenario, Setting, draw_scenarios, read_scenarios, write_scenarios

MAX_JOBS: Final = 256
MAX_WRITTEN: Final = 20
"""Failures that are printed and written: the rest of a hopeless engine's are only counted."""


def simulate_twins(
    engine: Annotated[str, typer.Option(help="Registered, or module:factory.")] = "pbft",
    validators: Annotated[int, typer.Option(help="Members of the committee.")] = 4,
    twins: Annotated[int, typer.Option(help="Members with a second process under the same key.")] = 1,
    rounds: Annotated[int, typer.Option(help="Scripted rounds of each scenario.")] = 7,
    scenarios: Annotated[int, typer.Option(help="How many to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="They are drawn from it.")] = 1,
    file: Annotated[Path | None, typer.Option(help="Play these instead of drawn ones.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Where failing scenarios are written.")] = Path("simulations"),
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    shrink: Annotated[bool, typer.Option("--shrink", help="Make failing scenarios smaller first.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print every message of failing scenarios.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Twins: members with duplicated keys under scripted leaders and partitions."""
    if not 1 <= jobs <= MAX_JOBS:
        raise LocalError(f"--jobs: must lie between 1 and {MAX_JOBS}, not {jobs}")
    factory = load_factory(engine)
    if file is None:
        drawn = draw_scenarios(Setting(validators, twins), rounds, scenarios, seed)
        label = f"twins-{factory.name}-seed-{seed}"
    else:
        drawn = read_scenarios(file)
        label = f"twins-{factory.name}-{file.stem}"
    started_us = monotonic_us()
    failed: list[dict[str, Any]] = []
    failures = events = slots = 0
    for place, outcome in enumerate(run_campaign(engine, drawn, jobs)):
        events += outcome.events
        slots += outcome.certified
        if outcome.is_ok:
            continue
        failures += 1
        if failures > MAX_WRITTEN:
            continue
        smallest = shrink_scenario(outcome, factory) if shrink else outcome
        path = _write_failure(out, f"{label}-{place}.json", smallest.scenario)
        failed.append(_describe_failure(place, smallest, path))
        if not as_json:
            _print_failure(engine, place, smallest, path)
        if trace:
            run_scenario(smallest.scenario, factory, _print if not as_json else _print_aside)
    summary = {
        "engine": engine,
        "num_of_nodes": drawn[0].setting.nodes,
        "num_of_twins": drawn[0].setting.twins,
        "seed": seed if file is None else None,
        "file": None if file is None else str(file),
        "scenarios": len(drawn),
        "failures": failures,
        "failed": failed,
        "events": events,
        "certified_slots": slots,
        "elapsed_ms": (monotonic_us() - started_us) // US_PER_MS,
    }
    _print(msgspec.json.encode(summary).decode() if as_json else _describe_summary(summary))
    if failures:
        raise typer.Exit(1)


def _describe_summary(summary: dict[str, Any]) -> str:
    pace = 1_000 * summary["scenarios"] // max(1, summary["elapsed_ms"])
    return (
        f"{summary['engine']}, {summary['num_of_nodes']} members, {summary['num_of_twins']} with twins: "
        f"{summary['scenarios']} scenarios, {summary['failures']} violated; {summary['events']} events, "
        f"{summary['certified_slots']} slots certified, {pace} scenarios a second"
    )


def _describe_failure(place: int, outcome: TwinsOutcome, path: Path) -> dict[str, Any]:
    return {
        "scenario": place,
        "violations": [str(complaint) for complaint in outcome.complaints],
        "rounds": len(outcome.scenario.rounds),
        "written": str(path),
    }


def _print_failure(engine: str, place: int, outcome: TwinsOutcome, path: Path) -> None:
    _print(f"scenario {place} VIOLATED:")
    for line in outcome.scenario.describe():
        _print(line)
    for complaint in outcome.complaints:
        _print(f"  {complaint}")
    _print(f"  replay: rialto simulate twins --engine {engine} --file {path} --trace")


def _write_failure(folder: Path, name: str, scenario: Scenario) -> Path:
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_scenarios(path, [scenario])
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_aside(line: str) -> None:
    sys.stderr.write(line + "\n")
