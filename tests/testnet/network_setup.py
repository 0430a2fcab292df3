"""Small networks for the tests of the testnet tool: made in a moment, run by stand-ins for nodes."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from testnet.directory import Network, NetworkDirectory, read_network
from testnet.processes import HOME_OPTION
from testnet.progress import Progress, SilentProgress
from testnet.provision import create_network
from testnet.spawning import MemberProcess, build_environment, open_output
from testnet.supervisor import Supervisor
from testnet.topology import BeaconTopology, ShardTopology, Topology

STUB_COMMAND = (sys.executable, "-S", str(Path(__file__).with_name("stub_member.py")))
DEADLINE_S = 10.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def build_small_topology(shards: int = 1, validators: int = 2) -> Topology:
    """One beacon member, one test account a shard."""
    shard = ShardTopology(markets=("BTCUSDT",), validators=validators, accounts=1)
    return Topology(shards=(shard,) * shards, beacon=BeaconTopology(validators=1), seed=7)


def create_small_network(root: Path, name: str = "small", shards: int = 1, validators: int = 2) -> NetworkDirectory:
    """A network in ``root``; a copy of one that was made once, so each has the same chain."""
    directory = NetworkDirectory(root.resolve() / name)
    shutil.copytree(_create_template(shards, validators), directory.path, symlinks=True)
    return directory


@functools.cache
def _create_template(shards: int, validators: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rialto-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    directory = NetworkDirectory(folder / "template")
    create_network(directory, build_small_topology(shards, validators), SilentProgress())
    return directory.path


async def wait_at_once(
    network: Network, progress: Progress, timeout_s: float, has_failed: Callable[[], str | None]
) -> None:
    """Stand-ins are ready when they have bound their ports."""
    await trio.lowlevel.checkpoint()


def build_supervisor(directory: NetworkDirectory) -> Supervisor:
    return Supervisor(read_network(directory), ENVIRONMENT, SilentProgress(), StubSpawner, wait_at_once)


class StubSpawner:
    """Starts stand-ins, each as a child of its own."""

    def __init__(self, _: trio.Nursery, environment: Mapping[str, str]) -> None:
        self._environment = build_environment(environment)

    async def spawn(self, home: Path) -> MemberProcess:
        with os.fdopen(open_output(home), "wb") as output:
            return await trio.lowlevel.open_process(
                [*STUB_COMMAND, HOME_OPTION, str(home)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
                env=self._environment,
                start_new_session=True,
            )

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def running(directory: NetworkDirectory) -> AsyncIterator[Supervisor]:
    supervisor = build_supervisor(directory)
    with trio.fail_after(3 * DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            yield supervisor
            supervisor.stop()


async def wait_until(holds: Callable[[], Any]) -> None:
    with trio.fail_after(DEADLINE_S):
        while True:
            if holds():
                return
            await trio.sleep(0.01)


def read_told(home: Path, operation: str) -> list[dict[str, Any]]:
    """What the stand-in was told through its control socket."""
    path = home / "told.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [body for body in map(json.loads, lines) if body["op"] == operation]
