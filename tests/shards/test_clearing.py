"""The accounting identities of fills and funding, for any sizes, prices and signs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.quantities import MAX_INT, PPM
from shards.accounts import Account
from shards.clearing import apply_trade, compute_realised, settle_funding
from shards.markets import Market
from shards.positions import Position, open_position
from shards.venue import MAX_TRADED, Venue
from tests.shards.toy_shard import make_parameters

LOTS = st.integers(1, 10**6)
PRICES = st.integers(1, 10**6)


def make_positions(count: int) -> tuple[Venue, Market, list[Position]]:
    venue = Venue(make_parameters({}))
    market = venue.markets[0]
    positions = []
    for index in range(count):
        account = venue.accounts[bytes([index]) * 20] = Account(bytes([index]) * 20)
        positions.append(open_position(account.subaccount(0), market))
    return venue, market, positions


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), LOTS, PRICES, st.integers(-(10**9), 10**9)), max_size=25
    )
)
@settings(max_examples=120, deadline=None)
def test_the_identities_hold_after_any_trades_and_funding(
    steps: list[tuple[int, int, int, int, int]],
) -> None:
    venue, market, positions = make_positions(4)
    for taker, maker, lots, price, funding in steps:
        if taker == maker:
            settle_funding(venue, positions[taker])
            continue
        apply_trade(venue, positions[taker], positions[maker], lots, price, 7, -3)
        market.funding_index += funding
        assert sum(position.size for position in positions) == 0
        assert market.clearing_cost + sum(position.cost for position in positions) == 0
        assert all(position.size or not position.cost for position in positions)
        unsettled = sum(p.size * (market.funding_index - p.funding_index) for p in positions)
        assert PPM * market.clearing_funding - market.clearing_remainder + unsettled == 0
        cash = sum(position.owner.cash for position in positions)
        held = cash + venue.fees + venue.dust + market.clearing_cost + market.clearing_funding
        assert held == 0 and cash == venue.cash_total
        assert market.open_interest == sum(max(position.size, 0) for position in positions)


@given(LOTS, PRICES, st.integers(1, 10**6), PRICES)
@settings(max_examples=200, deadline=None)
def test_realised_results_of_reduce_close_and_flip(size: int, entry: int, delta: int, price: int) -> None:
    unit = 100
    for sign in (1, -1):
        cost = sign * size * entry * unit
        value = -sign * delta * price * unit
        realised = compute_realised(sign * size, cost, -sign * delta, value)
        closed = min(size, delta)
        # With a uniform entry price nothing is rounded: closed lots times the price difference.
        assert realised == sign * closed * (price - entry) * unit
        left = cost + value + realised
        assert left == (sign * (size - delta) * (entry if delta <= size else price) * unit)


@given(st.integers(1, 1_000), st.integers(-(10**9), 10**9), st.integers(1, 1_000))
@settings(max_examples=200, deadline=None)
def test_rounding_a_reduction_is_against_nobody_but_the_account_itself(size: int, cost: int, delta: int) -> None:
    if delta >= size:
        return
    realised = compute_realised(size, cost, -delta, -delta * 500)
    assert realised == delta * 500 - -(-cost * delta // size)


def test_a_funding_payment_is_rounded_up_and_the_difference_becomes_dust() -> None:
    venue, market, (long, short) = make_positions(2)
    apply_trade(venue, long, short, 3, 10, 0, 0)
    market.funding_index += 500_001
    settle_funding(venue, long)
    settle_funding(venue, short)
    assert (long.owner.cash, short.owner.cash) == (-2, 1)
    assert (market.clearing_funding, market.clearing_remainder, venue.dust) == (0, 0, 1)


def test_a_position_that_would_overflow_is_named_and_nothing_changes() -> None:
    venue, market, (long, short) = make_positions(2)
    assert apply_trade(venue, long, short, 2**40, 2**40, 0, 0) is long
    assert (long.size, long.cost, market.clearing_cost, venue.cash_total) == (0, 0, 0, 0)


def test_a_funding_payment_out_of_range_stops_the_fill_and_changes_nothing() -> None:
    venue, market, (long, short) = make_positions(2)
    apply_trade(venue, long, short, 2**20, 10, 0, 0)
    market.funding_index = MAX_INT
    records = (long.owner.cash, long.size, market.clearing_funding, venue.cash_total)
    assert apply_trade(venue, short, long, 1, 10, 0, 0) is short
    assert (long.owner.cash, long.size, market.clearing_funding, venue.cash_total) == records


def test_trading_leaves_room_for_whatever_must_not_fail() -> None:
    venue, market, (long, short) = make_positions(2)
    assert apply_trade(venue, long, short, 2**20, 1, 0, 0) is None
    # At this price the short's loss would fit a quantity, but not twice.
    price = 2**62 // (2**20 * market.unit) + 2
    assert apply_trade(venue, long, short, -(2**20), price, 0, 0) is long
    assert apply_trade(venue, long, short, -(2**20), price - 3, 0, 0) is None
    assert abs(long.owner.cash) <= MAX_TRADED and abs(short.owner.cash) <= MAX_TRADED
