"""Fills against an independent model of a price-time book: a flat list, searched anew for every lot of work."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from shards.events import Filled
from shards.genesis import QUOTE
from shards.transactions import OrderKind, Side
from tests.shards.toy_shard import ToyShard, cancel, make_parameters, place

NAMES = ("ann", "bob", "cid")


@dataclass
class ModelOrder:
    owner: str
    side: Side
    price: int
    lots: int
    arrival: int
    client_id: int


class ModelBook:
    """No levels, no ranks: the best maker is the minimum over a list."""

    def __init__(self) -> None:
        self.orders: list[ModelOrder] = []

    def best(self, side: Side) -> ModelOrder | None:
        sign = 1 if side is Side.SELL else -1
        makers = [order for order in self.orders if order.side is side]
        return min(makers, key=lambda order: (sign * order.price, order.arrival), default=None)

    def place(self, order: ModelOrder, kind: OrderKind) -> list[tuple[str, int, int]]:
        """(maker, price, lots) of the fills."""
        opposite = Side.SELL if order.side is Side.BUY else Side.BUY
        sign = 1 if order.side is Side.BUY else -1
        fills = []
        while order.lots:
            maker = self.best(opposite)
            if maker is None or (maker.price - order.price) * sign > 0:
                break
            if maker.owner == order.owner:
                self.orders.remove(maker)
                continue
            lots = min(order.lots, maker.lots)
            fills.append((maker.owner, maker.price, lots))
            order.lots -= lots
            maker.lots -= lots
            if not maker.lots:
                self.orders.remove(maker)
        if order.lots and kind is OrderKind.LIMIT:
            self.orders.append(order)
        return fills

    def depth(self, side: Side) -> dict[int, int]:
        levels: dict[int, int] = {}
        for order in self.orders:
            if order.side is side:
                levels[order.price] = levels.get(order.price, 0) + order.lots
        return levels


@pytest.mark.parametrize("seed", range(3))
def test_fills_and_depth_agree_with_the_model(seed: int) -> None:
    rng = random.Random(seed)
    shard = ToyShard(make_parameters(dict.fromkeys(NAMES, 10**7 * QUOTE)), paranoid=False)
    shard.price(1_000)
    model = ModelBook()
    for arrival in range(1, 500):
        if arrival % 10 == 0:
            shard.price(1_000)
        name = rng.choice(NAMES)
        own = [order for order in model.orders if order.owner == name]
        if (own and rng.random() < 0.2) or len(own) > 150:
            gone = rng.choice(own)
            model.orders.remove(gone)
            shard.act(name, cancel(gone.client_id))
            continue
        side = rng.choice(tuple(Side))
        kind = rng.choice((OrderKind.LIMIT, OrderKind.LIMIT, OrderKind.IOC))
        price, lots = 1_000 + rng.randint(-8, 8), rng.randint(1, 20)
        expected = model.place(ModelOrder(name, side, price, lots, arrival, arrival), kind)
        receipt = shard.act(name, place(side, price, lots, kind, client_id=arrival))
        actual = [(event.price_ticks, event.lots) for event in receipt.events if isinstance(event, Filled)]
        assert actual == [(price, lots) for _, price, lots in expected]
        bids, asks = shard.book()
        assert dict(map(tuple, bids)) == model.depth(Side.BUY)
        assert dict(map(tuple, asks)) == model.depth(Side.SELL)
