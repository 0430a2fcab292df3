"""Liquidation steps, their order and limits, insurance, bad debt."""

from __future__ import annotations

import pytest

from primitives.quantities import MAX_INT
from shards import liquidation
from shards.codes import ResultCode
from shards.events import BadDebt, Cancelled, CancelReason, Event, InsurancePaid, Liquidated, SubaccountLiquidated
from shards.genesis import QUOTE
from shards.liquidation import find_candidates
from shards.receipts import Receipt
from shards.transactions import MAX_TICKS, CrossTransfer, OrderKind, Transfer
from tests.shards.toy_shard import BUY, SELL, ToyShard, address_of, make_market, make_parameters, place

FUNDS = {"ann": 100 * QUOTE, "bob": 100_000 * QUOTE, "cid": 100_000 * QUOTE}


def make_shard(**changes: object) -> ToyShard:
    """ann is long 900 lots from 1,000 against bob."""
    options: dict[str, object] = {"markets": [make_market(0, liquidate_whole_below=20 * QUOTE)], **changes}
    shard = ToyShard(make_parameters(FUNDS, **options))  # type: ignore[arg-type]
    shard.price(1_000)
    shard.act("bob", place(SELL, 1_000, 900))
    shard.act("ann", place(BUY, 1_000, 900))
    return shard


def events_of(receipts: list[Receipt]) -> list[Event]:
    return [event for receipt in receipts for event in receipt.events]


def find(receipts: list[Receipt], kind: type) -> list:  # type: ignore[type-arg]
    return [event for event in events_of(receipts) if isinstance(event, kind)]


def test_a_step_closes_a_fifth_and_pays_the_insurance_fund() -> None:
    shard = make_shard()
    shard.act("ann", place(SELL, 1_050, 10))
    shard.act("cid", place(BUY, 930, 900))
    insurance = shard.venue.insurance
    receipts = shard.price(930)
    (liquidated,) = find(receipts, Liquidated)
    assert (liquidated.lots, liquidated.side) == (180, SELL)
    assert liquidated.fee > 0
    assert shard.venue.insurance == insurance + liquidated.fee
    assert shard.position("ann") == 720
    assert [event.reason for event in find(receipts, Cancelled)] == [CancelReason.LIQUIDATION]
    assert shard.orders("ann") == {}


def test_one_step_a_second_until_the_subaccount_is_sound() -> None:
    shard = make_shard()
    shard.act("cid", place(BUY, 915, 900))
    shard.price(915)
    assert shard.run(step_ms=999) == []
    assert shard.position("ann") == 720
    shard.run(step_ms=1)
    assert shard.position("ann") == 576
    for _ in range(12):
        shard.price(915)
    assert 0 < shard.position("ann") < 576
    assert find_candidates(shard.venue) == []


def test_what_finds_no_buyer_remains() -> None:
    shard = make_shard()
    (liquidated,) = find(shard.price(930), Liquidated)
    assert (liquidated.lots, liquidated.fee) == (0, 0)
    assert shard.position("ann") == 900


def test_a_small_position_is_closed_whole() -> None:
    shard = make_shard(markets=[make_market(0, liquidate_whole_below=10_000 * QUOTE)])
    shard.act("cid", place(BUY, 930, 900))
    (liquidated,) = find(shard.price(930), Liquidated)
    assert liquidated.lots == 900
    assert shard.position("ann") == 0


def test_the_limit_price_leaves_no_more_deficit_than_the_insurance_can_pay() -> None:
    shard = make_shard(insurance=5 * QUOTE, markets=[make_market(0, liquidate_whole_below=10_000 * QUOTE)])
    shard.act("cid", place(BUY, 901, 900))
    # At 910 the equity is about 19 less fees: closing 900 lots at 901 would leave about 12 in fees and losses.
    shard.price(892)
    shard.price(892)
    assert shard.venue.insurance >= 0
    ann = shard.venue.accounts[address_of("ann")].subaccount(0)
    assert ann.open_positions or ann.cash >= 0


def test_bad_debt_is_recorded_and_paid_as_the_cap_allows() -> None:
    shard = make_shard(
        insurance=1_000 * QUOTE,
        max_paid=2 * QUOTE,
        markets=[make_market(0, liquidate_whole_below=10_000 * QUOTE, band_ppm=300_000, mark_band_ppm=200_000)],
    )
    shard.act("cid", place(BUY, 888, 900))
    receipts = shard.price(889)
    assert shard.position("ann") == 0
    (debt,) = find(receipts, BadDebt)
    (paid,) = find(receipts, InsurancePaid)
    assert debt.amount > paid.amount == 2 * QUOTE or paid.amount == debt.amount
    total = paid.amount
    while shard.cash("ann") < 0:
        total += sum(event.amount for event in find(shard.run(), InsurancePaid))
    assert (total, shard.cash("ann")) == (debt.amount, 0)
    assert shard.venue.indebted == {}


def make_insolvent() -> ToyShard:
    """ann owes what nobody covers: the insurance fund is empty."""
    shard = make_shard(insurance=0)
    ann = shard.venue.accounts[address_of("ann")].subaccount(0)
    shard.application._paranoid = False
    ann.cash -= 10 * QUOTE
    shard.venue.cash_total -= 10 * QUOTE
    shard.venue.fees += 10 * QUOTE
    shard.act("ann", place(SELL, 1_000, 900))
    shard.act("bob", place(BUY, 1_000, 900))
    return shard


def test_locks_are_refused_while_bad_debt_exceeds_the_insurance() -> None:
    shard = make_insolvent()
    ann = shard.venue.accounts[address_of("ann")].subaccount(0)
    debt = ann.cash + 1
    ann.cash -= debt
    shard.venue.cash_total -= debt
    shard.venue.fees += debt
    shard.venue.indebted[address_of("ann"), 0] = ann
    shard.follower.deliver()
    lock = CrossTransfer(1, address_of("cid"), 0, 0, 5, shard.follower.height + 300)
    assert shard.code("cid", lock) is ResultCode.INSOLVENT
    assert shard.code("ann", place(BUY, 1_000, 1)) is ResultCode.MARGIN
    # Only credits are accepted; the first one clears the debt and the shard opens again.
    assert shard.code("cid", Transfer(address_of("ann"), 0, 0, 5)) is ResultCode.OK
    assert shard.venue.indebted == {}
    assert shard.code("cid", lock) is ResultCode.OK


def test_nothing_is_liquidated_while_the_oracle_is_stale() -> None:
    shard = make_shard()
    shard.act("cid", place(BUY, 930, 900))
    shard.venue.markets[0].maintenance_ppm = 200_000
    shard.run(step_ms=20_000)
    assert shard.position("ann") == 900
    shard.price(1_000)
    assert shard.position("ann") == 720


def test_the_worst_ratio_comes_first_then_the_address() -> None:
    funds = {"ann": 100 * QUOTE, "eve": 100 * QUOTE, "dan": 95 * QUOTE, "bob": 10**6 * QUOTE}
    shard = ToyShard(make_parameters(funds))
    shard.price(1_000)
    shard.act("bob", place(SELL, 1_000, 2_700))
    for name in ("ann", "eve", "dan"):
        shard.act(name, place(BUY, 1_000, 900))
    (first, second, third) = find(shard.price(930), SubaccountLiquidated)
    assert first.account == address_of("dan")
    assert [second.account, third.account] == sorted([address_of("ann"), address_of("eve")])


def test_the_largest_maintenance_goes_first() -> None:
    shard = make_shard(markets=[make_market(0), make_market(1)])
    shard.price(1_000, 1_000)
    shard.act("bob", place(SELL, 1_000, 40, market=1))
    shard.act("ann", place(BUY, 1_000, 40, market=1))
    shard.act("cid", place(BUY, 930, 900), place(BUY, 950, 90, market=1))
    (liquidated,) = find(shard.price(930, 1_000), Liquidated)
    assert liquidated.market == 0


def test_pending_credits_protect_from_liquidation_only() -> None:
    shard = make_shard()
    ann = shard.venue.accounts[address_of("ann")].subaccount(0)
    ann.pending = 50 * QUOTE
    assert find(shard.price(930), SubaccountLiquidated) == []
    assert shard.code("ann", place(BUY, 930, 1)) is ResultCode.MARGIN
    ann.pending = 0
    assert find(shard.price(930), SubaccountLiquidated) != []


@pytest.mark.parametrize("side", [BUY, SELL])
def test_shorts_and_longs_are_liquidated_alike(side: int) -> None:
    shard = ToyShard(make_parameters(FUNDS, markets=[make_market(0, liquidate_whole_below=1)]))
    shard.price(1_000)
    other = SELL if side == BUY else BUY
    shard.act("bob", place(other, 1_000, 900))
    shard.act("ann", place(BUY if side == BUY else SELL, 1_000, 900))
    price = 930 if side == BUY else 1_070
    shard.act("cid", place(BUY if side == BUY else SELL, price, 900))
    shard.price(price)
    assert abs(shard.position("ann")) == 720
    assert shard.code("bob", place(BUY, 990, 1, OrderKind.IOC)) is ResultCode.OK


def test_positions_that_nobody_takes_over_keep_no_others_from_being_liquidated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liquidation, "MAX_LIQUIDATIONS_PER_BLOCK", 2)
    markets = [make_market(0, liquidate_whole_below=20 * QUOTE), make_market(1)]
    stuck = [f"stuck{index}" for index in range(4)]
    shard = ToyShard(make_parameters({**FUNDS, **dict.fromkeys(stuck, QUOTE)}, markets=markets))
    shard.price(1_000, 1_000)
    shard.run(shard.tx("bob", place(SELL, 1_000, 900), place(SELL, 1_000, 36, market=1)))
    shard.act("ann", place(BUY, 1_000, 900))
    shard.run(*(shard.tx(name, place(BUY, 1_000, 9, market=1)) for name in stuck))
    shard.act("cid", place(BUY, 930, 900))
    # The four are far below zero in a market without bids; ann is only below maintenance.
    receipts = shard.price(930, 500)
    assert [event.lots for event in find(receipts, Liquidated)] == [0, 0, 0, 0, 180]
    # And while they wait for their second, they take nobody's place.
    assert shard.run(step_ms=1) == []
    shard.act("cid", place(BUY, 900, 900))
    assert [event.lots for event in find(shard.price(900, 500), Liquidated)] == [0, 0, 0, 0, 144]


def test_several_bankruptcies_of_one_block_share_the_insurance() -> None:
    names = ["dan", "eve"]
    shard = ToyShard(
        make_parameters(
            {**FUNDS, **dict.fromkeys(names, 10 * QUOTE)},
            markets=[make_market(0, liquidate_whole_below=10_000 * QUOTE, band_ppm=300_000)],
            insurance=3 * QUOTE,
        )
    )
    shard.price(1_000)
    shard.act("bob", place(SELL, 1_000, 180))
    shard.run(*(shard.tx(name, place(BUY, 1_000, 90)) for name in names))
    # At 870 each owes some 1.8: the fund can pay one of them, not both.
    shard.price(880)
    shard.act("cid", place(BUY, 870, 900))
    shard.run()
    owed = sum(max(0, -shard.cash(name)) for name in names)
    assert sorted(shard.position(name) for name in names) == [0, 90]
    assert owed <= 3 * QUOTE


def test_worth_beyond_the_range_of_quantities_is_told_as_its_end() -> None:
    shard = ToyShard(make_parameters(FUNDS))
    shard.price(1)
    shard.act("bob", place(BUY, 1, 900_000))
    shard.act("ann", place(SELL, 1, 900_000))
    receipts = shard.price(MAX_TICKS)
    (told,) = find(receipts, SubaccountLiquidated)
    assert told.equity == -MAX_INT
    assert shard.position("ann") == -900_000
