"""A shard split in two halves certifies nothing, and goes on when the split is healed or its lease runs out."""

from __future__ import annotations

import pytest

from node.client import NodeClient
from node.clock import monotonic_ms
from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    LiveNetwork,
    Trader,
    certify,
    open_traders,
    submit,
    verify_no_progress,
    wait_true,
)

pytestmark = pytest.mark.process
SPLIT = "s0v0,s0v1|s0v2,s0v3"
LEASE_S = 8


async def submit_on_both_sides(left: NodeClient, right: NodeClient, payer: Trader) -> dict[str, NodeClient]:
    """A transaction that waits on each side of the split, with where it waits."""
    return {await submit(side, payer.pay()): side for side in (left, right)}


async def test_a_shard_split_in_halves_certifies_nothing_until_it_is_healed(live: LiveNetwork) -> None:
    async with live.client("s0v0") as left, live.client("s0v3") as right, live.client("s1v0") as elsewhere:
        (payer,) = await open_traders(live.network, left, 0, 1)
        (neighbour,) = await open_traders(live.network, elsewhere, 1, 1)
        (await live.testnet("partition", SPLIT)).check()
        await wait_true(lambda: is_cut(left), "the links of s0v0 are down")
        waiting = await submit_on_both_sides(left, right, payer)
        await verify_no_progress([left, right], waiting)
        assert (await certify(elsewhere, neighbour.pay())).code == "OK"
        (await live.testnet("heal")).check()
        for identity, member in waiting.items():
            assert (await member.wait_certified(identity)).code == "OK"
        await compare_chains(left, right)


async def test_the_lease_of_a_partition_runs_out_by_itself(live: LiveNetwork) -> None:
    async with live.client("s0v1") as left, live.client("s0v2") as right:
        (payer,) = await open_traders(live.network, left, 0, 1)
        imposed_ms = monotonic_ms()
        (await live.testnet("partition", SPLIT, "--lease", str(LEASE_S))).check()
        await wait_true(lambda: is_cut(left), "the links of s0v1 are down")
        waiting = await submit_on_both_sides(left, right, payer)
        await verify_no_progress([left, right], waiting)
        for identity, member in waiting.items():
            await member.wait_certified(identity, timeout_s=LEASE_S + PROGRESS_DEADLINE_S)
        assert monotonic_ms() - imposed_ms >= LEASE_S * 1_000
        await compare_chains(left, right)


async def test_a_restarted_member_takes_the_partition_that_is_in_force(live: LiveNetwork) -> None:
    async with live.client("s1v0") as left, live.client("s1v3") as right:
        (payer,) = await open_traders(live.network, left, 1, 1)
        (await live.testnet("partition", "s1v0,s1v1|s1v2,s1v3")).check()
        (await live.testnet("kill", "s1v2")).check()
        (await live.testnet("restart", "s1v2")).check()
        waiting = await submit_on_both_sides(left, right, payer)
        await verify_no_progress([left, right], waiting)
        (await live.testnet("heal")).check()
        for identity, member in waiting.items():
            assert (await member.wait_certified(identity)).code == "OK"


async def test_a_member_that_is_heard_by_nobody_still_follows(live: LiveNetwork) -> None:
    async with live.client("s0v1") as client, live.client("s0v3") as mute:
        (payer,) = await open_traders(live.network, client, 0, 1)
        (await live.testnet("partition", "s0v3>s0v0,s0v1,s0v2", "--lease", "30")).check()
        certified = await certify(client, payer.pay())
        assert 3 not in (await client.block(certified.height or 0))["certificate"]["signers"]
        (await live.testnet("heal")).check()
        assert (await mute.wait_certified(certified.id)).height == certified.height


async def is_cut(client: NodeClient) -> bool:
    """Whether this member has but one of its committee left."""
    status = await client.status()
    peers = [peer for peer in await client.peers() if peer["committee"] == status["committee"]]
    return sum(1 for peer in peers if peer["connected"]) == 1


async def compare_chains(left: NodeClient, right: NodeClient) -> None:
    """Both have the same last common block, hence the same history."""
    height = min((await left.status())["certified_height"], (await right.status())["certified_height"])
    assert (await left.block(height))["hash"] == (await right.block(height))["hash"]
