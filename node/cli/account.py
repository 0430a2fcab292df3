"""``rialto account``: what an account has, funding it on a devnet, moving collateral within and across shards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import trio
import typer

from crosslink.messages import compute_xid
from node.cli.network_file import Target, find_target
from node.cli.options import (
    JsonOption,
    KeyOption,
    MaybeKeyOption,
    NameOption,
    NodeOption,
    ShardOption,
    SubaccountOption,
    TimeoutOption,
)
from node.cli.output import print_json, print_line, print_table, show_progress
from node.cli.session import Session, connect, load_signer, submit_actions
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import compute_address, format_address, parse_address
from shards.amounts import format_cash, parse_cash
from shards.transactions import SETTLEMENT_ASSET, CrossTransfer, FaucetMint, Transfer

POLL_S: Final = 0.2
"""A settlement takes about a second; asking five times in it costs the node a millisecond."""
DEADLINE_MARGIN_BLOCKS: Final = 400
"""Beacon blocks on top of the least deadline: a minute for the lock itself to be ordered."""
OPEN: Final = "open"
REFUNDED: Final = "refunded"

account_app = typer.Typer(name="account", help="Accounts: balances, funding, transfers.", no_args_is_help=True)

AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", help="0x and 40 hexadecimal digits.")]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help="In units of the quote currency, as 12.5")]


@account_app.command("show")
def show_account(
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", show_default=False)] = None,
    key: MaybeKeyOption = None,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Balances and positions on every shard (or on --shard)."""
    target = find_target(name, node)
    owner = _choose_address(address, key)
    shards = [shard] if shard is not None else target.shards or [0]
    entries = trio.run(_fetch_accounts, target, shards, owner)
    if as_json:
        print_json({"address": format_address(owner), "shards": entries})
        return
    for entry in entries:
        _print_account(owner, entry)


@account_app.command("fund")
def fund_account(
    address: AddressArgument,
    amount: AmountArgument,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    subaccount: SubaccountOption = 0,
    faucet_key: Annotated[Path | None, typer.Option("--faucet-key", metavar="FILE", show_default=False)] = None,
    timeout: TimeoutOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Mint for an account, signed by the faucet of a devnet genesis."""
    target = find_target(name, node)
    recipient = parse_address(address)
    chosen = target.home_of(recipient) if shard is None else shard
    signer_file = faucet_key or target.faucet_key()
    mint = FaucetMint(recipient, subaccount, SETTLEMENT_ASSET, parse_cash(amount))
    result = trio.run(_fund, target, chosen, signer_file, mint, timeout)
    if as_json:
        print_json(result)
    else:
        funded = format_address(recipient)
        print_line(
            f"{format_cash(mint.amount)} minted for {funded} on shard {result['shard']}, block {result['height']}"
        )


@account_app.command("transfer")
def transfer(
    recipient: AddressArgument,
    amount: AmountArgument,
    key: KeyOption,
    name: NameOption = None,
    node: NodeOption = None,
    shard: ShardOption = None,
    to_shard: Annotated[int | None, typer.Option("--to-shard", min=0, help="Default: the same shard.")] = None,
    subaccount: SubaccountOption = 0,
    to_subaccount: Annotated[int, typer.Option("--to-subaccount", min=0, max=15)] = 0,
    timeout: TimeoutOption = 60,
    as_json: JsonOption = False,
) -> None:
    """Pay an account on the same shard, or move collateral to another shard and wait until it is settled."""
    target = find_target(name, node)
    signer = load_signer(key)
    source = target.home_of(compute_address(signer.public_key)) if shard is None else shard
    order = Transfer(parse_address(recipient), to_subaccount, SETTLEMENT_ASSET, parse_cash(amount))

    async def run() -> dict[str, Any]:
        async with connect(target, source) as session:
            send = partial(submit_actions, session, signer, subaccount=subaccount, timeout_s=timeout)
            if to_shard is None or to_shard == session.shard:
                with show_progress("waiting for the certificate"):
                    status = await send([order])
                return {"id": status.id, "shard": session.shard, "height": status.height, "state": "certified"}
            with show_progress(f"locking on shard {session.shard}") as progress:
                locked = await send([await _prepare_lock(session, order, to_shard)])
                xid = _find_xid(session, locked.receipt or {})
                progress.update(f"locked in block {locked.height}; waiting for shard {to_shard} and the beacon")
                settled = await _wait_settled(session, xid, timeout)
            if settled["state"] == REFUNDED:
                raise RemoteError("REFUNDED", f"shard {to_shard} refused transfer {xid}; the amount came back")
            return {"id": locked.id, "shard": session.shard, "height": locked.height, **settled}

    result = trio.run(run)
    if as_json:
        print_json(result)
    else:
        print_line(f"{format_cash(order.amount)} sent to {format_address(order.recipient)}: {result['state']}")


def _choose_address(address: str | None, key: Path | None) -> bytes:
    if (address is None) == (key is None):
        raise LocalError("give an ADDRESS, or --key FILE")
    if address is not None:
        return parse_address(address)
    assert key is not None, "one of the two is given"
    return compute_address(load_signer(key).public_key)


async def _fetch_accounts(target: Target, shards: list[int], owner: bytes) -> list[dict[str, Any]]:
    entries = []
    for number in shards:
        async with connect(target, number) as session:
            try:
                account: dict[str, Any] | None = await session.client.account(owner)
            except RemoteError as error:
                if error.code != "NOT_FOUND":
                    raise
                account = None
            entries.append({"shard": session.shard, "account": account})
    return entries


async def _fund(target: Target, shard: int, key: Path, mint: FaucetMint, timeout_s: float) -> dict[str, Any]:
    async with connect(target, shard) as session:
        genesis = await session.client.genesis()
        if not genesis.get("devnet"):
            raise LocalError("this network is no devnet: its genesis has no faucet")
        signer = load_signer(key)
        with show_progress("waiting for the certificate"):
            status = await submit_actions(session, signer, [mint], timeout_s=timeout_s)
        return {
            "id": status.id,
            "address": format_address(mint.recipient),
            "amount": format_cash(mint.amount),
            "shard": session.shard,
            "height": status.height,
        }


async def _prepare_lock(session: Session, order: Transfer, destination: int) -> CrossTransfer:
    parameters = (await session.client.genesis()).get("parameters", {})
    try:
        least, most = parameters["transfer_deadline_min_blocks"], parameters["transfer_deadline_max_blocks"]
    except KeyError:
        raise RemoteError("BAD_RESPONSE", "the genesis has no transfer deadlines") from None
    deadline = session.beacon_height + min(least + DEADLINE_MARGIN_BLOCKS, (least + most) // 2)
    return CrossTransfer(destination, order.recipient, order.subaccount, order.asset, order.amount, deadline)


def _find_xid(session: Session, receipt: Mapping[str, Any]) -> str:
    """The transfer that the lock in this receipt began."""
    for event in receipt.get("events", ()):
        if event.get("type") == "locked":
            return compute_xid(session.chain, session.shard, event["destination"], event["sequence"]).hex()
    raise RemoteError("BAD_RESPONSE", "the receipt of the lock names no transfer")


async def _wait_settled(session: Session, xid: str, timeout_s: float) -> dict[str, Any]:
    """The transfer's last state at its source; raises ``RemoteError`` (``TIMEOUT``)."""
    with trio.move_on_after(timeout_s):
        while True:
            found = await session.client.transfer(xid)
            if found["state"] != OPEN and found["is_certified"]:
                return found
            await trio.sleep(POLL_S)
    raise RemoteError(
        "TIMEOUT", f"transfer {xid} is still open after {timeout_s:g} s; it settles or comes back later"
    )


def _print_account(owner: bytes, entry: Mapping[str, Any]) -> None:
    account = entry["account"]
    title = f"{format_address(owner)} on shard {entry['shard']}"
    if account is None:
        print_line(f"{title}: no record")
        return
    rows = [
        (part["index"], part["cash"], part.get("equity"), part.get("withdrawable"), len(part["positions"]))
        for part in account["subaccounts"]
    ]
    print_table(title, ("subaccount", "cash", "equity", "withdrawable", "positions"), rows)
    columns = ("market", "size", "cost", "value", "open_orders")
    positions = [
        (part["index"], *(position.get(column) for column in columns))
        for part in account["subaccounts"]
        for position in part["positions"]
    ]
    if positions:
        print_table("positions", ("subaccount", *columns), positions)
