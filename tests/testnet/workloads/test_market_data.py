"""Reading recordings: what is a line, what is left out, what is refused; and the synthetic ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from primitives.errors import LocalError
from testnet.workloads.market_data import (
    MAX_LINE_BYTES,
    BestQuotes,
    DepthSnapshot,
    DepthUpdate,
    ReadCounts,
    RecordedTrade,
    find_symbol,
    read_events,
)
from testnet.workloads.market_terms import MarketTerms
from testnet.workloads.synthetic import generate_lines, write_recording

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "market"
BTC = MarketTerms(0, 0, "BTCUSDT", "0.10", "0.001", 100, 5_000_000)

DEPTH = (
    b'10 {"stream":"x","data":{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":5,"u":7,"pu":4,'
    b'"b":[["60000.10","1.500"],["60000.00","0.000"]],"a":[]}}'
)
TICKER = (
    b'20 {"stream":"x","data":{"e":"bookTicker","u":8,"s":"BTCUSDT","b":"60000.10","B":"1.5",'
    b'"a":"60000.30","A":"2","T":1,"E":1}}'
)
TRADE = (
    b'30 {"stream":"x","data":{"e":"trade","E":1,"T":9,"s":"BTCUSDT","t":1,"p":"60000.10","q":"0.250",'
    b'"X":"MARKET","m":true}}'
)
SNAPSHOT = b'40 {"lastUpdateId":9,"E":1,"T":1,"bids":[["60000.10","1.500"]],"asks":[["60000.30","2"]]}'


def write(path: Path, *lines: bytes) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(b"\n".join(lines) + b"\n")
    return path


def read(path: Path) -> tuple[list[object], ReadCounts]:
    counts = ReadCounts()
    return list(read_events(path, BTC, counts)), counts


def test_every_kind_of_line_becomes_an_event_in_ticks_and_lots(tmp_path: Path) -> None:
    events, counts = read(write(tmp_path / "a.gz", DEPTH, TICKER, TRADE, SNAPSHOT))
    assert events == [
        DepthUpdate(10, 4, 7, ((600_001, 1_500), (600_000, 0)), ()),
        BestQuotes(20, 600_001, 600_003),
        RecordedTrade(30, 9, 600_001, 250, True),
        DepthSnapshot(40, 9, ((600_001, 1_500),), ((600_003, 2_000),)),
    ]
    assert counts == ReadCounts(lines=4)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"10",
        b"ten " + TRADE.partition(b" ")[2],
        b"10 {",
        b"10 []",
        b"10 {}",
        b'10 {"data":{"e":"somethingElse"}}',
        b'10 {"data":{"e":"trade","s":"BTCUSDT","p":"60000.15","q":"1","m":true,"T":1}}',
        b'10 {"data":{"e":"trade","s":"BTCUSDT","p":"-1","q":"1","m":true,"T":1}}',
        b'10 {"data":{"e":"trade","s":"BTCUSDT","p":"60000.1","q":"0.000","m":true,"T":1}}',
        b"10 \xff\xfe",
        b"99999999999999999999 " + TRADE.partition(b" ")[2],
    ],
)
def test_a_malformed_line_is_counted_and_left_out(tmp_path: Path, line: bytes) -> None:
    events, counts = read(write(tmp_path / "a.gz", DEPTH, line, TICKER, TRADE))
    assert len(events) == 3
    assert (counts.lines, counts.malformed) == (4, 1)


def test_a_line_that_is_too_long_is_counted_and_skipped(tmp_path: Path) -> None:
    endless = b"10 " + b"x" * (3 * MAX_LINE_BYTES)
    events, counts = read(write(tmp_path / "a.gz", DEPTH, endless, TICKER, TRADE, SNAPSHOT))
    assert len(events) == 4
    assert (counts.lines, counts.too_long) == (5, 1)


def test_time_never_runs_back(tmp_path: Path) -> None:
    early = b"5 " + TRADE.partition(b" ")[2]
    events, counts = read(write(tmp_path / "a.gz", DEPTH, early, TICKER))
    assert [event.time_ns for event in events] == [10, 10, 20]  # type: ignore[attr-defined]
    assert counts.reordered == 1


def test_a_recording_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    lines = [f"{number} ".encode() + TRADE.partition(b" ")[2] for number in range(2_000)]
    path = write(tmp_path / "a.gz", *lines)
    path.write_bytes(path.read_bytes()[:-20])
    events, _ = read(path)
    assert 0 < len(events) <= 2_000


@pytest.mark.parametrize("content", [b"", b"not gzip at all", gzip.compress(b"hello\n" * 500, mtime=0)])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(LocalError, match=r"a\.gz"):
        find_symbol(path)


def test_nonsense_throughout_is_refused_early(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", *[b"hello"] * 500)
    with pytest.raises(LocalError, match="is no recording"):
        list(read_events(path, BTC, ReadCounts()))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read"):
        find_symbol(tmp_path / "none.gz")


def test_a_synthetic_recording_is_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "synthetic.gz"
    lines = write_recording(path, BTC, seconds=20, seed=3)
    events, counts = read(path)
    assert find_symbol(path) == "BTCUSDT"
    assert counts == ReadCounts(lines=lines)
    kinds = {type(event) for event in events}
    assert kinds == {DepthSnapshot, DepthUpdate, BestQuotes, RecordedTrade}


def test_a_synthetic_recording_follows_from_its_seed() -> None:
    first = list(generate_lines(BTC, seconds=3, seed=1))
    assert first == list(generate_lines(BTC, seconds=3, seed=1))
    assert first != list(generate_lines(BTC, seconds=3, seed=2))


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded data beside the repository (../shared/data/market)")
def test_the_recorded_data_is_read_without_loss() -> None:
    events, counts = read(DATA / "btcusdt_20240808.gz")
    assert counts == ReadCounts(lines=93_954)
    assert len(events) == 93_954
    assert sum(isinstance(event, RecordedTrade) for event in events) == 21_313
