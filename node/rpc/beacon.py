"""Routes of the beacon: the registered tips at a height."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.context import Context, PathText
from node.rpc.queries import Entries, parse_height, require


@get("/{height:str}/tips", summary="The registered tip of every shard at a beacon height")
async def show_tips(context: Context, height: PathText) -> Entries:
    """``height`` may be ``latest``; never pruned."""
    number = parse_height(height, context.service.certified_height)
    return dict(require(context.service.tips(number), "record of that beacon height"))


beacon_router = Router("/v1/beacon", route_handlers=[show_tips])
