"""The buckets of I1: where every quantum of the settlement asset is, for the summary that headers commit to.

I1 for one shard: cash + reserved + fees + insurance + pools + clearing + dust = minted − burned − sent + refunded
+ released. The sums are kept as the state changes; ``shards.invariants`` counts them again.
"""

from __future__ import annotations

from collections.abc import Iterable

from crosslink.summary import AssetSummary, PeerSummary, compute_held
from shards.transactions import SETTLEMENT_ASSET
from shards.transfers import compute_bad_debt
from shards.venue import Venue


def summarise_assets(venue: Venue) -> tuple[AssetSummary, ...]:
    """One record per asset; nothing reserves or pools yet."""
    clearing = sum(market.clearing_cost + market.clearing_funding for market in venue.markets.values())
    return (
        AssetSummary(
            asset=SETTLEMENT_ASSET,
            cash=venue.cash_total,
            reserved=0,
            fees=venue.fees,
            insurance=venue.insurance,
            pools=0,
            clearing=clearing,
            dust=venue.dust,
            minted=venue.minted,
            burned=venue.burned,
            bad_debt=compute_bad_debt(venue),
        ),
    )


def compute_imbalance(record: AssetSummary, peers: Iterable[PeerSummary]) -> int:
    """By how much I1 is broken for one asset; 0 where it holds."""
    outside = 0
    for peer in peers:
        for amounts in peer.amounts:
            if amounts.asset == record.asset:
                outside += amounts.sent - amounts.refunded - amounts.released
    return compute_held(record) + outside - (record.minted - record.burned)
