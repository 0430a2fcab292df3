"""Seeded oracle prices: a random walk with a rare gap, the same for the same seed.

The gaps are what liquidates those who trade with all the leverage that there is.
"""

from __future__ import annotations

import random
from typing import Final

STEP_S: Final = 0.25
"""How often reporters report."""
STEP_BPS: Final = 2.0
"""Standard deviation of a step: about 30 bps a minute."""
GAP_CHANCE: Final = 0.01
"""Of each step: one gap in 25 s on average."""
GAP_BPS: Final = 450
"""What a leverage of 15 does not survive: 667 bps of equity, of which 250 are maintenance margin."""
PULL: Final = 0.02
"""Share of the distance to the start that each step takes back, so that prices stay within the venue's bounds."""


class PricePath:
    """The price of one market over the seconds of a load, in ticks."""

    def __init__(self, seed: int, symbol: str, start_ticks: int, *, is_calm: bool = False) -> None:
        self._dice = random.Random(f"price:{seed}:{symbol}")
        self._start = start_ticks
        self._is_calm = is_calm
        self._ticks = [start_ticks]

    def compute_price(self, elapsed_s: float) -> int:
        """The price at this time; asking out of order changes nothing."""
        step = max(0, int(elapsed_s / STEP_S))
        while len(self._ticks) <= step:
            self._ticks.append(self._draw(self._ticks[-1]))
        return self._ticks[step]

    def _draw(self, ticks: int) -> int:
        if self._is_calm:
            return ticks
        bps = self._dice.gauss(0.0, STEP_BPS)
        if self._dice.random() < GAP_CHANCE:
            bps += GAP_BPS if self._dice.random() < 0.5 else -GAP_BPS
        pull = PULL * (self._start - ticks)
        return max(1, round(ticks * (1 + bps / 10_000) + pull))
