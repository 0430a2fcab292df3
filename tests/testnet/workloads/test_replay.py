"""Replaying a recording: what becomes of trades, depth updates and mids; the books end up as recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from primitives.errors import LocalError
from shards.transactions import MAX_ACTIONS, Amend, Cancel, OrderKind, Place, Side
from testnet.directory import Network
from testnet.workloads.market_terms import find_market
from testnet.workloads.options import LoadOptions
from testnet.workloads.replay import SLIPPAGE_BPS, MarketReplay, open_market_data
from testnet.workloads.synthetic import write_recording
from tests.testnet.workloads.makers_venue import MakersVenue

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "market"
RECORDED_S = 20


@pytest.fixture(scope="module")
def recording(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("data") / "btc.gz"
    write_recording(path, find_market(network.genesis, "BTCUSDT"), seconds=RECORDED_S, seed=1)
    return path


def open_replay(network: Network, path: Path, **options: float) -> MarketReplay:
    chosen = replace(LoadOptions("market-data", duration_s=1_000, files=(path,)), **options)  # type: ignore[arg-type]
    return open_market_data(network, chosen, 1)._replays[0]


def check_books(replay: MarketReplay) -> int:
    """Replay against a venue without takers: its book is the recording's in the band. The number of actions."""
    venue, actions = MakersVenue(), 0
    for planned in replay.generate_plans():
        if planned.account in replay.makers:
            assert venue.apply(planned.account, planned.actions)
            actions += len(planned.actions)
    bids, asks = replay.quotes.compute_target(replay.book)
    assert venue.show(Side.BUY) == bids
    assert venue.show(Side.SELL) == asks
    assert len(bids) > 10 and len(asks) > 10
    return actions


def test_the_makers_books_end_up_as_recorded(network: Network, recording: Path) -> None:
    replay = open_replay(network, recording)
    assert check_books(replay) == replay.counts.maker_actions


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded data beside the repository (../shared/data/market)")
def test_the_recorded_books_are_shown(network: Network) -> None:
    replay = open_replay(network, DATA / "ethusdt_20240808.gz", duration_s=20)
    # 791 changes a second within 10 bps over the whole recording; the count for these seconds is of that order.
    assert 300 * 20 < check_books(replay) < 2_000 * 20


def test_trades_become_bounded_taker_orders(network: Network, recording: Path) -> None:
    replay = open_replay(network, recording)
    takers = [planned for planned in replay.generate_plans() if planned.account in replay.takers]
    assert len(takers) == replay.counts.takers
    lots = 0
    for planned in takers:
        (order,) = planned.actions
        assert isinstance(order, Place) and order.kind is OrderKind.IOC
        lots += order.size_lots
    assert lots == replay.counts.taker_lots
    assert {planned.account for planned in takers} == set(replay.takers)
    mid = find_market(network.genesis, "BTCUSDT").reference_ticks
    for planned in takers:
        (order,) = planned.actions
        assert isinstance(order, Place)
        beyond = order.price_ticks - mid if order.side is Side.BUY else mid - order.price_ticks
        assert beyond < mid * (SLIPPAGE_BPS + 100) // 10_000


def test_cancels_travel_alone_and_before_what_is_placed(network: Network, recording: Path) -> None:
    replay = open_replay(network, recording)
    stages: dict[float, list[bool]] = {}
    for planned in replay.generate_plans():
        assert planned.due_s is not None
        assert 1 <= len(planned.actions) <= MAX_ACTIONS
        if planned.account in replay.makers:
            kinds = {type(action) for action in planned.actions}
            assert kinds == {Cancel} or kinds <= {Place, Amend}
            stages.setdefault(planned.due_s, []).append(kinds != {Cancel})
    assert all(places == sorted(places) for places in stages.values())


@pytest.mark.parametrize(("speed", "span_s"), [(1.0, RECORDED_S), (4.0, RECORDED_S / 4)])
def test_speed_scales_the_recorded_clock(network: Network, recording: Path, speed: float, span_s: float) -> None:
    times = [planned.due_s or 0.0 for planned in open_replay(network, recording, speed=speed).generate_plans()]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(span_s, rel=0.02)


def test_full_speed_has_no_clock_and_the_duration_cuts_real_time(network: Network, recording: Path) -> None:
    assert {planned.due_s for planned in open_replay(network, recording, speed=0.0).generate_plans()} == {None}
    short = [planned.due_s or 0.0 for planned in open_replay(network, recording, duration_s=3).generate_plans()]
    assert 2.5 < max(short) <= 3


def test_the_oracle_says_the_mid_even_before_the_start(network: Network, recording: Path) -> None:
    workload = open_market_data(network, LoadOptions("market-data", files=(recording,)), 1)
    terms = find_market(network.genesis, "BTCUSDT")
    before = workload.compute_oracle_prices(terms.shard, 0.0)[terms.market]
    assert before == pytest.approx(terms.reference_ticks, rel=0.001)
    for lane in workload.build_lanes():
        for _ in lane.plans:
            continue
    after = workload.compute_oracle_prices(terms.shard, 0.0)[terms.market]
    assert after == pytest.approx(workload._replays[0].book.mid, rel=0.0001)
    assert workload.compute_oracle_prices(1, 0.0) == {}


def test_fills_are_counted_and_leave_the_level_in_doubt(network: Network, recording: Path) -> None:
    workload = open_market_data(network, LoadOptions("market-data", files=(recording,), duration_s=2), 1)
    (replay,) = workload._replays
    list(replay.generate_plans())
    price = max(replay.quotes.bids)
    event = {"market": 0, "side": "SELL", "price_ticks": price, "size_lots": 3}
    workload.on_message(0, {"type": "trade", "topic": "trades:0", "event": event})
    assert replay.quotes.bids[price].in_doubt
    described = workload.describe()["markets"][0]
    assert (described["fills_in_the_books"], described["filled_lots"]) == (1, 3)


def test_two_files_about_one_market_and_no_file_are_refused(network: Network, recording: Path) -> None:
    with pytest.raises(LocalError, match="two recordings are about BTCUSDT"):
        open_market_data(network, LoadOptions("market-data", files=(recording, recording)), 1)
    with pytest.raises(LocalError, match="needs recordings"):
        open_market_data(network, LoadOptions("market-data"), 1)
