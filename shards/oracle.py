"""The oracle: reports, their freshness, and the price that enough fresh ones agree on.

A reporter is named by the genesis and observes markets; per market its observations strictly advance, at least
250 ms apart. *Fresh* means young in ms, in blocks of this shard and in beacon height, because a proposer can hold
timestamps back, but not all three. What does not live here: what the price is used for (``shards.mark``,
``shards.funding``, ``shards.liquidation``).
"""

from __future__ import annotations

from typing import Final

from shards.codes import ResultCode
from shards.genesis import FreshnessParameters
from shards.markets import Market, Observed
from shards.transactions import OracleReport
from shards.venue import Venue

MIN_REPORT_GAP_MS: Final = 250
"""Four prices a second are enough for a mark that is fixed per block, and bound what a reporter may send."""


def apply_report(venue: Venue, reporter: bytes, report: OracleReport) -> ResultCode:
    """Take all observations of a report, or none."""
    if reporter not in venue.reporters:
        return ResultCode.NOT_REPORTER
    latest_ms = venue.time_ms + venue.parameters.oracle.max_drift_ms
    seen: dict[int, int] = {}
    for observation in report.observations:
        market = venue.markets.get(observation.market)
        if market is None:
            return ResultCode.UNKNOWN_MARKET
        if observation.observed_ms > latest_ms:
            return ResultCode.OBSERVED_AHEAD
        previous = market.reports.get(reporter)
        last_ms = seen.get(market.id, -MIN_REPORT_GAP_MS if previous is None else previous.observed_ms)
        if observation.observed_ms < last_ms + MIN_REPORT_GAP_MS:
            return ResultCode.NOT_NEWER
        seen[market.id] = observation.observed_ms
    for observation in report.observations:
        reports = venue.markets[observation.market].reports
        venue.notes.append((_restore_report, reports, reporter, reports.get(reporter)))
        reports[reporter] = Observed(observation.ticks, observation.observed_ms, venue.height, venue.beacon_height)
    return ResultCode.OK


def _restore_report(reports: dict[bytes, Observed], reporter: bytes, previous: Observed | None) -> None:
    """Undo one observation: an atomic batch of reports counts whole or not at all."""
    if previous is None:
        del reports[reporter]
    else:
        reports[reporter] = previous


def list_fresh_prices(venue: Venue, market: Market, limits: FreshnessParameters) -> list[int]:
    """The fresh observations' prices, ascending."""
    return sorted(
        observed.ticks
        for observed in market.reports.values()
        if venue.time_ms - observed.observed_ms <= limits.max_age_ms
        and venue.height - observed.height <= limits.max_blocks
        and venue.beacon_height - observed.beacon_height <= limits.max_beacon_blocks
    )


def compute_oracle_price(venue: Venue, market: Market, limits: FreshnessParameters) -> int:
    """The lower median of the fresh observations; 0 unless ⌊2n/3⌋ + 1 of n reporters have one."""
    prices = list_fresh_prices(venue, market, limits)
    if len(prices) < 2 * len(venue.reporters) // 3 + 1:
        return 0
    return prices[(len(prices) - 1) // 2]
