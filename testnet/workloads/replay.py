"""Replaying recorded market data: each file becomes the flow of one market.

Trades become taker orders, depth updates become maker orders and cancels (``maker_quotes``), the mid becomes what
the oracle's reporters say. The recorded local clock says when.

A taker's recorded fills (one exchange time, one side) are one order, as they were. Its price is a bound
``SLIPPAGE_BPS`` beyond the worst recorded fill: makers' cancels run before takers in a block, so the level that was
hit may be gone by then, and the order should take the next one and not miss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, assert_never

from primitives.errors import LocalError
from shards.genesis import QUOTE
from shards.transactions import MAX_TICKS, Action, OrderKind, Place, Side
from testnet.directory import Network
from testnet.workloads.maker_quotes import BASIS_POINTS, MakerQuotes, split_actions
from testnet.workloads.market_data import (
    BestQuotes,
    DepthSnapshot,
    DepthUpdate,
    MarketEvent,
    ReadCounts,
    RecordedTrade,
    find_symbol,
    read_events,
)
from testnet.workloads.market_terms import MarketTerms, find_market
from testnet.workloads.options import MAX_ACTIONS_PER_TRANSACTION, LoadOptions
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction
from testnet.workloads.recorded_book import RecordedBook

TAKER_SHARE: Final = 4
"""One account in four takes, the others make."""
SLIPPAGE_BPS: Final = 5
REQUIRED_CASH: Final = 5_000_000 * QUOTE
"""Of each account: the book within 10 bps is worth some 20 millions, of which makers and takers put down 5 %."""
_NS: Final = 1_000_000_000


@dataclass(slots=True)
class ReplayCounts:
    """What was planned from one recording."""

    trades: int = 0
    takers: int = 0
    taker_lots: int = 0
    small_trades: int = 0
    maker_actions: int = 0
    fills: int = 0
    filled_lots: int = 0
    recorded_s: float = 0.0


@dataclass(slots=True)
class MarketReplay:
    """One recording on its market. ``speed`` 0 makes everything due at once."""

    path: Path
    terms: MarketTerms
    makers: tuple[bytes, ...]
    takers: tuple[bytes, ...]
    quotes: MakerQuotes
    speed: float
    duration_s: float
    max_actions: int = MAX_ACTIONS_PER_TRANSACTION
    book: RecordedBook = field(default_factory=RecordedBook)
    read: ReadCounts = field(default_factory=ReadCounts)
    counts: ReplayCounts = field(default_factory=ReplayCounts)
    mid: int | None = None
    _due_s: float | None = None
    _next_taker: int = 0
    _sweep: list[RecordedTrade] = field(default_factory=list)

    def generate_plans(self) -> Iterator[PlannedTransaction]:
        """The whole recording, as far as the duration reaches."""
        first_ns: int | None = None
        for event in read_events(self.path, self.terms, self.read):
            first_ns = event.time_ns if first_ns is None else first_ns
            self.counts.recorded_s = (event.time_ns - first_ns) / _NS
            if self.speed:
                self._due_s = self.counts.recorded_s / self.speed
                if self._due_s > self.duration_s:
                    return
            yield from self._on_event(event)
        yield from self._finish_sweep()

    def find_oracle_price(self) -> int | None:
        """The mid at the place where the replay is; before it starts, that of the recording's first quotes."""
        if self.mid is None:
            self.mid = _find_first_mid(self.path, self.terms)
        return self.mid

    def _on_event(self, event: MarketEvent) -> Iterator[PlannedTransaction]:
        match event:
            case RecordedTrade():
                yield from self._on_trade(event)
            case BestQuotes(bid=bid, ask=ask):
                self.mid = (bid + ask) // 2
            case DepthSnapshot() | DepthUpdate():
                yield from self._finish_sweep()
                if self.book.apply(event):
                    yield from self._show_book()
            case _:
                assert_never(event)

    def _on_trade(self, trade: RecordedTrade) -> Iterator[PlannedTransaction]:
        self.counts.trades += 1
        if self._sweep:
            last = self._sweep[-1]
            if (last.exchange_ms, last.is_sell) != (trade.exchange_ms, trade.is_sell):
                yield from self._finish_sweep()
        self._sweep.append(trade)

    def _finish_sweep(self) -> Iterator[PlannedTransaction]:
        """The taker order of the fills that were gathered."""
        sweep, self._sweep = self._sweep, []
        if not sweep:
            return
        lots = sum(trade.lots for trade in sweep)
        side = Side.SELL if sweep[0].is_sell else Side.BUY
        worst = min(trade.ticks for trade in sweep) if sweep[0].is_sell else max(trade.ticks for trade in sweep)
        if lots < self.terms.compute_min_lots(worst):
            self.counts.small_trades += len(sweep)
            return
        slippage = 1 + worst * SLIPPAGE_BPS // BASIS_POINTS
        bound = max(1, worst - slippage) if side is Side.SELL else min(MAX_TICKS, worst + slippage)
        self.counts.takers += 1
        self.counts.taker_lots += lots
        self._next_taker = (self._next_taker + 1) % len(self.takers)
        order = Place(market=self.terms.market, side=side, kind=OrderKind.IOC, price_ticks=bound, size_lots=lots)
        yield self._plan(self.takers[self._next_taker], (order,))

    def _show_book(self) -> Iterator[PlannedTransaction]:
        """The makers' transactions for the book as it is now: everybody's cancels, then everything else."""
        actions = self.quotes.reconcile(self.book)
        for part in actions:
            self.counts.maker_actions += len(part.cancels) + len(part.changes)
            for batch in split_actions(part.cancels, self.max_actions):
                yield self._plan(self.makers[part.maker], batch)
        for part in actions:
            for batch in split_actions(part.changes, self.max_actions):
                yield self._plan(self.makers[part.maker], batch)

    def _plan(self, account: bytes, actions: tuple[Action, ...]) -> PlannedTransaction:
        return PlannedTransaction(self._due_s, self.terms.shard, account, actions)


class MarketDataWorkload:
    """All recordings of one load; see ``plan.Workload``."""

    ordered = True

    def __init__(self, replays: Sequence[MarketReplay]) -> None:
        self._replays = tuple(replays)

    def list_needs(self) -> Sequence[FundingNeed]:
        return [
            FundingNeed(replay.terms.shard, account, REQUIRED_CASH)
            for replay in self._replays
            for account in (*replay.makers, *replay.takers)
        ]

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane(replay.terms.symbol, replay.generate_plans()) for replay in self._replays]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        """The time is the replay's own: with speed 0 the clock says nothing."""
        prices = {
            replay.terms.market: replay.find_oracle_price()
            for replay in self._replays
            if replay.terms.shard == shard
        }
        return {market: ticks for market, ticks in prices.items() if ticks is not None}

    def list_topics(self, shard: int) -> Sequence[str]:
        return [f"trades:{replay.terms.market}" for replay in self._replays if replay.terms.shard == shard]

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """A certified fill: counted, and the maker order at its price is in doubt."""
        if message.get("type") != "trade":
            return
        event = message["event"]
        for replay in self._replays:
            if replay.terms.shard == shard and replay.terms.market == event["market"]:
                replay.counts.fills += 1
                replay.counts.filled_lots += event["size_lots"]
                replay.quotes.on_fill(Side[event["side"]], event["price_ticks"])

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """Makers' failures leave levels in doubt."""
        if code == "OK":
            return
        for replay in self._replays:
            if replay.terms.shard == plan.shard:
                replay.quotes.on_failed(plan.actions)

    def describe(self) -> dict[str, Any]:
        return {"markets": [_describe(replay) for replay in self._replays]}


def open_market_data(network: Network, options: LoadOptions, first_client_id: int) -> MarketDataWorkload:
    """The workload of ``options.files``; raises ``LocalError`` where a file is none, or two name one market."""
    if not options.files:
        raise LocalError("--workload market-data needs recordings: give --file once for each")
    if options.depth_bps <= 0:
        raise LocalError(f"--depth-bps must be at least 1, not {options.depth_bps}")
    if options.speed < 0:
        raise LocalError(f"--speed is 1 for real time, 0 for as fast as it goes; not {options.speed:g}")
    markets = [find_market(network.genesis, find_symbol(path)) for path in options.files]
    symbols = [terms.symbol for terms in markets]
    repeated = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    if repeated:
        raise LocalError(f"two recordings are about {repeated[0]}; give one file for each market")
    return MarketDataWorkload(
        [
            _open_replay(network, options, path, terms, first_client_id)
            for path, terms in zip(options.files, markets, strict=True)
        ]
    )


def _open_replay(
    network: Network, options: LoadOptions, path: Path, terms: MarketTerms, first_client_id: int
) -> MarketReplay:
    accounts = tuple(account.address for account in network.accounts_of(terms.shard))
    takers = len(accounts) // TAKER_SHARE
    if not takers:
        raise LocalError(f"shard {terms.shard} has {len(accounts)} test accounts; a replay needs {TAKER_SHARE}")
    makers = accounts[takers:]
    batch = options.actions_per_tx if options.actions_per_tx > 1 else MAX_ACTIONS_PER_TRANSACTION
    return MarketReplay(
        path=path,
        terms=terms,
        makers=makers,
        takers=accounts[:takers],
        quotes=MakerQuotes(terms, options.depth_bps, len(makers), first_client_id),
        speed=options.speed,
        duration_s=options.duration_s,
        max_actions=batch,
    )


def _find_first_mid(path: Path, terms: MarketTerms) -> int:
    for event in read_events(path, terms, ReadCounts()):
        if isinstance(event, BestQuotes):
            return (event.bid + event.ask) // 2
        if isinstance(event, DepthSnapshot) and event.bids and event.asks:
            return (max(event.bids)[0] + min(event.asks)[0]) // 2
    raise LocalError(f"{path}: holds no best prices and no snapshot, so nothing can be priced")


def _describe(replay: MarketReplay) -> dict[str, Any]:
    counts = replay.counts
    return {
        "symbol": replay.terms.symbol,
        "shard": replay.terms.shard,
        "recorded_s": round(counts.recorded_s, 3),
        "lines": replay.read.lines,
        "lines_left_out": replay.read.malformed + replay.read.too_long,
        "gaps": replay.book.gaps,
        "trades": counts.trades,
        "trades_too_small": counts.small_trades,
        "taker_orders": counts.takers,
        "taker_lots": counts.taker_lots,
        "maker_actions": counts.maker_actions,
        "levels_left_out": replay.quotes.left_out,
        "fills_in_the_books": counts.fills,
        "filled_lots": counts.filled_lots,
    }
