"""What a block's fills and cancels look like to subscribers. Never hashed; receipts say the same in their form."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from shards.positions import Position


class Trade(NamedTuple):
    """One fill; ``side`` is the taker's."""

    taker: Position
    maker: Position
    side: int
    price: int
    lots: int
    taker_seq: int
    maker_seq: int
    taker_fee: int
    maker_fee: int


class Cancellation(NamedTuple):
    """A resting order left the book with ``lots`` open."""

    position: Position
    seq: int
    client_id: int
    lots: int
    reason: int


Notice = Trade | Cancellation
