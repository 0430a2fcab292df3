"""Routes of accounts on this member's shard."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_address, require
from node.rpc.service import NodeService, Page


@get("/{address:str}", summary="An account: balances, subaccounts, positions, nonces")
async def show_account(service: NodeService, address: str) -> Entries:
    """404 for an account without a record on this shard."""
    return dict(require(service.account(parse_address(address)), "record of that account on this shard"))


@get("/{address:str}/orders", summary="An account's open orders")
async def list_orders(
    service: NodeService, address: str, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """By subaccount, market and sequence."""
    page = Page(after, limit)
    return dict(require(service.orders(parse_address(address), page), "record of that account on this shard"))


account_router = Router("/v1/accounts", route_handlers=[show_account, list_orders])
