"""``rialto testnet demo``, which is what ``make run`` runs: a minute in the life of a sharded network, as it goes.

Two shards of four and a beacon under load; a validator is killed and comes back; a shard is split into halves that
cannot reach each other, and healed. Afterwards everything is checked through the client API. What is expected of
the shards meanwhile is observed and counts like a check: a demo that only says so would prove nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from node.clock import monotonic_ms
from testnet.checks.run import run_checks
from testnet.directory import RUNS_VARIABLE, Network, NetworkDirectory, find_runs_folder, read_network
from testnet.launch import prepare_network, run_network
from testnet.load import run_and_keep_load
from testnet.observer import Observer, wait_for
from testnet.operations import take_down
from testnet.processes import scan_processes
from testnet.progress import Progress, close_progress
from testnet.report import build_report, write_report
from testnet.supervisor import Supervisor
from testnet.supervisor_lock import is_supervised
from testnet.topology import build_topology
from testnet.workloads.options import LoadOptions, LoadResult

NAME: Final = "demo"
RATE: Final = 60.0
"""Transactions per second: light enough that twelve processes on two cores still answer at once."""
KILLED: Final = "s0v1"
SPLIT: Final = "s1v0,s1v1|s1v2,s1v3"
SPLIT_SHARD: Final = 1
OTHER_SHARD: Final = 0
SPLIT_GRACE_MS: Final = 1_500
"""What was on its way when the split began may still be certified."""
SETTLE_S: Final = 40.0
REJOIN_TIMEOUT_S: Final = 40.0
"""Ten seconds on a machine with two idle cores; more where other work shares them."""
RESUME_TIMEOUT_S: Final = 30.0
_MS_PER_S: Final = 1_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """When things happen, in seconds after the load began: shares of its duration."""

    kill_s: float
    restart_s: float
    split_s: float
    heal_s: float

    @classmethod
    def of(cls, duration_s: float) -> Schedule:
        """A fifth of the load passes undisturbed, and a quarter after the last fault."""
        return cls(0.20 * duration_s, 0.35 * duration_s, 0.50 * duration_s, 0.70 * duration_s)


@dataclass(slots=True)
class Story:
    """What was seen, told with the time since the start, and whether all of it was as it must be."""

    started_ms: int = field(default_factory=monotonic_ms)
    seen: list[tuple[bool, str]] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """A line on standard output."""
        sys.stdout.write(f"[{(monotonic_ms() - self.started_ms) / _MS_PER_S:6.1f} s] {text}\n")
        sys.stdout.flush()

    def observe(self, holds: bool, text: str) -> None:
        """Something that must hold."""
        self.seen.append((holds, text))
        self.tell(f"  {'✓' if holds else '✗'} {text}")

    @property
    def holds(self) -> bool:
        return all(holds for holds, _ in self.seen)


async def run_demo(
    files: tuple[Path, ...], duration_s: float, environment: Mapping[str, str], progress: Progress
) -> bool:
    """Tell the whole story on standard output; true only if everything held. Raises ``LocalError``."""
    story = Story()
    directory = await _make_room(environment, progress)
    story.tell("starting 12 processes: two shards of 4 validators, and a beacon of 4 that joins them")
    settings = {**environment, RUNS_VARIABLE: str(directory.path.parent)}
    prepare_network(NAME, build_topology(), settings, progress)
    async with run_network(directory, settings, progress) as supervisor:
        close_progress(progress)
        story.tell("ready: every committee has certified a block")
        result = await _run_under_load(supervisor, files, duration_s, story, progress)
        story.tell("the load has ended; checking all chains, certificates, balances and transfers through the API")
        outcome = await run_checks(supervisor.network, progress, SETTLE_S)
        close_progress(progress)
        for check in outcome["checks"]:
            story.observe(check["ok"], f"{check['name']}: {check['detail']}")
        story.tell("stopping")
    page = write_report(read_network(directory), build_report(read_network(directory)), None)
    left = scan_processes(member.home for member in supervisor.network.members)
    story.observe(not left, f"{len(left)} processes are left running")
    _summarise(story, result, outcome, page)
    return story.holds


async def _make_room(environment: Mapping[str, str], progress: Progress) -> NetworkDirectory:
    """The directory of the demo's network, without what an earlier demo left. Raises ``LocalError`` where one
    is running."""
    directory = NetworkDirectory(find_runs_folder(environment) / NAME)
    if directory.exists and not is_supervised(directory):
        await take_down(directory, progress, delete=True)
    return directory


# --- the minute --------------------------------------------------------------------------------------------


async def _run_under_load(
    supervisor: Supervisor, files: tuple[Path, ...], duration_s: float, story: Story, progress: Progress
) -> LoadResult:
    options = _choose_load(files, duration_s, supervisor.network)
    if files:
        story.tell(f"replaying {len(files)} recorded streams in real time for {duration_s:.0f} s")
    else:
        story.tell(
            f"{duration_s:.0f} s of trading agents on both shards, {RATE:.0f} transactions a second; "
            "some of them move collateral between the shards"
        )
    observer = Observer(supervisor.network)
    async with trio.open_nursery() as watching:
        watching.start_soon(observer.run)
        async with trio.open_nursery() as acting:
            acting.start_soon(_break_things, supervisor, observer, Schedule.of(duration_s), story)
            result = await run_and_keep_load(supervisor.network, options, _Quiet(progress))
        watching.cancel_scope.cancel()
    return result


def _choose_load(files: tuple[Path, ...], duration_s: float, network: Network) -> LoadOptions:
    seed = network.seed % 2**31
    if files:
        return LoadOptions("market-data", duration_s=duration_s, files=files, seed=seed)
    return LoadOptions("agents", duration_s=duration_s, rate=RATE, seed=seed)


@dataclass(frozen=True, slots=True)
class _Quiet:
    """The load's progress without its notes, which would break into the story."""

    progress: Progress

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        self.progress.show(text, done, total)

    def note(self, text: str) -> None:
        """Nothing."""


async def _break_things(supervisor: Supervisor, observer: Observer, schedule: Schedule, story: Story) -> None:
    started_ms = monotonic_ms()
    await _sleep_until(started_ms, schedule.kill_s)
    killed_ms = monotonic_ms()
    await supervisor.kill([KILLED])
    story.tell(f"killed {KILLED} (kill -9): one of four may fail, so shard 0 must go on")
    await _sleep_until(started_ms, schedule.restart_s)
    blocks = observer.count_blocks(OTHER_SHARD, killed_ms, monotonic_ms())
    story.observe(blocks > 0, f"shard 0 certified {blocks} blocks while {KILLED} was dead")
    async with trio.open_nursery() as nursery:
        # Not waited for: the split comes when it is due, while there is load, however long the restart takes.
        nursery.start_soon(_bring_back, supervisor, observer, story)
        await _sleep_until(started_ms, schedule.split_s)
        await _split_and_heal(supervisor, observer, schedule.heal_s - schedule.split_s, story)


async def _sleep_until(started_ms: int, second: float) -> None:
    """Until so many seconds after the start; not at all where that is past."""
    await trio.sleep(max(0.0, second - (monotonic_ms() - started_ms) / _MS_PER_S))


async def _bring_back(supervisor: Supervisor, observer: Observer, story: Story) -> None:
    restarted_ms = monotonic_ms()
    target = observer.height(OTHER_SHARD)
    observer.in_sync[KILLED], observer.heights[KILLED] = False, 0
    story.tell(f"restarting {KILLED}: it must catch up from its own disk and its peers")
    await supervisor.restart([KILLED])
    caught_up = await wait_for(
        lambda: observer.in_sync.get(KILLED, False) and observer.heights.get(KILLED, 0) >= target, REJOIN_TIMEOUT_S
    )
    took_s = (monotonic_ms() - restarted_ms) / _MS_PER_S
    outcome = "was not back in sync" if caught_up is None else "was back in sync"
    story.observe(caught_up is not None, f"{KILLED} {outcome} {took_s:.1f} s after its restart began")


async def _split_and_heal(supervisor: Supervisor, observer: Observer, length_s: float, story: Story) -> None:
    await supervisor.partition(SPLIT)
    split_ms = monotonic_ms()
    story.tell("split shard 1 into halves (2 and 2): neither is a quorum, so it must stop rather than fork")
    await trio.sleep(length_s)
    healed_ms = monotonic_ms()
    stood = observer.count_blocks(SPLIT_SHARD, split_ms + SPLIT_GRACE_MS, healed_ms)
    traded = observer.count_blocks(OTHER_SHARD, split_ms, healed_ms)
    await supervisor.heal()
    story.observe(stood == 0, f"shard 1 stopped certifying during the split, as it must ({stood} blocks)")
    story.observe(traded > 0, f"shard 0 traded on meanwhile ({traded} blocks)")
    story.tell("healed shard 1")
    await wait_for(lambda: observer.find_growth_after(SPLIT_SHARD, healed_ms) is not None, RESUME_TIMEOUT_S)
    resumed_s = observer.find_growth_after(SPLIT_SHARD, healed_ms)
    text = "did not resume" if resumed_s is None else f"resumed {resumed_s:.1f} s after the heal"
    story.observe(resumed_s is not None, f"shard 1 {text}")


# --- the end -----------------------------------------------------------------------------------------------


def _summarise(story: Story, result: LoadResult, outcome: Mapping[str, Any], page: Path) -> None:
    latency = result.latency_ms
    good = sum(1 for holds, _ in story.seen if holds)
    lines = [
        "",
        "Summary",
        f"  {result.certified:,} of {result.submitted:,} transactions were certified "
        f"({result.failed:,} failed, {result.unknown:,} unknown):",
        f"  {result.tx_per_s:,.1f} transactions/s, {result.actions_per_s:,.1f} actions/s; half of them were final "
        f"within {latency.p50:,.0f} ms, 99 % within {latency.p99:,.0f} ms",
        "  (the faults are in these figures: transactions sent into the split waited for its end)",
        f"  {result.cpu_us_per_action:,.0f} µs of CPU per action and validator, "
        f"at most {result.uss_mb_max:,.0f} MB of unique memory each",
        f"  {good} of {len(story.seen)} expectations held"
        + ("" if outcome["ok"] and story.holds else "; NOT ALL: see the lines marked ✗"),
        f"  plots of all this: {page}",
        "",
        "  To try it yourself: rialto testnet up, and rialto testnet --help",
        "",
    ]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()
