"""Venues from records and from the genesis.

Levels, aggregates, margin sums and indices are derived here; a replica restored from its records goes on exactly
as one that never stopped. The forms of the records are in ``shards.records``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from crosslink.header import InboxCursor
from primitives.codec import decode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import DIGEST_BYTES
from primitives.identifiers import ADDRESS_BYTES, parse_address
from shards.accounts import Account
from shards.genesis import ShardParameters
from shards.mark import derive_from_mark
from shards.markets import Market, Observed
from shards.nonces import BITMAP_BYTES
from shards.order_book import rest_order
from shards.orders import Order
from shards.positions import Position, open_position
from shards.records import VENUE_KEY, AccountRecord, MarketRecord, PositionRecord, VenueRecord
from shards.venue import MAX_HELD, Venue, note_exposure

MAX_RECORD_BYTES: Final = 1 << 20
"""Far above the longest, a position with 200 orders."""


def build_genesis_venue(parameters: ShardParameters, mint_limit: int = MAX_HELD) -> Venue:
    """The venue at height 0: accounts, reporters, faucet and insurance as the genesis says.

    Raises ``LocalError`` where the balances add up to more than ``mint_limit``.
    """
    venue = Venue(parameters, mint_limit)
    venue.insurance = venue.minted = parameters.insurance.funding
    for entry in parameters.accounts:
        account = venue.accounts[parse_address(entry.address)] = Account(
            parse_address(entry.address), entry.fee_tier
        )
        for index, cash in enumerate(entry.balances):
            account.subaccount(index).cash = cash
            venue.cash_total += cash
            venue.minted += cash
    for address in sorted(venue.permanent - venue.accounts.keys()):
        venue.accounts[address] = Account(address)
    if venue.minted > mint_limit:
        raise LocalError(f"accounts and insurance: the balances add up to more than {mint_limit} quantums")
    return venue


def load_venue(
    parameters: ShardParameters, records: Iterable[tuple[bytes, bytes]], mint_limit: int = MAX_HELD
) -> tuple[Venue, InboxCursor]:
    """The venue that wrote ``records`` (in any order), and the inbox cursor that it had reached.

    Raises ``LocalError`` where they are not a venue's.
    """
    venue = Venue(parameters, mint_limit)
    cursor: InboxCursor | None = None
    positions: list[tuple[bytes, bytes]] = []
    try:
        for key, value in records:
            kind = key[:1]
            if key == VENUE_KEY:
                cursor = _load_venue_record(venue, value)
            elif kind == b"a" and len(key) == 1 + ADDRESS_BYTES:
                _load_account(venue, key[1:], value)
            elif kind == b"m" and len(key) == 3:
                _load_market(venue.markets[int.from_bytes(key[1:], "big")], value)
            elif kind == b"p" and len(key) == 4 + ADDRESS_BYTES:
                positions.append((key, value))
            else:
                raise LocalError(f"no venue writes records like {key[:DIGEST_BYTES]!r}")
        _load_positions(venue, positions)
    except (RemoteError, KeyError) as error:
        raise LocalError(f"the stored state is damaged: {error}") from error
    if cursor is None:
        raise LocalError("the stored state has no venue record")
    _derive(venue)
    return venue, cursor


def _decode(kind: Any, value: bytes) -> Any:
    return decode(kind, value, max_bytes=MAX_RECORD_BYTES)


def _load_venue_record(venue: Venue, value: bytes) -> InboxCursor:
    record: VenueRecord = _decode(VenueRecord, value)
    venue.height, venue.time_ms, venue.beacon_height = record.height, record.time_ms, record.beacon_height
    venue.fees, venue.insurance, venue.dust = record.fees, record.insurance, record.dust
    venue.minted, venue.burned = record.minted, record.burned
    return record.cursor


def _load_account(venue: Venue, address: bytes, value: bytes) -> None:
    record: AccountRecord = _decode(AccountRecord, value)
    if len(record.nonce_bitmap) > BITMAP_BYTES:
        raise LocalError("a stored nonce bitmap is too long")
    account = venue.accounts[address] = Account(address, record.fee_tier)
    account.nonce_highest = record.nonce_highest
    account.nonce_bitmap = int.from_bytes(record.nonce_bitmap, "big")
    account.last_used_ms = record.last_used_ms
    for entry in record.subaccounts:
        subaccount = account.subaccount(entry.index)
        subaccount.cash = entry.cash
        subaccount.min_place_nonce = entry.min_place_nonce
        subaccount.last_liquidation_ms = entry.last_liquidation_ms
        venue.cash_total += entry.cash


def _load_market(market: Market, value: bytes) -> None:
    record: MarketRecord = _decode(MarketRecord, value)
    market.next_seq, market.last_price = record.next_seq, record.last_price
    market.open_interest = record.open_interest
    market.clearing_cost, market.clearing_funding, market.clearing_remainder = record.clearing
    market.funding_index, market.funding_minute, market.funding_carry, market.sample_second = record.funding
    market.funding_samples = list(record.funding_samples)
    market.oracle, market.mark = record.prices
    market.ema, market.ema_ms = record.ema
    market.reports = {
        report.reporter: Observed(report.ticks, report.observed_ms, report.height, report.beacon_height)
        for report in record.reports
    }


def _load_positions(venue: Venue, entries: list[tuple[bytes, bytes]]) -> None:
    """Positions first, then all orders in seq order: that is the order in which they queued."""
    resting: list[tuple[int, int, Position, Order]] = []
    for key, value in entries:
        account = venue.accounts[key[1 : 1 + ADDRESS_BYTES]]
        market = venue.markets[int.from_bytes(key[-2:], "big")]
        record: PositionRecord = _decode(PositionRecord, value)
        position = open_position(account.subaccount(key[-3]), market)
        position.size, position.cost = record.size, record.cost
        position.funding_index = record.funding_index
        note_exposure(venue, position, 0)
        resting.extend((market.id, order.seq, position, order) for order in record.orders)
    resting.sort(key=lambda entry: entry[:2])
    for _, _, position, order in resting:
        rest_order(position, order)


def _derive(venue: Venue) -> None:
    """Everything else that is not stored."""
    for market in venue.markets.values():
        derive_from_mark(market)
    for key, account in venue.accounts.items():
        venue.idle.note(account)
        for index, subaccount in account.subaccounts.items():
            if subaccount.cash < 0 and not subaccount.open_positions:
                venue.indebted[key, index] = subaccount
