"""``rialto bench …``: each brings up a network of its own in a temporary directory and takes it down again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import trio
import typer

from node.cli.options import JsonOption
from testnet.progress import Progress, close_progress, open_progress
from testnet.workloads.options import DEFAULT_PAYLOAD_BYTES

if TYPE_CHECKING:
    from testnet.bench.results import BenchResult

bench_app = typer.Typer(name="bench", help="Measure speed and memory.", no_args_is_help=True)

DEFAULT_SECONDS: Final = 10.0
"""Of each run, after the warm-up."""
CROSSING_SECONDS: Final = 30.0
SCALING_SECONDS: Final = 20.0
SOAK_SECONDS: Final = 600.0
ENGINE_SECONDS: Final = 5.0

Measured = TypeVar("Measured")
Seconds = Annotated[float, typer.Option("--seconds", min=2, help="Of each run, after the warm-up.")]


@bench_app.command()
def single(seconds: Seconds = DEFAULT_SECONDS, as_json: JsonOption = False) -> None:
    """Transactions per second of one shard, one action in each."""
    from testnet.bench.trading import bench_throughput

    _run(partial(bench_throughput, "single", 1, seconds), as_json)


@bench_app.command()
def batch(seconds: Seconds = DEFAULT_SECONDS, as_json: JsonOption = False) -> None:
    """Actions per second of one shard, ten in each transaction."""
    from testnet.bench.trading import BATCH_ACTIONS, bench_throughput

    _run(partial(bench_throughput, "batch", BATCH_ACTIONS, seconds), as_json)


@bench_app.command()
def latency(seconds: Seconds = DEFAULT_SECONDS, as_json: JsonOption = False) -> None:
    """Latency from the intended send time to certified, at a quarter of the throughput goals."""
    from testnet.bench.trading import bench_latency

    _run(partial(bench_latency, seconds), as_json)


@bench_app.command(name="cross-shard")
def cross_shard(seconds: Seconds = CROSSING_SECONDS, as_json: JsonOption = False) -> None:
    """Latency of transfers between two shards, from lock to settled, under light load."""
    from testnet.bench.crossing import bench_cross_shard

    _run(partial(bench_cross_shard, seconds), as_json)


@bench_app.command()
def scaling(seconds: Seconds = SCALING_SECONDS, as_json: JsonOption = False) -> None:
    """CPU per action and validator with 1, 2 and 4 shards, 200 actions per second on each."""
    from testnet.bench.trading import bench_scaling

    _run(partial(bench_scaling, seconds), as_json)


@bench_app.command()
def soak(
    duration: Annotated[float, typer.Option(min=10, help="Seconds.")] = SOAK_SECONDS, as_json: JsonOption = False
) -> None:
    """A long run on one shard: does memory grow, does an action stay as cheap?"""
    from testnet.bench.trading import bench_soak

    _run(partial(bench_soak, duration), as_json)


@bench_app.command()
def engines(
    engines: Annotated[
        str, typer.Option(help="Names separated by commas; default: all installed.", show_default=False)
    ] = "",
    validators: Annotated[str, typer.Option(help="Sizes of the committee, separated by commas.")] = "4,7",
    payload_bytes: Annotated[int, typer.Option(min=1, help="Of each command.")] = DEFAULT_PAYLOAD_BYTES,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of each load.")] = ENGINE_SECONDS,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Consensus engines alone, ordering opaque commands: throughput, latency, messages, CPU, a dead leader."""
    from consensus.registry import ENGINES, list_registered
    from testnet.bench.engine_results import print_engines, write_page
    from testnet.bench.engines import EngineBench, bench_engines, parse_names, parse_sizes

    names = parse_names(engines) if engines else list_registered(ENGINES)
    bench = EngineBench(names, parse_sizes(validators), payload_bytes, seconds)
    results = _measure(partial(bench_engines, bench), as_json)
    print_engines(results, as_json=as_json)
    if html is not None:
        write_page(results, html)


def _run(bench: Callable[[Progress], Awaitable[BenchResult]], as_json: bool) -> None:
    from testnet.bench.results import print_result

    print_result(_measure(bench, as_json), as_json=as_json)


def _measure(bench: Callable[[Progress], Awaitable[Measured]], as_json: bool) -> Measured:
    from node.process_memory import settle_collector

    progress = open_progress(silent=as_json)
    settle_collector()
    try:
        return trio.run(bench, progress)
    finally:
        close_progress(progress)
