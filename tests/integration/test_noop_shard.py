"""A no-op shard beside a venue, under one beacon, on real processes: records in, counts out, no money anywhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.client import NodeClient
from primitives.errors import RemoteError
from shards.noop.records import compute_record_id
from testnet.directory import Network
from tests.integration.live_network import LiveNetwork, wait_true

pytestmark = pytest.mark.process

COMMAND_BYTES = 64
TOPOLOGY = f"""
seed = 5
[beacon]
validators = 1
[[shards]]
validators = 1
accounts = 2
[[shards]]
validators = 4
application = {{ kind = "noop", command_bytes = {COMMAND_BYTES}, max_record_bytes = 262144 }}
[node.limits]
flush_ms = 10
proposal_gap_ms = 5
"""
LARGE_COMMANDS = 1_024
"""64 KiB: enough for a body that is kept beside the databases."""


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[LiveNetwork]:
    network = LiveNetwork(tmp_path.resolve(), "noop")
    topology = tmp_path / "topology.toml"
    topology.write_text(TOPOLOGY)
    try:
        await network.up("--topology", str(topology))
        yield network
    finally:
        await network.end()


async def test_records_are_ordered_counted_registered_and_survive_kills(live: LiveNetwork) -> None:
    network = live.network
    assert network.venues == (0,) and network.shards == (0, 1)
    record, large = os.urandom(2 * COMMAND_BYTES), os.urandom(LARGE_COMMANDS * COMMAND_BYTES)
    async with live.client("s1v2") as client:
        await check_submission(client, record, large)
        await check_what_is_not_served(client)
    async with live.client("s1v0") as other:
        (again,) = await other.submit_transactions([record])
        assert again.code == "DUPLICATE"
    await check_registration(live, network)
    (await live.testnet("kill", "s1v0", "s1v1")).check()
    (await live.testnet("restart", "s1v0", "s1v1")).check()
    await live.wait_whole()
    assert any((network.member("s1v0").home / "bodies").iterdir()), "the large record lies beside the databases"
    loads = await live.testnet(
        "load", "--json", "--workload", "opaque", "--payload-bytes", str(COMMAND_BYTES),
        "--commands-per-batch", "512", "--rate", "20", "--duration", "2",
    )  # fmt: skip
    result = loads.check().json
    assert result["certified"] == result["submitted"] > 10 and not result["failed"] + result["unknown"]
    assert result["actions_per_s"] > 100 * result["tx_per_s"], "commands are what is counted"
    outcome = (await live.testnet("check", "--json")).check().json
    details = {check["name"]: check["detail"] for check in outcome["checks"]}
    assert "shard1 not checked: no money in the no-op application" in details["exactly_once"]
    assert "shard1" not in details["conservation"], "its empty summaries are part of every cut"


async def check_submission(client: NodeClient, record: bytes, large: bytes) -> None:
    answers = await client.submit_transactions([record, large, record[:-1], b"", bytes(262_144 + 64)])
    assert [answer.code for answer in answers] == ["ACCEPTED", "ACCEPTED", "BAD_SIZE", "BAD_SIZE", "TOO_LARGE"]
    status = await client.wait_certified(answers[0].id)
    assert status.receipt is not None
    assert (status.receipt["code"], status.receipt["commands"]) == ("OK", 2)
    assert status.receipt["transaction"] == status.id == compute_record_id(record).hex()
    certified = await client.wait_certified(answers[1].id)
    assert certified.height is not None
    entries = {entry["id"]: entry async for entry in client.block_transactions(certified.height)}
    assert bytes.fromhex(entries[answers[1].id]["bytes"]) == large
    assert entries[answers[1].id]["receipt"]["commands"] == LARGE_COMMANDS
    shown = await client.status()
    assert (shown["transactions_certified"], shown["actions_certified"]) == (2, LARGE_COMMANDS + 2)


async def check_what_is_not_served(client: NodeClient) -> None:
    account = "0x" + "ab" * 20
    for ask in (
        lambda: client.account(account),
        lambda: client.markets(),
        lambda: client.market("BTCUSDT"),
        lambda: client.book("BTCUSDT"),
        lambda: client.transfer(bytes(32)),
        lambda: client.tips(),
        lambda: anext(client.orders(account)),
        lambda: anext(client.transfers(account)),
    ):
        with pytest.raises(RemoteError) as refused:
            await ask()
        assert refused.value.code == "NOT_SERVED"
    with pytest.raises(RemoteError, match="this shard runs the no-op application"):
        await client.markets()


async def check_registration(live: LiveNetwork, network: Network) -> None:
    """The beacon registers its headers, and the venue does not take it for a place to send money to."""
    async with live.client("bv0") as beacon:

        async def is_registered() -> bool:
            tips = await beacon.tips()
            assert tips["conserved"]
            return any(tip["shard"] == 1 and tip["height"] >= 2 and not tip["frozen"] for tip in tips["tips"])

        await wait_true(is_registered, "a header of the no-op shard registered")
    async with live.client("s0v0") as venue:
        summary = await venue.summary()
        assert summary["summary"]["peers"] == []
    assert network.accounts_of(1) == ()
