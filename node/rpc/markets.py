"""Routes of markets and their books."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter

from node.rpc.context import Context, PathText
from node.rpc.limits import DEFAULT_DEPTH, MAX_DEPTH
from node.rpc.queries import Entries, require

Depth = Annotated[int, QueryParameter(ge=1, le=MAX_DEPTH, description="Levels of each side.")]


@get("/", summary="The markets of this shard")
async def list_markets(context: Context) -> Entries:
    """All of them: genesis bounds their number."""
    return dict(context.units.present(context.service.markets()))


@get("/{market:str}", summary="One market by number or name")
async def show_market(context: Context, market: PathText) -> Entries:
    """Its parameters, mark, funding, open interest and status."""
    return dict(context.units.present(require(context.service.market(market), "such market on this shard")))


@get("/{market:str}/book", summary="Aggregated levels of a market's book, best first")
async def show_book(context: Context, market: PathText, depth: Depth = DEFAULT_DEPTH) -> Entries:
    """With the height of the state that they show."""
    return dict(context.units.present(require(context.service.book(market, depth), "such market on this shard")))


market_router = Router("/v1/markets", route_handlers=[list_markets, show_market, show_book])
