"""Many Twins scenarios, over several processes, and the smallest scenario that still shows a failure.

Each scenario is a run by itself, so they are dealt out in chunks and come back in order: how many processes took
part changes nothing. What does not live here: one run (``twins``), the command line (``twins_command``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Final

from consensus.engine import EngineFactory
from testnet.simulator.networks import load_factory
from testnet.simulator.twins import TwinsOutcome, compute_seed, run_scenario
from testnet.simulator.twins_scenarios import Partition, Round, Scenario

CHUNK: Final = 10
"""Scenarios that a process takes at a time: half a second of work, so that nobody waits long for the last."""
MAX_SHRINK_RUNS: Final = 400


def run_campaign(engine: str, scenarios: Sequence[Scenario], jobs: int) -> Iterator[TwinsOutcome]:
    """The outcome of each scenario, in order, as they come. ``engine`` is as in ``networks.load_factory``."""
    if jobs == 1 or len(scenarios) <= CHUNK:
        factory = load_factory(engine)
        for scenario in scenarios:
            yield run_scenario(scenario, factory)
        return
    chunks = [(engine, scenarios[start : start + CHUNK]) for start in range(0, len(scenarios), CHUNK)]
    # Forking a process that runs threads or an event loop is not safe; a spawned one starts clean.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for outcomes in pool.map(_run_chunk, chunks):
            yield from outcomes


def _run_chunk(chunk: tuple[str, Sequence[Scenario]]) -> list[TwinsOutcome]:
    engine, scenarios = chunk
    factory = load_factory(engine)
    return [run_scenario(scenario, factory) for scenario in scenarios]


# --- shrinking ---------------------------------------------------------------------------------------------


def shrink_scenario(outcome: TwinsOutcome, factory: EngineFactory) -> TwinsOutcome:
    """A smaller scenario that breaks the same promise: fewer rounds, fewer and larger sets, usual leaders.

    Greedy, until no single change helps or ``MAX_SHRINK_RUNS`` were spent. Candidates keep the seed, so the links
    are as bad as they were; what is returned has been seen to fail.
    """
    assert not outcome.is_ok, "only a failure is shrunk"
    checker = outcome.complaints[0].checker
    seeded = replace(outcome.scenario, seed=compute_seed(outcome.scenario))
    best, runs, is_better = replace(outcome, scenario=seeded), 0, True
    while is_better:
        is_better = False
        for candidate in _list_smaller(best.scenario):
            if runs == MAX_SHRINK_RUNS:
                return best
            if candidate == best.scenario:
                continue
            runs += 1
            tried = run_scenario(candidate, factory)
            if any(complaint.checker == checker for complaint in tried.complaints):
                best, is_better = tried, True
                break
    return best


def _list_smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Candidates, the boldest first: half the rounds, one round less, one round simpler."""
    rounds = scenario.rounds
    if len(rounds) > 3:
        yield _keep(scenario, rounds[: len(rounds) // 2])
    if len(rounds) > 1:
        for place in reversed(range(len(rounds))):
            yield _keep(scenario, (*rounds[:place], *rounds[place + 1 :]))
    for place, entry in enumerate(rounds):
        for simpler in _list_simpler(entry):
            yield _keep(scenario, (*rounds[:place], simpler, *rounds[place + 1 :]))


def _keep(scenario: Scenario, rounds: tuple[Round, ...]) -> Scenario:
    """These rounds without those at the end that say nothing: they would vanish from a file, and a replay would be
    another run. One is kept."""
    count = len(rounds)
    while count > 1 and rounds[count - 1] == Round():
        count -= 1
    last = rounds[count - 1]
    kept = last if last != Round() else Round(leader=0)
    return replace(scenario, rounds=(*rounds[: count - 1], kept))


def _list_simpler(entry: Round) -> Iterator[Round]:
    if entry.sets is not None:
        yield replace(entry, sets=None)
        for merged in _merge_sets(entry.sets):
            yield replace(entry, sets=merged)
    if entry.leader is not None:
        yield replace(entry, leader=None)


def _merge_sets(sets: Partition) -> Iterator[Partition]:
    for one in range(len(sets)):
        for other in range(one + 1, len(sets)):
            rest = [group for place, group in enumerate(sets) if place not in (one, other)]
            yield tuple(sorted([tuple(sorted((*sets[one], *sets[other]))), *rest]))
