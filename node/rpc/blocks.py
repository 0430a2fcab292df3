"""Routes of certified blocks: headers with certificates, transactions, summaries."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Router, get
from litestar.params import QueryParameter

from node.rpc.context import Context, PathText
from node.rpc.json_form import describe
from node.rpc.limits import DEFAULT_PAGE, MAX_BLOCKS
from node.rpc.queries import After, Entries, Limit, parse_height, parse_number, require
from node.rpc.service import BlockView
from primitives.codec import encode
from primitives.quantities import MAX_INT

From = Annotated[
    int | None, QueryParameter(name="from", ge=0, le=MAX_INT, description="Lowest height; default: the newest.")
]
BlockLimit = Annotated[int, QueryParameter(ge=1, le=MAX_BLOCKS, description="Blocks in the response.")]

TRANSACTIONS_NEXT: Final = "an after is a position in the block"


@get("/", summary="Certified blocks in ascending height")
async def list_blocks(context: Context, start: From = None, limit: BlockLimit = DEFAULT_PAGE) -> Entries:
    """At most ``limit`` blocks from ``from`` upwards, as far as this member has them; 410 ``PRUNED`` where it has
    those of ``from`` no more."""
    service = context.service
    certified = service.certified_height()
    first = max(service.first_height(), certified - limit + 1) if start is None else max(1, start)
    heights = range(first, min(certified, first + limit - 1) + 1)
    views = [view for view in map(service.block, heights) if view is not None]
    return {"blocks": [describe_block(view) for view in views]}


@get(["/{height:str}", "/{height:str}/header"], summary="One certified block's header and certificate")
async def show_block(context: Context, height: PathText) -> Entries:
    """``height`` may be ``latest``."""
    number = parse_height(height, context.service.certified_height)
    return describe_block(require(context.service.block(number), "such block"))


@get("/{height:str}/transactions", summary="A block's transactions with their receipts")
async def list_transactions(
    context: Context, height: PathText, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """By position in the block; 410 ``PRUNED`` where this member does not keep them any more."""
    number = parse_height(height, context.service.certified_height)
    block = require(context.service.block(number), "such block")
    start = 0 if after is None else parse_number(after, TRANSACTIONS_NEXT) + 1
    count = block.transactions
    is_behind = count is not None and start >= count
    entries = [] if is_behind else context.service.block_transactions(number, start, limit)
    following = start + len(entries)
    present = context.units.present
    return {
        "height": number,
        "transactions": [
            {
                "index": index,
                "id": entry.id.hex(),
                "bytes": entry.data.hex(),
                "receipt": present(entry.receipt),
            }
            for index, entry in enumerate(entries, start)
        ],
        "next": str(following - 1) if entries and count is not None and following < count else None,
    }


@get("/{height:str}/summary", summary="The summary that a block's header commits to")
async def show_summary(context: Context, height: PathText) -> Entries:
    """Served for every certified height, never pruned."""
    number = parse_height(height, context.service.certified_height)
    encoded, summary = require(context.service.summary(number), "summary of that height")
    return {"height": number, "bytes": encoded.hex(), "summary": summary}


def describe_block(view: BlockView) -> Entries:
    """The JSON form of a block, with the canonical bytes that a verifier hashes and checks."""
    return {
        "height": view.header.height,
        "hash": view.header_hash.hex(),
        "transactions": view.transactions,
        "header": describe(view.header),
        "certificate": describe(view.certificate),
        "header_bytes": encode(view.header).hex(),
        "certificate_bytes": encode(view.certificate).hex(),
    }


block_router = Router("/v1/blocks", route_handlers=[list_blocks, show_block, list_transactions, show_summary])
