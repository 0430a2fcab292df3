"""Cross margin of a subaccount: equity, requirements, and the checks before orders and fills.

Everything is at the block's marks, fixed at its start, so a value goes stale only when the subaccount's own
positions or orders change; ``touch_position`` says so and ``refresh`` recomputes what changed.

Equity = cash + Σ(s·mark·k − c − ⌈s(F − Fᵢ)/10⁶⌉). Initial per market = ⌈k·imf·max(|s + b|, |s − a|)·mark/10⁶⌉ + the
loss to the mark if all resting bids (asks) were filled. Maintenance counts the position alone.
"""

from __future__ import annotations

from primitives.quantities import PPM
from shards.accounts import Subaccount
from shards.positions import Position


def refresh(subaccount: Subaccount, epoch: int) -> None:
    """Bring the cached sums to the present; cheap where nothing changed."""
    if subaccount.epoch == epoch:
        return
    value = initial = position_initial = maintenance = 0
    for position in subaccount.positions.values():
        if position.epoch != epoch:
            _refresh_position(position)
            position.epoch = epoch
        value += position.value
        initial += position.initial
        position_initial += position.position_initial
        maintenance += position.maintenance
    subaccount.value_sum = value
    subaccount.initial_sum = initial
    subaccount.position_initial_sum = position_initial
    subaccount.maintenance_sum = maintenance
    subaccount.epoch = epoch


def _refresh_position(position: Position) -> None:
    market = position.market
    size = position.size
    initial = 0
    if size:
        lots = size if size > 0 else -size
        owed = -(-size * (market.funding_index - position.funding_index) // PPM)
        position.value = size * market.mark_value - position.cost - owed
        initial = market.compute_initial(lots)
        position.maintenance = market.compute_maintenance(lots)
    else:
        position.value = position.maintenance = 0
    position.position_initial = initial
    bids, asks = position.bid_lots, position.ask_lots
    position.initial = compute_order_initial(position, bids, asks) if bids or asks else initial


def compute_order_initial(position: Position, bid_lots: int, ask_lots: int) -> int:
    """The initial margin of the position if ``bid_lots`` and ``ask_lots`` were open, with the loss to the mark
    of the orders that do rest."""
    market = position.market
    mark = market.mark
    # With b and a not negative, max(|s + b|, |s − a|) is max(s + b, a − s).
    lots = position.size + bid_lots
    short = ask_lots - position.size
    initial = market.compute_initial(lots if lots > short else short)
    bid_loss = position.bid_notional - position.bid_lots * mark
    ask_loss = position.ask_lots * mark - position.ask_notional
    if bid_loss > 0:
        initial += bid_loss * market.unit
    if ask_loss > 0:
        initial += ask_loss * market.unit
    return initial


def compute_equity(subaccount: Subaccount, epoch: int) -> int:
    """Cash and what closing every position at the mark would bring, unsettled funding included; pending
    credits are not in it."""
    refresh(subaccount, epoch)
    return subaccount.cash + subaccount.value_sum


def compute_withdrawable(subaccount: Subaccount, epoch: int) -> int:
    """What may leave: max(0, min(cash, equity) − initial with orders). Funding has been settled by the caller."""
    equity = compute_equity(subaccount, epoch)
    return max(0, min(subaccount.cash, equity) - subaccount.initial_sum)


def validate_fill(position: Position, delta: int, price: int, fee: int, epoch: int) -> bool:
    """Whether the owner may take on ``delta`` signed lots at ``price`` and pay ``fee``.

    Position only, orders apart: equity ≥ initial afterwards, or risk-reducing: M′ ≤ M and E′·M ≥ E·M′.
    """
    owner = position.owner
    refresh(owner, epoch)
    market = position.market
    equity = owner.cash + owner.value_sum
    equity_after = equity + delta * (market.mark - price) * market.unit - fee
    lots = abs(position.size + delta)
    initial_after = owner.position_initial_sum - position.position_initial + market.compute_initial(lots)
    if equity_after >= initial_after:
        return True
    maintenance = owner.maintenance_sum
    maintenance_after = maintenance - position.maintenance + market.compute_maintenance(lots)
    return maintenance_after <= maintenance and equity_after * maintenance >= equity * maintenance_after


def validate_any_fill(position: Position, delta: int, price: int, fee: int, epoch: int) -> bool:
    """Liquidation fills are exempt."""
    return True


def validate_order(position: Position, signed_lots: int, price: int, fee: int, epoch: int) -> bool:
    """Whether an incoming order of ``signed_lots`` (negative sells) at ``price`` may be placed.

    Its own loss to the mark and the worst fee come on top, un-netted. Without the funds it passes only where no
    requirement rises.
    """
    owner = position.owner
    refresh(owner, epoch)
    market = position.market
    if signed_lots > 0:
        needed = compute_order_initial(position, position.bid_lots + signed_lots, position.ask_lots)
    else:
        needed = compute_order_initial(position, position.bid_lots, position.ask_lots - signed_lots)
    adverse = signed_lots * (price - market.mark)
    if adverse > 0:
        needed += adverse * market.unit
    if needed <= position.initial:
        return True
    return owner.cash + owner.value_sum >= owner.initial_sum - position.initial + needed + fee


def validate_immediate(position: Position, signed_lots: int, price: int, fee: int, epoch: int) -> bool:
    """The same for an order that never rests: its price is a bound, and each fill is checked by itself, so an
    order that only reduces passes whatever it may cost."""
    owner = position.owner
    refresh(owner, epoch)
    bids = position.bid_lots + max(signed_lots, 0)
    asks = position.ask_lots - min(signed_lots, 0)
    if compute_order_initial(position, bids, asks) <= position.initial:
        return True
    return validate_order(position, signed_lots, price, fee, epoch)
