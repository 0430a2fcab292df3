"""State records: what of the venue is stored and committed to, one per touched thing and block.

    v                                        → VenueRecord
    a ‖ address(20)                          → AccountRecord
    p ‖ address(20) ‖ subaccount ‖ market(2) → PositionRecord, with its orders in seq order
    m ‖ market(2)                            → MarketRecord

What lives here: their forms and their encoding; reading them back is in ``shards.restoring``. Pending credits
belong to the channels (``crosslink.channels``), executed batches to ``crosslink.executed_batches``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crosslink.header import InboxCursor
from primitives.codec import Signed, Unsigned, Wire, encode
from shards.accounts import Account
from shards.markets import Market
from shards.orders import Order
from shards.positions import Position
from shards.venue import Venue

VENUE_KEY: Final = b"v"
Changes = dict[bytes, bytes | None]


class VenueRecord(Wire, frozen=True):
    """Where the chain stands, and the venue's own buckets."""

    height: Unsigned
    time_ms: Unsigned
    beacon_height: Unsigned
    cursor: InboxCursor
    fees: Unsigned
    insurance: Unsigned
    dust: Signed
    minted: Unsigned
    burned: Unsigned


class SubaccountRecord(Wire, frozen=True):
    index: Unsigned
    cash: Signed
    min_place_nonce: Unsigned
    last_liquidation_ms: Unsigned


class AccountRecord(Wire, frozen=True):
    """``nonce_bitmap`` is big endian without leading zeros; ``subaccounts`` ascend, empty ones are left out."""

    fee_tier: Unsigned
    nonce_highest: Unsigned
    nonce_bitmap: bytes
    last_used_ms: Unsigned
    subaccounts: tuple[SubaccountRecord, ...]


class PositionRecord(Wire, frozen=True):
    size: Signed
    cost: Signed
    funding_index: Signed
    orders: tuple[Order, ...]


class ReportRecord(Wire, frozen=True):
    reporter: bytes
    ticks: Unsigned
    observed_ms: Unsigned
    height: Unsigned
    beacon_height: Unsigned


class MarketRecord(Wire, frozen=True):
    """``reports`` ascend by reporter."""

    next_seq: Unsigned
    last_price: Unsigned
    open_interest: Unsigned
    clearing: tuple[Signed, Signed, Unsigned]
    funding: tuple[Signed, Unsigned, Unsigned, Unsigned]
    funding_samples: tuple[Signed, ...]
    prices: tuple[Unsigned, Unsigned]
    ema: tuple[Signed, Unsigned]
    reports: tuple[ReportRecord, ...]


def encode_genesis(venue: Venue) -> Iterator[tuple[bytes, bytes]]:
    """Every record of a venue, whatever was touched."""
    yield VENUE_KEY, encode_venue(venue, InboxCursor(0, 0, 0))
    for address, account in sorted(venue.accounts.items()):
        yield b"a" + address, encode_account(account)
    for market in venue.markets.values():
        yield market.key, encode_market(market)


def take_changes(venue: Venue, cursor: InboxCursor) -> Changes:
    """The records that the block touched, each encoded once; empty positions and dead accounts are dropped."""
    changes: Changes = {VENUE_KEY: encode_venue(venue, cursor)}
    for position in venue.dirty_positions:
        position.is_dirty = False
        if position.size or position.orders:
            changes[position.key] = encode_position(position)
        else:
            changes[position.key] = None
            position.owner.positions.pop(position.market.id, None)
            venue.idle.note(position.owner.account)
    venue.dirty_positions.clear()
    for account in venue.dirty_accounts:
        account.is_dirty = False
        if venue.accounts.get(account.address) is account:
            changes[account.key] = encode_account(account)
            venue.idle.note(account)
        else:
            changes.setdefault(account.key, None)
    venue.dirty_accounts.clear()
    for market in venue.markets.values():
        changes[market.key] = encode_market(market)
    return changes


def encode_venue(venue: Venue, cursor: InboxCursor) -> bytes:
    """The value of the venue's own record."""
    return encode(
        VenueRecord(
            venue.height,
            venue.time_ms,
            venue.beacon_height,
            cursor,
            venue.fees,
            venue.insurance,
            venue.dust,
            venue.minted,
            venue.burned,
        )
    )


def encode_account(account: Account) -> bytes:
    """The value of an account's record, as ``AccountRecord`` without building one."""
    bitmap = account.nonce_bitmap
    subaccounts = account.subaccounts
    return encode(
        (
            account.fee_tier,
            account.nonce_highest,
            bitmap.to_bytes((bitmap.bit_length() + 7) >> 3, "big"),
            account.last_used_ms,
            [
                (index, found.cash, found.min_place_nonce, found.last_liquidation_ms)
                for index, found in (sorted(subaccounts.items()) if len(subaccounts) > 1 else subaccounts.items())
                if found.cash or found.min_place_nonce or found.last_liquidation_ms
            ],
        )
    )


def encode_position(position: Position) -> bytes:
    """The value of a position's record, as ``PositionRecord`` without building one."""
    return encode((position.size, position.cost, position.funding_index, list(position.orders.values())))


def encode_market(market: Market) -> bytes:
    """The value of a market's record."""
    return encode(
        (
            market.next_seq,
            market.last_price,
            market.open_interest,
            (market.clearing_cost, market.clearing_funding, market.clearing_remainder),
            (market.funding_index, market.funding_minute, market.funding_carry, market.sample_second),
            market.funding_samples,
            (market.oracle, market.mark),
            (market.ema, market.ema_ms),
            [
                (reporter, seen.ticks, seen.observed_ms, seen.height, seen.beacon_height)
                for reporter, seen in sorted(market.reports.items())
            ],
        )
    )
