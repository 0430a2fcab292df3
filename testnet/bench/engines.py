"""``rialto bench engines``: consensus engines compared alone, by the no-op application over real processes.

Each engine gets a network of its own: one no-op shard and no beacon. In turn: an idle network (one small record at
a time, at random times), a load that rises until a tenth of it is not certified in time, the loss of the leader.
Everything is an open loop, and latency counts from the intended send time.

What does not live here: what is made of the figures (``testnet.bench.engine_results``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import psutil

from consensus.engine import load_engine_factory
from node.client import NodeClient
from node.clock import monotonic_us, wall_ms
from primitives.errors import LocalError
from testnet.bench.engine_results import DecisionCosts, EngineResult, LoadPoint, subtract_counters
from testnet.bench.leader_loss import measure_leader_loss
from testnet.bench.networks import SEED, open_topology
from testnet.directory import Network
from testnet.progress import Progress
from testnet.topology import build_noop_topology
from testnet.workloads.generator import CLIENT_ID_SHIFT, Pace, choose_window, run_workload
from testnet.workloads.node_figures import read_statuses
from testnet.workloads.opaque import HEAD_BYTES, DrawGap, OpaqueWorkload
from testnet.workloads.options import LoadOptions, LoadResult

IDLE_RECORDS_PER_S: Final = 10.0
"""So few that each nearly always finds the network idle."""
RECORD_BYTES: Final = 64 << 10
"""Of a record of the rising load: what commands share."""
FIRST_COMMANDS_PER_S: Final = 8_000.0
GROWTH: Final = 2.0
MAX_STEPS: Final = 8
WARM_UP_S: Final = 1.5
BETWEEN: Final = (0.6, 0.75, 0.9)
"""After the first saturated load: these parts of the way from the last good one to it, to find the knee."""


@dataclass(frozen=True, slots=True)
class EngineBench:
    """What to compare. ``seconds`` is of each load, after its warm-up."""

    engines: tuple[str, ...]
    validators: tuple[int, ...]
    payload_bytes: int
    seconds: float

    def __post_init__(self) -> None:
        for engine in self.engines:
            load_engine_factory(engine)
        if not HEAD_BYTES <= self.payload_bytes <= RECORD_BYTES:
            raise LocalError(f"--payload-bytes: from {HEAD_BYTES} to {RECORD_BYTES}, not {self.payload_bytes}")

    @property
    def commands_per_record(self) -> int:
        """Of the rising load."""
        return RECORD_BYTES // self.payload_bytes


async def bench_engines(bench: EngineBench, progress: Progress) -> tuple[EngineResult, ...]:
    """Every engine with every size of committee; raises ``LocalError``."""
    return tuple(
        [
            await _bench_engine(bench, engine, validators, progress)
            for validators in bench.validators
            for engine in bench.engines
        ]
    )


async def _bench_engine(bench: EngineBench, engine: str, validators: int, progress: Progress) -> EngineResult:
    topology = build_noop_topology(validators, engine, SEED, command_bytes=bench.payload_bytes)
    async with open_topology(topology, progress) as supervisor:
        network = supervisor.network
        progress.note(f"{engine}, {validators} validators: idle")
        idle = await _measure(bench, network, IDLE_RECORDS_PER_S, 1, progress)
        points = await _raise_load(bench, network, progress)
        progress.note(f"{engine}, {validators} validators: the leader is killed")
        lost_ms = await measure_leader_loss(supervisor, bench.payload_bytes)
    return EngineResult(engine, validators, bench.payload_bytes, idle, points, lost_ms)


async def _raise_load(bench: EngineBench, network: Network, progress: Progress) -> tuple[LoadPoint, ...]:
    """Growing loads up to the first saturated one, then some in between; by offered load."""
    points: list[LoadPoint] = []
    offered = FIRST_COMMANDS_PER_S
    for _ in range(MAX_STEPS):
        points.append(await _offer(bench, network, offered, progress))
        if points[-1].is_saturated:
            break
        offered *= GROWTH
    low, high = offered / GROWTH, offered
    if points[-1].is_saturated and len(points) > 1:
        for part in BETWEEN:
            points.append(await _offer(bench, network, low + part * (high - low), progress))
    return tuple(sorted(points, key=lambda point: point.offered_per_s))


async def _offer(bench: EngineBench, network: Network, commands_per_s: float, progress: Progress) -> LoadPoint:
    commands = bench.commands_per_record
    point = await _measure(bench, network, commands_per_s / commands, commands, progress, _space_evenly)
    progress.note(
        f"  {point.offered_per_s:,.0f} commands/s offered, {point.certified_per_s:,.0f} certified, "
        f"p50 {point.latency_ms.p50:,.0f} ms"
    )
    return point


def _space_evenly(_: random.Random, rate: float) -> float:
    """A rising load is exact, or chance would saturate a short one."""
    return 1 / rate


async def _measure(
    bench: EngineBench,
    network: Network,
    records_per_s: float,
    commands: int,
    progress: Progress,
    draw_gap: DrawGap = random.Random.expovariate,
) -> LoadPoint:
    """One open loop of records with so many commands each."""
    options = LoadOptions(
        "opaque", rate=records_per_s, seed=SEED, payload_bytes=bench.payload_bytes, commands_per_batch=commands
    )
    workload = OpaqueWorkload(network, options, wall_ms() << CLIENT_ID_SHIFT, draw_gap)
    pace = Pace(bench.seconds + WARM_UP_S, WARM_UP_S, choose_window(options))
    async with AsyncExitStack() as stack:
        readers = {
            member.name: await stack.enter_async_context(NodeClient(member.rpc or "", connections=1))
            for member in network.members
        }
        before, idle_s, started_us = await read_statuses(readers), _read_idle_s(), monotonic_us()
        result: LoadResult = await run_workload(network, workload, pace, progress)
        took_s = (monotonic_us() - started_us) / 1e6
        costs = compute_costs(before, await read_statuses(readers), took_s, _read_idle_s() - idle_s)
    return LoadPoint(
        offered_per_s=round(records_per_s * commands, 1),
        certified_per_s=result.actions_per_s,
        latency_ms=result.latency_ms,
        costs=costs,
        decisions_per_s=result.details["slots_per_s"],
    )


def _read_idle_s() -> float:
    """Seconds for which cores of this machine did nothing, or waited for its disk, since it started."""
    times = psutil.cpu_times()
    return float(times.idle + getattr(times, "iowait", 0.0))


def compute_costs(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], took_s: float, idle_s: float
) -> DecisionCosts:
    """What the members' counters say about ``took_s`` seconds, of which the machine's cores idled ``idle_s``.

    Raises ``LocalError`` where nothing was decided.
    """
    pairs = [(before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    decisions = max([subtract_counters(*pair, "slots_decided") for pair in pairs], default=0)
    if not decisions:
        raise LocalError("the committee decided nothing: look at the members' logs")

    def total(name: str) -> int:
        return sum([subtract_counters(*pair, name) for pair in pairs])

    cpu_us = total("cpu_us")
    cores_s = took_s * (os.cpu_count() or 1)
    syncs = sorted([float(status["sync_p50_us"]) for _, status in pairs])
    return DecisionCosts(
        decisions=decisions,
        messages=round(total("transport_frames") / decisions, 1),
        size_bytes=round(total("transport_bytes") / decisions, 1),
        cpu_ms=round(cpu_us / 1_000 / decisions, 2),
        cpu_share=round(cpu_us / 1e6 / cores_s, 3),
        machine_share=round(max(0.0, 1 - idle_s / cores_s), 3),
        sync_p50_us=syncs[len(syncs) // 2],
    )


def parse_names(text: str) -> tuple[str, ...]:
    """``pbft,tendermint`` as names; raises ``LocalError`` where there are none, or one twice."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or len(set(names)) != len(names):
        raise LocalError(f"--engines: names separated by commas, each once, not {text!r}")
    return names


def parse_sizes(text: str) -> tuple[int, ...]:
    """``4,7`` as sizes of committees; raises ``LocalError``."""
    parts: Sequence[str] = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 4 for part in parts):
        raise LocalError(f"--validators: numbers separated by commas, not {text!r}")
    return tuple(int(part) for part in parts)
