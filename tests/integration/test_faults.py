"""Validators die and come back: a shard goes on without one of four, stops without two, and resumes.

Before a test claims that a shard survived, it has seen that the fault was there.
"""

from __future__ import annotations

import pytest
import trio

from node.clock import monotonic_ms
from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    VOTES_AGAIN_S,
    LiveNetwork,
    allow_s,
    certify,
    open_traders,
    submit,
    verify_no_progress,
    wait_true,
)

pytestmark = pytest.mark.process
GOING_AWAY = 1001


async def kill(live: LiveNetwork, *members: str) -> None:
    """Kill and see that they are dead."""
    (await live.testnet("kill", *members)).check()
    assert not {*members} & live.pids().keys()
    rows = await live.status()
    for name in members:
        assert (rows[name]["alive"], rows[name]["height"], rows[name]["view"]) == (False, None, None)


async def test_without_one_of_four_a_shard_goes_on_and_takes_it_back(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client, live.client("s0v1") as other:
        (payer,) = await open_traders(live.network, client, 0, 1)
        await kill(live, "s0v3")
        for _ in range(3):
            status = await certify(client, payer.pay())
            assert 3 not in (await client.block(status.height or 0))["certificate"]["signers"]
        asked_ms = monotonic_ms()
        (await live.testnet("restart", "s0v3")).check()

        async def has_voted() -> bool:
            status = await certify(client, payer.pay())
            return 3 in (await client.block(status.height or 0))["certificate"]["signers"]

        await wait_true(has_voted, "a certificate with the restarted member's signature")
        took_s = (monotonic_ms() - asked_ms) / 1_000
        # Now a quorum needs it: it has caught up, and its votes count.
        await kill(live, "s0v0")
        missed = await certify(other, payer.pay())
        async with live.client("s0v3") as restarted:
            assert (await restarted.wait_certified(missed.id)).height == missed.height
            assert (await restarted.block(1))["hash"] == (await other.block(1))["hash"]
        assert took_s < allow_s(VOTES_AGAIN_S), f"it voted again only after {took_s:.1f} s"


async def test_without_two_of_four_a_shard_stops_and_resumes_while_the_other_trades_on(live: LiveNetwork) -> None:
    async with live.client("s1v0") as client, live.client("s1v1") as other, live.client("s0v2") as elsewhere:
        (payer,) = await open_traders(live.network, client, 1, 1)
        (neighbour,) = await open_traders(live.network, elsewhere, 0, 1)
        await kill(live, "s1v2", "s1v3")
        waiting = {
            await submit(client, payer.pay()): client,
            await submit(other, payer.pay()): other,
        }
        await verify_no_progress([client, other], waiting)
        assert (await certify(elsewhere, neighbour.pay())).code == "OK"
        ready, reason = await client.ready()
        assert not ready and "2 of 4" in reason
        asked_ms = monotonic_ms()
        (await live.testnet("restart", "s1v2", "s1v3")).check()
        for identity, member in waiting.items():
            assert (await member.wait_certified(identity)).code == "OK"
        took_s = (monotonic_ms() - asked_ms) / 1_000
        assert took_s < allow_s(VOTES_AGAIN_S), f"it resumed only after {took_s:.1f} s"


async def test_a_paused_validator_is_passed_over_and_catches_up_when_it_goes_on(live: LiveNetwork) -> None:
    async with live.client("s0v1") as client:
        (payer,) = await open_traders(live.network, client, 0, 1)
        status = await client.status()
        view, primary = status["view"], status["primary"]
        survivor = "s0v1" if primary != "s0v1" else "s0v2"
        (await live.testnet("pause", primary)).check()
        assert (await live.status())[primary]["height"] is None
        async with live.client(survivor) as living, live.client(primary) as paused:
            certified = await certify(living, payer.pay())
            assert (await living.status())["view"] > view, "it was the primary, so the others changed the view"
            (await live.testnet("resume", primary)).check()
            assert (await paused.wait_certified(certified.id)).height == certified.height


async def test_without_the_beacon_shards_trade_on_and_follow_it_again(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client, live.client("bv0") as beacon:
        (payer,) = await open_traders(live.network, client, 0, 1)
        await kill(live, "bv0")
        certified = await certify(client, payer.pay())
        (await live.testnet("restart", "bv0")).check()

        async def is_registered() -> bool:
            tips = (await beacon.tips())["tips"]
            return any(tip["shard"] == 0 and tip["height"] >= (certified.height or 0) for tip in tips)

        await wait_true(is_registered, "the header of the block without the beacon")


async def test_a_member_that_stops_says_goodbye_to_its_streams(live: LiveNetwork) -> None:
    async with live.client("s1v3") as client, client.stream(["blocks"]) as stream:
        assert (await anext(stream))["type"] == "subscribed"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.testnet, "restart", "s1v3")
            with trio.fail_after(PROGRESS_DEADLINE_S):
                async for _ in stream:
                    pass
        assert stream.closed is not None
        assert stream.closed[0] == GOING_AWAY
        assert len(stream.closed[1]) > 5
