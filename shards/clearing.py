"""Clearing: how a fill and a funding settlement move cost, cash and the market's clearing accounts.

The identities that these keep exactly, whatever the rounding: Σs = 0, C + Σc = 0, 10⁶·U − R + Σ s(F − Fᵢ) = 0.
Rounding a realised result only moves value between cash and cost of one account, so trading makes no dust.
"""

from __future__ import annotations

from primitives.quantities import PPM, Overflow
from shards.markets import Market
from shards.positions import Position, touch_position
from shards.venue import (
    MAX_HELD,
    MAX_TRADED,
    Venue,
    compute_free_total,
    move_cash,
    note_exposure,
    restore_cash,
    save_buckets,
    touch_account,
)


def settle_funding(venue: Venue, position: Position) -> None:
    """Pay (or receive) the funding since the position's index: pay = ⌈s(F − Fᵢ)/10⁶⌉ against the account.

    Raises ``Overflow`` before any change.
    """
    market = position.market
    if position.funding_index == market.funding_index:
        return
    owed = position.size * (market.funding_index - position.funding_index)
    pay = -(-owed // PPM)
    if pay:
        _check_payment(venue, position, pay)
        move_cash(venue, position.owner, -pay)
    _save(venue, position)
    save_buckets(venue)
    position.funding_index = market.funding_index
    touch_position(position)
    market.clearing_funding += pay
    market.clearing_remainder += PPM * pay - owed
    whole = market.clearing_remainder // PPM
    if whole:
        market.clearing_remainder -= whole * PPM
        market.clearing_funding -= whole
        venue.dust += whole


def _check_payment(venue: Venue, position: Position, pay: int) -> None:
    sums = (position.owner.cash - pay, position.market.clearing_funding + pay, compute_free_total(venue) - pay)
    if max(sums) > MAX_TRADED or min(sums) < -MAX_TRADED:
        raise Overflow(f"a funding payment of {pay.bit_length()} bits leaves the range of what may be traded")


def _save(venue: Venue, position: Position) -> None:
    """Note the position, its owner's cash and the market's clearing accounts before they change."""
    market = position.market
    owner = position.owner
    venue.notes.append((restore_cash, venue, owner, owner.cash, venue.cash_total))
    venue.notes.append(
        (
            _restore_position,
            venue,
            position,
            (position.size, position.cost, position.funding_index),
            (market.clearing_cost, market.clearing_funding, market.clearing_remainder),
        )
    )


def _restore_position(
    venue: Venue, position: Position, values: tuple[int, int, int], clearing: tuple[int, int, int]
) -> None:
    market = position.market
    size = position.size
    position.size, position.cost, position.funding_index = values
    market.clearing_cost, market.clearing_funding, market.clearing_remainder = clearing
    note_exposure(venue, position, size)
    touch_position(position)


def _restore_trade(venue: Venue, market: Market, last_price: int, open_interest: int, fees: int) -> None:
    market.last_price, market.open_interest, venue.fees = last_price, open_interest, fees


def compute_realised(size: int, cost: int, delta: int, value: int) -> int:
    """r of a fill of ``delta`` lots for ``value`` = delta·price·k on a position (size, cost)."""
    if size == 0 or (size > 0) == (delta > 0):
        return 0
    after = size + delta
    if after == 0:
        return -value - cost
    if (after > 0) == (size > 0):
        # −V − ⌈c·(−d)/s⌉, and ⌈−x⌉ = −⌊x⌋ for x = c·d/s, whatever the signs.
        return -value + cost * delta // size
    # A flip closes s lots at the price: s·p·k = V·s/d, exactly.
    return value * size // delta - cost


def apply_trade(
    venue: Venue, taker: Position, maker: Position, delta: int, price: int, taker_fee: int, maker_fee: int
) -> Position | None:
    """Fill ``delta`` signed lots (the taker's view) at ``price`` between two subaccounts.

    Returns the position whose quantities would overflow, with nothing changed but settled funding, or ``None``.
    """
    market = taker.market
    for position in (taker, maker):
        try:
            settle_funding(venue, position)
        except Overflow:
            return position
    value = delta * price * market.unit
    taker_realised = compute_realised(taker.size, taker.cost, delta, value)
    maker_realised = compute_realised(maker.size, maker.cost, -delta, -value)
    if not _fits(taker, delta, value + taker_realised, taker_realised, taker_fee):
        return taker
    if not _fits(maker, -delta, maker_realised - value, maker_realised, maker_fee):
        return maker
    realised = taker_realised + maker_realised
    clearing_cost = market.clearing_cost - realised
    fees = venue.fees + taker_fee + maker_fee
    if (
        abs(clearing_cost) > MAX_TRADED
        or abs(compute_free_total(venue) + realised) > MAX_TRADED
        or fees > MAX_HELD
        or market.open_interest + abs(delta) > MAX_TRADED
    ):
        return taker
    _save(venue, taker)
    _save(venue, maker)
    venue.notes.append((_restore_trade, venue, market, market.last_price, market.open_interest, venue.fees))
    market.clearing_cost = clearing_cost
    market.last_price = price
    venue.fees = fees
    _apply_side(venue, market, taker, delta, value + taker_realised, taker_realised - taker_fee)
    _apply_side(venue, market, maker, -delta, maker_realised - value, maker_realised - maker_fee)
    return None


def _fits(position: Position, delta: int, cost_change: int, realised: int, fee: int) -> bool:
    return (
        -MAX_TRADED <= position.cost + cost_change <= MAX_TRADED
        and -MAX_TRADED <= position.owner.cash + realised - fee <= MAX_TRADED
        and -MAX_TRADED <= fee <= MAX_TRADED
        and -MAX_TRADED <= position.size + delta <= MAX_TRADED
    )


def _apply_side(
    venue: Venue, market: Market, position: Position, delta: int, cost_change: int, cash_change: int
) -> None:
    size = position.size
    after = size + delta
    owner = position.owner
    position.size = after
    position.cost += cost_change
    owner.cash += cash_change
    venue.cash_total += cash_change
    market.open_interest += (after if after > 0 else 0) - (size if size > 0 else 0)
    if size == 0 or after == 0:
        note_exposure(venue, position, size)
    touch_position(position)
    if not owner.account.is_dirty:
        touch_account(venue, owner.account)
