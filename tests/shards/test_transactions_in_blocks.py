"""Envelopes in blocks: nonces, validity, fees, batches, stages, bounds."""

from __future__ import annotations

import pytest

from shards.codes import ResultCode
from shards.genesis import QUOTE
from shards.idle import IDLE_MS
from shards.nonces import MAX_ADVANCE, WINDOW
from shards.transactions import CancelAll, Mode, OrderKind, Transfer
from tests.shards.toy_shard import BUY, SELL, ToyShard, address_of, amend, cancel, make_parameters, place

FUNDS = {"ann": 10_000 * QUOTE, "bob": 10_000 * QUOTE, "cid": 10_000 * QUOTE}


@pytest.fixture
def shard() -> ToyShard:
    made = ToyShard(make_parameters(FUNDS))
    made.price(1_000)
    return made


def test_a_nonce_is_good_once(shard: ToyShard) -> None:
    assert shard.code("ann", CancelAll(), nonce=7) is ResultCode.OK
    assert shard.code("ann", CancelAll(), nonce=7) is ResultCode.NONCE_USED


def test_the_same_transaction_twice_in_a_block_runs_once(shard: ToyShard) -> None:
    transaction = shard.tx("ann", place(BUY, 990, 5))
    first, second = shard.run(transaction, transaction)
    assert (first.code, second.code) == (ResultCode.OK, ResultCode.NONCE_USED)
    assert shard.book()[0] == [[990, 5]]


def test_nonces_come_in_any_order_inside_the_window(shard: ToyShard) -> None:
    for nonce in (600, 600 - WINDOW + 1, 599, 300, 700):
        assert shard.code("ann", CancelAll(), nonce=nonce) is ResultCode.OK
    assert shard.code("ann", CancelAll(), nonce=700 - WINDOW) is ResultCode.NONCE_TOO_OLD
    assert shard.code("ann", CancelAll(), nonce=300) is ResultCode.NONCE_USED
    assert shard.code("ann", CancelAll(), nonce=700 + MAX_ADVANCE + 1) is ResultCode.NONCE_TOO_FAR
    assert shard.code("ann", CancelAll(), nonce=700 + MAX_ADVANCE) is ResultCode.OK
    assert shard.code("ann", CancelAll(), nonce=699 + MAX_ADVANCE) is ResultCode.OK


def test_validity_is_checked_against_the_block(shard: ToyShard) -> None:
    now = shard.time_ms + 1_000
    assert shard.code("ann", CancelAll(), valid_until_ms=now - 1) is ResultCode.EXPIRED
    assert shard.code("ann", CancelAll(), valid_until_ms=now + 1_000) is ResultCode.OK
    assert shard.code("ann", CancelAll(), valid_until_ms=shard.time_ms + 4_000_000) is ResultCode.VALID_TOO_LONG


def test_an_unknown_account_is_skipped_without_a_record(shard: ToyShard) -> None:
    before = set(shard.records)
    assert shard.code("nobody", place(BUY, 990, 1)) is ResultCode.NO_ACCOUNT
    assert {key for key in shard.records if key[:1] == b"a"} <= before


def test_the_fee_is_kept_when_the_actions_fail() -> None:
    shard = ToyShard(make_parameters(FUNDS, action_fee=10))
    receipt = shard.act("ann", cancel(1), place(BUY, 990, 1), mode=Mode.ATOMIC)
    assert receipt.code is ResultCode.UNKNOWN_ORDER
    assert receipt.fee == 20
    assert shard.cash("ann") == FUNDS["ann"] - 20
    assert shard.venue.fees == 20


def test_an_unpayable_fee_uses_the_nonce_and_runs_nothing() -> None:
    shard = ToyShard(make_parameters({"ann": 5, "bob": 100}, action_fee=10))
    shard.price(1_000)
    receipt = shard.act("ann", Transfer(address_of("bob"), 0, 0, 1), nonce=1)
    assert (receipt.code, receipt.action_codes, receipt.fee) == (ResultCode.NO_FUNDS, (), 0)
    assert shard.cash("ann") == 5
    assert shard.code("ann", CancelAll(), nonce=1) is ResultCode.NONCE_USED


def test_pure_cancels_are_free_within_the_allowance_of_a_block() -> None:
    shard = ToyShard(make_parameters(FUNDS, action_fee=10, free_cancels=3))
    receipts = shard.run(*(shard.tx("ann", CancelAll(), CancelAll()) for _ in range(2)))
    assert [receipt.fee for receipt in receipts] == [0, 20]
    assert shard.act("ann", CancelAll()).fee == 0


def test_an_atomic_batch_leaves_nothing_behind_when_one_action_fails(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 5, client_id=1), place(BUY, 990, 6, client_id=2))
    shard.act("cid", place(BUY, 990, 7, client_id=1))
    root = shard.book(), shard.orders("ann")
    seq = shard.market().next_seq
    receipt = shard.act(
        "ann",
        *(cancel(1), amend(2, 990, 3), place(BUY, 980, 1), place(SELL, 990, 4), cancel(9), cancel(2)),
        mode=Mode.ATOMIC,
    )
    assert receipt.code is ResultCode.UNKNOWN_ORDER
    assert receipt.action_codes == (
        *[ResultCode.ROLLED_BACK] * 4,
        ResultCode.UNKNOWN_ORDER,
        ResultCode.NOT_ATTEMPTED,
    )
    assert receipt.events == ()
    assert (shard.book(), shard.orders("ann")) == root
    assert shard.market().next_seq == seq
    # Priority survived: ann's first order still trades before cid's.
    shard.act("bob", place(SELL, 990, 5))
    assert shard.orders("ann") == {2: (990, 6)}


def test_a_best_effort_batch_goes_on_after_a_failure(shard: ToyShard) -> None:
    receipt = shard.act("ann", cancel(9), place(BUY, 990, 1, client_id=1), place(BUY, 5_000, 1))
    assert receipt.code is ResultCode.SOME_FAILED
    assert receipt.action_codes == (ResultCode.UNKNOWN_ORDER, ResultCode.OK, ResultCode.OUT_OF_BAND)
    assert shard.orders("ann") == {1: (990, 1)}


def test_cancels_run_before_takers_of_the_same_block(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 995, 5, client_id=1))
    taker, canceller = shard.run(shard.tx("bob", place(SELL, 995, 5, OrderKind.IOC)), shard.tx("ann", cancel(1)))
    assert (taker.code, canceller.code) == (ResultCode.OK, ResultCode.OK)
    assert shard.position("ann") == 0


def test_shrinks_run_before_takers_and_growth_does_not(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 995, 5, client_id=1))
    shard.run(shard.tx("bob", place(SELL, 995, 5, OrderKind.IOC)), shard.tx("ann", amend(1, 995, 2)))
    assert shard.position("bob") == -2
    shard.act("ann", place(BUY, 995, 2, client_id=2))
    shard.run(shard.tx("bob", place(SELL, 995, 5, OrderKind.IOC)), shard.tx("ann", amend(2, 995, 9)))
    assert shard.position("bob") == -4


def test_post_only_orders_run_before_takers(shard: ToyShard) -> None:
    shard.run(
        shard.tx("bob", place(SELL, 995, 5, OrderKind.IOC)),
        shard.tx("ann", place(BUY, 995, 5, OrderKind.POST_ONLY)),
    )
    assert shard.position("bob") == -5


def test_a_batch_is_never_split_over_the_stages(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 995, 5, client_id=1))
    shard.run(
        shard.tx("bob", place(SELL, 995, 5, OrderKind.IOC)),
        shard.tx("ann", cancel(1), place(BUY, 900, 1)),
    )
    assert shard.position("ann") == 5


def test_a_cancel_that_comes_before_its_order_finds_it_in_the_last_stage(shard: ToyShard) -> None:
    for mode in Mode:
        receipts = shard.run(
            shard.tx("ann", place(BUY, 990, 5, client_id=1)), shard.tx("ann", cancel(1), mode=mode)
        )
        assert [receipt.code for receipt in receipts] == [ResultCode.OK, ResultCode.OK]
        assert shard.orders("ann") == {}


def test_a_retried_cancel_pays_once_and_keeps_what_it_found() -> None:
    shard = ToyShard(make_parameters(FUNDS, action_fee=10, free_cancels=0))
    shard.price(1_000)
    shard.act("ann", place(BUY, 980, 1, client_id=1))
    receipts = shard.run(
        shard.tx("ann", place(BUY, 990, 5, client_id=2)), shard.tx("ann", cancel(1), cancel(2), cancel(3))
    )
    assert receipts[1].action_codes == (ResultCode.OK, ResultCode.OK, ResultCode.UNKNOWN_ORDER)
    assert receipts[1].fee == 30
    assert len(receipts[1].events) == 2


def test_cancel_all_forbids_places_with_lower_nonces(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 5, client_id=1), nonce=1)
    assert shard.code("ann", CancelAll(None, 10), nonce=10) is ResultCode.OK
    assert shard.orders("ann") == {}
    assert shard.code("ann", place(BUY, 990, 5), nonce=9) is ResultCode.PLACE_NONCE_TOO_LOW
    assert shard.code("ann", place(BUY, 990, 5), nonce=11) is ResultCode.OK


def test_unknown_markets_have_a_code(shard: ToyShard) -> None:
    receipt = shard.act(
        "ann", place(BUY, 990, 1, market=9), cancel(1, market=9), amend(1, 1, 1, market=9), CancelAll(9)
    )
    assert set(receipt.action_codes) == {ResultCode.UNKNOWN_MARKET}


def test_an_empty_account_is_forgotten_after_an_hour_and_not_before(shard: ToyShard) -> None:
    shard.act("cid", Transfer(address_of("bob"), 0, 0, FUNDS["cid"]))
    key = b"a" + address_of("cid")
    shard.run(step_ms=IDLE_MS - 1_000)
    assert key in shard.records
    shard.run(step_ms=2_000)
    assert key not in shard.records
    assert b"a" + address_of("oracle") in shard.records


def test_a_batch_runs_once(shard: ToyShard) -> None:
    shard.batches = 0
    shard.run(shard.tx("ann", place(BUY, 990, 5)))
    shard.batches = 0
    assert shard.run(shard.tx("ann", place(BUY, 990, 5))) == []


def test_an_account_whose_atomic_batches_had_much_undone_waits_for_the_next_block(
    shard: ToyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shards.execution.MAX_UNDONE_STEPS", 50)
    shard.act("ann", *[place(BUY, 950, 1)] * 30)
    orders = shard.book()
    doomed = [shard.tx("ann", CancelAll(), cancel(99), mode=Mode.ATOMIC) for _ in range(4)]
    good = shard.tx("ann", place(BUY, 949, 1), place(BUY, 949, 1), mode=Mode.ATOMIC)
    others = shard.tx("bob", place(BUY, 949, 1), place(BUY, 949, 1), mode=Mode.ATOMIC)
    codes = [receipt.code for receipt in shard.run(*doomed, good, others, shard.tx("ann", place(BUY, 948, 1)))]
    assert codes == [*[ResultCode.BUSY] * 5, ResultCode.OK, ResultCode.OK]
    assert shard.book()[0] == [*orders[0], [949, 2], [948, 1]]
    again = [
        shard.tx("ann", place(BUY, 947, 1), place(BUY, 947, 1), mode=Mode.ATOMIC),
        shard.tx("ann", CancelAll(), mode=Mode.ATOMIC),
    ]
    assert [receipt.code for receipt in shard.run(*again)] == [ResultCode.OK, ResultCode.OK]


def test_a_cancel_all_with_too_many_orders_costs_nothing_before_it_is_refused(
    shard: ToyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.act("ann", *[place(BUY, 950, 1)] * 30)
    monkeypatch.setattr("shards.cancelling.MAX_EVENTS", 29)
    receipt = shard.act("ann", CancelAll(min_place_nonce=2), nonce=2)
    assert receipt.code is ResultCode.TOO_MANY_EVENTS and receipt.events == ()
    assert shard.venue.notes == [] and shard.book()[0] == [[950, 30]]
