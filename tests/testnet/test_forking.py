"""Members forked from one process that has loaded everything: real nodes, whose names and ends are known."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio
import trio.testing

from primitives.errors import LocalError
from testnet.directory import NetworkDirectory
from testnet.forking import SERVER_COMMAND, ForkSpawner
from testnet.processes import find_process, is_process_of, scan_processes, stop_processes
from testnet.spawning import read_last_words
from tests.testnet.network_setup import ENVIRONMENT, create_small_network, wait_until

pytestmark = pytest.mark.process
GRACE_S = 10.0


@asynccontextmanager
async def spawning(homes: list[Path], **variables: str) -> AsyncIterator[ForkSpawner]:
    """A spawner for the time of the body; whatever it started is ended."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            spawner = ForkSpawner(nursery, ENVIRONMENT | variables)
            try:
                yield spawner
            finally:
                with trio.CancelScope(shield=True):
                    await spawner.close()
                    await stop_processes(scan_processes(homes), GRACE_S)
            nursery.cancel_scope.cancel()


def list_homes(directory: NetworkDirectory) -> list[Path]:
    return [directory.home(name) for name in ("s0v0", "s0v1", "bv0")]


def find_server(pid: int) -> psutil.Process:
    server = psutil.Process(pid).parent()
    assert server is not None
    assert server.cmdline() == list(SERVER_COMMAND)
    return server


def end(server: psutil.Process) -> None:
    server.kill()
    server.wait(GRACE_S)


async def test_members_are_found_by_their_homes_as_soon_as_they_are_started(tmp_path: Path) -> None:
    homes = list_homes(create_small_network(tmp_path))
    async with spawning(homes) as spawner:
        members: dict[Path, int] = {}

        async def start(home: Path) -> None:
            members[home] = (await spawner.spawn(home)).pid
            assert is_process_of(members[home], home)
            assert os.getsid(members[home]) == members[home], "in a session of its own"
            assert psutil.Process(members[home]).cwd() == str(home)

        async with trio.open_nursery() as nursery:
            for home in homes:
                nursery.start_soon(start, home)
        assert scan_processes(homes) == members
        for home in homes:
            await wait_until(lambda home=home: find_process(home))
        server = find_server(members[homes[0]])
        assert len(server.children()) == len(homes)
        assert server.num_threads() == 1, "a fork would lose the others"


@pytest.mark.parametrize("folder", ["with a space", "long" * 50 + "/" + "path" * 50], ids=["space", "long"])
async def test_a_home_is_told_from_any_path(tmp_path: Path, folder: str) -> None:
    homes = list_homes(create_small_network(tmp_path / folder))
    async with spawning(homes) as spawner:
        member = await spawner.spawn(homes[0])
        assert scan_processes(homes) == {homes[0]: member.pid}


async def test_how_a_member_ended_is_known(tmp_path: Path) -> None:
    homes = list_homes(create_small_network(tmp_path))
    (homes[1] / "config.toml").write_text("[p2p]\nport = 1e9\n")
    async with spawning(homes) as spawner:
        killed, refusing = await spawner.spawn(homes[0]), await spawner.spawn(homes[1])
        assert await refusing.wait() == 1
        assert "config.toml" in read_last_words(homes[1])
        assert "Traceback" not in (homes[1] / "output.log").read_text()
        os.kill(killed.pid, signal.SIGKILL)
        assert await killed.wait() == -signal.SIGKILL
        assert await killed.wait() == -signal.SIGKILL, "asked again"
        assert scan_processes(homes) == {}


async def test_a_member_that_cannot_have_its_output_is_not_started(tmp_path: Path) -> None:
    homes = list_homes(create_small_network(tmp_path))
    (homes[0] / "output.log").write_text("the last run")
    (homes[0] / "output.previous.log").mkdir()
    async with spawning(homes) as spawner:
        with pytest.raises(LocalError, match="cannot start s0v0"):
            await spawner.spawn(homes[0])
        assert (await spawner.spawn(homes[1])).pid, "others are"


async def test_our_own_variables_do_not_reach_members(tmp_path: Path) -> None:
    homes = list_homes(create_small_network(tmp_path))
    async with spawning(homes, RIALTO_P2P_PORT="not a port") as spawner:
        await spawner.spawn(homes[0])
        await wait_until(lambda: find_process(homes[0]))


async def test_members_outlive_the_process_that_they_were_forked_from_and_another_takes_its_place(
    tmp_path: Path,
) -> None:
    homes = list_homes(create_small_network(tmp_path))
    async with spawning(homes) as spawner:
        orphan = await spawner.spawn(homes[0])
        await wait_until(lambda: find_process(homes[0]))
        end(find_server(orphan.pid))
        other = await spawner.spawn(homes[1])
        assert scan_processes(homes) == {homes[0]: orphan.pid, homes[1]: other.pid}
        os.kill(orphan.pid, signal.SIGKILL)
        assert await orphan.wait() is None, "nobody knows how it ended, but that it did"
        await spawner.close()
        assert is_process_of(other.pid, homes[1]), "closing ends no member"


async def test_a_start_that_is_under_way_when_its_server_dies_is_refused(tmp_path: Path) -> None:
    homes = list_homes(create_small_network(tmp_path))
    async with spawning(homes) as spawner:
        server = find_server((await spawner.spawn(homes[0])).pid)
        server.suspend()

        async def start() -> None:
            with pytest.raises(LocalError, match="has ended"):
                await spawner.spawn(homes[1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            end(server)
        assert (await spawner.spawn(homes[1])).pid


async def test_one_that_does_not_react_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testnet.forking.CLOSE_TIMEOUT_S", 0.2)
    homes = list_homes(create_small_network(tmp_path))
    async with spawning(homes) as spawner:
        member = await spawner.spawn(homes[0])
        server = find_server(member.pid)
        server.suspend()
        await spawner.close()
        assert not server.is_running()
        assert is_process_of(member.pid, homes[0])
