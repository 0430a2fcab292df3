"""The orders with which maker accounts show a recorded book: one order a level, kept equal to the book in a band.

Theory of operation. ``target`` is what the book should show: the recorded levels within ``depth_bps`` of a centre,
which follows the mid once that has moved an eighth of the depth, so that the band's edges do not churn with every
tick. ``resting`` is what our orders show, as far as we know. ``reconcile`` gives the difference as actions and
takes it for done:

- a level that is gone: cancel; a new one: place (post-only);
- another size: amend (a shrink keeps its place in the queue, as it did at the exchange);
- an order in doubt: cancel, and place anew under a new client id.

An order is in doubt when the chain told of a fill at its price, because an amend's size includes what is filled, or
that the transaction which placed it failed in part. So the books differ from the recording for as long as the chain
takes to tell, and not longer.

Cancels are kept apart from the rest: pure cancels run first in a block, so that a new bid never meets the ask of
another maker that stood at its price before.

A price belongs to one account, so both sides at a price are never two accounts' orders; neighbouring prices share
an account, so that a burst of changes near the mid fills few transactions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shards.transactions import Action, Amend, Cancel, OrderKind, Place, Side
from testnet.workloads.market_terms import MarketTerms
from testnet.workloads.recorded_book import BookSide, RecordedBook

BASIS_POINTS: Final = 10_000
CENTRE_SHARE: Final = 8
"""The centre follows once the mid is an eighth of the depth away."""
MAX_ORDERS_PER_ACCOUNT: Final = 190
"""The venue allows 200 open orders in a market; ten are left for cancels that are still on their way."""
PRICES_PER_RUN: Final = 256
"""Neighbouring prices that belong to one account. Of a recorded BTC stream, 64 made 243 transactions a second for
the same 827 actions, 256 make 153; wider runs meet the bound on orders."""


@dataclass(slots=True)
class LevelOrder:
    """Our order at one level, as we last asked for it."""

    maker: int
    client_id: int
    lots: int
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class MakerActions:
    """What one maker has to send: pure cancels first, then everything else."""

    maker: int
    cancels: tuple[Action, ...]
    changes: tuple[Action, ...]


class MakerQuotes:
    """``makers`` accounts, ``first_client_id`` and upwards for orders: unique among the accounts' open ones."""

    def __init__(self, terms: MarketTerms, depth_bps: int, makers: int, first_client_id: int) -> None:
        assert depth_bps > 0 and makers > 0, "the options were validated"
        self._terms = terms
        self._depth_bps = depth_bps
        self._makers = makers
        self._next_client_id = first_client_id
        self._centre = 0
        self._counts = [0] * makers
        self.bids: dict[int, LevelOrder] = {}
        self.asks: dict[int, LevelOrder] = {}
        self.left_out = 0
        """Levels that no account had room for."""

    @property
    def band(self) -> tuple[int, int]:
        """The lowest and the highest price shown; (1, 0) before the first centre."""
        reach = self._centre * self._depth_bps // BASIS_POINTS
        return (self._centre - reach, self._centre + reach) if self._centre else (1, 0)

    def reconcile(self, book: RecordedBook) -> list[MakerActions]:
        """The actions after which the makers' orders show ``book`` within the band, by maker."""
        self._follow(book)
        cancels: dict[int, list[Action]] = {}
        changes: dict[int, list[Action]] = {}
        bids, asks = self.compute_target(book)
        # Every order that goes makes room, so all of them go before any is placed.
        for resting, target in ((self.bids, bids), (self.asks, asks)):
            self._withdraw(resting, target, cancels)
        for side, resting, target in ((Side.BUY, self.bids, bids), (Side.SELL, self.asks, asks)):
            self._adjust(side, resting, target, changes)
        return [
            MakerActions(maker, tuple(cancels.get(maker, ())), tuple(changes.get(maker, ())))
            for maker in sorted(cancels.keys() | changes.keys())
        ]

    def compute_target(self, book: RecordedBook) -> tuple[dict[int, int], dict[int, int]]:
        """Bids and asks (lots by ticks) of ``book`` that the venue would take within the band."""
        low, high = self.band
        return self._select(book.bids, low, high), self._select(book.asks, low, high)

    def on_fill(self, taker_side: Side, ticks: int) -> None:
        """The chain told of a fill at this price."""
        order = (self.asks if taker_side is Side.BUY else self.bids).get(ticks)
        if order is not None:
            order.in_doubt = True

    def on_failed(self, actions: Sequence[Action]) -> None:
        """At least one of these actions failed: whatever they placed may not be there."""
        for action in actions:
            if isinstance(action, Place):
                order = (self.bids if action.side is Side.BUY else self.asks).get(action.price_ticks)
                if order is not None and order.client_id == action.client_id:
                    order.in_doubt = True

    # --- the three steps -------------------------------------------------------------------------------------

    def _follow(self, book: RecordedBook) -> None:
        mid = book.mid
        if mid is None:
            return
        if abs(mid - self._centre) * BASIS_POINTS * CENTRE_SHARE >= self._centre * self._depth_bps:
            self._centre = mid

    def _select(self, side: BookSide, low: int, high: int) -> dict[int, int]:
        lots, compute_minimum = side.lots, self._terms.compute_min_lots
        # The least size falls as prices rise: what suffices at the lowest one suffices everywhere.
        enough = compute_minimum(max(1, low))
        first, last = _find_range(side.prices, low, high)
        return {
            ticks: lots[ticks]
            for ticks in side.prices[first:last]
            if lots[ticks] >= enough or lots[ticks] >= compute_minimum(ticks)
        }

    def _withdraw(
        self, resting: dict[int, LevelOrder], target: Mapping[int, int], cancels: dict[int, list[Action]]
    ) -> None:
        """Cancel what is not wanted any more, and what is in doubt and so has to be placed anew."""
        gone = [ticks for ticks, order in resting.items() if order.in_doubt or ticks not in target]
        for ticks in gone:
            order = resting.pop(ticks)
            self._counts[order.maker] -= 1
            cancel = Cancel(market=self._terms.market, client_id=order.client_id)
            cancels.setdefault(order.maker, []).append(cancel)

    def _adjust(
        self,
        side: Side,
        resting: dict[int, LevelOrder],
        target: Mapping[int, int],
        changes: dict[int, list[Action]],
    ) -> None:
        for ticks, lots in target.items():
            order = resting.get(ticks)
            if order is None:
                self._place(side, ticks, lots, resting, changes)
            elif order.lots != lots:
                order.lots = lots
                amend = Amend(
                    market=self._terms.market, client_id=order.client_id, price_ticks=ticks, size_lots=lots
                )
                changes.setdefault(order.maker, []).append(amend)

    def _place(
        self,
        side: Side,
        ticks: int,
        lots: int,
        resting: dict[int, LevelOrder],
        changes: dict[int, list[Action]],
    ) -> None:
        maker = self._choose_maker(ticks)
        if maker is None:
            self.left_out += 1
            return
        self._counts[maker] += 1
        order = resting[ticks] = LevelOrder(maker, self._next_client_id, lots)
        self._next_client_id += 1
        place = Place(
            market=self._terms.market,
            side=side,
            kind=OrderKind.POST_ONLY,
            price_ticks=ticks,
            size_lots=lots,
            client_id=order.client_id,
        )
        changes.setdefault(maker, []).append(place)

    def _choose_maker(self, ticks: int) -> int | None:
        """The account that the price belongs to, or the next one with room."""
        first = ticks // PRICES_PER_RUN
        for step in range(self._makers):
            maker = (first + step) % self._makers
            if self._counts[maker] < MAX_ORDERS_PER_ACCOUNT:
                return maker
        return None


def split_actions(actions: Sequence[Action], size: int) -> Iterator[tuple[Action, ...]]:
    """``actions`` in order, in parts of at most ``size``."""
    for start in range(0, len(actions), size):
        yield tuple(actions[start : start + size])


def _find_range(prices: Sequence[int], low: int, high: int) -> tuple[int, int]:
    return bisect_left(prices, low), bisect_right(prices, high)
