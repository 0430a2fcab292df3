"""Recorded market data: the raw Binance USD-M streams, gzip, one ``<local time, ns> <json>`` a line.

What lives here: reading a file line by line into events in ticks and lots. What does not: the book that the
events describe (``recorded_book``), and what becomes of them (``replay``).

A line holds a stream message (``depthUpdate`` with absolute sizes per price, ``"0.000"`` deletes; ``bookTicker``;
``trade``) or one full depth snapshot (``lastUpdateId``, ``bids``, ``asks``). Lines that are too long, no JSON or
hold no market's numbers are counted and left out: a recording is made by a process that can be killed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import msgspec

from primitives.errors import LocalError, RemoteError
from shards.amounts import parse_decimal, parse_price, parse_size
from testnet.workloads.market_terms import MarketTerms

MAX_LINE_BYTES: Final = 1 << 20
"""A snapshot of 1,000 levels a side has 50 KB; a longer line is no recording."""
MAX_MALFORMED_SHARE: Final = 4
"""A file of which more than a quarter makes no sense is something else."""
JUDGED_LINES: Final = 100
"""And that is said after so many lines, not at the end."""
PRICES_REMEMBERED: Final = 1 << 16
"""Prices repeat: remembering the last ones makes reading three times faster."""

Levels: TypeAlias = tuple[tuple[int, int], ...]
"""(ticks, lots) pairs; 0 lots deletes."""


@dataclass(frozen=True, slots=True)
class DepthSnapshot:
    """The whole book (its best levels) as of exchange update ``update_id``."""

    time_ns: int
    update_id: int
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class DepthUpdate:
    """New absolute sizes. ``last_update_id`` is the newest exchange update inside; ``previous_id`` the one before
    the first, so that a gap shows."""

    time_ns: int
    previous_id: int
    last_update_id: int
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class BestQuotes:
    """The best bid and ask, in ticks."""

    time_ns: int
    bid: int
    ask: int


@dataclass(frozen=True, slots=True)
class RecordedTrade:
    """``is_sell``: the taker sold (the buyer was the maker). ``exchange_ms`` is the same for one taker's fills."""

    time_ns: int
    exchange_ms: int
    ticks: int
    lots: int
    is_sell: bool


MarketEvent: TypeAlias = DepthSnapshot | DepthUpdate | BestQuotes | RecordedTrade


@dataclass(slots=True)
class ReadCounts:
    """What became of the lines so far."""

    lines: int = 0
    malformed: int = 0
    too_long: int = 0
    reordered: int = 0


class _Stream(msgspec.Struct, tag_field="e"):
    """Base of the stream messages; ``E``, the exchange's clock, is not used."""


class _Depth(_Stream, tag="depthUpdate"):
    u: int
    pu: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    s: str


class _Ticker(_Stream, tag="bookTicker"):
    b: str
    a: str
    s: str


class _Trade(_Stream, tag="trade"):
    p: str
    q: str
    m: bool
    s: str
    exchange_ms: int = msgspec.field(name="T")


class _Line(msgspec.Struct):
    """Either ``data``, or the fields of a snapshot."""

    data: _Depth | _Ticker | _Trade | None = None
    last_update_id: int | None = msgspec.field(name="lastUpdateId", default=None)
    bids: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []


_decoder = msgspec.json.Decoder(_Line)


def find_symbol(path: Path) -> str:
    """The market that a recording is about; raises ``LocalError`` where the file is none."""
    for _, line in zip(range(JUDGED_LINES), _read_lines(path, ReadCounts()), strict=False):
        try:
            body = _decoder.decode(line.partition(b" ")[2])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if body.data is not None:
            return body.data.s
    raise LocalError(f"{path}: is no recording of exchange streams: no message in its first {JUDGED_LINES} lines")


def read_events(path: Path, terms: MarketTerms, counts: ReadCounts) -> Iterator[MarketEvent]:
    """The events of the recording in the order of its local clock; ``counts`` is kept up to date.

    Raises ``LocalError`` where the file cannot be read, or is mostly something else.
    """
    price = _remember(lambda text: parse_price(text, terms.tick_size))
    size = _remember(lambda text: 0 if parse_decimal(text)[0] == 0 else parse_size(text, terms.lot_size))
    latest_ns = 0
    for line in _read_lines(path, counts):
        event = _parse_line(line, price, size)
        if event is None:
            counts.malformed += 1
            _judge(path, counts)
            continue
        if event.time_ns < latest_ns:
            # A clock that was set back: file order is the order of arrival, so it wins.
            counts.reordered += 1
            event = replace(event, time_ns=latest_ns)
        latest_ns = event.time_ns
        yield event
    _judge(path, counts, final=True)


def _remember(convert: Callable[[str], int]) -> Callable[[str], int]:
    return lru_cache(maxsize=PRICES_REMEMBERED)(convert)


def _judge(path: Path, counts: ReadCounts, final: bool = False) -> None:
    bad = counts.malformed + counts.too_long
    if (counts.lines >= JUDGED_LINES or final) and bad * MAX_MALFORMED_SHARE > counts.lines:
        raise LocalError(f"{path}: is no recording: {bad} of {counts.lines} lines make no sense")


def _parse_line(line: bytes, price: Callable[[str], int], size: Callable[[str], int]) -> MarketEvent | None:
    stamp, _, text = line.partition(b" ")
    if not stamp.isdigit() or len(stamp) > 19:
        return None
    time_ns = int(stamp)

    def convert(levels: Iterable[tuple[str, str]]) -> Levels:
        return tuple((price(ticks), size(lots)) for ticks, lots in levels)

    try:
        body = _decoder.decode(text)
        match body.data:
            case _Depth(u=last, pu=previous, b=bids, a=asks):
                return DepthUpdate(time_ns, previous, last, convert(bids), convert(asks))
            case _Ticker(b=bid, a=ask):
                return BestQuotes(time_ns, price(bid), price(ask))
            case _Trade(p=ticks, q=lots, m=is_sell, exchange_ms=exchange_ms):
                traded = size(lots)
                return RecordedTrade(time_ns, exchange_ms, price(ticks), traded, is_sell) if traded else None
            case None if body.last_update_id is not None:
                return DepthSnapshot(time_ns, body.last_update_id, convert(body.bids), convert(body.asks))
            case _:
                return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RemoteError):
        return None


def _read_lines(path: Path, counts: ReadCounts) -> Iterator[bytes]:
    """Whole lines of bounded length; the cut end of a file that was still being written ends it."""
    try:
        with gzip.open(path, "rb") as file:
            yield from _split_lines(file, counts)
    except EOFError:
        return
    except (OSError, zlib.error) as error:
        raise LocalError(f"cannot read {path}: {error}") from error


def _split_lines(file: BinaryIO | gzip.GzipFile, counts: ReadCounts) -> Iterator[bytes]:
    skipping = False
    while line := file.readline(MAX_LINE_BYTES):
        whole = line.endswith(b"\n")
        if not skipping:
            counts.lines += 1
            if whole or len(line) < MAX_LINE_BYTES:
                yield line.rstrip(b"\r\n")
            else:
                counts.too_long += 1
        skipping = not whole
