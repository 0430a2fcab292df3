"""Matching: an incoming order against the book, one maker at a time.

Theory of operation. The best level is taken while it crosses; inside a level makers come in seq order. A maker
is *visited*: an expired one, one of the same account, and one beyond the band are cancelled; before a fill the
taker and then the maker are checked for margin with their fees, and whoever fails stops (taker) or is cancelled
(maker). After each fill both positions' reduce-only orders are cut back, which can remove makers further down
the same level; so the loop looks every maker up again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from primitives.quantities import PPM
from shards.cancelling import cancel_order, enforce_reduce_only
from shards.clearing import apply_trade
from shards.events import CancelReason, EventKind
from shards.margin import validate_fill
from shards.notices import Trade
from shards.order_book import BookSide, reduce_order, remove_order
from shards.orders import Order
from shards.positions import Position
from shards.scope import Scope

_CHUNK: Final = 8
"""Makers looked ahead in a level: most orders meet fewer, and copying a long queue for one fill is waste."""

FillCheck = Callable[[Position, int, int, int, int], bool]


class Incoming:
    """An order on its way through the book. ``rank`` is its limit in the ranks of the opposite side."""

    __slots__ = ("check_fill", "open", "opposite", "position", "rank", "seq", "sign", "taker_ppm")

    def __init__(
        self,
        position: Position,
        sign: int,
        limit: int,
        lots: int,
        seq: int,
        taker_ppm: int,
        check_fill: FillCheck = validate_fill,
    ) -> None:
        market = position.market
        self.position = position
        self.sign = sign
        self.opposite: BookSide = market.asks if sign > 0 else market.bids
        self.rank = -sign * limit
        self.open = lots
        self.seq = seq
        self.taker_ppm = taker_ppm
        self.check_fill = check_fill


def match_incoming(scope: Scope, incoming: Incoming) -> CancelReason | None:
    """Fill ``incoming`` as far as it goes; the reason why it stopped early, or ``None``."""
    opposite = incoming.opposite
    while incoming.open and opposite.ranks and opposite.ranks[-1] >= incoming.rank:
        rank = opposite.ranks[-1]
        level = opposite.levels[rank]
        for seq, maker in level.peek(_CHUNK):
            if seq not in level.queue:
                continue
            if not scope.take_visit():
                return CancelReason.WORK_BOUND
            stop = _visit(scope, incoming, maker, maker.orders[seq])
            if stop is not None:
                return stop
            if not incoming.open:
                return None
    return None


def _visit(scope: Scope, incoming: Incoming, maker: Position, order: Order) -> CancelReason | None:
    venue = scope.venue
    market = maker.market
    if order.expiry_ms and order.expiry_ms <= venue.time_ms:
        cancel_order(scope.events, maker, order, CancelReason.EXPIRED)
        return None
    if maker.owner.account is incoming.position.owner.account:
        cancel_order(scope.events, maker, order, CancelReason.SELF_TRADE)
        return None
    if not market.band_low <= order.price <= market.band_high:
        cancel_order(scope.events, maker, order, CancelReason.OUT_OF_BAND)
        return None
    return _fill(scope, incoming, maker, order)


def _fill(scope: Scope, incoming: Incoming, maker: Position, order: Order) -> CancelReason | None:
    venue = scope.venue
    taker = incoming.position
    price = order.price
    lots = min(incoming.open, order.open)
    delta = incoming.sign * lots
    notional = lots * price * maker.market.unit
    taker_fee = -(-notional * incoming.taker_ppm // PPM)
    maker_fee = -(-notional * venue.fee_tiers[maker.owner.account.fee_tier][1] // PPM)
    if not incoming.check_fill(taker, delta, price, taker_fee, venue.epoch):
        return CancelReason.TAKER_MARGIN
    if not validate_fill(maker, -delta, price, maker_fee, venue.epoch):
        cancel_order(scope.events, maker, order, CancelReason.MAKER_MARGIN)
        return None
    overflowing = apply_trade(venue, taker, maker, delta, price, taker_fee, maker_fee)
    if overflowing is taker:
        return CancelReason.OVERFLOW
    if overflowing is maker:
        cancel_order(scope.events, maker, order, CancelReason.OVERFLOW)
        return None
    incoming.open -= lots
    _use_maker(maker, order, lots)
    side = 0 if delta > 0 else 1
    scope.events.append(
        (EventKind.FILLED, maker.market.id, order.seq, incoming.seq, side, price, lots, maker_fee, taker_fee)
    )
    venue.notices.append(Trade(taker, maker, side, price, lots, incoming.seq, order.seq, taker_fee, maker_fee))
    enforce_reduce_only(scope.events, maker)
    enforce_reduce_only(scope.events, taker)
    return None


def _use_maker(maker: Position, order: Order, lots: int) -> None:
    """Take ``lots`` off the maker's order; used up, it leaves the book with no event of its own."""
    if lots < order.open:
        reduce_order(maker, order, lots)
    else:
        remove_order(maker, order)
