"""``rialto market``: markets, their books, and a live view of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import trio
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from node.cli.network_file import find_target
from node.cli.options import JsonOption, NameOption, NodeOption, ShardOption
from node.cli.output import make_table, open_console, print_json, print_table
from node.cli.session import Session, connect
from primitives.errors import RemoteError
from shards.amounts import format_units

REFRESH_PER_SECOND = 8

market_app = typer.Typer(name="market", help="Markets and their books.", no_args_is_help=True)

MarketArgument = Annotated[str, typer.Argument(metavar="MARKET", help="Its number or symbol.")]
DepthOption = Annotated[int, typer.Option("--depth", min=1, max=100, help="Levels of each side.")]


@market_app.command("list")
def list_markets(
    name: NameOption = None, node: NodeOption = None, shard: ShardOption = None, as_json: JsonOption = False
) -> None:
    """Markets of every shard (or of --shard)."""
    target = find_target(name, node)

    async def fetch() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number in [shard] if shard is not None else target.shards or [0]:
            async with connect(target, number) as session:
                found += [{"shard": session.shard, **market} for market in await session.client.markets()]
        return found

    markets = trio.run(fetch)
    if as_json:
        print_json({"markets": markets})
        return
    columns = ("shard", "id", "symbol", "tick_size", "lot_size", "mark", "oracle", "bid", "ask", "open_interest")
    print_table("markets", columns, [[market.get(column) for column in columns] for market in markets])


@market_app.command("book")
def show_book(
    market: MarketArgument,
    depth: DepthOption = 10,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
) -> None:
    """The book's best levels."""
    target = find_target(name, node)

    async def fetch() -> dict[str, Any]:
        async with connect(target, shard or 0) as session:
            return await session.client.book(market, depth=depth)

    book = trio.run(fetch)
    if as_json:
        print_json(book)
    else:
        open_console().print(_draw(market, book["bids"], book["asks"], depth))


@market_app.command("watch")
def watch_book(
    market: MarketArgument,
    depth: DepthOption = 10,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
) -> None:
    """The book as it changes, until Ctrl-C. With --json: one snapshot."""
    target = find_target(name, node)

    async def run() -> None:
        async with connect(target, shard or 0) as session:
            await _watch(session, market, depth, as_json)

    trio.run(run)


async def _watch(session: Session, market: str, depth: int, as_json: bool) -> None:
    from node.client_stream import Book

    details = await session.client.market(market)
    topic = f"book:{details['id']}"
    book = Book()
    async with session.client.stream([topic]) as messages:
        if as_json:
            async for message in messages:
                if book.apply(message):
                    print_json(message)
                    return
        with Live(console=Console(), refresh_per_second=REFRESH_PER_SECOND) as live:
            async for message in messages:
                if book.apply(message):
                    live.update(_draw_mirror(details, book, depth))
                elif message.get("type") == "change":
                    await messages.subscribe(topic)
        code, reason = messages.closed or (1006, "connection lost")
        raise RemoteError("UNREACHABLE", f"the node closed the stream: {reason or code}")


def _draw_mirror(details: Mapping[str, Any], book: Any, depth: int) -> Table:
    def describe(side: Mapping[int, int]) -> list[dict[str, str]]:
        return [
            {
                "price": format_units(ticks, details["tick_size"]),
                "size": format_units(lots, details["lot_size"]),
            }
            for ticks, lots in side.items()
        ]

    bids = describe(dict(sorted(book.bids.items(), reverse=True)[:depth]))
    asks = describe(dict(sorted(book.asks.items())[:depth]))
    return _draw(f"{details['symbol']} at block {book.height}", bids, asks, depth)


def _draw(title: str, bids: Sequence[Mapping[str, Any]], asks: Sequence[Mapping[str, Any]], depth: int) -> Table:
    """Bids to the left, asks to the right, best on top."""
    rows = []
    for index in range(min(depth, max(len(bids), len(asks)))):
        bid = bids[index] if index < len(bids) else {}
        ask = asks[index] if index < len(asks) else {}
        rows.append((bid.get("size"), bid.get("price"), ask.get("price"), ask.get("size")))
    return make_table(title, ("bid size", "bid", "ask", "ask size"), rows)
