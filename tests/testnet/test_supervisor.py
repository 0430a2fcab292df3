"""The supervisor over real processes: stand-ins for nodes that bind ports and answer a control socket."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
import trio

from node.config import read_config
from primitives.errors import LocalError
from testnet.directory import read_json_lines, read_network
from testnet.failures import find_expected_error
from testnet.operations import kill_members, take_down
from testnet.processes import find_process, is_process_of, scan_processes
from testnet.progress import SilentProgress
from testnet.supervisor_lock import FAILED, READY, STOPPED, is_supervised, read_supervisor_state
from tests.testnet.network_setup import (
    ENVIRONMENT,
    STUB_COMMAND,
    build_supervisor,
    create_small_network,
    read_told,
    running,
    wait_until,
)

pytestmark = pytest.mark.process


async def test_all_members_run_while_the_supervisor_does_and_none_afterwards(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        homes = [member.home for member in supervisor.network.members]
        assert len(scan_processes(homes)) == 3
        assert is_supervised(directory)
        assert (state := read_supervisor_state(directory)) is not None and state.phase == READY
        pids = [process.pid for home in homes if (process := find_process(home))]
        assert all(os.getpgid(pid) == pid for pid in pids), "each in a process group of its own"
    assert scan_processes(homes) == {}
    assert not is_supervised(directory)
    assert (state := read_supervisor_state(directory)) is not None and state.phase == STOPPED


async def test_every_member_is_told_the_address_of_every_other(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory):
        network = read_network(directory)
        for member in network.members:
            (told,) = read_told(member.home, "addresses")
            assert set(told["book"]) == set(network.names)
            process = find_process(member.home)
            assert process is not None
            assert told["book"][member.name] == ["127.0.0.1", process.file.p2p_port]
            assert member.rpc == process.file.rpc


async def test_a_killed_member_stays_down_until_restart_and_keeps_its_ports(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        home = directory.home("s0v1")
        before = find_process(home)
        assert before is not None
        assert await supervisor.kill(["s0v1"]) == ["s0v1"]
        assert find_process(home) is None
        with pytest.raises(LocalError, match="s0v1: not running"):
            await supervisor.kill(["s0v1"])
        await supervisor.restart(["s0v1"])
        after = find_process(home)
        assert after is not None
        assert after.pid != before.pid
        assert (after.file.p2p_port, after.file.rpc_port) == (before.file.p2p_port, before.file.rpc_port)
    kinds = [row["kind"] for row in read_json_lines(directory.events_path)]
    assert kinds == ["up", "ready", "kill", "restart", "down"], "what dies on purpose is no accident"


async def test_ports_are_the_same_when_the_network_comes_up_again(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        first = [member.rpc for member in supervisor.network.members]
    assert read_config(directory.home("s0v0"), {}).rpc.port != 0
    async with running(directory) as supervisor:
        assert [member.rpc for member in supervisor.network.members] == first


async def test_a_member_that_ends_by_itself_is_noted_with_its_last_words(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        process = find_process(directory.home("bv0"))
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await wait_until(lambda: any(row["kind"] == "ended" for row in read_json_lines(directory.events_path)))
        assert (sentence := supervisor.find_ended()) is not None and sentence.startswith("bv0 ended")


async def test_a_paused_member_is_stopped_and_goes_on_when_resumed(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        home = directory.home("s0v0")
        await supervisor.pause(["s0v0"])
        await wait_until(lambda: (process := find_process(home)) and process.paused)
        await supervisor.resume(["s0v0"])
        await wait_until(lambda: (process := find_process(home)) and not process.paused)


async def test_down_also_ends_a_paused_member(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        await supervisor.pause(["all"])
    assert scan_processes(member.home for member in supervisor.network.members) == {}


async def test_a_partition_tells_each_side_whom_to_cut_and_others_nothing(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path, validators=3)
    async with running(directory) as supervisor:
        assert await supervisor.partition("s0v0|s0v1", 30) == []
        (rule,) = read_told(directory.home("s0v0"), "faults")[-1]["rules"]
        assert rule["destinations"] == [[0, 1]]
        assert rule["cut"] is True
        assert 0 < rule["lease_ms"] <= 30_000
        assert read_told(directory.home("s0v1"), "faults")[-1]["rules"][0]["destinations"] == [[0, 0]]
        assert read_told(directory.home("s0v2"), "faults")[-1]["rules"] == []
        await supervisor.heal()
        assert read_told(directory.home("s0v0"), "faults")[-1]["rules"] == []


async def test_a_restarted_member_is_told_the_faults_in_force(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        await supervisor.partition("s0v0|s0v1", 30)
        told = len(read_told(directory.home("s0v1"), "faults"))
        await supervisor.restart(["s0v1"])
        after = read_told(directory.home("s0v1"), "faults")[told:]
        assert [rule["destinations"] for rule in after[-1]["rules"]] == [[[0, 0]]]


async def test_a_paused_member_is_named_as_deaf_and_told_when_it_resumes(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory) as supervisor:
        home = directory.home("s0v1")
        await supervisor.pause(["s0v1"])
        await wait_until(lambda: (process := find_process(home)) and process.paused)
        assert await supervisor.partition("s0v0|s0v1", 30) == ["s0v1"]
        await supervisor.resume(["s0v1"])
        assert read_told(home, "faults")[-1]["rules"][0]["destinations"] == [[0, 0]]


async def test_nothing_is_left_running_when_one_member_does_not_start(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    (directory.home("bv0") / "refuse").write_text("the disk is full")
    supervisor = build_supervisor(directory)
    with pytest.raises(LocalError, match="bv0 did not start: the disk is full"):
        await supervisor.run()
    assert scan_processes(member.home for member in supervisor.network.members) == {}
    assert (state := read_supervisor_state(directory)) is not None
    assert (state.phase, "the disk is full" in state.text) == (FAILED, True)


async def test_a_taken_port_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory):
        port = read_config(directory.home("s0v0"), {}).rpc.port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(LocalError, match=f"port {port} is in use"):
            await build_supervisor(directory).run()
    assert scan_processes([directory.home("s0v0"), directory.home("s0v1")]) == {}


async def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory):
        with pytest.raises(LocalError, match="is running already"):
            await build_supervisor(directory).run()
        assert len(scan_processes([directory.home("s0v0")])) == 1, "and the first one's members live on"


async def test_a_new_supervisor_adopts_what_a_crashed_one_left_and_starts_the_rest(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    async with running(directory):
        pass
    orphan = start_orphan(directory.home("s0v0"))
    try:
        await wait_until(lambda: find_process(directory.home("s0v0")))
        async with running(directory) as supervisor:
            adopted = find_process(directory.home("s0v0"))
            assert adopted is not None and adopted.pid == orphan.pid
            assert len(scan_processes(member.home for member in supervisor.network.members)) == 3
            await supervisor.kill(["s0v0"])
            await supervisor.restart(["s0v0"])
        assert scan_processes(member.home for member in supervisor.network.members) == {}
    finally:
        orphan.kill()
        orphan.wait()


async def test_down_finds_and_stops_orphans_and_refuses_the_second_time(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    orphan = start_orphan(directory.home("s0v0"))
    try:
        await wait_until(lambda: scan_processes([directory.home("s0v0")]))
        assert await take_down(directory, SilentProgress(), delete=False) == 1
        assert orphan.wait(5) is not None
        with pytest.raises(LocalError, match="is not running"):
            await take_down(directory, SilentProgress(), delete=False)
        await take_down(directory, SilentProgress(), delete=True)
        assert not directory.path.exists()
    finally:
        orphan.kill()
        orphan.wait()


async def test_members_can_be_killed_without_a_supervisor(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    orphan = start_orphan(directory.home("s0v0"))
    try:
        await wait_until(lambda: find_process(directory.home("s0v0")))
        assert await kill_members(read_network(directory), ["shard0"], SilentProgress()) == ["s0v0"]
        assert orphan.wait(5) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()


async def test_a_foreign_process_is_never_taken_for_a_member(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    home = directory.home("s0v0")
    foreign = start_foreign()
    try:
        (home / "process.json").write_text(
            f'{{"name": "s0v0", "pid": {foreign.pid}, "p2p_port": 1, "rpc_port": 2, "rpc": "http://127.0.0.1:2", '
            '"started_ms": 9999999999999}'
        )
        assert find_process(home) is None
        assert not is_process_of(foreign.pid, home)
        with pytest.raises(LocalError, match="not running"):
            await kill_members(read_network(directory), ["s0v0"], SilentProgress())
        assert psutil.Process(foreign.pid).is_running()
    finally:
        foreign.kill()
        foreign.wait()


async def test_a_member_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testnet.supervisor.STOP_GRACE_S", 0.3)
    directory = create_small_network(tmp_path)
    (directory.home("s0v0") / "stubborn").touch()
    async with running(directory) as supervisor:
        pass
    assert scan_processes(member.home for member in supervisor.network.members) == {}
    assert "killed 1" in read_json_lines(directory.events_path)[-1]["detail"]


async def test_a_supervisor_stopped_while_starting_leaves_nothing(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    supervisor = build_supervisor(directory)

    async def stop_soon() -> None:
        await wait_until(lambda: scan_processes([directory.home("s0v0")]))
        supervisor.stop()

    with trio.fail_after(20), pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_soon)
            nursery.start_soon(supervisor.run)
    assert "stopped before it was ready" in str(find_expected_error(caught.value))
    assert scan_processes(member.home for member in supervisor.network.members) == {}


def start_orphan(home: Path) -> subprocess.Popen[bytes]:
    """A member without a supervisor, as one that crashed leaves it."""
    return subprocess.Popen([*STUB_COMMAND, "--home", str(home)], start_new_session=True, env=ENVIRONMENT)


def start_foreign() -> subprocess.Popen[bytes]:
    """Somebody else's process."""
    return subprocess.Popen(["sleep", "60"])
