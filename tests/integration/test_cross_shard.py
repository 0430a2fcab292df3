"""Collateral moves between shards of real processes: locked, registered by the beacon, credited, settled."""

from __future__ import annotations

import pytest

from node.client import NodeClient
from primitives.errors import RemoteError
from primitives.identifiers import format_address
from tests.integration.live_network import LiveNetwork, run_rialto, wait_true

pytestmark = pytest.mark.process
AMOUNT = "125.5"
AMOUNT_RAW = 125_500_000
DEAD_SHARD_WAIT_S = "4"


async def read_cash(client: NodeClient, address: str) -> int:
    """Cash of subaccount 0 in quantums; 0 without a record."""
    try:
        account = await client.account(address)
    except RemoteError as error:
        assert error.code == "NOT_FOUND"
        return 0
    cash: int = account["subaccounts"][0]["cash_raw"]
    return cash


async def test_a_transfer_by_the_command_line_settles_and_conserves_the_balances(live: LiveNetwork) -> None:
    sender, recipient = live.network.accounts_of(0)[3], live.network.accounts_of(1)[3]
    addresses = format_address(sender.address), format_address(recipient.address)
    async with live.client("s0v1") as source, live.client("s1v2") as destination, live.client("s0v3") as other:
        before = await read_cash(source, addresses[0]), await read_cash(destination, addresses[1])
        arguments = ("account", "transfer", addresses[1], AMOUNT, "--to-shard", "1", "--key", str(sender.key_file))
        sent = (await run_rialto(*arguments, "--name", live.name, "--json", root=live.root)).check().json
        assert (sent["state"], sent["is_certified"]) == ("settled", True)
        assert (sent["source"], sent["destination"], sent["amount_raw"]) == (0, 1, AMOUNT_RAW)
        lock = await source.wait_certified(sent["id"])
        (locked,) = [event for event in (lock.receipt or {})["events"] if event["type"] == "locked"]
        fees = (lock.receipt or {})["fee_raw"] + locked["fee_raw"]

        async def is_everywhere() -> bool:
            rows = [await client.transfer(sent["xid"]) for client in (other, destination)]
            return [(row["state"], row["is_certified"]) for row in rows] == [("settled", True), ("credited", True)]

        await wait_true(is_everywhere, "both sides tell of the transfer")
        assert await read_cash(source, addresses[0]) == before[0] - AMOUNT_RAW - fees
        assert await read_cash(destination, addresses[1]) == before[1] + AMOUNT_RAW
        assert sent["xid"] in [row["xid"] async for row in destination.transfers(addresses[1])]
    outcome = await live.testnet("check", "--json")
    assert outcome.json["ok"], outcome.json
    assert {row["name"] for row in outcome.json["checks"]} == {
        "prefix",
        "certificates",
        "conservation",
        "exactly_once",
        "quiescence",
        "open_interest",
        "monotone",
    }


async def test_the_faucet_funds_a_new_account_that_can_pay_on_the_other_shard(live: LiveNetwork) -> None:
    root, name = live.root, live.name
    key = root / "newcomer.pem"
    (root / "newcomer.pass").write_text("correct horse\n")
    (root / "newcomer.pass").chmod(0o600)
    (root / "newcomer.pem.passphrase").unlink(missing_ok=True)
    key.unlink(missing_ok=True)
    keys = await run_rialto(
        "keys",
        "new",
        str(key),
        "--json",
        root=root,
        variables={"RIALTO_PASSPHRASE_FILE": str(root / "newcomer.pass")},
    )
    address = keys.check().json["address"]
    (await run_rialto("account", "fund", address, "1000", "--name", name, "--shard", "0", root=root)).check()
    paid = await run_rialto(
        *("account", "transfer", address, "400", "--shard", "0", "--to-shard", "1"),
        *("--key", str(key), "--name", name, "--json"),
        root=root,
        variables={"RIALTO_PASSPHRASE_FILE": str(root / "newcomer.pass")},
    )
    assert paid.check().json["state"] == "settled"
    shown = (await run_rialto("account", "show", address, "--name", name, "--json", root=root)).check().json
    cash = {entry["shard"]: entry["account"]["subaccounts"][0]["cash_raw"] for entry in shown["shards"]}
    assert cash[1] == 400_000_000
    assert 599_000_000 < cash[0] < 600_000_000


async def test_a_transfer_to_a_shard_that_is_down_stays_open_and_settles_when_it_is_back(live: LiveNetwork) -> None:
    sender, recipient = live.network.accounts_of(1)[4], live.network.accounts_of(0)[4]
    address = format_address(recipient.address)
    (await live.testnet("kill", "shard0")).check()
    assert not [name for name in live.pids() if name.startswith("s0")]
    arguments = ("account", "transfer", address, AMOUNT, "--to-shard", "0", "--key", str(sender.key_file))
    sent = await run_rialto(*arguments, "--name", live.name, "--timeout", DEAD_SHARD_WAIT_S, root=live.root)
    assert "still open" in sent.refusal()
    async with live.client("s1v0") as source, live.client("s0v0") as destination:
        (transfer,) = [row async for row in source.transfers(sender.address) if row["state"] == "open"]
        (await live.testnet("restart", "shard0")).check()

        async def is_settled() -> bool:
            row = await source.transfer(transfer["xid"])
            return row["state"] == "settled" and bool(row["is_certified"])

        async def is_credited() -> bool:
            """The recipient's shard releases the credit when it hears of its own block's registration: the sender's
            may hear of it first."""
            return bool((await destination.transfer(transfer["xid"]))["state"] == "credited")

        await wait_true(is_settled, "the settlement")
        await wait_true(is_credited, "the credit's release")
