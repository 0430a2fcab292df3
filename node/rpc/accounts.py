"""Routes of accounts on this member's shard."""

from __future__ import annotations

from litestar import Router, get

from node.rpc.context import Context, PathText
from node.rpc.human_units import summarise_account
from node.rpc.queries import DEFAULT_PAGE, After, Entries, Limit, parse_address, require
from node.rpc.service import Page


@get("/{address:str}", summary="An account: balances, subaccounts, positions, nonces")
async def show_account(context: Context, address: PathText) -> Entries:
    """404 for an account without a record on this shard."""
    view = require(context.service.account(parse_address(address)), "record of that account on this shard")
    return dict(context.units.present(summarise_account(view)))


@get("/{address:str}/orders", summary="An account's open orders")
async def list_orders(
    context: Context, address: PathText, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Entries:
    """By subaccount, market and sequence."""
    orders = context.service.orders(parse_address(address), Page(after, limit))
    return dict(context.units.present(require(orders, "record of that account on this shard")))


account_router = Router("/v1/accounts", route_handlers=[show_account, list_orders])
