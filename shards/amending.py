"""Amending a resting order: shrink it in place, or replace it at the end of a queue.

The size is the total including what is filled. A smaller total at the same price keeps the seq; anything else
takes the old order out and places a new one with the same client id, flags and expiry. If the new one is refused
the caller's journal puts the old one back where it stood.
"""

from __future__ import annotations

from shards.cancelling import cancel_order
from shards.codes import ResultCode
from shards.events import CancelReason, EventKind
from shards.order_book import shrink_order
from shards.orders import POST_ONLY, REDUCE_ONLY, Order, get_side
from shards.placing import Draft, place_draft
from shards.positions import Position
from shards.scope import Scope
from shards.transactions import Amend, OrderKind, Place


def find_amended(scope: Scope, action: Amend) -> tuple[Position, Order] | None:
    """The subaccount's open order with the action's client id."""
    position = scope.subaccount.positions.get(action.market)
    if position is None:
        return None
    order = position.client_ids.get(action.client_id)
    return None if order is None else (position, order)


def is_shrink(order: Order, action: Amend) -> bool:
    """Whether the amend leaves the order where it stands."""
    return action.price_ticks == order.price and action.size_lots <= order.total


def apply_amend(scope: Scope, action: Amend) -> ResultCode:
    """Apply one amend; the caller rolls back unless the code is OK."""
    venue = scope.venue
    market = venue.markets.get(action.market)
    if market is None:
        return ResultCode.UNKNOWN_MARKET
    found = find_amended(scope, action)
    if found is None:
        return ResultCode.UNKNOWN_ORDER
    position, order = found
    filled = order.total - order.open
    if action.size_lots <= filled:
        return ResultCode.ALREADY_FILLED
    if is_shrink(order, action):
        _shrink(scope, position, order, order.total - action.size_lots)
        return ResultCode.OK
    if scope.nonce < scope.subaccount.min_place_nonce:
        return ResultCode.PLACE_NONCE_TOO_LOW
    cancel_order(scope.events, position, order, CancelReason.AMENDED)
    replacement = Place(
        market=market.id,
        side=get_side(order),
        kind=_get_kind(order),
        price_ticks=action.price_ticks,
        size_lots=action.size_lots - filled,
        client_id=order.client_id,
        reduce_only=bool(order.flags & REDUCE_ONLY),
        expiry_ms=order.expiry_ms,
    )
    return place_draft(scope, market, Draft(replacement, filled))


def _get_kind(order: Order) -> OrderKind:
    if order.flags & POST_ONLY:
        return OrderKind.POST_ONLY
    return OrderKind.GTT if order.expiry_ms else OrderKind.LIMIT


def _shrink(scope: Scope, position: Position, order: Order, lots: int) -> None:
    if lots:
        shrink_order(position, order, lots)
    scope.events.append((EventKind.AMENDED, position.market.id, order.seq, order.client_id, order.open))
