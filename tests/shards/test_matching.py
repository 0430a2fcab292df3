"""Order kinds, priority, self-trade, amends, reduce-only, bands, expiry and the bounds on matching work."""

from __future__ import annotations

import pytest

from primitives.identifiers import format_address
from shards.codes import ResultCode
from shards.events import Cancelled, CancelReason, Filled, Placed
from shards.expiries import SWEEP_PER_BLOCK
from shards.genesis import QUOTE
from shards.order_book import Level
from shards.orders import MAX_ORDERS_PER_POSITION
from shards.positions import open_position
from shards.receipts import Receipt
from shards.transactions import Cancel, CancelAll, OrderKind, SubaccountTransfer
from tests.shards.toy_shard import (
    BUY,
    SELL,
    ToyShard,
    address_of,
    amend,
    cancel,
    make_market,
    make_parameters,
    place,
)

FUNDS = dict.fromkeys(("ann", "bob", "cid"), 100_000 * QUOTE)


@pytest.fixture
def shard() -> ToyShard:
    made = ToyShard(make_parameters(FUNDS))
    made.price(1_000)
    return made


def fills(receipt: Receipt) -> list[tuple[int, int]]:
    """(price, lots) of every fill in order."""
    return [(event.price_ticks, event.lots) for event in receipt.events if isinstance(event, Filled)]


def reasons(receipt: Receipt) -> list[CancelReason]:
    return [event.reason for event in receipt.events if isinstance(event, Cancelled)]


def test_best_price_first_then_earliest_and_the_remainder_rests(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_002, 5, client_id=1), place(SELL, 1_001, 5, client_id=2))
    shard.act("bob", place(SELL, 1_001, 5, client_id=1))
    receipt = shard.act("cid", place(BUY, 1_002, 20, client_id=1))
    assert fills(receipt) == [(1_001, 5), (1_001, 5), (1_002, 5)]
    assert shard.book() == ([[1_002, 5]], [])
    makers = [event.maker_seq for event in receipt.events if isinstance(event, Filled)]
    assert makers == [2, 3, 1]


def test_fees_and_rebates_of_a_fill(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 7))
    shard.act("bob", place(BUY, 1_000, 7))
    notional = 7 * 1_000 * 1_000
    assert shard.cash("bob") == FUNDS["bob"] - notional * 500 // 10**6
    assert shard.cash("ann") == FUNDS["ann"] + notional * 100 // 10**6
    assert shard.venue.fees == notional * 400 // 10**6


def test_an_ioc_cancels_its_remainder(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5))
    receipt = shard.act("bob", place(BUY, 1_000, 9, OrderKind.IOC))
    assert receipt.code is ResultCode.OK
    assert reasons(receipt) == [CancelReason.IMMEDIATE]
    assert (shard.position("bob"), shard.book()) == (5, ([], []))


def test_a_fok_fills_whole_or_leaves_no_trace(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5))
    shard.act("bob", place(SELL, 1_000, 2, client_id=4), place(SELL, 1_001, 9))
    seq, cash = shard.market().next_seq, shard.cash("ann")
    # Bob's own order is cancelled on the way, and comes back in its old place.
    receipt = shard.act("bob", place(BUY, 1_001, 30, OrderKind.FOK))
    assert (receipt.code, receipt.events) == (ResultCode.NOT_FILLED, ())
    assert shard.book()[1] == [[1_000, 7], [1_001, 9]]
    assert (shard.market().next_seq, shard.cash("ann"), shard.market().open_interest) == (seq, cash, 0)
    assert shard.result is not None
    assert not [topic for topic, _ in shard.result.events if topic.startswith("trades")]
    assert shard.code("cid", place(BUY, 1_001, 16, OrderKind.FOK)) is ResultCode.OK


def test_post_only_is_refused_or_slides_one_tick_from_the_best(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5))
    assert shard.code("bob", place(BUY, 1_000, 1, OrderKind.POST_ONLY)) is ResultCode.WOULD_MATCH
    assert shard.code("bob", place(BUY, 1_005, 1, OrderKind.POST_ONLY_SLIDE)) is ResultCode.OK
    assert shard.code("ann", place(BUY, 1_005, 1, OrderKind.POST_ONLY_SLIDE)) is ResultCode.OK
    assert shard.code("bob", place(SELL, 990, 1, OrderKind.POST_ONLY_SLIDE)) is ResultCode.OK
    assert shard.book() == ([[999, 2]], [[1_000, 6]])


def test_a_market_order_is_clipped_to_the_band_and_never_rests(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_050, 5))
    receipt = shard.act("bob", place(BUY, 2**30, 9, OrderKind.MARKET))
    assert (receipt.code, fills(receipt)) == (ResultCode.OK, [(1_050, 5)])
    assert shard.book() == ([], [])


def test_prices_beyond_the_band_are_refused(shard: ToyShard) -> None:
    assert shard.code("ann", place(BUY, 1_101, 1)) is ResultCode.OUT_OF_BAND
    assert shard.code("ann", place(BUY, 899, 1)) is ResultCode.OUT_OF_BAND
    assert shard.code("ann", place(BUY, 1_100, 1)) is ResultCode.OK


def test_a_maker_beyond_the_band_is_cancelled_when_reached(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5, client_id=1), place(SELL, 1_150 - 51, 5, client_id=2))
    shard.price(1_120)
    shard.price(1_120)
    assert shard.market().mark > 1_111
    receipt = shard.act("bob", place(BUY, 1_110, 10, OrderKind.IOC))
    assert reasons(receipt)[0] is CancelReason.OUT_OF_BAND
    assert fills(receipt) == [(1_099, 5)]


def test_a_self_trade_cancels_the_resting_order_of_any_subaccount(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5))
    shard.act("ann", SubaccountTransfer(1, 0, 1_000 * QUOTE))
    receipt = shard.act("ann", place(BUY, 1_000, 5), subaccount=1)
    assert reasons(receipt) == [CancelReason.SELF_TRADE]
    assert shard.book() == ([[1_000, 5]], [])


def test_a_shrink_keeps_its_place_and_anything_else_loses_it(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5, client_id=1))
    shard.act("bob", place(SELL, 1_000, 5, client_id=1))
    shard.act("ann", amend(1, 1_000, 3))
    shard.act("cid", place(BUY, 1_000, 3))
    assert shard.position("ann") == -3
    shard.act("ann", place(SELL, 1_000, 5, client_id=2))
    shard.act("bob", amend(1, 1_000, 6))
    shard.act("cid", place(BUY, 1_000, 5))
    assert (shard.position("ann"), shard.orders("bob")) == (-8, {1: (1_000, 6)})


def test_an_amends_size_is_the_total_with_what_is_filled(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 10, client_id=1))
    shard.act("bob", place(BUY, 1_000, 4))
    assert shard.code("ann", amend(1, 1_000, 4)) is ResultCode.ALREADY_FILLED
    assert shard.code("ann", amend(1, 1_001, 7)) is ResultCode.OK
    assert shard.orders("ann") == {1: (1_001, 3)}
    assert shard.code("ann", amend(1, 1_001, 9)) is ResultCode.OK
    assert shard.orders("ann") == {1: (1_001, 5)}


def test_a_refused_amend_leaves_the_order_where_it_stood(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5, client_id=1))
    shard.act("bob", place(SELL, 1_000, 5, client_id=1))
    assert shard.code("ann", amend(1, 3_000, 6)) is ResultCode.OUT_OF_BAND
    shard.act("cid", place(BUY, 1_000, 5))
    assert shard.position("ann") == -5


def test_client_ids_are_unique_among_open_orders(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5, client_id=1))
    assert shard.code("ann", place(SELL, 1_001, 5, client_id=1)) is ResultCode.DUPLICATE_CLIENT_ID
    shard.act("ann", cancel(1))
    assert shard.code("ann", place(SELL, 1_001, 5, client_id=1)) is ResultCode.OK


def test_a_cancel_by_seq_reaches_ones_own_orders_only(shard: ToyShard) -> None:
    receipt = shard.act("ann", place(SELL, 1_000, 5))
    placed = receipt.events[0]
    assert isinstance(placed, Placed)
    shard.act("bob", place(SELL, 1_001, 5))
    assert shard.code("bob", Cancel(0, 0, placed.seq)) is ResultCode.UNKNOWN_ORDER
    assert shard.code("ann", Cancel(0, 0, placed.seq)) is ResultCode.OK


def test_reduce_only_is_capped_and_never_opens(shard: ToyShard) -> None:
    assert shard.code("ann", place(SELL, 1_000, 5, reduce_only=True)) is ResultCode.NOT_REDUCING
    shard.act("bob", place(SELL, 1_000, 10))
    shard.act("ann", place(BUY, 1_000, 10))
    assert shard.code("ann", place(BUY, 1_000, 5, reduce_only=True)) is ResultCode.NOT_REDUCING
    shard.act("ann", place(SELL, 1_010, 99, reduce_only=True, client_id=1))
    assert shard.orders("ann") == {1: (1_010, 10)}
    assert shard.code("ann", place(SELL, 1_011, 1, reduce_only=True)) is ResultCode.NOT_REDUCING


def test_resting_reduce_only_orders_are_cut_newest_first_and_cancelled_on_a_flip(shard: ToyShard) -> None:
    shard.act("bob", place(SELL, 1_000, 10))
    shard.act("ann", place(BUY, 1_000, 10))
    for client_id in (1, 2, 3):
        shard.act("ann", place(SELL, 1_010 + client_id, 3, reduce_only=True, client_id=client_id))
    shard.act("bob", place(BUY, 1_000, 5))
    receipt = shard.act("ann", place(SELL, 1_000, 5))
    assert reasons(receipt) == [CancelReason.REDUCE_ONLY, CancelReason.REDUCE_ONLY]
    assert set(shard.orders("ann")) == {1}
    shard.act("bob", place(BUY, 1_000, 6))
    receipt = shard.act("ann", place(SELL, 1_000, 6))
    assert reasons(receipt) == [CancelReason.REDUCE_ONLY]
    assert (shard.position("ann"), shard.orders("ann")) == (-1, {})


def test_sixteen_reduce_only_orders_a_market(shard: ToyShard) -> None:
    shard.act("bob", place(SELL, 1_000, 50))
    shard.act("ann", place(BUY, 1_000, 50))
    receipt = shard.act("ann", *[place(SELL, 1_010, 1, reduce_only=True)] * 17)
    assert receipt.action_codes == (*[ResultCode.OK] * 16, ResultCode.TOO_MANY_REDUCE_ONLY)


def test_two_hundred_orders_a_market(shard: ToyShard) -> None:
    for _ in range(MAX_ORDERS_PER_POSITION // 25):
        assert shard.code("ann", *[place(BUY, 950, 1)] * 25) is ResultCode.OK
    assert shard.code("ann", place(BUY, 950, 1)) is ResultCode.TOO_MANY_ORDERS
    assert shard.code("ann", place(BUY, 950, 1, OrderKind.IOC)) is ResultCode.OK


def test_the_minimum_notional_holds_but_for_reduce_only() -> None:
    shard = ToyShard(make_parameters(FUNDS, markets=[make_market(0, min_notional=5 * QUOTE)]))
    shard.price(1_000)
    assert shard.code("ann", place(BUY, 1_000, 4)) is ResultCode.BELOW_MIN_NOTIONAL
    shard.act("ann", place(BUY, 1_000, 6))
    shard.act("bob", place(SELL, 1_000, 6))
    assert shard.code("ann", place(SELL, 1_000, 1, reduce_only=True)) is ResultCode.OK


def test_an_expired_order_never_matches_even_unswept(shard: ToyShard) -> None:
    expiry = shard.time_ms + 2_500
    assert shard.code("ann", place(SELL, 1_000, 5, OrderKind.GTT, expiry_ms=shard.time_ms)) is (
        ResultCode.ORDER_EXPIRED
    )
    assert shard.code("ann", place(SELL, 1_000, 5, OrderKind.GTT, expiry_ms=expiry)) is ResultCode.OK
    receipt = shard.act("bob", place(BUY, 1_000, 5, OrderKind.IOC))
    assert reasons(receipt) == [CancelReason.EXPIRED, CancelReason.IMMEDIATE]
    assert shard.position("bob") == 0


def test_the_sweep_takes_256_a_block(shard: ToyShard) -> None:
    expiry = shard.time_ms + 60_000
    for name in ("ann", "bob"):
        for _ in range(6):
            shard.act(name, *[place(BUY, 950, 1, OrderKind.GTT, expiry_ms=expiry)] * 25)
    shard.run(step_ms=60_000)
    assert sum(lots for _, lots in shard.book()[0]) == 300 - SWEEP_PER_BLOCK
    shard.run()
    assert shard.book() == ([], [])


def test_an_action_visits_256_makers_and_the_remainder_is_cancelled(shard: ToyShard) -> None:
    for name in ("ann", "bob"):
        for _ in range(6):
            shard.act(name, *[place(SELL, 1_000, 1)] * 25)
    receipt = shard.act("cid", place(BUY, 1_000, 300))
    assert len(fills(receipt)) == 256
    assert reasons(receipt) == [CancelReason.WORK_BOUND]
    assert shard.book() == ([], [[1_000, 44]])
    assert shard.code("cid", place(BUY, 1_000, 300, OrderKind.FOK)) is ResultCode.NOT_FILLED


def test_past_the_blocks_bound_places_are_busy(shard: ToyShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.venue.MAX_VISITS_PER_BLOCK", 2)
    shard.act("ann", *[place(SELL, 1_000, 1)] * 4)
    first, second = shard.run(shard.tx("bob", place(BUY, 1_000, 4)), shard.tx("cid", place(BUY, 1_000, 1)))
    assert (len(fills(first)), reasons(first)) == (2, [CancelReason.WORK_BOUND])
    assert second.code is ResultCode.BUSY


def test_a_transactions_events_are_bounded(shard: ToyShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.scope.MAX_EVENTS", 40)
    monkeypatch.setattr("shards.cancelling.MAX_EVENTS", 40)
    receipt = shard.act("ann", *[place(BUY, 950, 1)] * 8)
    assert receipt.action_codes == (*[ResultCode.OK] * 5, *[ResultCode.TOO_MANY_EVENTS] * 3)
    for _ in range(8):
        shard.act("ann", *[place(BUY, 950, 1)] * 5)
    assert shard.act("ann", CancelAll()).code is ResultCode.TOO_MANY_EVENTS


def test_messages_of_a_block_say_the_same_whenever_they_are_read(shard: ToyShard) -> None:
    shard.act("ann", place(SELL, 1_000, 5))
    shard.act("bob", place(BUY, 1_000, 3, OrderKind.IOC))
    assert shard.result is not None
    traded = shard.result.events
    at_once = list(traded)
    shard.act("ann", CancelAll())
    shard.act("bob", place(BUY, 990, 1))
    assert list(traded) == at_once
    assert [message["size_lots"] for topic, message in at_once if topic == "trades:0"] == [3]
    ann = f"account:{format_address(address_of('ann'))}"
    assert [message["role"] for topic, message in at_once if topic == ann] == ["maker"]


def test_undoing_a_removal_does_not_depend_on_how_many_orders_share_the_price(shard: ToyShard) -> None:
    position = open_position(shard.venue.accounts[address_of("ann")].subaccount(0), shard.market())
    level = Level()
    for seq in range(1, 5_001):
        level.enter(seq, position)
    seqs = level.seqs
    for seq in (1, 2, 3, 2_500, 5_000):
        level.leave(seq)
    assert [seq for seq, _ in level.peek(2)] == [4, 5]
    for seq in (5_000, 2_500, 3, 2, 1):
        level.enter(seq, position)
    assert level.seqs is seqs, "written anew for a handful of orders"
    assert level.list_seqs() == list(range(1, 5_001))


def test_a_level_forgets_the_orders_that_left(shard: ToyShard) -> None:
    position = open_position(shard.venue.accounts[address_of("ann")].subaccount(0), shard.market())
    level = Level()
    for seq in range(1, 10_000):
        level.enter(seq, position)
        if seq > 1:
            level.leave(seq)
    assert level.list_seqs() == [1] and len(level.seqs) < 200
