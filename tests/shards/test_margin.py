"""Margin: requirements, the check before orders, the check before each fill, what may be withdrawn."""

from __future__ import annotations

import pytest

from shards.codes import ResultCode
from shards.events import Cancelled, CancelReason
from shards.genesis import QUOTE
from shards.margin import compute_equity, compute_withdrawable, refresh
from shards.queries import list_markets, view_account, view_book, view_venue
from shards.transactions import OrderKind, SubaccountTransfer, Transfer
from tests.shards.toy_shard import BUY, SELL, ToyShard, address_of, make_market, make_parameters, place

# One lot at 1,000 ticks is worth 1 QUOTE and needs 0.1 initially, 0.05 for maintenance.
FUNDS = {"ann": 100 * QUOTE, "bob": 10_000 * QUOTE, "cid": 10_000 * QUOTE}


@pytest.fixture
def shard() -> ToyShard:
    made = ToyShard(make_parameters(FUNDS))
    made.price(1_000)
    return made


def state(shard: ToyShard, name: str = "ann") -> tuple[int, int, int]:
    """(equity, initial with orders, maintenance)"""
    subaccount = shard.venue.accounts[address_of(name)].subaccount(0)
    equity = compute_equity(subaccount, shard.venue.epoch)
    return equity, subaccount.initial_sum, subaccount.maintenance_sum


def test_the_requirement_takes_the_worse_side_and_the_loss_to_the_mark(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 100), place(SELL, 1_010, 300))
    assert state(shard)[1] == 30 * QUOTE
    shard.act("ann", place(BUY, 995, 250))
    assert state(shard)[1] == 35 * QUOTE
    shard.act("ann", place(BUY, 1_005, 10))
    # Bids below the mark offset one above it: the sum of all bids is compared with the mark.
    assert state(shard)[1] == 36 * QUOTE


def test_an_orders_own_loss_and_worst_fee_are_added_without_netting(shard: ToyShard) -> None:
    # 100 QUOTE carry 1,000 lots at the mark without fees; 0.05 % of fees leave room for 995.
    assert shard.code("ann", place(BUY, 1_000, 1_000)) is ResultCode.MARGIN
    assert shard.code("ann", place(BUY, 1_010, 960)) is ResultCode.MARGIN
    assert shard.code("ann", place(BUY, 1_000, 995)) is ResultCode.OK


def test_an_order_that_raises_no_requirement_passes_without_equity(shard: ToyShard) -> None:
    shard.act("bob", place(SELL, 1_000, 900))
    shard.act("ann", place(BUY, 1_000, 900))
    shard.price(950)
    shard.price(950)
    equity, initial, _ = state(shard)
    assert equity < initial
    assert shard.code("ann", place(BUY, 940, 1)) is ResultCode.MARGIN
    assert shard.code("ann", place(SELL, 980, 500)) is ResultCode.OK
    assert shard.code("ann", place(SELL, 1_030, 500)) is ResultCode.OK


def test_a_failing_maker_is_cancelled_and_the_taker_goes_on(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 1_000, 900))
    shard.act("cid", place(BUY, 999, 10))
    shard.price(1_090)
    shard.price(1_090)
    # At the mark of about 1,090 ann's equity no longer carries 900 lots.
    shard.act("ann", Transfer(address_of("bob"), 0, 0, 1_000))
    receipt = shard.act("bob", place(SELL, 999, 20, OrderKind.IOC))
    assert receipt.code is ResultCode.OK
    shard.act("ann", place(BUY, 1_085, 900))
    assert shard.position("ann") >= 0


def test_a_maker_without_margin_leaves_the_book() -> None:
    shard = ToyShard(make_parameters({"ann": 40 * QUOTE, "bob": FUNDS["bob"], "cid": FUNDS["cid"]},
                                     markets=[make_market(0), make_market(1)]))  # fmt: skip
    shard.price(1_000, 1_000)
    # Both orders rest on the same margin only as long as the first does not lose.
    assert shard.code("ann", place(BUY, 1_000, 150), place(BUY, 995, 200, market=1)) is ResultCode.OK
    shard.act("bob", place(SELL, 1_000, 150))
    shard.price(870, 1_000)
    shard.price(870, 1_000)
    receipt = shard.act("cid", place(SELL, 995, 200, OrderKind.IOC, market=1))
    events = [event for event in receipt.events if isinstance(event, Cancelled)]
    assert [event.reason for event in events] == [CancelReason.MAKER_MARGIN, CancelReason.IMMEDIATE]


def test_a_taker_stops_where_its_margin_ends(shard: ToyShard) -> None:
    # Room for the mark, but not for a fill that sells far below it.
    shard.act("bob", place(BUY, 950, 600), place(BUY, 999, 100))
    receipt = shard.act("ann", place(SELL, 950, 700, OrderKind.IOC))
    assert receipt.code in (ResultCode.OK, ResultCode.MARGIN)
    equity, initial, _ = state(shard)
    assert equity >= initial


def test_the_initial_fraction_grows_with_size_and_open_interest() -> None:
    market = make_market(
        0, size_threshold_lots=100, open_interest_lower=100 * QUOTE, open_interest_upper=300 * QUOTE
    )
    shard = ToyShard(make_parameters(FUNDS, markets=[market]))
    shard.price(1_000)
    held = shard.market()
    assert [held.compute_initial(lots) for lots in (0, 100, 200, 5_000)] == [
        0, 10 * QUOTE, 40 * QUOTE, 5_000 * QUOTE,
    ]  # fmt: skip
    shard.act("bob", place(SELL, 1_000, 200))
    shard.act("cid", place(BUY, 1_000, 200))
    assert held.block_initial_ppm == 100_000
    shard.run()
    assert held.block_initial_ppm == 550_000
    assert held.compute_maintenance(200) == 10 * QUOTE


def test_unrealised_gains_do_not_leave(shard: ToyShard) -> None:
    shard.act("bob", place(SELL, 1_000, 500))
    shard.act("ann", place(BUY, 1_000, 500))
    shard.price(1_100)
    shard.price(1_100)
    subaccount = shard.venue.accounts[address_of("ann")].subaccount(0)
    equity, initial, _ = state(shard)
    assert equity > subaccount.cash
    free = compute_withdrawable(subaccount, shard.venue.epoch)
    assert free == subaccount.cash - initial
    assert shard.code("ann", Transfer(address_of("cid"), 0, 0, free + 1)) is ResultCode.NOT_WITHDRAWABLE
    assert shard.code("ann", SubaccountTransfer(1, 0, free + 1)) is ResultCode.NOT_WITHDRAWABLE
    assert shard.code("ann", SubaccountTransfer(1, 0, free)) is ResultCode.OK
    assert (shard.cash("ann", 1), state(shard)[0]) == (free, equity - free)


def test_a_refreshed_sum_equals_a_fresh_one(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 100), place(SELL, 1_010, 300))
    subaccount = shard.venue.accounts[address_of("ann")].subaccount(0)
    cached = (subaccount.initial_sum, subaccount.value_sum)
    for position in subaccount.positions.values():
        position.epoch = -1
    subaccount.epoch = -1
    refresh(subaccount, shard.venue.epoch)
    assert (subaccount.initial_sum, subaccount.value_sum) == cached


def test_queries_show_the_account_the_market_and_the_book(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 100, client_id=5))
    view = view_account(shard.venue, address_of("ann"))
    assert view is not None
    subaccount = view["subaccounts"][0]
    assert (subaccount["equity"], subaccount["initial_margin"]) == (100 * QUOTE, 10 * QUOTE)
    assert subaccount["positions"][0]["orders"][0]["client_id"] == 5
    assert view_account(shard.venue, bytes(20)) is None
    assert view_book(shard.market(), 5)["bids"] == [[990, 100]]
    assert view_book(shard.market(), 0)["bids"] == []
    assert list_markets(shard.venue)[0]["mark_ticks"] == 1_000
    assert view_venue(shard.venue)["bad_debt"] == 0
