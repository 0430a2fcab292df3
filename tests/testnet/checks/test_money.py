"""Checks of money and transfers pass where everything adds up and fail where one unit is off."""

from typing import Any

import pytest

from crosslink.summary import ShardSummary
from testnet.checks.channels import (
    CREDITED,
    EXPIRED,
    OPEN,
    PENDING,
    REFUNDED,
    REJECTED,
    SETTLED,
    ExactlyOnceCheck,
    OrderedTransaction,
    TransferSides,
    check_quiescence,
)
from testnet.checks.conservation import ConservationCheck, Cut
from testnet.checks.open_interest import check_open_interest, collect_positions
from tests.testnet.checks.fabricated import make_peer, make_summary

NOBODY: frozenset[int] = frozenset()


def make_flight() -> dict[int, ShardSummary]:
    """100 left shard 0, of which 30 were refunded, 50 have arrived and 20 are on the way."""
    source = make_peer(1, sent=100, refunded=30, burned=40, next_send=5, next_ack=3, open_count=2)
    destination = make_peer(0, released=50, next_recv=4)
    return {0: make_summary(source, cash=830), 1: make_summary(destination, cash=950)}


def judge_cut(summaries: dict[int, ShardSummary], says: bool = True) -> tuple[bool, str]:
    check = ConservationCheck()
    check.on_cut(Cut(7, summaries, says))
    verdict = check.conclude()
    return verdict.ok, verdict.detail


def test_money_in_flight_is_counted() -> None:
    assert judge_cut(make_flight()) == (True, "exact at all 1 beacon heights; at most in flight: 20 of asset 0")


def test_shards_without_a_registered_header_are_left_out() -> None:
    assert judge_cut({})[0]
    sender = make_peer(1, sent=100, next_send=1, open_count=1)
    assert judge_cut({0: make_summary(sender, cash=800)})[0]


@pytest.mark.parametrize("bucket", ["cash", "reserved", "fees", "insurance", "pools", "clearing", "dust"])
def test_one_unit_too_much_in_any_bucket_is_found(bucket: str) -> None:
    summaries = make_flight()
    value = getattr(summaries[1].assets[0], bucket)
    summaries[1] = make_summary(make_peer(0, released=50, next_recv=4), **{"cash": 950, bucket: value + 1})
    ok, detail = judge_cut(summaries)
    assert not ok
    assert "off by 1)" in detail


@pytest.mark.parametrize(
    ("source", "destination", "complaint"),
    [
        ({"sent": 100, "next_send": 1, "open_count": 0}, {}, "0 open, but 1 sent"),
        ({"next_send": 1, "next_ack": 1}, {}, "settled 1 ≤ received 0"),
        ({}, {"next_recv": 1}, "received 1 ≤ sent 0"),
        ({"sent": 100, "refunded": 100}, {"released": 100}, "more of asset 0 was released"),
        ({}, {"released": 5}, "more of asset 0 was released"),
    ],
)
def test_channels_that_contradict_each_other_are_found(
    source: dict[str, int], destination: dict[str, int], complaint: str
) -> None:
    ok, detail = judge_cut({0: make_summary(make_peer(1, **source)), 1: make_summary(make_peer(0, **destination))})
    assert not ok
    assert complaint in detail


def test_what_the_beacon_itself_reports_is_not_overlooked() -> None:
    assert not judge_cut(make_flight(), says=False)[0]


def test_no_beacon_height_is_no_conservation() -> None:
    assert not ConservationCheck().conclude().ok


def test_an_unreadable_height_fails() -> None:
    check = ConservationCheck()
    check.on_cut(Cut(1, {}))
    check.on_unreadable(2, "shard1 height 4 is registered, but nobody shows it")
    assert "beacon height 2: shard1 height 4" in check.conclude().detail


# --- exactly once ------------------------------------------------------------------------------------------


def make_transfer(source_state: str | None, destination_state: str | None, **changes: Any) -> TransferSides:
    arrived = 0 if destination_state is None else 10
    return TransferSides(0, 1, 0, source_state, destination_state, 10, changes.get("arrived", arrived))


@pytest.mark.parametrize(
    ("source", "destination", "holds"),
    [
        (OPEN, None, True),
        (OPEN, PENDING, True),
        (OPEN, CREDITED, True),
        (OPEN, REJECTED, True),
        (SETTLED, CREDITED, True),
        (SETTLED, PENDING, True),
        (REFUNDED, REJECTED, True),
        (REFUNDED, EXPIRED, True),
        (REFUNDED, CREDITED, False),
        (REFUNDED, None, False),
        (SETTLED, REJECTED, False),
        (SETTLED, None, False),
        (None, CREDITED, False),
        ("lost", None, False),
    ],
)
def test_both_ends_of_a_transfer_must_fit(source: str | None, destination: str | None, holds: bool) -> None:
    check = ExactlyOnceCheck()
    check.on_transfer(make_transfer(source, destination))
    assert check.conclude().ok is holds


def test_an_amount_that_changes_on_the_way_is_found() -> None:
    check = ExactlyOnceCheck()
    check.on_transfer(make_transfer(SETTLED, CREDITED, arrived=11))
    assert "10 left, 11 arrived" in check.conclude().detail


def test_a_transaction_may_be_ordered_twice_but_not_take_effect_twice() -> None:
    check = ExactlyOnceCheck()
    check.on_transaction(0, 3, OrderedTransaction(b"a", 1, "SOME_FAILED"))
    check.on_transaction(0, 3, OrderedTransaction(b"a", 1, "NONCE_USED"))
    check.on_transaction(0, 4, OrderedTransaction(b"a", 1, None))
    check.on_transaction(0, 4, OrderedTransaction(b"a", 2, "OK"))
    check.on_transaction(1, 3, OrderedTransaction(b"a", 1, "OK"))
    assert check.conclude().ok, "shards count nonces apart"
    check.on_transaction(0, 9, OrderedTransaction(b"a", 1, "OK"))
    assert "shard0 height 9: nonce 1 of 61 has effect again" in check.conclude().detail


def test_a_credit_that_was_given_twice_shows_in_the_totals() -> None:
    transfer = make_transfer(SETTLED, CREDITED)
    source = make_peer(1, sent=10, burned=10, next_send=1, next_ack=1)
    for released, holds in ((10, True), (20, False)):
        check = ExactlyOnceCheck()
        check.on_transfer(transfer)
        # The burned total lies along, so that the channel counts as settled.
        burned = make_peer(1, sent=released, burned=released, next_send=1, next_ack=1)
        destination = make_peer(0, released=released, next_recv=1)
        summaries = {0: make_summary(source if holds else burned), 1: make_summary(destination)}
        check.on_totals(summaries)
        assert check.conclude().ok is holds


# --- quiescence --------------------------------------------------------------------------------------------


def settle(**changes: int) -> dict[int, ShardSummary]:
    source = {"sent": 10, "burned": 10, "next_send": 1, "next_ack": 1, **changes}
    return {0: make_summary(make_peer(1, **source)), 1: make_summary(make_peer(0, released=10, next_recv=1))}


def test_settled_channels_are_quiescent() -> None:
    assert check_quiescence(settle(), NOBODY, 0, 0).ok


@pytest.mark.parametrize(
    "changes", [{"next_ack": 0, "open_count": 1, "burned": 0}, {"next_send": 2, "open_count": 1}]
)
def test_an_open_transfer_is_found(changes: dict[str, int]) -> None:
    verdict = check_quiescence(settle(**changes), NOBODY, 0, 0)
    assert not verdict.ok
    assert "channel 0 → 1: 1 transfers are open" in verdict.detail


def test_a_credit_that_is_not_free_yet_is_found() -> None:
    summaries = settle()
    summaries[1] = make_summary(make_peer(0, released=0, next_recv=1))
    assert "not all credits are free" in check_quiescence(summaries, NOBODY, 0, 0).detail


def test_transfers_to_a_dead_shard_are_reported_without_failing() -> None:
    verdict = check_quiescence(settle(next_send=3, open_count=2, sent=30), frozenset({1}), 0, 0)
    assert verdict.ok
    assert "2 transfers are open, because shard 1 is dead" in verdict.detail
    silent = {0: settle(next_send=3, open_count=2, sent=30)[0]}
    assert check_quiescence(silent, frozenset({1}), 0, 0).ok, "also where nobody of it answers"


def test_a_network_where_no_shard_answers_is_not_quiescent() -> None:
    assert not check_quiescence({}, frozenset({0, 1}), 0, 0).ok


# --- open interest -----------------------------------------------------------------------------------------


def make_account(*sizes: int) -> dict[str, Any]:
    return {"subaccounts": [{"positions": [{"market": 4, "size_lots": size}]} for size in sizes]}


@pytest.mark.parametrize(
    ("sizes", "reported", "holds"),
    [((5, -3, -2), 5, True), ((5, -3), 5, False), ((5, -5), 4, False), ((), 0, True), ((), 1, False)],
)
def test_long_equals_short_equals_what_the_market_reports(
    sizes: tuple[int, ...], reported: int, holds: bool
) -> None:
    market = {"id": 4, "symbol": "BTCUSDT", "open_interest_lots": reported}
    positions = collect_positions(0, [market], [make_account(*sizes)], is_complete=True)
    assert check_open_interest(positions).ok is holds


@pytest.mark.parametrize(("sizes", "holds"), [((5, -3), True), ((), True), ((6, -3), False), ((1, -6), False)])
def test_where_holders_are_unknown_no_more_is_held_than_the_market_reports(
    sizes: tuple[int, ...], holds: bool
) -> None:
    market = {"id": 4, "symbol": "BTCUSDT", "open_interest_lots": 5}
    verdict = check_open_interest(collect_positions(0, [market], [make_account(*sizes)], is_complete=False))
    assert verdict.ok is holds
    assert "not all holders of shard0 are known" in verdict.detail


def test_no_market_is_no_open_interest() -> None:
    assert not check_open_interest([]).ok
