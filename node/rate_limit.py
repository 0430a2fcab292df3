"""How much a peer may send: a token bucket that first drops, then calls it abuse.

Sans-IO, integers, time passed in. The bucket outlives the connection, so reconnecting buys nothing.
"""

from __future__ import annotations

from enum import Enum

_MS_PER_S = 1000


class Toll(Enum):
    """What to do with a frame."""

    PASS = 0
    DROP = 1
    ABUSE = 2


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved. Refused tokens are remembered as debt, paid off at
    the same rate; a debt above ``burst`` is abuse: nobody honest sends twice the burst above the rate."""

    __slots__ = ("_burst", "_debt", "_millitokens", "_rate", "_updated_ms")

    def __init__(self, *, rate_per_s: int, burst: int, now_ms: int) -> None:
        self._rate = rate_per_s
        self._burst = burst * _MS_PER_S
        self._millitokens = self._burst
        self._debt = 0
        self._updated_ms = now_ms

    def covers(self, now_ms: int, cost: int) -> bool:
        """True if ``take`` would pass ``cost`` now. Charges nothing."""
        self._earn(now_ms)
        return cost * _MS_PER_S <= self._millitokens

    def take(self, now_ms: int, cost: int) -> Toll:
        """Charge ``cost`` tokens at ``now_ms``."""
        self._earn(now_ms)
        price = cost * _MS_PER_S
        if price <= self._millitokens:
            self._millitokens -= price
            return Toll.PASS
        self._debt += price
        if self._debt > self._burst:
            self._debt = 0
            return Toll.ABUSE
        return Toll.DROP

    def _earn(self, now_ms: int) -> None:
        elapsed_ms = now_ms - self._updated_ms
        if elapsed_ms > 0:
            income = elapsed_ms * self._rate
            self._updated_ms = now_ms
            self._millitokens = min(self._burst, self._millitokens + income)
            self._debt = max(0, self._debt - income)
