"""One network of real processes for all of these tests: two shards of four and a beacon of one.

Starting processes is what costs time here, so the tests share it; before each test it is made whole again, whatever
the last one did to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from testnet.faults import read_partition
from testnet.processes import find_process
from tests.integration.live_network import LiveNetwork

SHARDS, VALIDATORS = 2, 4


@pytest.fixture(scope="session")
def shared_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    live = LiveNetwork(tmp_path_factory.mktemp("runs").resolve(), "shared")
    try:
        trio.run(_bring_up, live)
        yield live
    finally:
        trio.run(live.end)


async def _bring_up(live: LiveNetwork) -> None:
    await live.up("--shards", str(SHARDS), "--validators", str(VALIDATORS), "--beacon-validators", "1")
    await live.wait_whole()


@pytest.fixture
async def live(shared_network: LiveNetwork) -> LiveNetwork:
    """The shared network, whole: healed, everybody alive and connected."""
    await _make_whole(shared_network)
    return shared_network


async def _make_whole(live: LiveNetwork) -> None:
    """By the tool, but only what is needed: a command takes a second."""
    processes = {member.name: find_process(member.home) for member in live.network.members}
    dead = [name for name, process in processes.items() if process is None]
    if any(process is not None and process.paused for process in processes.values()):
        (await live.testnet("resume", "all")).check()
    if dead:
        (await live.testnet("restart", *dead)).check()
    if read_partition(live.directory) is not None:
        (await live.testnet("heal")).check()
    await live.wait_whole()
