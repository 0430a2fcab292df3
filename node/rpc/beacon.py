"""Routes of the beacon: the registered tips at a height, and the evidence recorded up to it."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.context import Context, PathText
from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_height, require
from node.rpc.service import Page


@get("/{height:str}/tips", summary="The registered tip of every shard at a beacon height")
async def show_tips(context: Context, height: PathText) -> Entries:
    """``height`` may be ``latest``; never pruned."""
    number = parse_height(height, context.service.certified_height)
    return dict(require(context.service.tips(number), "record of that beacon height"))


@get("/{height:str}/evidence", summary="Offences that the beacon recorded up to a height")
async def list_recorded_evidence(
    context: Context, height: PathText, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """``height`` may be ``latest``; oldest first."""
    number = parse_height(height, context.service.certified_height)
    recorded = context.service.recorded_evidence(number, Page(after, limit))
    return dict(require(recorded, "record of that beacon height"))


beacon_router = Router("/v1/beacon", route_handlers=[show_tips, list_recorded_evidence])
