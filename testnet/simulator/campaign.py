"""Campaigns: many plans, here, in processes of this machine or on a fleet, and what became of them.

A plan travels as bytes and comes back as a result, so where it ran makes no difference to what is found. Results
come in the order of their plans, however many run at once, and no more plans are made than are run: a campaign of
a million seeds needs no more memory than one of ten. What does not live here: plans (``swarm``, ``scenario``),
fleets (``fleet``), what is printed (``commands``).
"""

from __future__ import annotations

import gc
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from typing import Final, Protocol

from consensus.engine import EngineFactory
from node.clock import cpu_us
from testnet.simulator.plan import Plan
from testnet.simulator.schedule import decode_plan, encode_plan
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import simulate

PLANS_IN_FLIGHT: Final = 4
"""Of each worker: enough that none waits while an earlier result is awaited."""
MAX_KEPT_FAILURES: Final = 10


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What became of one plan; ``tail`` are the trace's last lines where something was violated."""

    plan: Plan
    violations: tuple[str, ...]
    trace_hash: str
    summary: str
    events: int
    handled: int
    simulated_us: int
    cpu_us: int
    tail: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations


def run_encoded(data: bytes) -> PlanResult:
    """One plan from its bytes: what workers are given."""
    return run_plan(decode_plan(data))


def run_plan(plan: Plan, factory: EngineFactory | None = None) -> PlanResult:
    """One plan, measured. A run makes few cycles and ends soon, so the collector waits until it is over."""
    gc.disable()
    started_us = cpu_us()
    try:
        outcome = simulate(plan, factory=factory)
    finally:
        gc.enable()
    return PlanResult(
        plan=plan,
        violations=tuple([str(violation) for violation in outcome.violations]),
        trace_hash=outcome.trace_hash,
        summary=outcome.describe(),
        events=outcome.events,
        handled=outcome.handled,
        simulated_us=outcome.simulated_us,
        cpu_us=cpu_us() - started_us,
        tail=() if outcome.is_ok else outcome.tail,
    )


# --- where plans run ---------------------------------------------------------------------------------------


class PlanExecutor(Protocol):
    """Runs plans somewhere."""

    def run(self, plans: Iterable[Plan]) -> Iterator[PlanResult]:
        """The results in the order of the plans; plans are taken as they can be run."""
        ...


class HereExecutor:
    """In this process, one after the other."""

    def run(self, plans: Iterable[Plan]) -> Iterator[PlanResult]:
        """See ``PlanExecutor``."""
        gc.freeze()
        for plan in plans:
            yield run_plan(plan)


class ProcessExecutor:
    """In fresh processes of this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def run(self, plans: Iterable[Plan]) -> Iterator[PlanResult]:
        """See ``PlanExecutor``. Leaving early kills the workers: their plans can be had again."""
        others = active_children()
        pool = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn"), initializer=_prepare_worker)
        is_done = False
        try:
            yield from run_ahead(plans, self._jobs * PLANS_IN_FLIGHT, lambda data: pool.submit(run_encoded, data))
            is_done = True
        finally:
            if not is_done:
                for worker in active_children():
                    if worker not in others:
                        worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def run_ahead(
    plans: Iterable[Plan], window: int, submit: Callable[[bytes], Future[PlanResult]]
) -> Iterator[PlanResult]:
    """Keep ``window`` plans submitted; yield the results in order."""
    waiting: deque[Future[PlanResult]] = deque()
    for plan in plans:
        waiting.append(submit(encode_plan(plan)))
        if len(waiting) >= window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the campaign's own ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is loaded by now stays for good: the collector need not look at it after every run.
    gc.freeze()


# --- the campaign ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What a campaign found so far. Only the first ``MAX_KEPT_FAILURES`` failures are kept whole."""

    plans: int = 0
    failed: int = 0
    events: int = 0
    handled: int = 0
    simulated_us: int = 0
    cpu_us: int = 0
    last_seed: int | None = None
    failures: list[PlanResult] = field(default_factory=list)

    def add(self, result: PlanResult) -> None:
        """Count a result."""
        self.plans += 1
        self.events += result.events
        self.handled += result.handled
        self.simulated_us += result.simulated_us
        self.cpu_us += result.cpu_us
        self.last_seed = result.plan.seed
        if not result.is_ok:
            self.failed += 1
            if len(self.failures) < MAX_KEPT_FAILURES:
                self.failures.append(result)

    @property
    def events_per_s(self) -> int:
        """Simulated events (``World.events``) per second of CPU and core."""
        return self.events * US_PER_S // max(1, self.cpu_us)


def run_campaign(
    plans: Iterable[Plan],
    executor: PlanExecutor,
    max_failures: int,
    on_result: Callable[[PlanResult, Tally], None],
    tally: Tally | None = None,
) -> Tally:
    """Run them all, or until so many failed. Whoever gives the ``tally`` has it also where this is interrupted;
    what is left then begins after ``Tally.last_seed``."""
    tally = Tally() if tally is None else tally
    for result in executor.run(plans):
        tally.add(result)
        on_result(result, tally)
        if tally.failed >= max_failures:
            break
    return tally
