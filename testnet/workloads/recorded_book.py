"""The book that a recording describes, level by level.

Depth updates carry absolute sizes, so the newest word about a price counts. Where a recording has gaps, levels
stay that are gone at the exchange; they show themselves when they cross newer ones, and then the older word yields.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import assert_never

from testnet.workloads.market_data import DepthSnapshot, DepthUpdate, Levels


class BookSide:
    """Levels of one side: lots by price, prices in order, and the update that spoke last of each."""

    __slots__ = ("lots", "prices", "touched")

    def __init__(self) -> None:
        self.lots: dict[int, int] = {}
        self.prices: list[int] = []
        self.touched: dict[int, int] = {}

    def set(self, ticks: int, lots: int, version: int) -> None:
        """``lots`` at ``ticks`` as of update ``version``; 0 removes the level."""
        if lots == 0:
            self.remove(ticks)
            return
        if ticks not in self.lots:
            insort(self.prices, ticks)
        self.lots[ticks] = lots
        self.touched[ticks] = version

    def remove(self, ticks: int) -> None:
        """Take the level out, if there is one."""
        if self.lots.pop(ticks, 0):
            del self.prices[bisect_left(self.prices, ticks)]
            del self.touched[ticks]


class RecordedBook:
    """Feed it snapshots and updates in order."""

    def __init__(self) -> None:
        self.bids = BookSide()
        self.asks = BookSide()
        self.gaps = 0
        """Updates that do not follow on the one before: the recording lacks something there."""
        self.crossed = 0
        """Levels that were taken out because a newer one crossed them."""
        self._snapshot_id = 0
        self._last_id: int | None = None
        self._version = 0

    @property
    def best_bid(self) -> int | None:
        return self.bids.prices[-1] if self.bids.prices else None

    @property
    def best_ask(self) -> int | None:
        return self.asks.prices[0] if self.asks.prices else None

    @property
    def mid(self) -> int | None:
        """The middle between the best prices, rounded down; ``None`` while a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else (bid + ask) // 2

    def apply(self, event: DepthSnapshot | DepthUpdate) -> bool:
        """Apply one event; false where it is older than the last snapshot and says nothing new."""
        self._version += 1
        match event:
            case DepthSnapshot():
                self.bids, self.asks = BookSide(), BookSide()
                self._snapshot_id = event.update_id
            case DepthUpdate(last_update_id=last) if last <= self._snapshot_id:
                self._last_id = last
                return False
            case DepthUpdate():
                if self._last_id is not None and event.previous_id != self._last_id:
                    self.gaps += 1
                self._last_id = event.last_update_id
            case _:
                assert_never(event)
        self._merge(event.bids, event.asks)
        self._uncross()
        return True

    def _merge(self, bids: Levels, asks: Levels) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for ticks, lots in levels:
                side.set(ticks, lots, self._version)

    def _uncross(self) -> None:
        """Bounded by the number of levels: every turn removes one."""
        while True:
            bid, ask = self.best_bid, self.best_ask
            if bid is None or ask is None or bid < ask:
                return
            self.crossed += 1
            if self.bids.touched[bid] < self.asks.touched[ask]:
                self.bids.remove(bid)
            else:
                self.asks.remove(ask)
