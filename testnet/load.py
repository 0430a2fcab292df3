"""One load against a network: run it, keep its result for the report, print it."""

from __future__ import annotations

from dataclasses import asdict

from node.clock import wall_ms
from testnet.directory import Network, save_load_result
from testnet.faults import record_event
from testnet.progress import Progress
from testnet.workloads.options import LoadOptions, LoadResult


async def run_and_keep_load(network: Network, options: LoadOptions, progress: Progress) -> LoadResult:
    """Run the load and keep its result, with the seconds of it, in the network's directory."""
    from node.process_memory import settle_collector
    from testnet.workloads.generator import run_load

    settle_collector()
    started_ms = wall_ms()
    described = {**asdict(options), "files": [str(file) for file in options.files]}
    record_event(network.directory, "load", [], options.workload)
    result = await run_load(network, options, progress)
    record_event(network.directory, "load ended", [], options.workload)
    table = {"started_ms": started_ms, "options": described, "result": asdict(result)}
    save_load_result(network.directory, started_ms, table)
    return result


def print_load(result: LoadResult) -> None:
    """A few lines for people."""
    from node.cli.output import print_table

    latency = result.latency_ms
    rows = [
        ("submitted", f"{result.submitted:,}"),
        ("certified", f"{result.certified:,}"),
        ("failed", f"{result.failed:,}"),
        ("unknown", f"{result.unknown:,}"),
        ("transactions per second", f"{result.tx_per_s:,.1f}"),
        ("actions per second", f"{result.actions_per_s:,.1f}"),
        (
            "latency p50 / p90 / p99 / max",
            f"{latency.p50:.0f} / {latency.p90:.0f} / {latency.p99:.0f} / {latency.max:.0f} ms",
        ),
        ("CPU per action and validator", f"{result.cpu_us_per_action:,.0f} µs"),
        ("most unique memory of a validator", f"{result.uss_mb_max:,.0f} MB"),
        *((key.replace("_", " "), str(value)) for key, value in result.details.items()),
    ]
    print_table("load", ("", "value"), rows)
