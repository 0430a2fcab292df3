"""The load generator: sends what a workload plans, learns what becomes of it, measures.

Theory of operation. Lanes sign their plans when they are due and put them into their shard's submitter; a plan's
intended time never moves, however late it leaves. A follower per shard reports receipts to the ledger.

    session opens (connections, streams, funds, prices) → run for the duration → drain → look up → result

The window bounds what is in flight on a shard. A lane that meets it waits, and its transactions' latencies show it.

What does not live here: the session and its parts (``session``, ``submission``, ``certification``, ``ledger``,
``oracle_feed``, ``preparation``), what processes cost (``process_costs``), the workloads.
"""

from __future__ import annotations

import itertools
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import psutil
import trio

from node.clock import wall_ms
from primitives.errors import LocalError
from testnet.directory import Network
from testnet.progress import Progress
from testnet.workloads.ledger import Ledger
from testnet.workloads.lookup import look_up_outstanding
from testnet.workloads.node_figures import NodeFigures
from testnet.workloads.opaque import open_opaque
from testnet.workloads.options import LoadOptions, LoadResult
from testnet.workloads.plan import Lane, PlannedTransaction, Workload
from testnet.workloads.population import open_agents
from testnet.workloads.process_costs import ActionCosts
from testnet.workloads.replay import open_market_data
from testnet.workloads.session import LoadSession, Surroundings
from testnet.workloads.transfers import open_transfers
from testnet.workloads.yardstick import Yardstick

OPEN_WINDOW: Final = 8_192
"""In flight on one shard: four seconds of what a shard can do; half of what its mempools hold."""
REPLAY_WINDOW: Final = 1_024
"""At full speed, where the window paces: some blocks' worth, so that the books stay near the recording."""
OPAQUE_WINDOW_BYTES: Final = 16 << 20
"""Of opaque records, which the client holds in memory until they are certified."""
LEAST_WINDOW: Final = 8
CLIENT_ID_SHIFT: Final = 20
"""Client ids start at the wall clock's milliseconds times 2**20: no load's meet those of an earlier one."""
PACE_S: Final = 0.005
"""The shortest sleep of a lane: what is due within it leaves together."""
PLANS_PER_TURN: Final = 128
"""A lane gives way after so many, so that signing never starves the streams."""
DRAIN_S: Final = 30.0
DRAIN_POLL_S: Final = 0.05
SHOW_S: Final = 0.5
SHOWS_PER_SAMPLE: Final = 10
MINUTE_S: Final = 60.0
"""Reading twelve processes' clocks every second would cost the client 4 % of a core."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a load runs, what of it is not measured, and how much is in flight on a shard."""

    duration_s: float
    warm_up_s: float
    window: int = OPEN_WINDOW


async def run_load(network: Network, options: LoadOptions, progress: Progress) -> LoadResult:
    """Run the load that ``options`` describe; raises ``LocalError`` where it cannot begin."""
    window = choose_window(options)
    pace = Pace(options.duration_s, min(options.warm_up_s, options.duration_s / 4), window)
    return await run_workload(network, open_workload(network, options), pace, progress)


def choose_window(options: LoadOptions) -> int:
    """How many transactions may be in flight on one shard."""
    if options.workload == "opaque":
        record_bytes = options.payload_bytes * options.commands_per_batch
        return options.in_flight or max(LEAST_WINDOW, min(OPEN_WINDOW, OPAQUE_WINDOW_BYTES // record_bytes))
    return OPEN_WINDOW if options.speed or options.workload != "market-data" else REPLAY_WINDOW


def open_workload(network: Network, options: LoadOptions) -> Workload:
    """The workload that the options name; raises ``LocalError``."""
    first_client_id = wall_ms() << CLIENT_ID_SHIFT
    match options.workload:
        case "agents":
            return open_agents(network, options, first_client_id)
        case "market-data":
            return open_market_data(network, options, first_client_id)
        case "transfers":
            return open_transfers(network, options)
        case "opaque":
            return open_opaque(network, options, first_client_id)
        case _:
            raise LocalError(f"there is no workload {options.workload!r}")


async def run_workload(
    network: Network, workload: Workload, pace: Pace, progress: Progress, surroundings: Surroundings | None = None
) -> LoadResult:
    """Run ``workload``; see ``run_load``."""
    return await LoadRun(network, workload, pace, progress, surroundings or Surroundings()).run()


class LoadRun:
    """One load, once."""

    def __init__(
        self, network: Network, workload: Workload, pace: Pace, progress: Progress, surroundings: Surroundings
    ) -> None:
        self._network = network
        self._workload = workload
        self._pace = pace
        self._progress = progress
        self._now = surroundings.now
        self._started_s: float | None = None
        self._lanes_end_s = pace.duration_s
        self._ledger = Ledger((pace.warm_up_s, pace.duration_s))
        self._session = LoadSession(network, workload, self._ledger, self.elapsed, surroundings, progress)
        self._meter = surroundings.open_meter(network)
        self._figures = NodeFigures()
        self._yardstick = Yardstick()
        self._own_cpu_s = 0.0
        self._minutes: list[ActionCosts] = []
        """Readings at the beginning of what is measured, and at the end of each whole minute of it."""

    def elapsed(self) -> float:
        """Seconds since the load began; 0 before."""
        return 0.0 if self._started_s is None else self._now() - self._started_s

    async def run(self) -> LoadResult:
        """The whole load."""
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            await self._session.open(stack, nursery)
            await self._run_lanes()
            await self._drain()
            nursery.cancel_scope.cancel()
        return self._build_result()

    # --- the load ------------------------------------------------------------------------------------------

    async def _run_lanes(self) -> None:
        self._started_s = self._now()
        async with trio.open_nursery() as sampling:
            sampling.start_soon(self._sample)
            with trio.move_on_after(self._pace.duration_s):
                async with trio.open_nursery() as nursery:
                    for lane in self._workload.build_lanes():
                        nursery.start_soon(self._drive, lane)
            self._lanes_end_s = min(self._pace.duration_s, self.elapsed())
            sampling.cancel_scope.cancel()
        self._meter.sample(memory=True)
        self._own_cpu_s = _read_own_cpu_s() - self._own_cpu_s
        await self._figures.end(self._session.shard_clients)

    async def _drive(self, lane: Lane) -> None:
        for turn, plan in enumerate(lane.plans):
            if turn % PLANS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
            if plan.due_s is not None:
                if plan.due_s > self._pace.duration_s:
                    return
                early_s = plan.due_s - self.elapsed()
                if early_s > 0:
                    await trio.sleep(max(PACE_S, early_s))
            await self._ledger.wait_room(plan.shard, self._pace.window)
            self._send(plan)

    def _send(self, plan: PlannedTransaction) -> None:
        intended_s = self.elapsed() if plan.due_s is None else plan.due_s
        entry = self._ledger.open(self._session.wallets.sign(plan), intended_s)
        self._session.submitters[plan.shard].put(entry)

    async def _sample(self) -> None:
        """What is measured begins with the end of the warm-up."""
        await trio.sleep(self._pace.warm_up_s)
        self._own_cpu_s = _read_own_cpu_s()
        self._meter.begin()
        self._meter.sample(memory=True)
        await self._figures.begin(self._session.shard_clients)
        for turn in itertools.count(1):
            self._show()
            self._yardstick.sample()
            if turn % SHOWS_PER_SAMPLE == 0:
                self._meter.sample()
                self._note_minute()
            await trio.sleep(SHOW_S)

    def _note_minute(self) -> None:
        if self.elapsed() - self._pace.warm_up_s >= MINUTE_S * len(self._minutes):
            self._minutes.append(self._meter.read_costs(self._ledger.measured_actions))

    def _show(self) -> None:
        ledger = self._ledger
        text = f"load: {ledger.submitted:,} sent, {ledger.certified:,} certified, {ledger.failed:,} failed"
        self._progress.show(text, int(self.elapsed()), int(self._pace.duration_s))

    # --- the end -------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Wait for what is in flight, ask for what is left, and give up on the rest."""
        deadline = self._now() + DRAIN_S
        while self._ledger.outstanding and self._now() < deadline:
            self._progress.show(f"waiting for {len(self._ledger.outstanding):,} transactions in flight")
            await trio.sleep(DRAIN_POLL_S)
        if self._ledger.outstanding:
            shards = {shard: self._session.clients_of(shard) for shard in self._network.shards}
            await look_up_outstanding(self._ledger, shards, self.elapsed)
        self._ledger.give_up()

    def _build_result(self) -> LoadResult:
        ledger, pace = self._ledger, self._pace
        end_s = min(pace.duration_s, max(self._lanes_end_s, ledger.last_measured_s))
        seconds = max(0.001, end_s - pace.warm_up_s)
        actions = sum(ledger.measured_actions.values())
        return LoadResult(
            submitted=ledger.submitted,
            certified=ledger.certified,
            failed=ledger.failed,
            unknown=ledger.unknown,
            tx_per_s=round(ledger.measured_transactions / seconds, 1),
            actions_per_s=round(actions / seconds, 1),
            latency_ms=ledger.summarise_latency(),
            cpu_us_per_action=self._meter.read_costs(ledger.measured_actions).cpu_us_per_action,
            uss_mb_max=self._meter.uss_mb_max,
            details=self._describe(actions),
            series=ledger.list_seconds(),
        )

    def _describe(self, actions: int) -> dict[str, Any]:
        session, ledger = self._session, self._ledger
        submitters = session.submitters.values()
        return {
            **self._workload.describe(),
            "receipt_codes": dict(ledger.codes.most_common()),
            "refusals": dict(ledger.refusals.most_common()),
            "backlog_s_max": round(max(submitter.backlog_max_s for submitter in submitters), 3),
            "backlog_s_end": round(max(submitter.backlog_s for submitter in submitters), 3),
            "resent": sum(submitter.resent for submitter in submitters),
            "oracle_reports": {"submitted": session.reports.submitted, "certified": session.reports.certified},
            "uss_mb_growth_max": self._meter.uss_mb_growth_max,
            "dirty_mb_growth_max": self._meter.dirty_mb_growth_max,
            "cpu_us_per_action_by_minute": [
                after.since(before).cpu_us_per_action for before, after in itertools.pairwise(self._minutes)
            ],
            "client_cpu_us_per_action": round(self._own_cpu_s * 1e6 / actions, 1) if actions else 0.0,
            "signature_check_us": self._yardstick.check_us,
            **self._figures.summarise(),
        }


def _read_own_cpu_s() -> float:
    times = psutil.Process(os.getpid()).cpu_times()
    return float(times.user + times.system)
