"""The expiry index: which resting orders end when.

Derived from the orders. A heap of (expiry, market, seq) with deletions left to be skipped: the key is a total
order over the live orders, so what comes next never depends on how the heap came about.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shards.positions import Position

SWEEP_PER_BLOCK: Final = 256
"""Expired orders never match, swept or not, so the sweep may take its time."""
_SLACK: Final = 1_024
"""Dead keys tolerated beyond the number of live ones before the heap is rebuilt."""


class ExpiryIndex:
    """Live GTT orders of all markets of a shard."""

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int]] = []
        self._live: dict[tuple[int, int], tuple[int, Position]] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, expiry_ms: int, market: int, seq: int, position: Position) -> None:
        """Enter an order."""
        self._live[market, seq] = (expiry_ms, position)
        heappush(self._heap, (expiry_ms, market, seq))

    def discard(self, market: int, seq: int) -> None:
        """Take an order out; its key is skipped when it comes up."""
        del self._live[market, seq]
        if len(self._heap) > 2 * len(self._live) + _SLACK:
            self._heap = [(expiry, number, order) for (number, order), (expiry, _) in self._live.items()]
            heapify(self._heap)

    def pop_expired(self, now_ms: int) -> tuple[Position, int] | None:
        """The first expired order as (position, seq), or ``None``; the caller removes it from the book, and
        so from here."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            _, market, seq = heappop(heap)
            found = self._live.get((market, seq))
            if found is not None:
                return found[1], seq
        return None
