"""Taking orders off the book: on request, all at once, and those that reduce nothing any more.

Cancels are always allowed: stale oracle, missing margin and bad debt do not stop them.
"""

from __future__ import annotations

from shards.accounts import Subaccount
from shards.codes import ResultCode
from shards.events import MAX_EVENTS, CancelReason, EventKind, EventTuple
from shards.notices import Cancellation
from shards.order_book import remove_order
from shards.orders import REDUCE_ONLY, SELL, Order
from shards.positions import Position
from shards.scope import Scope
from shards.transactions import Cancel, CancelAll
from shards.venue import raise_place_bound


def cancel_order(events: list[EventTuple], position: Position, order: Order, reason: CancelReason) -> None:
    """Remove a resting order and say why."""
    market = position.market
    seq, client_id, lots = order.seq, order.client_id, order.open
    remove_order(position, order)
    events.append((EventKind.CANCELLED, market.id, seq, client_id, lots, reason))
    market.notices.append(Cancellation(position, seq, client_id, lots, reason))


def apply_cancel(scope: Scope, action: Cancel) -> ResultCode:
    """Cancel one order of the subaccount."""
    if action.market not in scope.venue.markets:
        return ResultCode.UNKNOWN_MARKET
    position = scope.subaccount.positions.get(action.market)
    if position is None:
        return ResultCode.UNKNOWN_ORDER
    found = position.client_ids if action.client_id else position.orders
    order = found.get(action.client_id or action.seq)
    if order is None:
        return ResultCode.UNKNOWN_ORDER
    cancel_order(scope.events, position, order, CancelReason.REQUESTED)
    return ResultCode.OK


def apply_cancel_all(scope: Scope, action: CancelAll) -> ResultCode:
    """Cancel the subaccount's orders, oldest first within a market, and raise its bound on place nonces."""
    venue, subaccount = scope.venue, scope.subaccount
    if action.market is not None and action.market not in venue.markets:
        return ResultCode.UNKNOWN_MARKET
    positions = [
        position
        for market_id, position in sorted(subaccount.positions.items())
        if action.market is None or market_id == action.market
    ]
    if len(scope.events) + sum([len(position.orders) for position in positions]) > MAX_EVENTS:
        return ResultCode.TOO_MANY_EVENTS
    raise_place_bound(venue, subaccount, action.min_place_nonce)
    for position in positions:
        for order in list(position.orders.values()):
            cancel_order(scope.events, position, order, CancelReason.REQUESTED)
    return ResultCode.OK


def cancel_everything(events: list[EventTuple], subaccount: Subaccount) -> None:
    """Cancel all orders of a subaccount that is being liquidated."""
    for market_id in sorted(subaccount.positions):
        position = subaccount.positions[market_id]
        for order in list(position.orders.values()):
            cancel_order(events, position, order, CancelReason.LIQUIDATION)


def enforce_reduce_only(events: list[EventTuple], position: Position) -> None:
    """After the position changed: cancel its reduce-only orders on the wrong side, then newest first until what
    is open in them is no more than |s|."""
    if not position.reduce_only_count:
        return
    size = position.size
    closing = SELL if size > 0 else 0
    remaining: list[Order] = []
    total = 0
    for order in list(position.orders.values()):
        if not order.flags & REDUCE_ONLY:
            continue
        if size == 0 or order.flags & SELL != closing:
            cancel_order(events, position, order, CancelReason.REDUCE_ONLY)
            continue
        remaining.append(order)
        total += order.open
    for order in reversed(remaining):
        if total <= abs(size):
            return
        cancel_order(events, position, order, CancelReason.REDUCE_ONLY)
        total -= order.open


def compute_reducible(position: Position, sells: int) -> int:
    """How many lots a new reduce-only order (``sells`` is ``SELL`` or 0) may have: |s| less resting ones; 0 on
    the wrong side."""
    size = position.size
    if size == 0 or (size > 0) != bool(sells):
        return 0
    left = abs(size)
    if position.reduce_only_count:
        for order in position.orders.values():
            if order.flags & REDUCE_ONLY and order.flags & SELL == sells:
                left -= order.open
    return max(0, left)
