"""The state of a network as its members tell it, as one JSON object and as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from node.client import NodeClient
from primitives.errors import RemoteError
from primitives.identifiers import format_address
from testnet.directory import ROLE_AGENT, AccountEntry, MemberEntry, Network
from testnet.faults import read_partition
from testnet.processes import RunningProcess, find_process

REQUEST_TIMEOUT_S: Final = 3.0
PLAIN_COLUMNS: Final = 120
"""Width where standard output is no terminal: wide enough for every column."""
ACCOUNTS_SHOWN: Final = 3
"""Of each shard in the table; the JSON has all."""


async def read_status(network: Network) -> dict[str, Any]:
    """``{"name", "seed", "members": […], "accounts": […]}``. A dead member has null height, view and pid.

    Balances come from one living member of each account's shard, ``null`` where there is none.
    """
    rows: dict[str, dict[str, Any]] = {}
    balances: dict[str, Any] = {}
    living = {member.name: find_process(member.home) for member in network.members}
    async with trio.open_nursery() as nursery:
        for member in network.members:
            nursery.start_soon(_read_member, member, living[member.name], rows)
        for shard in network.venues:
            nursery.start_soon(_read_balances, network, shard, living, balances)
    partition = read_partition(network.directory)
    return {
        "name": network.name,
        "seed": network.seed,
        "members": [rows[name] for name in network.names],
        "accounts": [
            {
                "address": format_address(account.address),
                "key_file": str(account.key_file),
                "shard": account.shard,
                "balances": balances.get(account.name),
            }
            for account in _test_accounts(network)
        ],
        "partition": None if partition is None else partition.spec,
    }


def _test_accounts(network: Network) -> list[AccountEntry]:
    return [account for account in network.accounts if account.role == ROLE_AGENT]


async def _read_member(
    member: MemberEntry, process: RunningProcess | None, rows: dict[str, dict[str, Any]]
) -> None:
    row: dict[str, Any] = {
        "name": member.name,
        "committee": member.committee,
        "pid": None if process is None else process.pid,
        "alive": process is not None,
        "rpc": member.rpc if process is None else process.file.rpc,
        "height": None,
        "view": None,
        "engine": None,
        "peers": 0,
        "paused": process is not None and process.paused,
    }
    rows[member.name] = row
    if process is None or process.paused:
        return
    try:
        async with NodeClient(process.file.rpc, timeout_s=REQUEST_TIMEOUT_S, connections=1) as client:
            status = await client.status()
    except RemoteError:
        return
    row |= {"height": status["certified_height"]} | {name: status[name] for name in ("view", "engine", "peers")}


async def _read_balances(
    network: Network, shard: int, living: Mapping[str, RunningProcess | None], balances: dict[str, Any]
) -> None:
    """One request after the other to one member: it has other things to do."""
    for member in network.members_of(shard):
        process = living[member.name]
        if process is None or process.paused:
            continue
        try:
            async with NodeClient(process.file.rpc, timeout_s=REQUEST_TIMEOUT_S, connections=1) as client:
                for account in network.accounts_of(shard):
                    balances[account.name] = await _read_balance(client, account)
            return
        except RemoteError:
            continue


async def _read_balance(client: NodeClient, account: AccountEntry) -> Any:
    try:
        record = await client.account(account.address)
    except RemoteError as error:
        if error.code == "NOT_FOUND":
            return []
        raise
    return summarise_balances(record)


def summarise_balances(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cash of every subaccount, out of what the API says about an account."""
    subaccounts: Sequence[Mapping[str, Any]] = record.get("subaccounts", ())
    return [
        {"subaccount": part["index"], **{name: part[name] for name in ("cash", "cash_raw") if name in part}}
        for part in subaccounts
    ]


# --- tables ------------------------------------------------------------------------------------------------


def print_status(status: Mapping[str, Any]) -> None:
    """The members, and the first test accounts of each shard, as tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_COLUMNS)
    table = Table(title=f"network {status['name']} (seed {status['seed']})", title_justify="left")
    for title in ("member", "committee", "engine", "pid", "API", "height", "view", "peers", "state"):
        right = title in ("pid", "height", "view", "peers")
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for row in status["members"]:
        table.add_row(
            row["name"],
            row["committee"],
            _text(row["engine"]),
            _text(row["pid"]),
            _text(row["rpc"]),
            _text(row["height"]),
            _text(row["view"]),
            _text(row["peers"] if row["alive"] else None),
            _describe_state(row),
        )
    console.print(table)
    if status.get("partition"):
        console.print(f"partition in force: {status['partition']}", style="yellow")
    _print_accounts(console, status["accounts"])


def _print_accounts(console: Any, accounts: Sequence[Mapping[str, Any]]) -> None:
    for shard in sorted({account["shard"] for account in accounts}):
        own = [account for account in accounts if account["shard"] == shard]
        console.print(f"test accounts of shard {shard}:")
        for account in own[:ACCOUNTS_SHOWN]:
            cash = ", ".join(str(balance.get("cash", "?")) for balance in account["balances"] or ()) or "–"
            console.print(f"  {account['address']}  {cash:>20}  {account['key_file']}", soft_wrap=True)
        if len(own) > ACCOUNTS_SHOWN:
            console.print(f"  … {len(own) - ACCOUNTS_SHOWN} more (--json lists them)")


def _describe_state(row: Mapping[str, Any]) -> str:
    if not row["alive"]:
        return "[red]dead[/red]"
    if row["paused"]:
        return "[yellow]paused[/yellow]"
    return "[green]running[/green]" if row["height"] is not None else "[yellow]does not answer[/yellow]"


def _text(value: object) -> str:
    return "–" if value is None else str(value)
