"""The invariants of the venue, counted again from scratch: after every block in tests and under ``--paranoid``.

A broken one is our own bug: an assertion, which halts the replica before it attests the block.
"""

from __future__ import annotations

from collections.abc import Iterable

from crosslink.summary import PeerSummary
from primitives.quantities import MAX_INT, PPM
from shards.accounts import Subaccount
from shards.buckets import compute_imbalance, summarise_assets
from shards.markets import Market
from shards.nonces import WINDOW
from shards.order_book import BookSide
from shards.orders import MAX_ORDERS_PER_POSITION, MAX_REDUCE_ONLY_PER_POSITION, REDUCE_ONLY, SELL
from shards.positions import Position
from shards.venue import Venue


def check(venue: Venue, peers: Iterable[PeerSummary]) -> None:
    """Raise ``AssertionError`` that names the invariant and the place where it does not hold."""
    positions: dict[int, list[Position]] = {number: [] for number in venue.markets}
    cash_total = 0
    exposed: set[tuple[bytes, int]] = set()
    indebted: set[tuple[bytes, int]] = set()
    for address, account in venue.accounts.items():
        assert 0 <= account.nonce_bitmap < 1 << WINDOW, f"the nonce window of {address.hex()}"
        for index, subaccount in account.subaccounts.items():
            cash_total += subaccount.cash
            _check_subaccount(subaccount)
            if subaccount.open_positions:
                exposed.add((address, index))
            elif subaccount.cash < 0:
                indebted.add((address, index))
            for number, position in subaccount.positions.items():
                positions[number].append(position)
    assert cash_total == venue.cash_total, "the running total of cash"
    assert exposed == venue.exposed.keys(), "the index of subaccounts with positions"
    assert indebted == venue.indebted.keys(), "the index of bad debt"
    assert venue.insurance >= 0 and venue.fees >= 0, "insurance and fees are never negative"
    for market in venue.markets.values():
        _check_clearing(market, positions[market.id])
        _check_book(market, positions[market.id])
    for asset in summarise_assets(venue):
        imbalance = compute_imbalance(asset, peers)
        assert imbalance == 0, f"I1 of asset {asset.asset} is off by {imbalance}"


def _check_subaccount(subaccount: Subaccount) -> None:
    where = f"subaccount {subaccount.index} of {subaccount.account.address.hex()}"
    assert -MAX_INT <= subaccount.cash <= MAX_INT and subaccount.pending >= 0, f"cash of {where}"
    held = sum(1 for position in subaccount.positions.values() if position.size)
    assert held == subaccount.open_positions, f"open positions of {where}"
    for position in subaccount.positions.values():
        _check_position(position, where)


def _check_position(position: Position, where: str) -> None:
    assert position.size or not position.cost, f"cost without size in {where}"
    assert abs(position.size) <= MAX_INT and abs(position.cost) <= MAX_INT, f"range in {where}"
    orders = list(position.orders.values())
    assert [order.seq for order in orders] == sorted(position.orders), f"order of orders in {where}"
    assert len(orders) <= MAX_ORDERS_PER_POSITION, f"number of orders in {where}"
    assert all(0 < order.open <= order.total for order in orders), f"open lots in {where}"
    bids = [order for order in orders if not order.flags & SELL]
    asks = [order for order in orders if order.flags & SELL]
    sums = (position.bid_lots, position.bid_notional, position.ask_lots, position.ask_notional)
    recount = (
        sum(order.open for order in bids),
        sum(order.open * order.price for order in bids),
        sum(order.open for order in asks),
        sum(order.open * order.price for order in asks),
    )
    assert sums == recount, f"sums over orders in {where}"
    named = {order.client_id: order for order in orders if order.client_id}
    assert named == position.client_ids, f"client ids in {where}"
    reducing = [order for order in orders if order.flags & REDUCE_ONLY]
    assert len(reducing) == position.reduce_only_count <= MAX_REDUCE_ONLY_PER_POSITION, f"reduce-only in {where}"
    assert all(bool(order.flags & SELL) == (position.size > 0) for order in reducing), (
        f"reduce-only side in {where}"
    )
    assert sum(order.open for order in reducing) <= abs(position.size), f"reduce-only sum in {where}"


def _check_clearing(market: Market, positions: list[Position]) -> None:
    where = f"market {market.id}"
    assert sum(position.size for position in positions) == 0, f"Σs of {where}"
    assert market.clearing_cost + sum(position.cost for position in positions) == 0, f"C + Σc of {where}"
    unsettled = sum(position.size * (market.funding_index - position.funding_index) for position in positions)
    identity = PPM * market.clearing_funding - market.clearing_remainder + unsettled
    assert identity == 0, f"10⁶·U − R + Σ s(F − Fᵢ) of {where} is {identity}"
    assert 0 <= market.clearing_remainder < PPM, f"R of {where}"
    interest = sum(position.size for position in positions if position.size > 0)
    assert interest == market.open_interest, f"open interest of {where}"


def _check_book(market: Market, positions: list[Position]) -> None:
    where = f"market {market.id}"
    expected: dict[bool, dict[int, list[tuple[int, int]]]] = {False: {}, True: {}}
    for position in positions:
        for order in position.orders.values():
            side = bool(order.flags & SELL)
            rank = -order.price if side else order.price
            expected[side].setdefault(rank, []).append((order.seq, order.open))
            assert order.seq < market.next_seq, f"seqs of {where}"
    _check_side(market.bids, expected[False], where)
    _check_side(market.asks, expected[True], where)
    if market.bids.ranks and market.asks.ranks:
        assert market.bids.ranks[-1] < -market.asks.ranks[-1], f"{where} is crossed"


def _check_side(side: BookSide, expected: dict[int, list[tuple[int, int]]], where: str) -> None:
    assert side.ranks == sorted(expected), f"ranks of {where}"
    assert side.levels.keys() == expected.keys(), f"levels of {where}"
    for rank, entries in expected.items():
        level = side.levels[rank]
        entries.sort()
        assert level.list_seqs() == [seq for seq, _ in entries], f"queue at {rank} of {where}"
        assert len(level.queue) == len(entries) and level.seqs == sorted(set(level.seqs)), (
            f"seqs at {rank} of {where}"
        )
        assert level.lots == sum(lots for _, lots in entries), f"lots at {rank} of {where}"
