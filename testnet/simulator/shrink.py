"""Shrinking: the smallest plan that still fails in the same way, so that a person can read it.

Delta debugging over plain data ("Simplifying and Isolating Failure-Inducing Input", Zeller and Hildebrandt, 2002):
each pass proposes smaller plans, drastic ones first; whatever still fails is kept and the pass begins again;
passes are repeated until none finds anything, or the budget of runs is spent. A plan fails *in the same way* where
the first violation is of the same checker. What does not live here: running (``campaign``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from testnet.simulator.network import CALM
from testnet.simulator.plan import Plan, Role, Shape, Strike
from testnet.simulator.scheduler import US_PER_MS
from testnet.simulator.simulation import Outcome

T = TypeVar("T")
Run: TypeAlias = Callable[[Plan], Outcome]
DEFAULT_BUDGET: Final = 300
MIN_PHASE_US: Final = 100 * US_PER_MS
MIN_MEMBERS: Final = 4
GRACE_US: Final = US_PER_MS
"""Past a violation of the safety phase: it must happen before the phase ends."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest plan found, its outcome, and how many runs it took."""

    plan: Plan
    outcome: Outcome
    runs: int


def shrink(
    plan: Plan,
    outcome: Outcome,
    run: Run,
    budget: int = DEFAULT_BUDGET,
    on_run: Callable[[int, Plan], None] | None = None,
) -> Shrunk:
    """``outcome`` is what ``plan`` gave, a violation; ``run`` runs other plans."""
    return _Shrinking(plan, outcome, run, budget, on_run).run_passes()


class _Shrinking:
    def __init__(
        self, plan: Plan, outcome: Outcome, run: Run, budget: int, on_run: Callable[[int, Plan], None] | None
    ) -> None:
        self._plan = plan
        self._outcome = outcome
        self._run = run
        self._budget = budget
        self._on_run = on_run
        self._checker = outcome.violations[0].checker
        self._runs = 0

    def run_passes(self) -> Shrunk:
        has_moved = True
        while has_moved and self._runs < self._budget:
            has_moved = False
            for propose in _PASSES:
                has_moved |= self._run_pass(propose)
        return Shrunk(self._plan, self._outcome, self._runs)

    def _run_pass(self, propose: Callable[[Plan, Outcome], Iterator[Plan]]) -> bool:
        has_moved = False
        while (smaller := self._find_smaller(propose)) is not None:
            self._plan, self._outcome = smaller
            has_moved = True
        return has_moved

    def _find_smaller(self, propose: Callable[[Plan, Outcome], Iterator[Plan]]) -> tuple[Plan, Outcome] | None:
        for candidate in propose(self._plan, self._outcome):
            if self._runs >= self._budget:
                return None
            self._runs += 1
            outcome = self._run(candidate)
            if self._on_run is not None:
                self._on_run(self._runs, self._plan)
            if outcome.violations and outcome.violations[0].checker == self._checker:
                return candidate, outcome
        return None


# --- passes ------------------------------------------------------------------------------------------------


def _end_sooner(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    """Nothing after the violation; a shorter phase before it."""
    at_us = outcome.violations[0].at_us
    if at_us < plan.safety_us and (plan.has_liveness or at_us + GRACE_US < plan.safety_us):
        yield replace(plan, safety_us=at_us + GRACE_US, has_liveness=False)
    for share in (4, 2):
        if at_us >= plan.safety_us and plan.safety_us // share >= MIN_PHASE_US:
            yield replace(plan, safety_us=plan.safety_us // share)


def _drop_unreached(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    """No strike that comes too late."""
    kept = tuple(
        [strike for strike in plan.strikes if strike.at_us < min(plan.safety_us, outcome.violations[0].at_us)]
    )
    if len(kept) < len(plan.strikes):
        yield replace(plan, strikes=kept)


def _drop_strikes(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    for strikes in _drop_chunks(plan.strikes):
        yield replace(plan, strikes=strikes)


def _drop_roles(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    for roles in _drop_chunks(plan.roles):
        yield replace(plan, roles=roles)


def _drop_outside(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    for outside in _drop_chunks(plan.outside):
        yield replace(plan, outside=outside)


def _calm_weather(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    weather = plan.weather
    if weather == CALM:
        return
    yield replace(plan, weather=CALM)
    for calmer in (
        replace(weather, loss=0.0),
        replace(weather, duplication=0.0),
        replace(weather, reordering=0.0),
        replace(weather, spikes=0.0),
        replace(weather, min_delay_us=CALM.min_delay_us, max_delay_us=CALM.max_delay_us),
    ):
        if calmer != weather:
            yield replace(plan, weather=calmer)


def _fewer_members(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    shape = plan.shape
    if shape.shards > 1:
        yield _fit(plan, replace(shape, shards=shape.shards - 1))
    for members in (MIN_MEMBERS, shape.members - 1):
        if MIN_MEMBERS <= members < shape.members:
            yield _fit(plan, replace(shape, members=members))
    if shape.beacon_members > MIN_MEMBERS:
        yield _fit(plan, replace(shape, beacon_members=MIN_MEMBERS))


def _fewer_transactions(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    limit = min(plan.load.max_transactions, outcome.submitted)
    for count in (1, limit // 8, limit // 2, limit - 1):
        if 0 < count < plan.load.max_transactions:
            yield replace(plan, load=replace(plan.load, max_transactions=count))


def _narrow_strikes(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    """Fewer members in each strike, half as long, half as much of it."""
    for place, strike in enumerate(plan.strikes):
        for narrower in _narrow(strike):
            yield replace(plan, strikes=(*plan.strikes[:place], narrower, *plan.strikes[place + 1 :]))


def _narrow(strike: Strike) -> Iterator[Strike]:
    for names in _drop_chunks(strike.struck):
        if names:
            yield replace(strike, struck=names)
    for names in _drop_chunks(strike.others):
        if names:
            yield replace(strike, others=names)
    if strike.lasts_us > MIN_PHASE_US:
        yield replace(strike, lasts_us=max(MIN_PHASE_US, strike.lasts_us // 2))


def _token_signatures(plan: Plan, outcome: Outcome) -> Iterator[Plan]:
    if plan.has_real_signatures:
        yield replace(plan, has_real_signatures=False)


_PASSES: Final = (
    _end_sooner,
    _fewer_members,
    _drop_unreached,
    _token_signatures,
    _drop_strikes,
    _drop_roles,
    _drop_outside,
    _calm_weather,
    _fewer_transactions,
    _narrow_strikes,
)


def _drop_chunks(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Without any, without each half, each quarter, …, each one."""
    size = len(items)
    while size:
        for start in range(0, len(items), size):
            yield (*items[:start], *items[start + size :])
        size //= 2


def _fit(plan: Plan, shape: Shape) -> Plan:
    """The plan on a smaller shape: whom it lacks nothing strikes, and nobody there lies."""
    known = {name for names in shape.list_members().values() for name in names}

    def keep(names: Sequence[str]) -> tuple[str, ...]:
        return tuple([name for name in names if name.removesuffix("'") in known])

    strikes = [replace(strike, struck=keep(strike.struck), others=keep(strike.others)) for strike in plan.strikes]
    roles: list[Role] = [replace(role, members=keep(role.members)) for role in plan.roles if role.member in known]
    return replace(
        plan,
        shape=shape,
        strikes=tuple([strike for strike in strikes if strike.struck]),
        roles=tuple(roles),
        outside=keep(plan.outside),
        assertions=tuple([item for item in plan.assertions if item.shard in shape.list_members()]),
    )
