"""The cross-shard bench: how long a transfer takes from its lock to its settlement, under light load.

Measured on the chain, by the timestamps of the block that locked and of the block that settled, both of the shard
that sent; reading them afterwards puts no load on what is measured. The time from submission to the certified lock
is given beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import trio
from hdrh.histogram import HdrHistogram

from node.client import NodeClient
from primitives.errors import LocalError
from shards.genesis import QUOTE
from shards.transactions import SETTLEMENT_ASSET, CrossTransfer
from testnet.bench.networks import open_bench_network
from testnet.bench.results import BenchResult
from testnet.directory import MemberEntry, Network
from testnet.progress import Progress
from testnet.workloads.agents import TRANSFER_DEADLINE_BLOCKS
from testnet.workloads.generator import Pace, run_workload
from testnet.workloads.options import LatencySummary
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction
from testnet.workloads.session import seconds_now

SHARDS: Final = 2
TRANSFERS_PER_S: Final = 4.0
AMOUNT: Final = 10 * QUOTE
REQUIRED_CASH: Final = 1_000 * QUOTE
SETTLE_TIMEOUT_S: Final = 60.0
MAX_LATENCY_MS: Final = 3_600_000
WARM_UP_S: Final = 4.0
BLOCKS_PER_PAGE: Final = 100
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Locked:
    """A transfer that left ``source``: the time of the block that locked it, in ms."""

    source: int
    destination: int
    sequence: int
    locked_ms: int


@dataclass(slots=True)
class CrossingWorkload:
    """See ``plan.Workload``: every account sends to one on the next shard, in turn, at a steady rate."""

    network: Network
    rate: float
    ordered: bool = False
    codes: dict[str, int] = field(default_factory=dict)

    def list_needs(self) -> Sequence[FundingNeed]:
        return [
            FundingNeed(shard, account.address, REQUIRED_CASH)
            for shard in self.network.shards
            for account in self.network.accounts_of(shard)
        ]

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane("crossing", self._generate())]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        return {}

    def list_topics(self, shard: int) -> Sequence[str]:
        return ()

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """Nothing is subscribed."""

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """Locks that were refused have no latency, and are counted."""
        self.codes[code] = self.codes.get(code, 0) + 1

    def describe(self) -> dict[str, Any]:
        return {"lock_codes": dict(self.codes)}

    def _generate(self) -> Iterator[PlannedTransaction]:
        shards = self.network.shards
        number = 0
        while True:
            source = shards[number % len(shards)]
            destination = shards[(number + 1) % len(shards)]
            turn = number // len(shards)
            senders, recipients = self.network.accounts_of(source), self.network.accounts_of(destination)
            transfer = CrossTransfer(
                destination=destination,
                recipient=recipients[turn % len(recipients)].address,
                subaccount=0,
                asset=SETTLEMENT_ASSET,
                amount=AMOUNT,
                deadline=TRANSFER_DEADLINE_BLOCKS,
            )
            sender = senders[turn % len(senders)].address
            yield PlannedTransaction(number / self.rate, source, sender, (transfer,))
            number += 1


async def bench_cross_shard(seconds: float, progress: Progress) -> BenchResult:
    """The latency in the result is from lock to settled."""
    async with open_bench_network(SHARDS, progress) as network:
        starts = {shard: await _read_height(_choose_member(network, shard)) for shard in network.shards}
        workload = CrossingWorkload(network, TRANSFERS_PER_S)
        load = await run_workload(network, workload, Pace(seconds + WARM_UP_S, WARM_UP_S), progress)
        latencies: list[int] = []
        for shard in network.shards:
            progress.show(f"reading the transfers of shard {shard}")
            latencies += await _measure_shard(network, shard, starts[shard])
    summary = summarise(latencies)
    result = replace(load, latency_ms=summary)
    remarks = {"transfers_settled": len(latencies), "submitted_to_lock_certified_p50_ms": load.latency_ms.p50}
    return BenchResult("cross-shard", result, {f"lock to settled, {TRANSFERS_PER_S:.0f} tx/s": result}, remarks)


def summarise(latencies_ms: Sequence[int]) -> LatencySummary:
    """The percentiles of some latencies."""
    if not latencies_ms:
        raise LocalError("no transfer was settled: look at the members' logs")
    histogram = HdrHistogram(1, MAX_LATENCY_MS, 3)
    for latency in latencies_ms:
        histogram.record_value(min(MAX_LATENCY_MS, max(1, latency)))
    p50, p90, p99 = (float(histogram.get_value_at_percentile(percent)) for percent in (50, 90, 99))
    return LatencySummary(p50, p90, p99, float(max(latencies_ms)))


async def _measure_shard(network: Network, shard: int, start: int) -> list[int]:
    """Latencies in ms of the transfers that left ``shard`` after height ``start`` and are settled."""
    async with NodeClient(_choose_member(network, shard).rpc or "") as client:
        times: dict[int, int] = {}
        locks: list[Locked] = []
        settled: dict[tuple[int, int], int] = {}
        deadline_s = seconds_now() + SETTLE_TIMEOUT_S
        while seconds_now() < deadline_s:
            known = max(times, default=start)
            await _read_times(client, known + 1, times)
            for height in sorted(height for height in times if height > known):
                locks += await _read_locks(client, shard, height, times[height])
            settled = await _read_settlements(client, network, shard)
            if all((lock.destination, lock.sequence) in settled for lock in locks):
                break
            await trio.sleep(POLL_S)
    heights = [(lock, settled.get((lock.destination, lock.sequence), -1)) for lock in locks]
    return [times[height] - lock.locked_ms for lock, height in heights if height in times]


async def _read_times(client: NodeClient, start: int, times: dict[int, int]) -> None:
    """The timestamps of all blocks from ``start`` on, by height."""
    while True:
        blocks = await client.blocks(start, limit=BLOCKS_PER_PAGE)
        for block in blocks:
            times[block["height"]] = block["header"]["timestamp_ms"]
        if len(blocks) < BLOCKS_PER_PAGE:
            return
        start = blocks[-1]["height"] + 1


async def _read_locks(client: NodeClient, shard: int, height: int, time_ms: int) -> list[Locked]:
    found = []
    async for entry in client.block_transactions(height):
        for event in (entry["receipt"] or {}).get("events", ()):
            if event["type"] == "locked":
                found.append(Locked(shard, event["destination"], event["sequence"], time_ms))
    return found


async def _read_settlements(client: NodeClient, network: Network, shard: int) -> dict[tuple[int, int], int]:
    """(destination, sequence) → the height that settled it, of everything that the test accounts sent."""
    found: dict[tuple[int, int], int] = {}
    for account in network.accounts_of(shard):
        async for transfer in client.transfers(account.address):
            if transfer["source"] == shard and transfer["state"] in ("settled", "refunded"):
                found[transfer["destination"], transfer["sequence"]] = transfer["height"]
    return found


def _choose_member(network: Network, shard: int) -> MemberEntry:
    return network.members_of(shard)[0]


async def _read_height(member: MemberEntry) -> int:
    async with NodeClient(member.rpc or "") as client:
        height: int = (await client.status())["certified_height"]
        return height
