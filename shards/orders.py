"""The resting order: a record inside its position, encoded as it lies.

What lives here: the fields and flags. What does not: where an order stands in the queue (``shards.order_book``)
and who may rest one (``shards.placing``).
"""

from __future__ import annotations

from typing import Final

import msgspec

from shards.transactions import Side

SELL: Final = 1
REDUCE_ONLY: Final = 2
POST_ONLY: Final = 4
MAX_ORDERS_PER_POSITION: Final = 200
"""Bounds the record that is encoded whenever one of its orders changes."""
MAX_REDUCE_ONLY_PER_POSITION: Final = 16
"""Bounds the cancels that one change of a position can set off."""


class Order(msgspec.Struct, array_like=True, gc=False):
    """One open order. ``total`` − ``open`` is filled; ``client_id`` and ``expiry_ms`` are 0 where there is none.

    Mutable, and outside the garbage collector: it refers to nothing, so it is in no cycle.
    """

    seq: int
    price: int
    flags: int
    total: int
    open: int
    client_id: int
    expiry_ms: int


def get_side(order: Order) -> Side:
    """The side of the book on which it rests."""
    return Side.SELL if order.flags & SELL else Side.BUY
