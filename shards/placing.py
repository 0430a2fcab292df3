"""Placing an order: what must hold, then matching, then resting or cancelling what is left.

What does not live here: cancels (``shards.cancelling``) and changes of a resting order (``shards.amending``).
"""

from __future__ import annotations

from primitives.quantities import PPM
from shards.cancelling import compute_reducible
from shards.codes import ResultCode
from shards.events import CancelReason, EventKind
from shards.margin import validate_immediate, validate_order
from shards.markets import Market
from shards.matching import Incoming, match_incoming
from shards.order_book import rest_order
from shards.orders import (
    MAX_ORDERS_PER_POSITION,
    MAX_REDUCE_ONLY_PER_POSITION,
    POST_ONLY,
    REDUCE_ONLY,
    SELL,
    Order,
)
from shards.positions import Position, open_position
from shards.scope import Scope
from shards.transactions import OrderKind, Place, Side

_IMMEDIATE = frozenset({OrderKind.MARKET, OrderKind.IOC, OrderKind.FOK})
_POST_ONLY = frozenset({OrderKind.POST_ONLY, OrderKind.POST_ONLY_SLIDE})


class Draft:
    """A new order before it has a seq. ``filled`` is what an amended order had filled before."""

    __slots__ = ("client_id", "expiry_ms", "filled", "kind", "lots", "price", "reduce_only", "side")

    def __init__(self, action: Place, filled: int = 0) -> None:
        self.side = action.side
        self.kind = action.kind
        self.price = action.price_ticks
        self.lots = action.size_lots
        self.client_id = action.client_id
        self.reduce_only = action.reduce_only
        self.expiry_ms = action.expiry_ms
        self.filled = filled


def apply_place(scope: Scope, action: Place) -> ResultCode:
    """Validate and execute one place; the caller rolls back unless the code is OK."""
    market = scope.venue.markets.get(action.market)
    if market is None:
        return ResultCode.UNKNOWN_MARKET
    if scope.nonce < scope.subaccount.min_place_nonce:
        return ResultCode.PLACE_NONCE_TOO_LOW
    return place_draft(scope, market, Draft(action))


def place_draft(scope: Scope, market: Market, draft: Draft) -> ResultCode:
    """Place ``draft`` for the scope's subaccount."""
    position = open_position(scope.subaccount, market)
    code = (
        _validate_moment(scope, market, draft)
        or _validate_price(market, draft)
        or _validate_room(position, draft)
        or _validate_post_only(market, draft)
        or _validate_margin(scope, position, draft)
    )
    if code:
        return code
    return _execute(scope, position, draft)


def _validate_moment(scope: Scope, market: Market, draft: Draft) -> ResultCode:
    if scope.venue.visits_left <= 0:
        return ResultCode.BUSY
    if not scope.has_room:
        return ResultCode.TOO_MANY_EVENTS
    if not market.is_fresh and (not draft.reduce_only or draft.kind is OrderKind.MARKET or not market.mark):
        return ResultCode.STALE_ORACLE
    if draft.expiry_ms and draft.expiry_ms <= scope.venue.time_ms:
        return ResultCode.ORDER_EXPIRED
    return ResultCode.OK


def _validate_price(market: Market, draft: Draft) -> ResultCode:
    """Clips a market order's bound to the band; refuses any other price beyond it."""
    if draft.kind is OrderKind.MARKET:
        if draft.side is Side.BUY:
            draft.price = min(draft.price, market.band_high)
        else:
            draft.price = max(draft.price, market.band_low)
    if draft.kind is not OrderKind.MARKET and not market.band_low <= draft.price <= market.band_high:
        return ResultCode.OUT_OF_BAND
    if not draft.reduce_only and draft.lots * draft.price * market.unit < market.parameters.min_notional:
        return ResultCode.BELOW_MIN_NOTIONAL
    return ResultCode.OK


def _validate_room(position: Position, draft: Draft) -> ResultCode:
    """Caps a reduce-only order at what is left to reduce."""
    rests = draft.kind not in _IMMEDIATE
    if rests and len(position.orders) >= MAX_ORDERS_PER_POSITION:
        return ResultCode.TOO_MANY_ORDERS
    if draft.client_id and draft.client_id in position.client_ids:
        return ResultCode.DUPLICATE_CLIENT_ID
    if not draft.reduce_only:
        return ResultCode.OK
    if rests and position.reduce_only_count >= MAX_REDUCE_ONLY_PER_POSITION:
        return ResultCode.TOO_MANY_REDUCE_ONLY
    draft.lots = min(draft.lots, compute_reducible(position, SELL if draft.side is Side.SELL else 0))
    return ResultCode.OK if draft.lots else ResultCode.NOT_REDUCING


def _validate_post_only(market: Market, draft: Draft) -> ResultCode:
    """Slides a sliding order, once, to one tick from the best opposite price, own orders included."""
    if draft.kind not in _POST_ONLY:
        return ResultCode.OK
    sign = 1 if draft.side is Side.BUY else -1
    opposite = market.asks if sign > 0 else market.bids
    if not opposite.ranks or opposite.ranks[-1] < -sign * draft.price:
        return ResultCode.OK
    if draft.kind is OrderKind.POST_ONLY:
        return ResultCode.WOULD_MATCH
    draft.price = abs(opposite.ranks[-1]) - sign
    if not market.band_low <= draft.price <= market.band_high or draft.price < 1:
        return ResultCode.WOULD_MATCH
    return ResultCode.OK


def _validate_margin(scope: Scope, position: Position, draft: Draft) -> ResultCode:
    venue = scope.venue
    signed_lots = draft.lots if draft.side is Side.BUY else -draft.lots
    taker_ppm, maker_ppm = venue.fee_tiers[scope.subaccount.account.fee_tier]
    worst_ppm = max(taker_ppm, maker_ppm)
    # A seller fills at its price or better, which is dearer: the band bounds the fee there.
    worst_price = draft.price if signed_lots > 0 else max(draft.price, position.market.band_high)
    fee = -(-draft.lots * worst_price * position.market.unit * worst_ppm // PPM)
    validate = validate_immediate if draft.kind in _IMMEDIATE else validate_order
    passes = validate(position, signed_lots, draft.price, fee, venue.epoch)
    return ResultCode.OK if passes else ResultCode.MARGIN


def _execute(scope: Scope, position: Position, draft: Draft) -> ResultCode:
    """Take a seq, match, and rest or cancel the remainder."""
    venue, market = scope.venue, position.market
    seq = market.take_seq()
    sign = 1 if draft.side is Side.BUY else -1
    stop: CancelReason | None = None
    left = draft.lots
    if draft.kind not in _POST_ONLY:
        taker_ppm = venue.fee_tiers[scope.subaccount.account.fee_tier][0]
        incoming = Incoming(position, sign, draft.price, left, seq, taker_ppm)
        stop = match_incoming(scope, incoming)
        left = incoming.open
    if not left:
        return ResultCode.OK
    if draft.kind is OrderKind.FOK:
        return ResultCode.NOT_FILLED
    if stop is None and draft.kind in _IMMEDIATE:
        stop = CancelReason.IMMEDIATE
    if stop is not None:
        scope.events.append((EventKind.CANCELLED, market.id, seq, draft.client_id, left, stop))
        return _judge_stop(stop, left == draft.lots)
    _rest(scope, position, draft, seq, left)
    return ResultCode.OK


def _judge_stop(stop: CancelReason, nothing_filled: bool) -> ResultCode:
    """An order that filled in part was executed; one that margin or range stopped at once was not."""
    if nothing_filled and stop is CancelReason.TAKER_MARGIN:
        return ResultCode.MARGIN
    if nothing_filled and stop is CancelReason.OVERFLOW:
        return ResultCode.OVERFLOW
    return ResultCode.OK


def _rest(scope: Scope, position: Position, draft: Draft, seq: int, left: int) -> None:
    flags = SELL if draft.side is Side.SELL else 0
    if draft.reduce_only:
        flags |= REDUCE_ONLY
    if draft.kind in _POST_ONLY:
        flags |= POST_ONLY
    order = Order(seq, draft.price, flags, draft.lots + draft.filled, left, draft.client_id, draft.expiry_ms)
    rest_order(position, order)
    scope.events.append(
        (EventKind.PLACED, position.market.id, seq, draft.client_id, int(draft.side), draft.price, left)
    )
