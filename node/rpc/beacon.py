"""Routes of the beacon: the registered tips at a height."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.queries import Entries, parse_height, require
from node.rpc.service import NodeService


@get("/{height:str}/tips", summary="The registered tip of every shard at a beacon height")
async def show_tips(service: NodeService, height: str) -> Entries:
    """``height`` may be ``latest``; never pruned."""
    number = parse_height(height, service.certified_height)
    return dict(require(service.tips(number), "record of that beacon height"))


beacon_router = Router("/v1/beacon", route_handlers=[show_tips])
