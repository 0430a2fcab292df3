"""A subaccount's position in one market, with the orders that it has there.

A position is (s lots, c cost, Fᵢ funding index). Its orders live in it by seq, because one record holds both;
the book's levels refer back to the position. The sums over the orders and the margin values are derived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shards.accounts import Subaccount
from shards.orders import Order

if TYPE_CHECKING:
    from shards.markets import Market


class Position:
    """``bid_lots``, ``ask_lots`` are b and a of the margin rule, ``…_notional`` Σ open·price of each side.

    ``value`` (s·mark·k − c − unsettled funding), ``initial`` (orders included), ``position_initial`` (without)
    and ``maintenance`` are in quote quantums at the mark of block ``epoch``.
    """

    __slots__ = (
        "ask_lots",
        "ask_notional",
        "bid_lots",
        "bid_notional",
        "client_ids",
        "cost",
        "epoch",
        "funding_index",
        "initial",
        "is_dirty",
        "key",
        "maintenance",
        "market",
        "orders",
        "owner",
        "position_initial",
        "reduce_only_count",
        "size",
        "value",
    )

    def __init__(self, owner: Subaccount, market: Market) -> None:
        self.owner = owner
        self.market = market
        self.key = make_position_key(owner.account.address, owner.index, market.id)
        self.size = 0
        self.cost = 0
        self.funding_index = 0
        self.orders: dict[int, Order] = {}
        self.client_ids: dict[int, Order] = {}
        self.bid_lots = 0
        self.ask_lots = 0
        self.bid_notional = 0
        self.ask_notional = 0
        self.reduce_only_count = 0
        self.epoch = -1
        self.value = 0
        self.initial = 0
        self.position_initial = 0
        self.maintenance = 0
        self.is_dirty = False


def make_position_key(address: bytes, subaccount: int, market: int) -> bytes:
    """The key of its record; positions of one account are neighbours."""
    return b"p" + address + subaccount.to_bytes(1, "big") + market.to_bytes(2, "big")


def open_position(owner: Subaccount, market: Market) -> Position:
    """The owner's position in ``market``, made empty at first use; the flush at the block's end drops it again
    if it stays empty."""
    position = owner.positions.get(market.id)
    if position is None:
        position = owner.positions[market.id] = Position(owner, market)
        position.funding_index = market.funding_index
        touch_position(position)
    return position


def touch_position(position: Position) -> None:
    """Have the record encoded at the block's end, and the margin values computed when they are next needed."""
    position.epoch = -1
    position.owner.epoch = -1
    if not position.is_dirty:
        position.is_dirty = True
        position.market.dirty_positions.append(position)
