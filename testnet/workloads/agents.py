"""Seeded agents: market makers, takers, hedgers on two shards, gamblers who get liquidated.

An agent is a generator of action batches: asked for its next one, it gets the time and the prices, and answers
with what it sends where. It never looks at the chain, so the same seed and options plan the same load; an order
that it thinks open may be filled, and then its cancel fails, as it does for people.

What does not live here: who the agents' accounts are and how many act how often (``population``).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from shards.genesis import QUOTE
from shards.transactions import (
    SETTLEMENT_ASSET,
    Action,
    Cancel,
    CrossTransfer,
    OrderKind,
    Place,
    Side,
    SubaccountTransfer,
)
from testnet.workloads.market_terms import MarketTerms

MAKER_ORDERS: Final = 40
"""Open orders of a maker: enough for a book of some depth with a handful of makers."""
MAKER_SPREAD_BPS: Final = 40
ORDER_QUOTES: Final = 2_000
"""A typical order's value, in units of the quote currency."""
MAKER_SIZE: Final = 4
"""A quote is worth so many typical orders, so that most takers leave something of it."""
TAKER_SLIPPAGE_BPS: Final = 50
GAMBLER_SUBACCOUNT: Final = 1
"""Gamblers put at stake what is in here, and not all that they have."""
STAKE_QUOTES: Final = 500
GAMBLER_LEVERAGE: Final = 18
"""Of at most 20 (5 % initial margin): fees and the distance to the mark take the rest. What is left when a price
gaps by ``price_paths.GAP_BPS`` the wrong way is below maintenance."""
HEDGE_TRANSFER_QUOTES: Final = 25
TRANSFER_DEADLINE_BLOCKS: Final = 2_000
"""Beacon blocks after signing: five minutes at full pace, within the protocol's bounds."""

Prices = Callable[[MarketTerms], int]
"""The oracle price of a market now, in ticks."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What an agent sends next: to which shard, from which of its subaccounts."""

    shard: int
    actions: tuple[Action, ...]
    subaccount: int = 0


class Agent(Protocol):
    """``account`` signs; ``decide`` gives the next batch of at most ``size`` actions (at least one)."""

    @property
    def account(self) -> bytes: ...

    def decide(self, dice: random.Random, prices: Prices, size: int) -> Batch: ...


class ClientIds:
    """Client ids that no open order of any account has: they grow from a base that the load chose."""

    __slots__ = ("_next",)

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self) -> int:
        """A new one."""
        self._next += 1
        return self._next - 1


@dataclass(slots=True)
class MarketMaker:
    """Keeps ``MAKER_ORDERS`` quotes around the oracle's price: cancels its oldest, places new ones."""

    account: bytes
    markets: tuple[MarketTerms, ...]
    ids: ClientIds
    open_orders: deque[tuple[MarketTerms, int]] = field(default_factory=deque)

    def decide(self, dice: random.Random, prices: Prices, size: int) -> Batch:
        actions: list[Action] = []
        # While full, half of a batch cancels and half places, so the number of orders stays where it is.
        excess = len(self.open_orders) - MAKER_ORDERS
        cancels = min(len(self.open_orders), max(0, (excess + size + 1) // 2 if excess + size > 0 else 0))
        for _ in range(cancels):
            terms, client_id = self.open_orders.popleft()
            actions.append(Cancel(market=terms.market, client_id=client_id))
        while len(actions) < size:
            actions.append(self._quote(dice, prices))
        return Batch(self.markets[0].shard, tuple(actions))

    def _quote(self, dice: random.Random, prices: Prices) -> Place:
        terms = dice.choice(self.markets)
        price = prices(terms)
        side = Side.BUY if dice.random() < 0.5 else Side.SELL
        distance = 1 + int(price * MAKER_SPREAD_BPS / 10_000 * dice.random() ** 2)
        ticks = max(1, price - distance if side is Side.BUY else price + distance)
        client_id = self.ids.take()
        self.open_orders.append((terms, client_id))
        return Place(
            market=terms.market,
            side=side,
            kind=OrderKind.POST_ONLY,
            price_ticks=ticks,
            size_lots=MAKER_SIZE * _draw_lots(dice, terms, ticks),
            client_id=client_id,
        )


@dataclass(slots=True)
class Taker:
    """Takes on either side at random, up to a bound beyond the oracle's price."""

    account: bytes
    markets: tuple[MarketTerms, ...]

    def decide(self, dice: random.Random, prices: Prices, size: int) -> Batch:
        actions = tuple(self._take(dice, prices) for _ in range(size))
        return Batch(self.markets[0].shard, actions)

    def _take(self, dice: random.Random, prices: Prices) -> Place:
        terms = dice.choice(self.markets)
        side = Side.BUY if dice.random() < 0.5 else Side.SELL
        kind = OrderKind.IOC if dice.random() < 0.7 else OrderKind.MARKET
        bound = _compute_bound(prices(terms), side)
        return _place(terms, side, kind, bound, _draw_lots(dice, terms, bound))


@dataclass(slots=True)
class Hedger:
    """Buys here, sells as much there, and moves collateral to where it is needed; the same address on two shards.

    ``home`` and ``away`` are the markets of the two shards.
    """

    account: bytes
    home: tuple[MarketTerms, ...]
    away: tuple[MarketTerms, ...]
    turn: int = 0

    def decide(self, dice: random.Random, prices: Prices, size: int) -> Batch:
        """Four steps in turn: trade at home, trade the other way abroad, move collateral there, and back."""
        self.turn += 1
        here, there = (self.home, self.away) if self.turn % 2 else (self.away, self.home)
        if self.turn % 4 in (1, 2):
            return self._trade(dice, prices, here, size)
        return self._move_collateral(dice, here[0].shard, there[0].shard)

    def _trade(self, dice: random.Random, prices: Prices, markets: tuple[MarketTerms, ...], size: int) -> Batch:
        # The side turns every round, so a hedger's position stays bounded however long the load runs.
        is_long = (self.turn // 4) % 2 == 0
        side = Side.BUY if is_long == (markets is self.home) else Side.SELL
        actions = []
        for _ in range(size):
            terms = dice.choice(markets)
            bound = _compute_bound(prices(terms), side)
            actions.append(_place(terms, side, OrderKind.IOC, bound, _draw_lots(dice, terms, bound)))
        return Batch(markets[0].shard, tuple(actions))

    def _move_collateral(self, dice: random.Random, source: int, destination: int) -> Batch:
        transfer = CrossTransfer(
            destination=destination,
            recipient=self.account,
            subaccount=0,
            asset=SETTLEMENT_ASSET,
            amount=HEDGE_TRANSFER_QUOTES * QUOTE + dice.randrange(QUOTE),
            deadline=TRANSFER_DEADLINE_BLOCKS,
        )
        return Batch(source, (transfer,))


@dataclass(slots=True)
class Gambler:
    """Puts a stake into a subaccount, bets it with all the leverage there is, and again. Always on one side: bets
    that cancel out would have no leverage."""

    account: bytes
    markets: tuple[MarketTerms, ...]
    side: Side
    turn: int = 0

    def decide(self, dice: random.Random, prices: Prices, size: int) -> Batch:
        self.turn += 1
        shard = self.markets[0].shard
        if self.turn % 2:
            amount = STAKE_QUOTES * QUOTE
            stake = SubaccountTransfer(subaccount=GAMBLER_SUBACCOUNT, asset=SETTLEMENT_ASSET, amount=amount)
            return Batch(shard, (stake,))
        # A limit order, so that what the book cannot fill at once rests above it and is filled soon.
        terms = self.markets[0]
        bound = _compute_bound(prices(terms), self.side)
        lots = terms.compute_lots(STAKE_QUOTES * GAMBLER_LEVERAGE, bound)
        return Batch(shard, (_place(terms, self.side, OrderKind.LIMIT, bound, lots),), GAMBLER_SUBACCOUNT)


def _draw_lots(dice: random.Random, terms: MarketTerms, ticks: int) -> int:
    return terms.compute_lots(int(ORDER_QUOTES * dice.expovariate(1.0)), ticks)


def _compute_bound(price: int, side: Side) -> int:
    slippage = 1 + price * TAKER_SLIPPAGE_BPS // 10_000
    return price + slippage if side is Side.BUY else max(1, price - slippage)


def _place(terms: MarketTerms, side: Side, kind: OrderKind, ticks: int, lots: int) -> Place:
    return Place(market=terms.market, side=side, kind=kind, price_ticks=ticks, size_lots=lots)
