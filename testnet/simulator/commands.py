"""``rialto simulate …``: seeds of the simulator, from the command line.

Each command reads its options, calls one function of another module and prints what it returns. Exit status 1 where
a promise was broken. What does not live here: anything that decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.options import JsonOption
from primitives.errors import LocalError
from testnet.simulator.requests import (
    DEFAULT_APPLICATION,
    DEFAULT_ENGINE,
    CampaignRequest,
    ReplayRequest,
    replay,
    run_seeds,
)
from testnet.simulator.twins_command import simulate_twins

simulate_app = typer.Typer(name="simulate", help="Break engines on virtual time, by seed.")
simulate_app.command("twins")(simulate_twins)


@simulate_app.callback(invoke_without_command=True)
def simulate_seeds(
    context: typer.Context,
    seeds: Annotated[
        str | None, typer.Option(metavar="FIRST..LAST", help="Or one number.", show_default=False)
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help=f"Registered, or module:factory; default {DEFAULT_ENGINE}.", show_default=False),
    ] = None,
    shards: Annotated[int, typer.Option(min=1, help="More than one: under a beacon, with venues.")] = 1,
    validators: Annotated[int, typer.Option(min=1, help="Of each committee.")] = 4,
    application: Annotated[str, typer.Option(help="Of one shard: toy or venue.")] = DEFAULT_APPLICATION,
    rotation: Annotated[int, typer.Option(min=0, help="Slots after which the proposer moves on.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of the safety phase, on virtual time.")] = 6.0,
    scenario: Annotated[
        str | None,
        typer.Option(help="A TOML file or a shipped name, in place of drawn faults.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    executor: Annotated[str, typer.Option(help="processes, or dask.")] = "processes",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of the dask cluster.", show_default=False)
    ] = None,
    schedules: Annotated[Path, typer.Option(metavar="DIR", help="Where failures are written.")] = Path(
        "simulations"
    ),
    max_failures: Annotated[int, typer.Option(min=1, help="Stop after so many.")] = 10,
    replay_file: Annotated[
        Path | None, typer.Option("--replay", metavar="FILE", help="Run a schedule file.", show_default=False)
    ] = None,
    shrink: Annotated[bool, typer.Option("--shrink", help="With --replay: make it as small as can be.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print every transition.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run seeds, or replay a schedule, and say what became of them."""
    if context.invoked_subcommand is not None:
        return
    if (seeds is None) == (replay_file is None):
        raise LocalError("give either --seeds FIRST..LAST or --replay FILE")
    if replay_file is not None:
        is_ok = replay(ReplayRequest(replay_file, engine, shrink=shrink, trace=trace, as_json=as_json))
    else:
        if shrink:
            raise LocalError("--shrink belongs to --replay: first find a schedule that fails")
        assert seeds is not None, "one of the two is given"
        is_ok = run_seeds(
            CampaignRequest(
                seeds=seeds,
                engine=engine,
                shards=shards,
                validators=validators,
                application=application,
                rotation=rotation,
                seconds=seconds,
                scenario=scenario,
                jobs=jobs,
                executor=executor,
                scheduler=scheduler,
                schedules=schedules,
                max_failures=max_failures,
                trace=trace,
                as_json=as_json,
            )
        )
    if not is_ok:
        raise typer.Exit(1)
