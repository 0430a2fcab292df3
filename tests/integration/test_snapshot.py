"""A validator whose databases are gone joins its running committee by snapshot, as real processes, under load.

Everybody prunes to the least that is allowed, so there is no other way in. One network has a shard of each engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.client import NodeClient
from primitives.errors import RemoteError
from tests.integration.live_network import LiveNetwork, Trader, certify, open_traders, read_metric, wait_true

pytestmark = pytest.mark.process

ENGINES = ("pbft", "tendermint", "hotstuff")
TOPOLOGY = """
[beacon]
validators = 1
[node.chain]
keep = 16
snapshot_blocks = 24
snapshot_gap_blocks = 48
""" + "".join(f'[[shards]]\nengine = "{engine}"\n' for engine in ENGINES)
PAYERS = 3
GROWTH_DEADLINE_S = 120
JOIN_DEADLINE_S = 90


async def _pay_without_end(client: NodeClient, trader: Trader) -> None:
    while True:
        try:
            await certify(client, trader.pay())
        except RemoteError as error:
            assert error.code in ("UNREACHABLE", "SHUTTING_DOWN", "BUSY"), error
            return


@asynccontextmanager
async def _load(live: LiveNetwork, shard: int) -> AsyncIterator[None]:
    """Each payer waits for the certificate before it pays again: some ten blocks a second."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(live.client(f"s{shard}v{index}")) for index in range(PAYERS)]
        traders = await open_traders(live.network, clients[0], shard, PAYERS)
        # Inside the clients, which must outlive who pays through them.
        async with trio.open_nursery() as nursery:
            for client, trader in zip(clients, traders, strict=True):
                nursery.start_soon(_pay_without_end, client, trader)
            yield
            nursery.cancel_scope.cancel()


async def _read_status(client: NodeClient) -> dict[str, Any]:
    status: dict[str, Any] = await client.status()
    return status


async def test_validators_without_databases_join_while_the_others_trade_and_then_are_needed(tmp_path: Path) -> None:
    topology = tmp_path / "small.toml"
    topology.write_text(TOPOLOGY)
    live = LiveNetwork(tmp_path, "joining")
    try:
        await live.up("--topology", str(topology))
        for step in (_join_under_load, _verify_pruned, _need_the_new_one):
            async with trio.open_nursery() as nursery:
                for shard in range(len(ENGINES)):
                    nursery.start_soon(step, live, shard)
        await live.wait_whole()
        outcome = await live.testnet("check", "--json")
        assert outcome.json["ok"], [row for row in outcome.json["checks"] if not row["ok"]]
        details = {row["name"]: row["detail"] for row in outcome.json["checks"]}
        assert "nobody has any more" in details["exactly_once"], "what was not looked at is said"
        assert "not all holders of shard0" in details["open_interest"]
    finally:
        await live.end()


async def _join_under_load(live: LiveNetwork, shard: int) -> None:
    fresh_name = f"s{shard}v3"
    async with _load(live, shard), live.client(f"s{shard}v0") as old, live.client(fresh_name) as fresh:

        async def is_grown() -> bool:
            return int((await _read_status(old))["transactions_from"]) > 24

        await wait_true(is_grown, f"blocks that all of shard {shard} has pruned", GROWTH_DEADLINE_S)
        (await live.testnet("restart", fresh_name, "--fresh")).check()

        async def is_level() -> bool:
            mine, theirs = await _read_status(fresh), await _read_status(old)
            return mine["in_sync"] and mine["certified_height"] >= theirs["certified_height"] - 20

        await wait_true(is_level, f"{fresh_name} in sync", JOIN_DEADLINE_S)
        status = await _read_status(fresh)
        assert status["headers_from"] >= 24, "it came by snapshot"
        assert status["joining"] is None
        assert live.pids()[fresh_name], "in one process from its start on"


async def _verify_pruned(live: LiveNetwork, shard: int) -> None:
    """Old transactions are gone everywhere, old headers only where they never were."""
    async with live.client(f"s{shard}v0") as old, live.client(f"s{shard}v3") as fresh:
        assert (await old.block(2))["header"]["height"] == 2
        for client in (old, fresh):
            with pytest.raises(RemoteError, match="PRUNED"):
                _ = [row async for row in client.block_transactions(2)]
        with pytest.raises(RemoteError, match="PRUNED"):
            await fresh.block(2)
        assert read_metric(await old.metrics(), "rialto_replica_snapshot_pruned") > 0
        assert read_metric(await fresh.metrics(), "rialto_replica_snapshot_first_height") >= 24


async def _need_the_new_one(live: LiveNetwork, shard: int) -> None:
    """Once it may vote, the committee goes on with it in place of another."""
    async with live.client(f"s{shard}v3") as fresh:
        async with _load(live, shard):

            async def is_voting() -> bool:
                return (await _read_status(fresh))["standing"] == "voting"

            await wait_true(is_voting, f"s{shard}v3 votes", JOIN_DEADLINE_S)
        (await live.testnet("kill", f"s{shard}v1")).check()
        (payer,) = await open_traders(live.network, fresh, shard, 1)
        assert (await certify(fresh, payer.pay())).code == "OK"
        (await live.testnet("restart", f"s{shard}v1")).check()
