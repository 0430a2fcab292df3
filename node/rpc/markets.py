"""Routes of markets and their books."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, get
from litestar.params import Parameter

from node.rpc.limits import DEFAULT_DEPTH, MAX_DEPTH
from node.rpc.queries import Entries, require
from node.rpc.service import NodeService

Depth = Annotated[int, Parameter(ge=1, le=MAX_DEPTH, description="Levels of each side.")]


@get("/", summary="The markets of this shard")
async def list_markets(service: NodeService) -> Entries:
    """All of them: genesis bounds their number."""
    return dict(service.markets())


@get("/{market:str}", summary="One market by number or name")
async def show_market(service: NodeService, market: str) -> Entries:
    """Its parameters, mark, funding, open interest and status."""
    return dict(require(service.market(market), "such market on this shard"))


@get("/{market:str}/book", summary="Aggregated levels of a market's book, best first")
async def show_book(service: NodeService, market: str, depth: Depth = DEFAULT_DEPTH) -> Entries:
    """With the height of the state that they show."""
    return dict(require(service.book(market, depth), "such market on this shard"))


market_router = Router("/v1/markets", route_handlers=[list_markets, show_market, show_book])
