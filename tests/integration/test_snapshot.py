"""A validator whose databases are gone joins its running network by snapshot, as real processes, while they trade.

Everybody prunes to the least that is allowed, so there is no other way in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.client import NodeClient
from primitives.errors import RemoteError
from tests.integration.live_network import LiveNetwork, Trader, certify, open_traders, read_metric, wait_true

pytestmark = pytest.mark.process

TOPOLOGY = """
[beacon]
validators = 1
[[shards]]
engine = "{engine}"
[node.chain]
keep = 16
snapshot_blocks = 24
snapshot_gap_blocks = 48
"""
FRESH = "s0v3"
PAYERS = ("s0v0", "s0v1", "s0v2")
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
async def _load(live: LiveNetwork) -> AsyncIterator[None]:
    """Each payer waits for the certificate before it pays again: some ten blocks a second."""
    async with live.client(PAYERS[0]) as first, live.client(PAYERS[1]) as second, live.client(PAYERS[2]) as third:
        traders = await open_traders(live.network, first, 0, len(PAYERS))
        # Inside the clients, which must outlive who pays through them.
        async with trio.open_nursery() as nursery:
            for client, trader in zip((first, second, third), traders, strict=True):
                nursery.start_soon(_pay_without_end, client, trader)
            yield
            nursery.cancel_scope.cancel()


async def _read_status(client: NodeClient) -> dict[str, Any]:
    status: dict[str, Any] = await client.status()
    return status


@pytest.mark.parametrize("engine", ["pbft", "tendermint", "hotstuff"])
async def test_a_validator_without_databases_joins_while_the_others_trade_and_then_is_needed(
    tmp_path: Path, engine: str
) -> None:
    topology = tmp_path / "small.toml"
    topology.write_text(TOPOLOGY.format(engine=engine))
    live = LiveNetwork(tmp_path, "joining")
    try:
        await live.up("--topology", str(topology))
        await _join_under_load(live)
        await _verify_pruned(live)
        await _need_the_new_one(live)
        outcome = await live.testnet("check", "--json")
        assert outcome.json["ok"], [row for row in outcome.json["checks"] if not row["ok"]]
    finally:
        await live.end()


async def _join_under_load(live: LiveNetwork) -> None:
    async with _load(live), live.client(PAYERS[0]) as old, live.client(FRESH) as fresh:

        async def is_grown() -> bool:
            return int((await _read_status(old))["transactions_from"]) > 24

        await wait_true(is_grown, "blocks that everybody has pruned", GROWTH_DEADLINE_S)
        (await live.testnet("restart", FRESH, "--fresh")).check()

        async def is_level() -> bool:
            mine, theirs = await _read_status(fresh), await _read_status(old)
            return mine["in_sync"] and mine["certified_height"] >= theirs["certified_height"] - 20

        await wait_true(is_level, f"{FRESH} in sync", JOIN_DEADLINE_S)
        status = await _read_status(fresh)
        assert status["headers_from"] >= 24, "it came by snapshot"
        assert status["joining"] is None
        assert live.pids()[FRESH], "in one process from its start on"


async def _verify_pruned(live: LiveNetwork) -> None:
    """Old transactions are gone everywhere, old headers only where they never were."""
    async with live.client(PAYERS[0]) as old, live.client(FRESH) as fresh:
        assert (await old.block(2))["header"]["height"] == 2
        for client in (old, fresh):
            with pytest.raises(RemoteError, match="PRUNED"):
                _ = [row async for row in client.block_transactions(2)]
        with pytest.raises(RemoteError, match="PRUNED"):
            await fresh.block(2)
        assert read_metric(await old.metrics(), "rialto_replica_snapshot_pruned") > 0
        assert read_metric(await fresh.metrics(), "rialto_replica_snapshot_first_height") >= 24


async def _need_the_new_one(live: LiveNetwork) -> None:
    """Once it may vote, the committee goes on with it in place of another."""
    async with live.client(FRESH) as fresh:
        async with _load(live):

            async def is_voting() -> bool:
                return (await _read_status(fresh))["standing"] == "voting"

            await wait_true(is_voting, f"{FRESH} votes", JOIN_DEADLINE_S)
        (await live.testnet("kill", PAYERS[1])).check()
        (payer,) = await open_traders(live.network, fresh, 0, 1)
        assert (await certify(fresh, payer.pay())).code == "OK"
        (await live.testnet("restart", PAYERS[1])).check()
        await live.wait_whole()
