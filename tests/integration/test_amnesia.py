"""A real validator whose vote log is gone: refused, marked by the command that it names, silent, and back."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    LiveNetwork,
    certify,
    open_traders,
    read_metric,
    run_rialto,
    wait_true,
)

pytestmark = pytest.mark.process
MEMBER, INDEX = "s0v3", 3
RETURN_DEADLINE_S = 90
"""Two windows of empty blocks and two new views take 10 s on free cores."""


async def test_a_member_without_its_vote_log_abstains_returns_and_is_needed(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client, live.client(MEMBER) as forgetful:
        (payer,) = await open_traders(live.network, client, 0, 1)
        await certify(client, payer.pay())
        (await live.testnet("kill", MEMBER)).check()
        home = live.home(MEMBER)
        shutil.rmtree(home / "votes")
        start = ("node", "start", "--home", str(home))
        line = (await run_rialto(*start, root=live.root, deadline_s=PROGRESS_DEADLINE_S)).refusal()
        command = f"rialto node rebuild --forget-votes --home {home}"
        assert command in line, line
        (await run_rialto(*command.split()[1:], root=live.root, deadline_s=PROGRESS_DEADLINE_S)).check()
        (await live.testnet("restart", MEMBER)).check()

        async def has_target() -> int:
            return int(read_metric(await forgetful.metrics(), "rialto_replica_abstains_until"))

        until = await wait_true(has_target, "what has to be certified is known", RETURN_DEADLINE_S)
        alarms = (await forgetful.status())["alarms"]
        assert any("abstains" in alarm for alarm in alarms), alarms

        reasons = set()

        async def is_voting() -> bool:
            ready, reason = await forgetful.ready()
            standing = (await forgetful.status())["standing"]
            if not ready:
                reasons.add(reason.partition(":")[0])
            return bool(standing == "voting")

        await wait_true(is_voting, f"{MEMBER} votes again", RETURN_DEADLINE_S)
        assert "votes were lost" in reasons, reasons
        height = (await client.status())["certified_height"]
        assert height >= until, "the others made blocks for it, though nobody traded"
        for block in range(until - 1, max(until - 20, 1), -1):
            certificate = (await client.block(block))["certificate"]
            if certificate["height"] < until:
                assert INDEX not in certificate["signers"], f"it attested block {certificate['height']}"
        (await live.testnet("kill", "s0v0")).check()
        async with live.client("s0v1") as other:
            (payer,) = await open_traders(live.network, other, 0, 1)
            status = await certify(other, payer.pay())
            assert INDEX in (await other.block(status.height or 0))["certificate"]["signers"], "its vote is needed"
        (await live.testnet("restart", "s0v0")).check()
        await live.wait_whole()
