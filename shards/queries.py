"""Read-only views of a venue for the RPC: accounts, markets, books. JSON-ready; integers in ticks, lots, quantums.

Nothing here changes what a block computes; margin values are at the marks of the last executed block.
"""

from __future__ import annotations

from typing import Any, Final

from primitives.identifiers import format_address
from shards.accounts import Subaccount
from shards.margin import compute_equity, compute_withdrawable
from shards.markets import Market
from shards.order_book import BookSide
from shards.orders import POST_ONLY, REDUCE_ONLY, Order, get_side
from shards.positions import Position
from shards.transfers import compute_bad_debt
from shards.venue import Venue

MAX_DEPTH: Final = 1_000
"""Levels of one side in an answer."""


def view_account(venue: Venue, address: bytes) -> dict[str, Any] | None:
    """Everything about one account, or ``None`` where this shard does not know it."""
    account = venue.accounts.get(address)
    if account is None:
        return None
    return {
        "address": format_address(address),
        "nonce": account.nonce_highest,
        "fee_tier": account.fee_tier,
        "subaccounts": [
            _view_subaccount(venue, subaccount) for _, subaccount in sorted(account.subaccounts.items())
        ],
    }


def _view_subaccount(venue: Venue, subaccount: Subaccount) -> dict[str, Any]:
    equity = compute_equity(subaccount, venue.epoch)
    return {
        "index": subaccount.index,
        "cash": subaccount.cash,
        "pending": subaccount.pending,
        "equity": equity,
        "initial_margin": subaccount.initial_sum,
        "maintenance_margin": subaccount.maintenance_sum,
        "withdrawable": compute_withdrawable(subaccount, venue.epoch),
        "min_place_nonce": subaccount.min_place_nonce,
        "bad_debt": -subaccount.cash if subaccount.cash < 0 and not subaccount.open_positions else 0,
        "positions": [_view_position(position) for _, position in sorted(subaccount.positions.items())],
    }


def _view_position(position: Position) -> dict[str, Any]:
    return {
        "market": position.market.id,
        "size_lots": position.size,
        "cost": position.cost,
        "value": position.value,
        "initial_margin": position.initial,
        "maintenance_margin": position.maintenance,
        "orders": [view_order(order) for order in position.orders.values()],
    }


def view_order(order: Order) -> dict[str, Any]:
    """One open order."""
    return {
        "seq": order.seq,
        "client_id": order.client_id,
        "side": int(get_side(order)),
        "price_ticks": order.price,
        "size_lots": order.total,
        "open_lots": order.open,
        "reduce_only": bool(order.flags & REDUCE_ONLY),
        "post_only": bool(order.flags & POST_ONLY),
        "expiry_ms": order.expiry_ms,
    }


def view_market(market: Market) -> dict[str, Any]:
    """Parameters and present prices of a market."""
    parameters = market.parameters
    return {
        "id": market.id,
        "symbol": parameters.symbol,
        "tick_size": parameters.tick_size,
        "lot_size": parameters.lot_size,
        "quantums_per_tick_lot": market.unit,
        "initial_ppm": market.block_initial_ppm,
        "maintenance_ppm": market.maintenance_ppm,
        "min_notional": parameters.min_notional,
        "mark_ticks": market.mark,
        "oracle_ticks": market.oracle,
        "last_ticks": market.last_price,
        "is_fresh": market.is_fresh,
        "band_low_ticks": market.band_low,
        "band_high_ticks": market.band_high,
        "bid_ticks": market.bids.ranks[-1] if market.bids.ranks else None,
        "ask_ticks": -market.asks.ranks[-1] if market.asks.ranks else None,
        "open_interest_lots": market.open_interest,
        "funding_index": market.funding_index,
    }


def list_markets(venue: Venue) -> list[dict[str, Any]]:
    """Every market of the shard, by number."""
    return [view_market(market) for market in venue.markets.values()]


def view_book(market: Market, depth: int) -> dict[str, Any]:
    """A snapshot of the best ``depth`` levels, [price, lots] each."""
    depth = max(0, min(depth, MAX_DEPTH))
    return {
        "market": market.id,
        "bids": _view_side(market.bids, depth),
        "asks": _view_side(market.asks, depth),
    }


def _view_side(side: BookSide, depth: int) -> list[list[int]]:
    return [[abs(rank), side.levels[rank].lots] for rank in side.ranks[: -depth - 1 : -1]]


def view_venue(venue: Venue) -> dict[str, Any]:
    """The venue's own buckets and where it stands."""
    return {
        "height": venue.height,
        "time_ms": venue.time_ms,
        "accounts": len(venue.accounts),
        "fees": venue.fees,
        "insurance": venue.insurance,
        "dust": venue.dust,
        "minted": venue.minted,
        "burned": venue.burned,
        "bad_debt": compute_bad_debt(venue),
    }
