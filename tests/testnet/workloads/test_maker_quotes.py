"""The makers' orders show the recorded book within the band, after every update and whatever takers take."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shards.transactions import MAX_ACTIONS, Amend, Cancel, Place, Side
from testnet.workloads.maker_quotes import MAX_ORDERS_PER_ACCOUNT, MakerQuotes, split_actions
from testnet.workloads.market_data import DepthSnapshot, DepthUpdate
from testnet.workloads.market_terms import MarketTerms
from testnet.workloads.recorded_book import RecordedBook
from tests.testnet.workloads.makers_venue import MakersVenue

TERMS = MarketTerms(0, 0, "TEST", "1", "1", 1, 20_000)
"""One quantum a tick and lot: at a price of 10,000 an order needs two lots."""

levels = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=6)
steps = st.lists(
    st.tuples(levels, levels, st.integers(-20, 20), st.booleans(), st.integers(0, 12)), min_size=1, max_size=12
)


def send(quotes: MakerQuotes, venue: MakersVenue, book: RecordedBook) -> None:
    """Everybody's cancels, then everybody's changes, as the blocks' stages have it."""
    parts = quotes.reconcile(book)
    for part in parts:
        venue.apply(part.maker, part.cancels)
    for part in parts:
        if not venue.apply(part.maker, part.changes):
            quotes.on_failed(part.changes)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_the_venue_shows_the_recorded_book_after_every_update(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    book, venue, quotes, centre = RecordedBook(), MakersVenue(), MakerQuotes(TERMS, 50, 3, 1), 10_000
    for number, (bids, asks, drift, is_buy, taken) in enumerate(steps):
        centre += drift
        update = DepthUpdate(
            number,
            number,
            number + 1,
            tuple((centre - distance, lots) for distance, lots in bids),
            tuple((centre + distance, lots) for distance, lots in asks),
        )
        book.apply(update)
        send(quotes, venue, book)
        target_bids, target_asks = quotes.compute_target(book)
        assert venue.show(Side.BUY) == target_bids
        assert venue.show(Side.SELL) == target_asks
        low, high = quotes.band
        wanted = {ticks: lots for ticks, lots in book.bids.lots.items() if low <= ticks <= high and lots >= 3}
        assert wanted.items() <= target_bids.items()
        side = Side.BUY if is_buy else Side.SELL
        for price in venue.take(side, taken):
            quotes.on_fill(side, price)


def test_a_change_of_size_is_amended_and_a_touched_level_placed_anew() -> None:
    book, quotes = RecordedBook(), MakerQuotes(TERMS, 50, 1, 1)
    book.apply(DepthSnapshot(0, 1, ((9_999, 5), (9_998, 5)), ((10_001, 5),)))
    (first,) = quotes.reconcile(book)
    assert [type(action) for action in first.changes] == [Place, Place, Place]
    quotes.on_fill(Side.SELL, 9_999)
    book.apply(DepthUpdate(1, 1, 2, ((9_999, 4), (9_998, 6)), ()))
    (second,) = quotes.reconcile(book)
    assert second.cancels == (Cancel(market=0, client_id=2),) or second.cancels == (Cancel(market=0, client_id=1),)
    assert {type(action) for action in second.changes} == {Amend, Place}
    assert quotes.reconcile(book) == []


def test_a_price_that_changes_sides_is_cancelled_before_it_is_placed() -> None:
    book, quotes, venue = RecordedBook(), MakerQuotes(TERMS, 100, 4, 1), MakersVenue()
    book.apply(DepthSnapshot(0, 1, ((9_990, 5),), ((10_000, 5), (10_020, 7))))
    send(quotes, venue, book)
    book.apply(DepthUpdate(1, 1, 2, ((10_000, 6), (10_010, 3)), ((10_000, 0),)))
    send(quotes, venue, book)
    assert venue.show(Side.BUY) == {9_990: 5, 10_000: 6, 10_010: 3}
    assert venue.show(Side.SELL) == {10_020: 7}


def test_no_account_has_more_orders_than_the_venue_allows_and_the_rest_is_counted() -> None:
    book, quotes = RecordedBook(), MakerQuotes(TERMS, 1_000, 2, 1)
    bids = tuple((10_000 - step, 50) for step in range(1, 301))
    asks = tuple((10_000 + step, 50) for step in range(1, 301))
    book.apply(DepthSnapshot(0, 1, bids, asks))
    parts = quotes.reconcile(book)
    assert all(len(part.changes) <= MAX_ORDERS_PER_ACCOUNT for part in parts)
    assert quotes.left_out == 600 - 2 * MAX_ORDERS_PER_ACCOUNT
    batches = [batch for part in parts for batch in split_actions(part.changes, MAX_ACTIONS)]
    assert max(len(batch) for batch in batches) == MAX_ACTIONS


def test_updates_older_than_the_snapshot_say_nothing_and_gaps_are_counted() -> None:
    book = RecordedBook()
    book.apply(DepthSnapshot(0, 10, ((99, 1),), ((101, 1),)))
    assert not book.apply(DepthUpdate(1, 8, 9, ((99, 7),), ()))
    assert book.apply(DepthUpdate(2, 9, 11, ((98, 2),), ()))
    assert book.apply(DepthUpdate(3, 12, 13, ((97, 3),), ()))
    assert (book.bids.lots, book.gaps) == ({99: 1, 98: 2, 97: 3}, 1)


def test_a_level_that_a_newer_one_crosses_is_stale() -> None:
    book = RecordedBook()
    book.apply(DepthSnapshot(0, 1, ((99, 1),), ((101, 1), (103, 1))))
    book.apply(DepthUpdate(1, 1, 2, ((102, 2),), ()))
    assert (book.best_bid, book.best_ask, book.crossed) == (102, 103, 1)


def test_a_level_needs_the_least_size_at_its_own_price_however_wide_the_band() -> None:
    book, quotes = RecordedBook(), MakerQuotes(TERMS, 10_000, 1, 1)
    book.apply(DepthSnapshot(0, 1, ((9_999, 3), (5_000, 4), (4_999, 4), (1, 19_999)), ((10_001, 2), (20_000, 1))))
    quotes.reconcile(book)
    assert quotes.compute_target(book) == ({9_999: 3, 5_000: 4}, {10_001: 2, 20_000: 1})
