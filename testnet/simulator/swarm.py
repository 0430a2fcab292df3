"""The swarm: the plan of a seed. Which faults it has, when they strike, who lies, how it ends.

A run with every fault at once mostly stands still and tests little, so each seed draws a subset ("Swarm Testing",
Groce et al., ISSTA 2012). Everything drawn is in the plan as plain data. What does not live here: the faults
themselves (``faults``), the lies (``byzantine``).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

from testnet.simulator.network import Weather
from testnet.simulator.plan import Fate, Fault, Kind, Lie, Load, Plan, Role, Shape, Strike
from testnet.simulator.scheduler import US_PER_MS, US_PER_S, Chance

T = TypeVar("T")
REAL_SIGNATURES_EVERY: Final = 100
"""One seed in a hundred signs with Ed25519."""
DEFAULT_SAFETY_US: Final = 6 * US_PER_S
FAULT_CHANCE: Final = 0.3
LIAR_CHANCE: Final = 0.4
MAX_SKEW_MS: Final = 3_000
MAX_TORN_STEPS: Final = 60
SLOW_DISK_FACTOR: Final = 100


def draw_plan(seed: int, shape: Shape, safety_us: int = DEFAULT_SAFETY_US) -> Plan:
    """The plan of a seed."""
    rng = Chance(seed).stream("plan")
    gap_ms = rng.choice((10, 25, 60)) if shape.kind is Kind.TOY else rng.choice((25, 50, 100))
    weather = draw_weather(rng)
    strikes = draw_strikes(rng, shape, safety_us)
    roles = draw_roles(rng, shape)
    return Plan(
        seed=seed,
        shape=shape,
        safety_us=safety_us,
        weather=weather,
        load=Load(gap_ms * US_PER_MS),
        strikes=strikes,
        roles=roles,
        outside=draw_outside(rng, shape, roles),
        fate=rng.choice(tuple(Fate)),
        has_real_signatures=seed % REAL_SIGNATURES_EVERY == REAL_SIGNATURES_EVERY - 1,
    )


def draw_weather(rng: Random) -> Weather:
    """Delays from a machine room to half the world; loss, doubling, disorder and spikes now and then."""
    return Weather(
        min_delay_us=rng.choice((100, 1_000, 5_000)),
        max_delay_us=rng.choice((5_000, 20_000, 60_000)),
        loss=rng.choice((0.0, 0.0, 0.01, 0.08)),
        duplication=rng.choice((0.0, 0.0, 0.05)),
        reordering=rng.choice((0.0, 0.1, 0.5)),
        spikes=rng.choice((0.0, 0.0, 0.01)),
    )


# --- strikes -----------------------------------------------------------------------------------------------


def draw_strikes(rng: Random, shape: Shape, safety_us: int) -> tuple[Strike, ...]:
    """Strikes at random gaps, of the faults that this seed has; any number of members may suffer at once, for
    safety must hold all the same."""
    faults = [fault for fault in Fault if rng.random() < FAULT_CHANCE]
    mean_gap_us = rng.choice((300, 800, 2_000)) * US_PER_MS
    max_lasts_us = rng.choice((500, 1_500, 4_000)) * US_PER_MS
    if not faults:
        return ()
    strikes: list[Strike] = []
    at_us = rng.randint(1, 2 * mean_gap_us)
    while at_us < safety_us:
        strikes.append(draw_strike(rng, shape, rng.choice(faults), at_us, rng.randint(1, max_lasts_us)))
        at_us += rng.randint(1, 2 * mean_gap_us)
    return tuple(strikes)


def draw_strike(rng: Random, shape: Shape, fault: Fault, at_us: int, lasts_us: int) -> Strike:
    """One fault in one committee, or, one time in five, in the whole network."""
    committees = list(shape.list_members().values())
    group = rng.choice(committees)
    if rng.random() < 0.2:
        group = tuple([name for committee in committees for name in committee])
    one = (rng.choice(group),)
    match fault:
        case Fault.CRASH:
            return Strike(at_us, lasts_us, fault, rng.choice((one, one, one, group)))
        case Fault.TORN:
            return Strike(at_us, lasts_us, fault, one, amount=rng.randint(1, MAX_TORN_STEPS))
        case Fault.SPLIT | Fault.BRIDGE | Fault.ONE_WAY | Fault.SEVER:
            left, right = _divide(rng, group)
            if fault is Fault.BRIDGE and len(right) > 1:
                right = right[1:]
            return Strike(at_us, lasts_us, fault, left, right)
        case Fault.ISOLATE_LEADER:
            return Strike(at_us, lasts_us, fault, group)
        case Fault.ISOLATE_LEADERS:
            return Strike(at_us, lasts_us, fault, group, amount=rng.choice((100, 400, 1_500)))
        case Fault.CLOG:
            others = tuple([name for name in group if name not in one])
            return Strike(at_us, lasts_us, fault, one, rng.choice((others, others[:1], others[-1:])))
        case Fault.SKEW:
            return Strike(at_us, lasts_us, fault, one, amount=rng.randint(-MAX_SKEW_MS, MAX_SKEW_MS))
        case Fault.SLOW_DISK:
            return Strike(at_us, lasts_us, fault, one, amount=SLOW_DISK_FACTOR)
        case _:
            return Strike(at_us, lasts_us, fault, one)


def _divide(rng: Random, group: Sequence[T]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    shuffled = list(group)
    rng.shuffle(shuffled)
    middle = rng.randint(1, max(1, len(shuffled) - 1))
    return tuple(shuffled[:middle]), tuple(shuffled[middle:])


# --- liars, and who is left behind -------------------------------------------------------------------------


def draw_roles(rng: Random, shape: Shape) -> tuple[Role, ...]:
    """Up to f liars in each committee."""
    roles: list[Role] = []
    for committee in shape.list_members().values():
        most = count_faults(len(committee))
        count = rng.randint(1, most) if most and rng.random() < LIAR_CHANCE else 0
        roles += [draw_role(rng, name, committee) for name in sorted(rng.sample(committee, count))]
    return tuple(roles)


def draw_role(rng: Random, member: str, committee: Sequence[str]) -> Role:
    """How ``member`` lies, and to whom."""
    lie = rng.choice(tuple(Lie))
    others = [name for name in committee if name != member]
    some = tuple(sorted(rng.sample(others, rng.randint(1, max(1, len(others) - 1))))) if others else ()
    percent = rng.choice((20, 50, 100))
    match lie:
        case Lie.DELAY:
            return Role(member, lie, percent=percent, amount=rng.choice((20, 300, 3_000)))
        case Lie.WRONG_HEADER:
            return Role(member, lie, amount=rng.randint(1, 10))
        case Lie.WITHHOLD:
            return Role(member, lie, percent=rng.choice((20, 50, 80)))
        case Lie.STALE | Lie.INVALID_PAYLOAD:
            return Role(member, lie, percent=percent)
        case Lie.EQUIVOCATE | Lie.SILENT_TO_SOME | Lie.DOUBLE_ATTEST | Lie.CONTRADICT:
            return Role(member, lie, some, percent)
        case _:
            return Role(member, lie)


def draw_outside(rng: Random, shape: Shape, roles: Sequence[Role]) -> tuple[str, ...]:
    """Who is outside the core in the liveness phase: at most f a committee, liars counted."""
    outside: list[str] = []
    if rng.random() < 0.5:
        return ()
    liars = {role.member for role in roles}
    for committee in shape.list_members().values():
        honest = [name for name in committee if name not in liars]
        spare = count_faults(len(committee)) - (len(committee) - len(honest))
        outside += rng.sample(honest, max(0, spare))
    return tuple(sorted(outside))


def count_faults(size: int) -> int:
    """f of a committee, counted here again."""
    return (size - 1) // 3
