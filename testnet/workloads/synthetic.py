"""A seeded synthetic recording in the format of ``market_data``, for those who have no recorded data.

The mid walks at random; a book of levels near it follows by depth updates; trades take from the best levels, and
the next update shows it. It makes work of the right shape. It is no model of a market.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shards.amounts import format_units
from testnet.workloads.market_terms import MarketTerms

START_NS: Final = 1_700_000_000_000_000_000
UPDATE_INTERVAL_NS: Final = 50_000_000
"""The exchange sends a depth update about this often."""
LEVELS: Final = 200
"""Of each side."""
SPAN_BPS: Final = 15
"""How far from the mid the farthest level lies."""
CHANGES_PER_UPDATE: Final = 40
TRADES_PER_UPDATE: Final = 2
MAX_LEVEL_QUOTES: Final = 50_000
"""A level is worth at most this much, in units of the quote currency."""


@dataclass(slots=True)
class _State:
    """The synthetic exchange: its book and the number of its last update."""

    terms: MarketTerms
    dice: random.Random
    mid: int
    update_id: int = 1
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)

    def draw_price(self, is_bid: bool) -> int:
        span = max(LEVELS, self.mid * SPAN_BPS // 10_000)
        distance = 1 + int(span * self.dice.random() ** 2)
        return max(1, self.mid - distance if is_bid else self.mid + distance)

    def draw_lots(self, ticks: int) -> int:
        quotes = int(MAX_LEVEL_QUOTES * self.dice.random() ** 3)
        return self.terms.compute_lots(quotes, ticks)


def write_recording(path: Path, terms: MarketTerms, *, seconds: int, seed: int) -> int:
    """Write a recording of ``seconds`` to ``path`` (gzip); returns the number of its lines."""
    lines = 0
    with gzip.open(path, "wt", encoding="ascii", compresslevel=1) as file:
        for line in generate_lines(terms, seconds=seconds, seed=seed):
            file.write(line + "\n")
            lines += 1
    return lines


def generate_lines(terms: MarketTerms, *, seconds: int, seed: int) -> Iterator[str]:
    """The lines, without their ends; the same for the same arguments."""
    state = _State(terms, random.Random(f"{seed}:{terms.symbol}"), terms.reference_ticks)
    for side, is_bid in ((state.bids, True), (state.asks, False)):
        for _ in range(LEVELS):
            ticks = state.draw_price(is_bid)
            side[ticks] = state.draw_lots(ticks)
    yield _line(START_NS, _snapshot(state))
    for step in range(1, seconds * 1_000_000_000 // UPDATE_INTERVAL_NS):
        time_ns = START_NS + step * UPDATE_INTERVAL_NS
        yield from _step(state, time_ns)


def _step(state: _State, time_ns: int) -> Iterator[str]:
    """Trades, then the depth update that shows them and everything else that changed, then the best quotes."""
    dice, terms = state.dice, state.terms
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for number in range(dice.randint(0, 2 * TRADES_PER_UPDATE)):
        is_sell = dice.random() < 0.5
        side, changes = (state.bids, bids) if is_sell else (state.asks, asks)
        best = max(side) if is_sell else min(side)
        lots = min(side[best], 1 + int(side[best] * dice.random()))
        if lots * best * terms.unit < terms.min_notional:
            lots = side[best]
        side[best] -= lots
        changes[best] = side[best]
        if not side[best]:
            del side[best]
        yield _line(time_ns + number * 1_000, _trade(state, time_ns, best, lots, is_sell))
    _move(state, bids, asks)
    state.update_id += 1
    yield _line(time_ns + 10_000_000, _depth(state, time_ns, bids, asks))
    yield _line(time_ns + 11_000_000, _ticker(state, time_ns))


def _move(state: _State, bids: dict[int, int], asks: dict[int, int]) -> None:
    """Let the mid walk; take out what it ran over and what is left far behind; draw new levels."""
    dice = state.dice
    state.mid = max(10 * LEVELS, state.mid + round(dice.gauss(0.0, state.mid * 0.00001)))
    reach = 2 * max(LEVELS, state.mid * SPAN_BPS // 10_000)
    for side, changes, is_bid in ((state.bids, bids, True), (state.asks, asks, False)):
        for ticks in list(side):
            distance = state.mid - ticks if is_bid else ticks - state.mid
            if not 0 < distance <= reach:
                del side[ticks]
                changes[ticks] = 0
        for _ in range(CHANGES_PER_UPDATE // 2):
            if len(side) > LEVELS and dice.random() < 0.6:
                ticks = dice.choice(list(side))
                del side[ticks]
                changes[ticks] = 0
            else:
                ticks = state.draw_price(is_bid)
                side[ticks] = changes[ticks] = state.draw_lots(ticks)
        if not side:
            ticks = state.mid - 1 if is_bid else state.mid + 1
            side[ticks] = changes[ticks] = state.draw_lots(ticks)


def _line(time_ns: int, body: dict[str, Any]) -> str:
    return f"{time_ns} {json.dumps(body, separators=(',', ':'))}"


def _levels(terms: MarketTerms, levels: dict[int, int]) -> list[list[str]]:
    return [
        [format_units(ticks, terms.tick_size), format_units(lots, terms.lot_size)]
        for ticks, lots in sorted(levels.items())
    ]


def _snapshot(state: _State) -> dict[str, Any]:
    return {
        "lastUpdateId": state.update_id,
        "E": START_NS // 1_000_000,
        "T": START_NS // 1_000_000,
        "bids": _levels(state.terms, state.bids)[::-1],
        "asks": _levels(state.terms, state.asks),
    }


def _stream(state: _State, suffix: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"stream": f"{state.terms.symbol.lower()}@{suffix}", "data": data}


def _depth(state: _State, time_ns: int, bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
    time_ms = time_ns // 1_000_000
    body = {"e": "depthUpdate", "E": time_ms, "T": time_ms, "s": state.terms.symbol, "U": state.update_id}
    body |= {"u": state.update_id, "pu": state.update_id - 1}
    return _stream(state, "depth@0ms", {**body, "b": _levels(state.terms, bids), "a": _levels(state.terms, asks)})


def _trade(state: _State, time_ns: int, ticks: int, lots: int, is_sell: bool) -> dict[str, Any]:
    time_ms, terms = time_ns // 1_000_000, state.terms
    body = {"e": "trade", "E": time_ms, "T": time_ms, "s": terms.symbol, "p": format_units(ticks, terms.tick_size)}
    return _stream(state, "trade", {**body, "q": format_units(lots, terms.lot_size), "X": "MARKET", "m": is_sell})


def _ticker(state: _State, time_ns: int) -> dict[str, Any]:
    time_ms, terms = time_ns // 1_000_000, state.terms
    bid, ask = max(state.bids), min(state.asks)
    body = {"e": "bookTicker", "u": state.update_id, "s": terms.symbol, "T": time_ms, "E": time_ms}
    best = {"b": format_units(bid, terms.tick_size), "B": format_units(state.bids[bid], terms.lot_size)}
    best |= {"a": format_units(ask, terms.tick_size), "A": format_units(state.asks[ask], terms.lot_size)}
    return _stream(state, "bookTicker", body | best)
