"""``rialto testnet …``: the command line of local networks.

Each command reads its options, calls one function of another module and prints what it returns. Heavy modules are
imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import trio
import typer

from node.cli.options import JsonOption, NameOption
from node.cli.output import print_json, print_line
from primitives.errors import LocalError
from testnet.directory import DEFAULT_NAME, Network, locate_network, open_network
from testnet.faults import DEFAULT_LEASE_S
from testnet.progress import Progress, close_progress, open_progress
from testnet.topology import DEFAULT_SHARDS, DEFAULT_VALIDATORS, Topology, build_topology, read_topology
from testnet.workloads.options import (
    DEFAULT_COMMANDS,
    DEFAULT_DEPTH_BPS,
    DEFAULT_DURATION_S,
    DEFAULT_PAYLOAD_BYTES,
    DEFAULT_RATE,
    MAX_ACTIONS_PER_TRANSACTION,
    WORKLOADS,
    LoadOptions,
)

if TYPE_CHECKING:
    from testnet.supervisor import Supervisor

testnet_app = typer.Typer(
    name="testnet", help="Networks on this machine: start, break, check, measure.", no_args_is_help=True
)

Members = Annotated[
    list[str], typer.Argument(metavar="MEMBER...", help="s0v2, bv1, or a group: all, shard0, beacon.")
]


@contextmanager
def _progress(as_json: bool) -> Iterator[Progress]:
    progress = open_progress(silent=as_json)
    try:
        yield progress
    finally:
        close_progress(progress)


# --- up, down, status, logs --------------------------------------------------------------------------------


@testnet_app.command()
def up(
    name: Annotated[
        str, typer.Option(help="What to call it; an existing network that is down is resumed.")
    ] = DEFAULT_NAME,
    shards: Annotated[
        int | None, typer.Option(help=f"Shards besides the beacon; default {DEFAULT_SHARDS}.", show_default=False)
    ] = None,
    validators: Annotated[
        int | None, typer.Option(help=f"Of each shard; default {DEFAULT_VALIDATORS}.", show_default=False)
    ] = None,
    beacon_validators: Annotated[
        int | None, typer.Option(help=f"Of the beacon; default {DEFAULT_VALIDATORS}.", show_default=False)
    ] = None,
    topology: Annotated[Path | None, typer.Option(help="A TOML file that says it all.", show_default=False)] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Consensus of every committee (rialto engine list); default pbft.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of every key; default: drawn.", show_default=False)] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running in the background.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show the members' logs while it runs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a network, wait until it is ready, and hold it until Ctrl-C."""
    from testnet.launch import hold_network, launch_in_background, prepare_network

    wanted = _choose_topology(shards, validators, beacon_validators, topology, engine, seed)
    with _progress(as_json) as progress:
        directory = prepare_network(name, wanted, os.environ, progress)
        if detach:
            trio.run(launch_in_background, directory, os.environ, progress)
            trio.run(_show_status, open_network(name, os.environ), progress, as_json)
            return
        on_ready = partial(_show_running, progress=progress, as_json=as_json, logs=logs)
        trio.run(hold_network, directory, os.environ, progress, on_ready)


def _choose_topology(
    shards: int | None,
    validators: int | None,
    beacon_validators: int | None,
    file: Path | None,
    engine: str | None,
    seed: int | None,
) -> Topology | None:
    sizes = (shards, validators, beacon_validators)
    if file is not None:
        if any(size is not None for size in sizes):
            raise LocalError("--topology says how large the network is: leave out --shards and --…validators")
        topology = read_topology(file)
        topology = topology if seed is None else topology.with_seed(seed)
        return topology if engine is None else topology.with_engine(engine)
    if seed is None and engine is None and all(size is None for size in sizes):
        return None
    topology = build_topology(
        DEFAULT_SHARDS if shards is None else shards,
        DEFAULT_VALIDATORS if validators is None else validators,
        DEFAULT_VALIDATORS if beacon_validators is None else beacon_validators,
        seed,
    )
    return topology if engine is None else topology.with_engine(engine)


async def _show_running(supervisor: Supervisor, *, progress: Progress, as_json: bool, logs: bool) -> None:
    await _show_status(supervisor.network, progress, as_json)
    if as_json:
        return
    print_line(f"ready; Ctrl-C stops it. Elsewhere: rialto testnet status --name {supervisor.network.name}")
    if logs:
        await _follow_logs(supervisor.network, (), as_json=False)


async def _show_status(network: Network, progress: Progress, as_json: bool) -> None:
    from testnet.status import print_status, read_status

    progress.show("asking the members")
    status = await read_status(network)
    close_progress(progress)
    if as_json:
        print_json(status)
    else:
        print_status(status)


@testnet_app.command()
def status(name: NameOption = None, as_json: JsonOption = False) -> None:
    """Members with height, view and peers; test accounts with balances."""
    with _progress(as_json) as progress:
        trio.run(_show_status, open_network(name, os.environ), progress, as_json)


@testnet_app.command()
def down(
    name: NameOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove its data as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop every process of a network, orphans too; the data stays."""
    from testnet.operations import take_down

    directory = locate_network(name, os.environ)
    with _progress(as_json) as progress:
        stopped = trio.run(partial(take_down, directory, progress, delete=delete))
    if as_json:
        print_json({"name": directory.name, "stopped": stopped, "deleted": delete})
        return
    fate = "its data is removed" if delete else f"its data stays in {directory.path}"
    print_line(f"network {directory.name} is down ({stopped} processes); {fate}")


@testnet_app.command()
def logs(
    members: Annotated[list[str] | None, typer.Argument(metavar="[MEMBER...]", show_default=False)] = None,
    name: NameOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON lines as they are.")] = False,
) -> None:
    """The logs of all members (or of some), merged by time."""
    network = open_network(name, os.environ)
    _print_logs(network, members or (), as_json)
    if follow:
        trio.run(partial(_follow_logs, network, members or (), as_json=as_json))


def _print_logs(network: Network, names: Any, as_json: bool) -> None:
    from testnet.faults import expand_members
    from testnet.logs import read_logs

    for line in read_logs(expand_members(names or ("all",), network)):
        _print_log_line(line, as_json)
    sys.stdout.flush()


async def _follow_logs(network: Network, names: Any, *, as_json: bool) -> None:
    from testnet.faults import expand_members
    from testnet.logs import LogFollower

    follower = LogFollower(expand_members(names or ("all",), network))
    follower.skip_to_end()
    while True:
        for line in await follower.wait_new():
            _print_log_line(line, as_json)
        sys.stdout.flush()


def _print_log_line(line: Any, as_json: bool) -> None:
    import json

    from testnet.logs import format_line

    text = json.dumps(line.fields) if as_json else format_line(line, coloured=sys.stdout.isatty())
    sys.stdout.write(text + "\n")


@testnet_app.command(hidden=True)
def supervise(name: Annotated[str, typer.Option()]) -> None:
    """What ``up --detach`` leaves running."""
    from testnet.launch import StateProgress, hold_network

    directory = locate_network(name, os.environ)

    async def stay_silent(_: Supervisor) -> None:
        await trio.lowlevel.checkpoint()

    trio.run(hold_network, directory, os.environ, StateProgress(directory), stay_silent)


# --- faults ------------------------------------------------------------------------------------------------


def _operate(verb: str, members: list[str], name: str | None, as_json: bool) -> None:
    from testnet import operations

    network = open_network(name, os.environ)
    run = {
        "killed": operations.kill_members,
        "paused": operations.pause_members,
        "resumed": operations.resume_members,
    }[verb]
    with _progress(as_json) as progress:
        done = trio.run(run, network, members, progress)
    _print_done(verb, done, as_json)


def _print_done(verb: str, members: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"done": verb, "members": members})
    else:
        print_line(f"{verb}: {', '.join(members)}")


@testnet_app.command()
def kill(members: Members, name: NameOption = None, as_json: JsonOption = False) -> None:
    """SIGKILL; the member stays dead until restart."""
    _operate("killed", members, name, as_json)


@testnet_app.command()
def pause(members: Members, name: NameOption = None, as_json: JsonOption = False) -> None:
    """SIGSTOP: the process hangs, its connections stay open."""
    _operate("paused", members, name, as_json)


@testnet_app.command()
def resume(members: Members, name: NameOption = None, as_json: JsonOption = False) -> None:
    """SIGCONT."""
    _operate("resumed", members, name, as_json)


@testnet_app.command()
def restart(
    members: Members,
    name: NameOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With empty databases: they join as new members, by snapshot.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the members that live and start them all, on the same ports."""
    from testnet.operations import renew_members, restart_members

    network = open_network(name, os.environ)
    with _progress(as_json) as progress:
        operate = renew_members if fresh else restart_members
        done = trio.run(operate, network, members, os.environ, progress)
    _print_done("restarted", done, as_json)


@testnet_app.command()
def partition(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help='"s0v0,s0v1|s0v2,s0v3"; one way: "s0v0>all"')],
    name: NameOption = None,
    lease: Annotated[int, typer.Option(help="Seconds until it heals by itself.")] = DEFAULT_LEASE_S,
    as_json: JsonOption = False,
) -> None:
    """Cut links between groups of members; those that are not named keep theirs."""
    from testnet.operations import partition_network

    network = open_network(name, os.environ)
    with _progress(as_json) as progress:
        deaf = trio.run(partition_network, network, spec, lease, progress)
    _print_faults({"partition": spec, "lease_s": lease, "deaf": deaf}, f"in force for {lease} s: {spec}", as_json)


@testnet_app.command()
def heal(name: NameOption = None, as_json: JsonOption = False) -> None:
    """Lift the partition."""
    from testnet.operations import heal_network

    with _progress(as_json) as progress:
        deaf = trio.run(heal_network, open_network(name, os.environ), progress)
    _print_faults({"partition": None, "deaf": deaf}, "healed", as_json)


def _print_faults(table: Mapping[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(table)
        return
    print_line(sentence)
    if table["deaf"]:
        print_line(f"not told yet, because paused or hanging: {', '.join(table['deaf'])}")


# --- load, check, report, demo -----------------------------------------------------------------------------


@testnet_app.command()
def load(
    workload: Annotated[str, typer.Option(help=f"One of: {', '.join(WORKLOADS)}.")] = WORKLOADS[0],
    name: NameOption = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="Recorded streams, or one CSV.", show_default=False)
    ] = None,
    duration: Annotated[float, typer.Option(min=1, help="Seconds.")] = DEFAULT_DURATION_S,
    rate: Annotated[float, typer.Option(min=0.1, help="Transactions per second, whole network.")] = DEFAULT_RATE,
    speed: Annotated[float, typer.Option(min=0, help="market-data: 1 is real time, 0 full speed.")] = 1.0,
    depth_bps: Annotated[
        int, typer.Option(min=1, help="market-data: levels this near to the mid.")
    ] = DEFAULT_DEPTH_BPS,
    actions_per_tx: Annotated[int, typer.Option(min=1, max=MAX_ACTIONS_PER_TRANSACTION)] = 1,
    seed: Annotated[int, typer.Option(help="Of what the workload draws.")] = 0,
    payload_bytes: Annotated[int, typer.Option(min=1, help="opaque: of each command.")] = DEFAULT_PAYLOAD_BYTES,
    commands_per_batch: Annotated[
        int, typer.Option(min=1, help="opaque: commands in each transaction.")
    ] = DEFAULT_COMMANDS,
    in_flight: Annotated[
        int,
        typer.Option(min=0, help="opaque: a closed loop with so many transactions in flight, instead of a rate."),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a workload against a network and measure it."""
    from testnet.load import print_load, run_and_keep_load

    if workload not in WORKLOADS:
        raise LocalError(f"--workload: {workload!r} is none of {', '.join(WORKLOADS)}")
    options = LoadOptions(
        workload=workload,
        duration_s=duration,
        rate=rate,
        files=tuple(file or ()),
        speed=speed,
        depth_bps=depth_bps,
        actions_per_tx=actions_per_tx,
        seed=seed,
        payload_bytes=payload_bytes,
        commands_per_batch=commands_per_batch,
        in_flight=in_flight,
    )
    network = open_network(name, os.environ)
    with _progress(as_json) as progress:
        result = trio.run(run_and_keep_load, network, options, progress)
    if as_json:
        print_json(result.to_json())
    else:
        print_load(result)


@testnet_app.command()
def check(
    name: NameOption = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds that transfers may take to settle.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Check the running network's chains through the client API; exit status 0 only if everything holds."""
    from testnet.checks.run import print_checks, run_checks

    network = open_network(name, os.environ)
    with _progress(as_json) as progress:
        outcome = trio.run(run_checks, network, progress, settle)
    if as_json:
        print_json(outcome)
    else:
        print_checks(outcome)
    if not outcome["ok"]:
        raise typer.Exit(1)


@testnet_app.command()
def report(
    name: NameOption = None,
    output: Annotated[Path | None, typer.Option(help="The HTML page; default: in the network's directory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What happened, as one HTML page with plots and as JSON; also of a network that is down."""
    from testnet.report import build_report, write_report

    network = open_network(name, os.environ)
    table = build_report(network)
    page = write_report(network, table, output)
    if as_json:
        print_json({**table, "page": str(page)})
    else:
        print_line(f"report: {page} (and the same as JSON beside it)")


@testnet_app.command()
def demo(
    file: Annotated[list[Path] | None, typer.Option(help="Recorded streams to replay.", show_default=False)] = None,
    duration: Annotated[float, typer.Option(min=20, help="Seconds of load.")] = 60.0,
) -> None:
    """One minute in the life of a sharded network: load, a kill, a split, checks, a summary."""
    from testnet.demo import run_demo

    progress = open_progress(silent=False)
    try:
        succeeded = trio.run(run_demo, tuple(file or ()), duration, os.environ, progress)
    finally:
        close_progress(progress)
    if not succeeded:
        raise typer.Exit(1)
