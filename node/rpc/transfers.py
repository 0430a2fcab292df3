"""Routes of cross-shard transfers, as far as this member's shard sends or receives them."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter

from node.rpc.context import Context, PathText
from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_address, parse_digest, require
from node.rpc.service import Page

Account = Annotated[str, QueryParameter(max_length=64, description="Sender or recipient.")]


@get("/", summary="Transfers of one account")
async def list_transfers(
    context: Context, account: Account, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """Newest first, as far as this shard keeps them."""
    return dict(context.units.present(context.service.transfers(parse_address(account), Page(after, limit))))


@get("/{xid:str}", summary="The state of one transfer on this shard")
async def show_transfer(context: Context, xid: PathText) -> Entries:
    """Open, settled or refunded where it was sent; pending, credited or rejected where it arrives."""
    transfer = context.service.transfer(parse_digest(xid, "a transfer id"))
    return dict(context.units.present(require(transfer, "such transfer on this shard")))


transfer_router = Router("/v1/transfers", route_handlers=[list_transfers, show_transfer])
