"""Liquidation, bad debt and the insurance fund.

Theory of operation. After the transactions every subaccount with a position is valued exactly; history of any
trigger never decides. Those with E + pending < M are processed by lowest E/M, then address, then subaccount: all
orders are cancelled, and one step is made, at most one a second: the position with the largest maintenance loses
20 % (rounded up to a lot, or all of it below a threshold) to an IOC order, limited by the band and by the price at
which the deficit would exceed what is left of the insurance. What does not fill stays. A fee of what equity is left
goes to the insurance fund, which takes no positions itself.

At most 32 a block have orders cancelled or lots filled. Those that wait for their second take nobody's place, and
those in vain (nobody trades with them) few: else 32 worthless positions in an empty book, the worst in every block,
would keep all others from being liquidated.

A subaccount with negative cash and no position is in *bad debt*: told by an event and in the summary, paid by the
fund as its cap per block allows. A subaccount with a position in a market whose oracle is stale is left alone.
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Final, NamedTuple

from primitives.quantities import MAX_INT, PPM, compare_ratios
from shards.accounts import Subaccount
from shards.cancelling import cancel_everything
from shards.events import EventKind, EventTuple
from shards.margin import compute_equity, validate_any_fill
from shards.matching import Incoming, match_incoming
from shards.positions import Position
from shards.scope import Scope
from shards.venue import MAX_HELD, Venue, move_cash, touch_account

MAX_LIQUIDATIONS_PER_BLOCK: Final = 32
MAX_ATTEMPTS_PER_BLOCK: Final = 512
"""Those in vain included; each costs some 20 µs."""
MAX_LIQUIDATION_EVENTS: Final = 20_000
"""No further subaccount after so many events: the block's receipt stays within its bound. One more subaccount makes
at most 22,000: the orders of 64 markets, and 256 makers with the reduce-only orders that they lose."""
STEP_MS: Final = 1_000


class Candidate(NamedTuple):
    """A subaccount below maintenance; ``equity`` counts pending credits."""

    subaccount: Subaccount
    equity: int
    maintenance: int


def liquidate(venue: Venue, events: list[EventTuple]) -> None:
    """The liquidation phase of a block."""
    attempts = moved = 0
    for candidate in find_candidates(venue):
        if _waits(venue, candidate.subaccount) and not _has_orders(candidate.subaccount):
            continue
        if (
            attempts >= MAX_ATTEMPTS_PER_BLOCK
            or moved >= MAX_LIQUIDATIONS_PER_BLOCK
            or len(events) >= MAX_LIQUIDATION_EVENTS
        ):
            break
        attempts += 1
        moved += _process(venue, events, candidate)
    pay_bad_debt(venue, events)


def _waits(venue: Venue, subaccount: Subaccount) -> bool:
    return venue.time_ms - subaccount.last_liquidation_ms < STEP_MS


def _has_orders(subaccount: Subaccount) -> bool:
    return any(position.orders for position in subaccount.positions.values())


def find_candidates(venue: Venue) -> list[Candidate]:
    """All subaccounts to liquidate, the worst first."""
    found: list[Candidate] = []
    epoch = venue.epoch
    for subaccount in venue.exposed.values():
        equity = compute_equity(subaccount, epoch) + subaccount.pending
        if equity < subaccount.maintenance_sum and _is_priced(subaccount):
            found.append(Candidate(subaccount, equity, subaccount.maintenance_sum))
    found.sort(key=cmp_to_key(_compare))
    return found


def _is_priced(subaccount: Subaccount) -> bool:
    return all(position.market.is_liquidatable for position in subaccount.positions.values() if position.size)


def _compare(left: Candidate, right: Candidate) -> int:
    by_ratio = compare_ratios(left.equity, left.maintenance, right.equity, right.maintenance)
    if by_ratio:
        return by_ratio
    left_key = (left.subaccount.account.address, left.subaccount.index)
    right_key = (right.subaccount.account.address, right.subaccount.index)
    return -1 if left_key < right_key else 1


def _process(venue: Venue, events: list[EventTuple], candidate: Candidate) -> bool:
    """Cancel, then one step; whether that changed anything."""
    subaccount = candidate.subaccount
    address = subaccount.account.address
    # An earlier liquidation of this block may have filled this one's orders and changed it.
    equity = compute_equity(subaccount, venue.epoch) + subaccount.pending
    if equity >= subaccount.maintenance_sum:
        return False
    told = (max(equity, -MAX_INT), min(subaccount.maintenance_sum, MAX_INT))
    events.append((EventKind.SUBACCOUNT_LIQUIDATED, address, subaccount.index, *told))
    had_orders = _has_orders(subaccount)
    cancel_everything(events, subaccount)
    if _waits(venue, subaccount):
        return True
    subaccount.last_liquidation_ms = venue.time_ms
    touch_account(venue, subaccount.account)
    positions = [position for position in subaccount.positions.values() if position.size]
    worst = min(positions, key=lambda position: (-position.maintenance, position.market.id))
    filled = _reduce(venue, events, worst)
    _note_debt(venue, events, subaccount)
    return had_orders or filled > 0


def _reduce(venue: Venue, events: list[EventTuple], position: Position) -> int:
    """Sell (or buy) one step of the position and charge the fee; the lots that were filled."""
    market, subaccount = position.market, position.owner
    lots = compute_step(position)
    sign = -1 if position.size > 0 else 1
    taker_ppm = venue.fee_tiers[subaccount.account.fee_tier][0]
    limit = compute_limit(venue, position, lots, sign, taker_ppm)
    seq = market.take_seq()
    incoming = Incoming(position, sign, limit, lots, seq, taker_ppm, validate_any_fill)
    if limit > 0:
        match_incoming(_LiquidationScope(venue, subaccount, 0, events), incoming)
    filled = lots - incoming.open
    fee = _charge_fee(venue, position, filled)
    events.append((EventKind.LIQUIDATED, market.id, seq, 0 if sign > 0 else 1, filled, fee))
    return filled


def _charge_fee(venue: Venue, position: Position, filled: int) -> int:
    """The liquidation fee on the lots, out of what equity is left, as far as the sums have room."""
    market, subaccount = position.market, position.owner
    wanted = -(-filled * market.mark_value * market.parameters.liquidation_fee_ppm // PPM)
    room = min(MAX_HELD - venue.insurance, subaccount.cash + MAX_INT, venue.cash_total + MAX_INT)
    fee = max(0, min(wanted, compute_equity(subaccount, venue.epoch), room))
    if fee:
        move_cash(venue, subaccount, -fee)
        venue.insurance += fee
    return fee


class _LiquidationScope(Scope):
    """One order's work, outside the bounds that transactions share."""

    __slots__ = ()

    def take_visit(self) -> bool:
        """Bounded by the visits of one action alone."""
        self.action_visits_left -= 1
        return self.action_visits_left >= 0


def compute_step(position: Position) -> int:
    """How many lots one step closes."""
    market = position.market
    lots = abs(position.size)
    if lots * market.mark_value < market.parameters.liquidate_whole_below:
        return lots
    return -(-lots * market.parameters.liquidation_step_ppm // PPM)


def compute_limit(venue: Venue, position: Position, lots: int, sign: int, taker_ppm: int) -> int:
    """The worst price of the step: inside the band, and such that the deficit after it, trading fees included,
    is at most what the insurance fund may still pay in this block and owes to nobody else yet. 0 or less where no
    price would do."""
    market = position.market
    equity = compute_equity(position.owner, venue.epoch)
    available = max(0, min(venue.insurance, venue.insurance_left) - venue.bad_debt)
    highest = max(market.mark, market.band_high)
    worst_fee = -(-lots * highest * market.unit * taker_ppm // PPM)
    # Filling at p loses lots·|mark − p|·k against the mark: the most that may be lost, rounded down per lot.
    allowance = (equity + available - worst_fee) // (lots * market.unit)
    if sign > 0:
        return min(market.band_high, market.mark + allowance)
    return max(market.band_low, market.mark - allowance)


def _note_debt(venue: Venue, events: list[EventTuple], subaccount: Subaccount) -> None:
    if subaccount.cash < 0 and subaccount.open_positions == 0:
        address = subaccount.account.address
        venue.indebted[address, subaccount.index] = subaccount
        venue.bad_debt -= subaccount.cash
        events.append((EventKind.BAD_DEBT, address, subaccount.index, -subaccount.cash))


def pay_bad_debt(venue: Venue, events: list[EventTuple]) -> None:
    """Cover deficits from the insurance fund, by address and subaccount, as far as fund and cap go."""
    for key in sorted(venue.indebted):
        subaccount = venue.indebted[key]
        amount = min(-subaccount.cash, venue.insurance, venue.insurance_left)
        if amount > 0 and not subaccount.open_positions:
            venue.insurance -= amount
            venue.insurance_left -= amount
            move_cash(venue, subaccount, amount)
            events.append((EventKind.INSURANCE_PAID, key[0], key[1], amount))
        if subaccount.cash >= 0 or subaccount.open_positions:
            # Paid, or credited from elsewhere earlier in this block.
            del venue.indebted[key]
