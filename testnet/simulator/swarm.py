"""The swarm: which fault classes a seed has, and how hard they strike.

A run with every fault at once mostly stands still and tests little, so each seed draws a subset ("Swarm Testing",
Groce et al., ISSTA 2012). What does not live here: the faults themselves (``faults``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from testnet.simulator.network import Weather
from testnet.simulator.scheduler import US_PER_MS

REAL_SIGNATURES_EVERY: Final = 100
"""One seed in a hundred signs with Ed25519."""


class Fault(Enum):
    """Everything that may happen to hosts and links, weather apart."""

    CRASH = "crash"
    TORN = "torn"
    """Dies somewhere among the effects of one round: before or after the group commit, between two sends."""
    CRASH_ALL = "crash-all"
    SPLIT = "split"
    ONE_WAY = "one-way"
    BRIDGE = "bridge"
    ISOLATE_LEADER = "isolate-leader"
    SEVER = "sever"
    CLOG = "clog"
    PAUSE = "pause"
    SKEW = "skew"
    SLOW_DISK = "slow-disk"


@dataclass(frozen=True, slots=True)
class Swarm:
    """One seed's faults. Every gap between two strikes is drawn around ``mean_gap_us``, every strike ends after at
    most ``max_strike_us``. With ``leave_dead``, some members stay dead in the liveness phase: at most f."""

    faults: tuple[Fault, ...]
    weather: Weather
    mean_gap_us: int
    max_strike_us: int
    leave_dead: bool


def draw_swarm(rng: Random) -> Swarm:
    """A subset of the faults, sometimes none, under some weather."""
    faults = tuple([fault for fault in Fault if rng.random() < 0.35])
    weather = Weather(
        min_delay_us=rng.choice((100, 1_000, 5_000)),
        max_delay_us=rng.choice((5_000, 20_000, 60_000)),
        loss=rng.choice((0.0, 0.0, 0.01, 0.08)),
        duplication=rng.choice((0.0, 0.0, 0.05)),
        reordering=rng.choice((0.0, 0.1, 0.5)),
        spikes=rng.choice((0.0, 0.0, 0.01)),
    )
    return Swarm(
        faults=faults,
        weather=weather,
        mean_gap_us=rng.choice((300, 800, 2_000)) * US_PER_MS,
        max_strike_us=rng.choice((500, 1_500, 4_000)) * US_PER_MS,
        leave_dead=rng.random() < 0.5,
    )
