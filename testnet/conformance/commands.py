"""``rialto engine …``: which engines are installed, and whether one keeps the rules."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from consensus.engine import load_engine_factory
from consensus.registry import ENGINES, LEADER_SCHEDULES, PACEMAKERS, list_registered
from node.cli.options import JsonOption
from node.cli.output import print_json, print_line
from testnet.conformance.suite import RuleResult, describe_result, run_conformance

engine_app = typer.Typer(name="engine", help="Consensus engines: list them, check them.", no_args_is_help=True)


@engine_app.command(name="list")
def list_engines(as_json: JsonOption = False) -> None:
    """The installed engines, leader schedules and pacemakers."""
    found = {group.partition(".")[2]: list_registered(group) for group in (ENGINES, LEADER_SCHEDULES, PACEMAKERS)}
    if as_json:
        print_json(found)
        return
    for kind, names in found.items():
        print_line(f"{kind.replace('_', ' ')}: {', '.join(names)}")


@engine_app.command()
def check(
    name: Annotated[str, typer.Argument(help="As registered in the entry-point group rialto.engines.")],
    rule: Annotated[
        list[str] | None, typer.Option(help="Only this rule; may be repeated.", show_default=False)
    ] = None,
    leader_schedule: Annotated[
        str | None, typer.Option(help="Run all rules under this schedule.", show_default=False)
    ] = None,
    pacemaker: Annotated[
        str | None, typer.Option(help="Run all rules with this pacemaker.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the conformance suite against an engine; exit status 0 only if every rule holds."""
    chosen = {"leader_schedule": leader_schedule, "pacemaker": pacemaker}
    changes: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}

    def show(result: RuleResult) -> None:
        if not as_json:
            print_line(describe_result(result))
            sys.stdout.flush()

    report = run_conformance(load_engine_factory(name), rule, changes, show)
    if as_json:
        results = [{"rule": r.rule, "complaint": r.complaint, "took_ms": r.took_ms} for r in report.results]
        print_json({"engine": name, "ok": report.is_ok, "results": results})
    else:
        broken = sum(result.complaint is not None for result in report.results)
        print_line(f"{name}: {len(report.results) - broken} of {len(report.results)} rules hold")
    if not report.is_ok:
        raise typer.Exit(1)
