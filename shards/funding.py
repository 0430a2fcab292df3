"""Funding: premium samples each second, an accrual each minute. Settlement is in ``shards.clearing``.

A sample is the premium, in ppm of the oracle price, of the impact bid over it or of it over the impact ask; the
impact price is the average of selling (buying) the impact notional at once. A side too thin for that gives 0. At
the first block of a new minute the market accrues the clamped median of the last minute's samples at one sixtieth
(the rate is per hour; the remainder is carried): F += k · oracle · rate. Minutes without blocks accrue 0, and so
does one whose end finds the oracle stale.
"""

from __future__ import annotations

from typing import Final

from primitives.quantities import MAX_INT, PPM
from shards.events import EventKind, EventTuple
from shards.markets import Market
from shards.order_book import BookSide
from shards.venue import Venue

MAX_SAMPLES: Final = 60
MINUTES_PER_HOUR: Final = 60
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60_000


def sample_and_accrue(venue: Venue, events: list[EventTuple]) -> None:
    """The last phase of a block, for every market: accrue a minute that is over, then sample."""
    minute, second = venue.time_ms // _MINUTE_MS, venue.time_ms // _SECOND_MS
    for market in venue.markets.values():
        if minute > market.funding_minute:
            _accrue(market, events)
            market.funding_minute = minute
            market.funding_samples = []
        if second > market.sample_second and market.is_fundable and len(market.funding_samples) < MAX_SAMPLES:
            market.funding_samples.append(compute_premium_ppm(market))
            market.sample_second = second


def _accrue(market: Market, events: list[EventTuple]) -> None:
    if not market.funding_samples or not market.is_fundable:
        return
    samples = sorted(market.funding_samples)
    cap = market.parameters.funding_cap_ppm
    hourly_ppm = max(-cap, min(cap, samples[(len(samples) - 1) // 2]))
    rate_ppm, market.funding_carry = divmod(hourly_ppm + market.funding_carry, MINUTES_PER_HOUR)
    index = market.funding_index + market.unit * market.oracle * rate_ppm
    # At the end of its range, which only absurd prices reach, the index stays: the block must go on.
    if rate_ppm and abs(index) <= MAX_INT:
        market.funding_index = index
        events.append((EventKind.FUNDING_ACCRUED, market.id, rate_ppm, market.oracle, market.funding_index))


def compute_premium_ppm(market: Market) -> int:
    """The premium of the book over the oracle, rounded towards zero; 0 inside the impact spread."""
    bid = compute_impact(market, market.bids)
    ask = compute_impact(market, market.asks)
    premium = 0
    if bid is not None:
        lots, cost = bid
        premium += max(0, cost - market.oracle * lots) * PPM // (market.oracle * lots)
    if ask is not None:
        lots, cost = ask
        premium -= max(0, market.oracle * lots - cost) * PPM // (market.oracle * lots)
    return premium


def compute_impact(market: Market, side: BookSide) -> tuple[int, int] | None:
    """(lots, ticks·lots) of trading the impact notional against ``side``; ``None`` where it is too thin."""
    target = -(-market.parameters.impact_notional // market.unit)
    lots = cost = 0
    for price, level in side.walk():
        worth = price * level.lots
        if cost + worth >= target:
            part = -(-(target - cost) // price)
            return lots + part, cost + part * price
        lots += level.lots
        cost += worth
    return None
