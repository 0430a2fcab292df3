"""Routes of cross-shard transfers, as far as this member's shard sends or receives them."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, get
from litestar.params import Parameter

from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_address, parse_digest, require
from node.rpc.service import NodeService, Page

Account = Annotated[str, Parameter(max_length=64, description="Sender or recipient.")]


@get("/", summary="Transfers of one account")
async def list_transfers(
    service: NodeService, account: Account, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """Newest first, as far as this shard keeps them."""
    return dict(service.transfers(parse_address(account), Page(after, limit)))


@get("/{xid:str}", summary="The state of one transfer on this shard")
async def show_transfer(service: NodeService, xid: str) -> Entries:
    """Open, settled or refunded where it was sent; pending, credited or rejected where it arrives."""
    return dict(require(service.transfer(parse_digest(xid, "a transfer id")), "such transfer on this shard"))


transfer_router = Router("/v1/transfers", route_handlers=[list_transfers, show_transfer])
