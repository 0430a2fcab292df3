"""``rialto order``: place, cancel and list orders of one's own account."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import trio
import typer

from node.cli.network_file import Target, find_target
from node.cli.options import (
    JsonOption,
    KeyOption,
    NameOption,
    NodeOption,
    ShardOption,
    SubaccountOption,
    TimeoutOption,
)
from node.cli.output import print_json, print_line, print_table, show_progress
from node.cli.session import Session, connect, load_signer, submit_actions
from primitives.errors import LocalError
from primitives.identifiers import compute_address
from primitives.signing import Ed25519Signer
from shards.amounts import parse_price, parse_size
from shards.transactions import Action, Cancel, CancelAll, OrderKind, Place, Side

order_app = typer.Typer(name="order", help="Orders of your account.", no_args_is_help=True)

MarketArgument = Annotated[str, typer.Argument(metavar="MARKET", help="Its number or symbol.")]


class SideChoice(StrEnum):
    """As people type it."""

    BUY = "buy"
    SELL = "sell"


class KindChoice(StrEnum):
    """As people type it; names are those of ``OrderKind``."""

    LIMIT = "limit"
    MARKET = "market"
    IOC = "ioc"
    FOK = "fok"
    GTT = "gtt"
    POST_ONLY = "post-only"
    POST_ONLY_SLIDE = "post-only-slide"


@order_app.command("place")
def place_order(
    market: MarketArgument,
    side: Annotated[SideChoice, typer.Argument()],
    size: Annotated[str, typer.Argument(help="Decimal, in the base currency: 0.25")],
    price: Annotated[str, typer.Argument(help="Decimal; for a market order the worst price you accept.")],
    key: KeyOption,
    kind: Annotated[KindChoice, typer.Option("--kind")] = KindChoice.LIMIT,
    reduce_only: Annotated[bool, typer.Option("--reduce-only")] = False,
    client_id: Annotated[int, typer.Option("--client-id", min=0, help="Your own number for it; 0: none.")] = 0,
    expiry_ms: Annotated[int, typer.Option("--expiry-ms", min=0, help="For gtt: milliseconds since 1970.")] = 0,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    subaccount: SubaccountOption = 0,
    timeout: TimeoutOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Place one order and wait for its certified receipt."""

    async def make(session: Session) -> Sequence[Action]:
        details = await session.client.market(market)
        place = Place(
            market=details["id"],
            side=Side[side.name],
            kind=OrderKind[kind.name],
            price_ticks=parse_price(price, details["tick_size"]),
            size_lots=parse_size(size, details["lot_size"]),
            client_id=client_id,
            reduce_only=reduce_only,
            expiry_ms=expiry_ms,
        )
        return [place]

    _run(find_target(name, node), load_signer(key), shard, subaccount, timeout, make, as_json)


@order_app.command("cancel")
def cancel_order(
    key: KeyOption,
    market: Annotated[str | None, typer.Argument(metavar="[MARKET]", help="May be left out with --all.")] = None,
    client_id: Annotated[int, typer.Option("--client-id", min=0)] = 0,
    seq: Annotated[int, typer.Option("--seq", min=0, help="The order's number in its market.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="All of the subaccount's orders (in MARKET).")] = False,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    subaccount: SubaccountOption = 0,
    timeout: TimeoutOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Cancel one order by --client-id or --seq, or --all."""
    if [bool(client_id), bool(seq), everything].count(True) != 1:
        raise LocalError("give exactly one of --client-id, --seq and --all")
    if market is None and not everything:
        raise LocalError("give the MARKET of the order")

    async def make(session: Session) -> Sequence[Action]:
        number: int | None = None if market is None else (await session.client.market(market))["id"]
        if everything or number is None:
            return [CancelAll(number)]
        return [Cancel(number, client_id, seq)]

    _run(find_target(name, node), load_signer(key), shard, subaccount, timeout, make, as_json)


@order_app.command("list")
def list_orders(
    key: KeyOption,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open orders of the key's account on one shard."""
    target = find_target(name, node)
    owner = compute_address(load_signer(key).public_key)
    chosen = target.home_of(owner) if shard is None else shard

    async def fetch() -> list[dict[str, Any]]:
        async with connect(target, chosen) as session:
            return [order async for order in session.client.orders(owner)]

    orders = trio.run(fetch)
    if as_json:
        print_json({"orders": orders})
        return
    columns = ("market", "seq", "client_id", "subaccount", "side", "price", "open", "size")
    print_table("open orders", columns, [[order.get(column) for column in columns] for order in orders])


def _run(
    target: Target,
    signer: Ed25519Signer,
    shard: int | None,
    subaccount: int,
    timeout_s: float,
    make: Any,
    as_json: bool,
) -> None:
    """Submit what ``make`` makes of the session and print the receipt."""
    chosen = target.home_of(compute_address(signer.public_key)) if shard is None else shard

    async def run() -> dict[str, Any]:
        async with connect(target, chosen) as session:
            actions = await make(session)
            with show_progress("waiting for the certificate"):
                status = await submit_actions(session, signer, actions, subaccount=subaccount, timeout_s=timeout_s)
            return {"id": status.id, "shard": session.shard, "height": status.height, "receipt": status.receipt}

    result = trio.run(run)
    if as_json:
        print_json(result)
        return
    print_line(f"certified in block {result['height']} of shard {result['shard']}")
    events = (result["receipt"] or {}).get("events", ())
    columns = ("type", "market", "seq", "price", "size", "reason")
    rows = [[event.get(column) for column in columns] for event in events]
    if rows:
        print_table("events", columns, rows)
