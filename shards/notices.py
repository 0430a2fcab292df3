"""What subscribers are told of a block's fills, cancels and credits. Never hashed; receipts say the same."""

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


class Credit(NamedTuple):
    """Cash came in from outside the subaccount: a payment, the faucet, another shard, a refund."""

    recipient: bytes
    subaccount: int
    asset: int
    amount: int


Notice = Trade | Cancellation | Credit
