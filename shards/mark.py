"""The mark price, and everything else that a block fixes at its start.

Mark = median of (oracle; oracle + EMA(mid − oracle); median(bid, ask, last)), clamped to oracle ± band; a
one-sided or empty book gives the oracle. The book is the parent's: the inbox and the reports do not touch it. All
requirements of the block use these values, so none goes stale inside it. Without enough fresh reports the last
mark stays and the market takes only cancels and reduce-only orders.
"""

from __future__ import annotations

from typing import Final

from primitives.quantities import PPM, divide_half_away
from shards.markets import Market
from shards.oracle import compute_oracle_price
from shards.venue import Venue

EMA_SCALE: Final = 2**20
"""The average is kept in 2**-20 ticks, so that small premiums are not rounded away."""


def fix_block_values(venue: Venue) -> None:
    """Set oracle, mark, bands, freshness and margin rates of every market for this block."""
    oracle = venue.parameters.oracle
    for market in venue.markets.values():
        price = compute_oracle_price(venue, market, oracle.pricing)
        market.is_fresh = price > 0
        market.is_liquidatable = compute_oracle_price(venue, market, oracle.liquidation) > 0
        market.is_fundable = compute_oracle_price(venue, market, oracle.funding) > 0
        if price:
            market.oracle = price
            market.mark = _compute_mark(venue, market)
        derive_from_mark(market)
    # Whatever was cached before this point was valued at the parent's marks.
    venue.epoch += 1


def derive_from_mark(market: Market) -> None:
    """Bands and margin values that follow from the mark and the open interest."""
    parameters = market.parameters
    mark = market.mark
    market.mark_value = mark * market.unit
    market.band_low = -(-mark * (PPM - parameters.band_ppm) // PPM)
    market.band_high = mark * (PPM + parameters.band_ppm) // PPM
    market.block_initial_ppm = compute_block_initial_ppm(market)


def compute_block_initial_ppm(market: Market) -> int:
    """The initial margin fraction, grown in proportion from its base to 100 % while the open interest's worth
    goes from the lower to the upper bound; rounded up."""
    parameters = market.parameters
    lower, upper = parameters.open_interest_lower, parameters.open_interest_upper
    excess = min(market.open_interest * market.mark_value, upper) - lower
    if excess <= 0:
        return parameters.initial_ppm
    return parameters.initial_ppm - (-(PPM - parameters.initial_ppm) * excess // (upper - lower))


def _compute_mark(venue: Venue, market: Market) -> int:
    oracle = market.oracle
    if not market.bids.ranks or not market.asks.ranks:
        return oracle
    bid, ask = market.bids.ranks[-1], -market.asks.ranks[-1]
    _advance_average(venue, market, (bid + ask) * (EMA_SCALE // 2) - oracle * EMA_SCALE)
    averaged = oracle + divide_half_away(market.ema, EMA_SCALE)
    last = market.last_price or (bid + ask) // 2
    book = sorted((bid, ask, last))[1]
    mark = sorted((oracle, averaged, book))[1]
    band = oracle * market.parameters.mark_band_ppm // PPM
    return max(1, min(max(mark, oracle - band), oracle + band))


def _advance_average(venue: Venue, market: Market, premium: int) -> None:
    """Move the average of the premium by dt / (dt + τ) of the distance, rounded alike in both directions."""
    elapsed = venue.time_ms - market.ema_ms if market.ema_ms else 0
    market.ema += divide_half_away((premium - market.ema) * elapsed, elapsed + market.parameters.mark_ema_ms)
    market.ema_ms = venue.time_ms
