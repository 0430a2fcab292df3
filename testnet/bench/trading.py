"""Benches of one or more shards under orders and cancels: throughput, latency, scaling, soak.

Throughput is measured in a closed loop at several windows (what is in flight per shard), because a queue that only
grows says nothing about what a network can do; latency in an open loop at a quarter of the goals.
"""

from __future__ import annotations

from typing import Any, Final

import psutil

from node.clock import wall_ms
from testnet.bench.networks import open_bench_network
from testnet.bench.results import BenchResult
from testnet.directory import Network
from testnet.progress import Progress
from testnet.workloads.generator import CLIENT_ID_SHIFT, OPEN_WINDOW, Pace, run_workload
from testnet.workloads.options import LoadOptions, LoadResult
from testnet.workloads.population import TRADING_MIX, AgentWorkload

SINGLE_WINDOWS: Final = (512, 2_048, 4_096)
BATCH_WINDOWS: Final = (128, 384, 1_024)
BATCH_ACTIONS: Final = 10
WARM_UP_S: Final = 4.0
"""Caches, the interpreter's specialisations and the first connections settle within it."""
GOAL_SINGLE_TX: Final = 2_000
GOAL_BATCH_ACTIONS: Final = 7_500
QUARTER: Final = 4
SCALING_SHARDS: Final = (1, 2, 4)
SCALING_ACTIONS_PER_SHARD: Final = 200
SATURATED_IN_FLIGHT: Final = 384
"""Transactions over all shards: more would only wait longer."""
SOAK_ACTIONS_PER_SHARD: Final = 200
SOAK_WARM_UP_S: Final = 60.0
"""What fills once, buffers and caches, has filled by then; what grows after it, grows."""
SEED: Final = 7


async def bench_throughput(bench: str, actions_per_tx: int, seconds: float, progress: Progress) -> BenchResult:
    """The best of several windows on one shard; the headline is the fastest run's."""
    windows = SINGLE_WINDOWS if actions_per_tx == 1 else BATCH_WINDOWS
    rows: dict[str, LoadResult] = {}
    async with open_bench_network(1, progress) as network:
        for window in windows:
            progress.note(f"{bench}: {window} in flight")
            pace = Pace(seconds + WARM_UP_S, WARM_UP_S, window)
            rows[f"{window} in flight"] = await _run(network, 0.0, actions_per_tx, pace, progress)
    best = max(rows.values(), key=lambda row: row.actions_per_s)
    return BenchResult(bench, best, rows)


async def bench_latency(seconds: float, progress: Progress) -> BenchResult:
    """Open loop on one shard at a quarter of both goals; the headline is that of single actions."""
    loads = {
        "single": (GOAL_SINGLE_TX / QUARTER, 1),
        f"batches of {BATCH_ACTIONS}": (GOAL_BATCH_ACTIONS / BATCH_ACTIONS / QUARTER, BATCH_ACTIONS),
    }
    rows: dict[str, LoadResult] = {}
    async with open_bench_network(1, progress) as network:
        for name, (rate, actions) in loads.items():
            progress.note(f"latency: {rate:.0f} tx/s of {actions} actions")
            pace = Pace(seconds + WARM_UP_S, WARM_UP_S, OPEN_WINDOW)
            rows[f"{name}, {rate:.0f} tx/s"] = await _run(network, rate, actions, pace, progress)
    return BenchResult("latency", next(iter(rows.values())), rows)


async def bench_scaling(seconds: float, progress: Progress) -> BenchResult:
    """CPU per action and validator with 1, 2 and 4 shards: the same load, in tens and in singles, and
    as many actions as the machine can take.

    A busy machine makes fewer and larger blocks, which cost less per action. So how busy the cores were is told
    beside each figure, and the saturated rows say what an action costs where the cores are busy throughout.
    """
    rows: dict[str, LoadResult] = {}
    costs: dict[str, float] = {}
    busy: dict[str, float] = {}
    for shards in SCALING_SHARDS:
        async with open_bench_network(shards, progress) as network:
            for load, actions, rate, window in _list_scaling_loads(shards):
                name = f"{shards} shards, {load}"
                progress.note(f"scaling: {name}")
                pace = Pace(seconds + WARM_UP_S, WARM_UP_S, window)
                before = psutil.cpu_times()
                rows[name] = await _run(network, rate, actions, pace, progress)
                busy[name] = _compute_busy_share(before, psutil.cpu_times())
                costs[name] = rows[name].cpu_us_per_action
    remarks = {"cpu_us_per_action": costs, "share_of_cores_busy": busy}
    return BenchResult("scaling", next(iter(rows.values())), rows, remarks)


def _list_scaling_loads(shards: int) -> tuple[tuple[str, int, float, int], ...]:
    """Name, actions per transaction, transactions per second of the whole network, window."""
    steady = SCALING_ACTIONS_PER_SHARD * shards
    return (
        (f"{BATCH_ACTIONS} actions/tx", BATCH_ACTIONS, steady / BATCH_ACTIONS, OPEN_WINDOW),
        ("1 action/tx", 1, float(steady), OPEN_WINDOW),
        ("saturated", BATCH_ACTIONS, 0.0, SATURATED_IN_FLIGHT // shards),
    )


def _compute_busy_share(before: Any, after: Any) -> float:
    """The part of all cores' time that was not idle between two readings of ``psutil.cpu_times``."""
    idle_s: float = after.idle + after.iowait - before.idle - before.iowait
    whole_s: float = max(0.001, sum(after) - sum(before))
    return round(1 - idle_s / whole_s, 2)


async def bench_soak(seconds: float, progress: Progress) -> BenchResult:
    """CPU per action and the growth of unique memory over a long run on one shard."""
    async with open_bench_network(1, progress) as network:
        pace = Pace(seconds + SOAK_WARM_UP_S, SOAK_WARM_UP_S, OPEN_WINDOW)
        row = await _run(network, float(SOAK_ACTIONS_PER_SHARD), 1, pace, progress)
    remarks = {
        name: row.details[name]
        for name in ("uss_mb_growth_max", "dirty_mb_growth_max", "cpu_us_per_action_by_minute")
    }
    return BenchResult("soak", row, {f"{seconds:.0f} s": row}, remarks)


async def _run(network: Network, rate: float, actions_per_tx: int, pace: Pace, progress: Progress) -> LoadResult:
    """``rate`` 0 is a closed loop. Prices stand still, so that every run meets the same market."""
    options = LoadOptions("agents", duration_s=pace.duration_s, rate=rate, actions_per_tx=actions_per_tx, seed=SEED)
    workload = AgentWorkload(network, options, wall_ms() << CLIENT_ID_SHIFT, mix=TRADING_MIX, is_calm=True)
    return await run_workload(network, workload, pace, progress)
