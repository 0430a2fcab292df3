"""Every process dies at a random moment under load; what was acknowledged is there afterwards, and all goes on.

Acknowledged means certified: a client that was shown a certificate finds the transaction again, at the same place.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import psutil
import pytest
import trio

from node.client import NodeClient
from primitives.errors import RemoteError
from testnet.supervisor_lock import is_supervised, read_supervisor_state
from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    LiveNetwork,
    Trader,
    certify,
    open_traders,
    wait_duration,
    wait_true,
)

pytestmark = pytest.mark.process
PAYERS = 4
MIN_LOAD_S, MAX_LOAD_S = 1.0, 3.0
MIN_ACKNOWLEDGED = 10


@dataclass
class Ledger:
    """What clients of one shard were told: transaction id → height at which it was shown as certified."""

    shard: int
    submitted: int = 0
    certified: dict[str, int] = field(default_factory=dict)


async def pay_without_end(live: LiveNetwork, member: str, trader: Trader, ledger: Ledger) -> None:
    """One client: pay, wait for the certificate, note it, until nobody answers."""
    async with live.client(member) as client:
        while True:
            try:
                (answer,) = await client.submit_transactions([trader.pay()])
                ledger.submitted += 1
                status = await client.wait_certified(answer.id)
            except RemoteError as error:
                assert error.code in ("UNREACHABLE", "SHUTTING_DOWN", "BUSY"), error
                return
            assert status.height is not None
            ledger.certified[answer.id] = status.height


@asynccontextmanager
async def load(live: LiveNetwork) -> AsyncIterator[list[Ledger]]:
    """Clients on every member of both shards for the time of the body."""
    ledgers = [Ledger(shard) for shard in live.network.shards]
    async with trio.open_nursery() as nursery:
        for ledger in ledgers:
            members = live.network.members_of(ledger.shard)
            async with live.client(members[0].name) as client:
                traders = await open_traders(live.network, client, ledger.shard, PAYERS)
            for trader, member in zip(traders, members, strict=True):
                nursery.start_soon(pay_without_end, live, member.name, trader, ledger)
        await wait_true(lambda: _is_busy(ledgers), "the load")
        yield ledgers
        nursery.cancel_scope.cancel()


async def _is_busy(ledgers: list[Ledger]) -> bool:
    return all(len(ledger.certified) >= MIN_ACKNOWLEDGED for ledger in ledgers)


async def verify_ledger(live: LiveNetwork, ledger: Ledger) -> None:
    """Every acknowledged transaction is certified at its height on every member; and the shard takes new ones."""
    assert len(ledger.certified) >= MIN_ACKNOWLEDGED
    members = live.network.members_of(ledger.shard)
    async with live.client(members[0].name) as client:
        (trader,) = await open_traders(live.network, client, ledger.shard, 1)
        last = await certify(client, trader.pay())
        assert last.code == "OK"
    for member in members:
        async with live.client(member.name) as client:
            await client.wait_certified(last.id)
            assert await find_missing(client, ledger) == {}, member.name


async def find_missing(client: NodeClient, ledger: Ledger) -> dict[str, int]:
    """Acknowledged transactions that this member does not show as executed in their certified blocks."""
    shown: dict[str, int] = {}
    for height in sorted(set(ledger.certified.values())):
        async for row in client.block_transactions(height):
            if row["receipt"]["code"] == "OK":
                shown[row["id"]] = height
    return dict(ledger.certified.items() - shown.items())


async def check(live: LiveNetwork) -> None:
    """``rialto testnet check`` is green."""
    outcome = await live.testnet("check", "--json")
    assert outcome.json["ok"], [row for row in outcome.json["checks"] if not row["ok"]]
    assert outcome.status == 0


def choose_moment(rng: Random) -> float:
    return rng.uniform(MIN_LOAD_S, MAX_LOAD_S)


async def test_all_members_killed_under_load_resume_and_nothing_acknowledged_is_lost(live: LiveNetwork) -> None:
    moment_s = choose_moment(Random(1))
    async with load(live) as ledgers:
        await wait_duration(moment_s)
        (await live.testnet("kill", "all")).check()
        assert live.pids() == {}
    (await live.testnet("restart", "all")).check()
    for ledger in ledgers:
        await verify_ledger(live, ledger)
    await live.wait_whole()
    await check(live)


async def test_supervisor_and_members_killed_together_come_up_again_by_name(live: LiveNetwork) -> None:
    state = read_supervisor_state(live.directory)
    assert state is not None
    assert is_supervised(live.directory)
    moment_s = choose_moment(Random(2))
    before = {member.name: member.rpc for member in live.network.members}
    async with load(live) as ledgers:
        await wait_duration(moment_s)
        kill_by_pid([state.pid, *live.pids().values()])
        await wait_true(lambda: _is_dead(live), "that all are dead", 10)
    assert not is_supervised(live.directory)
    table = await live.up()
    assert all(row["alive"] for row in table["members"])
    assert {row["name"]: row["rpc"] for row in table["members"]} == before, "members keep their ports"
    for ledger in ledgers:
        await verify_ledger(live, ledger)
    await check(live)


async def test_a_dead_supervisors_members_are_adopted_without_being_disturbed(live: LiveNetwork) -> None:
    state = read_supervisor_state(live.directory)
    assert state is not None
    before = live.pids()
    kill_by_pid([state.pid])
    assert live.pids() == before, "members outlive their supervisor"
    async with live.client("s0v0") as client:
        (payer,) = await open_traders(live.network, client, 0, 1)
        await certify(client, payer.pay())
    await live.up()
    assert live.pids() == before
    (await live.testnet("kill", "s0v3")).check()
    assert live.pids().keys() == before.keys() - {"s0v3"}


def kill_by_pid(pids: list[int]) -> None:
    """SIGKILL to exactly these processes, which were started here, and wait for their end."""
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=PROGRESS_DEADLINE_S)
    assert not alive


async def _is_dead(live: LiveNetwork) -> bool:
    return live.pids() == {}
