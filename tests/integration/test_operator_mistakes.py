"""What operators get wrong on real processes: one clear line, a status, nothing lost or running."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from node.client import NodeClient
from node.config import read_config, write_config
from node.process_file import read_process_file
from primitives.errors import LocalError, RemoteError
from testnet.cli import EXIT_INTERRUPTED
from testnet.directory import NetworkDirectory, read_network
from testnet.processes import scan_processes
from testnet.progress import SilentProgress
from testnet.provision import create_network
from testnet.topology import BeaconTopology, ShardTopology, Topology
from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    RIALTO,
    LiveNetwork,
    Outcome,
    Trader,
    certify,
    open_traders,
    run_rialto,
    wait_true,
)

pytestmark = pytest.mark.process
TINY = Topology(
    shards=(ShardTopology(markets=("BTCUSDT",), validators=1, accounts=2),),
    beacon=BeaconTopology(validators=1),
    seed=11,
)
"""One validator and one beacon member: whoever needs a home, not a network."""
FULL_DISK_BYTES = 256 << 10
BATCH = 50


def provision(root: Path, name: str = "tiny") -> NetworkDirectory:
    """A network that was never started."""
    directory = NetworkDirectory(root.resolve() / name)
    create_network(directory, TINY, SilentProgress())
    return directory


async def start_node(home: Path, **variables: str) -> Outcome:
    """``rialto node start``, which is expected to end by itself."""
    return await run_rialto(
        "node", "start", "--home", str(home), root=home.parent, variables=variables, deadline_s=PROGRESS_DEADLINE_S
    )


async def verify_refused(home: Path, *words: str, **variables: str) -> str:
    """The node refuses with one line that holds these words, and does not run."""
    line = (await start_node(home, **variables)).refusal()
    for word in words:
        assert word in line, line
    assert not scan_processes([home])
    return line


# --- ports -------------------------------------------------------------------------------------------------


async def test_ports_of_another_rialto_node_are_refused_by_number(live: LiveNetwork, tmp_path: Path) -> None:
    other = read_process_file(live.home("s0v0"))
    home = provision(tmp_path).home("s0v0")
    await verify_refused(home, str(other.rpc_port), "in use", RIALTO_RPC_PORT=str(other.rpc_port))
    await verify_refused(home, str(other.p2p_port), "in use", RIALTO_P2P_PORT=str(other.p2p_port))
    async with live.client("s0v0") as client:
        assert (await client.ready())[0], "the other one is unhurt"


async def test_a_network_that_cannot_start_whole_leaves_nothing_running(live: LiveNetwork, tmp_path: Path) -> None:
    taken = read_process_file(live.home("s1v1")).rpc_port
    directory = provision(tmp_path)
    set_rpc_port(directory.home("bv0"), taken)
    outcome = await up(tmp_path, name=directory.name)
    line = outcome.refusal()
    assert "bv0" in line and str(taken) in line, line
    assert not scan_processes(member.home for member in read_network(directory).members)


def set_rpc_port(home: Path, port: int) -> None:
    """Put a port into a home's configuration."""
    config = read_config(home, {})
    write_config(replace(config, rpc=replace(config.rpc, port=port)))


# --- files -------------------------------------------------------------------------------------------------

BAD_TOPOLOGIES = {
    "no TOML": ("[[shards", "TOML"),
    "an unknown key": ("sheds = 2\n", "sheds"),
    "an unknown market": ('[[shards]]\nmarkets = ["NOSUCH"]\n', "NOSUCH"),
    "no validators": ('[[shards]]\nvalidators = 0\nmarkets = ["BTCUSDT"]\n', "validators"),
    "an unknown engine": (
        '[[shards]]\nengine = "raft"\nmarkets = ["BTCUSDT"]\n',
        "shard0: no consensus engine 'raft'",
    ),
    "an unknown engine of the beacon": (
        '[beacon]\nengine = "raft"\n',
        "beacon: no consensus engine 'raft'; installed",
    ),
    "an unknown leader schedule": (
        '[[shards]]\nengine_parameters = { leader_schedule = "chess" }\n',
        "shard0: no leader schedule 'chess'; installed: fixed, ",
    ),
    "an unknown pacemaker": (
        '[beacon.engine_parameters]\npacemaker = "hasty"\n',
        "beacon: no pacemaker 'hasty'; installed: exponential, ",
    ),
    "a schedule that is no name": ("[beacon.engine_parameters]\nleader_schedule = 3\n", "must be a string"),
    "an unknown parameter of the engine": ("[[shards]]\nengine_parameters = { timeout = 3 }\n", "timeout"),
    "text where a number belongs": ('seed = "seven"\n', "seed"),
}


async def test_a_bad_topology_file_is_refused_by_the_name_of_what_is_wrong(tmp_path: Path) -> None:
    async def refuse(name: str, text: str, word: str) -> None:
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        line = (await up(tmp_path, "--topology", str(file))).refusal()
        assert word in line, line

    async with trio.open_nursery() as nursery:
        for number, (text, word) in enumerate(BAD_TOPOLOGIES.values()):
            nursery.start_soon(refuse, f"topology{number}", text, word)
    line = (await up(tmp_path, "--engine", "raft")).refusal()
    assert "no consensus engine 'raft'; installed:" in line and "pbft" in line
    assert "nowhere.toml" in (await up(tmp_path, "--topology", str(tmp_path / "nowhere.toml"))).refusal()
    assert not (tmp_path / "broken").exists()


async def up(root: Path, *options: str, name: str = "broken") -> Outcome:
    return await run_rialto("testnet", "up", "--name", name, "--detach", *options, root=root)


async def test_a_home_that_is_not_there_is_said(tmp_path: Path) -> None:
    await verify_refused(tmp_path / "nowhere", "nowhere")
    line = (await run_rialto("node", "status", "--home", str(tmp_path / "nowhere"), root=tmp_path)).refusal()
    assert "nowhere" in line
    assert "no network 'none'" in (await run_rialto("testnet", "status", "--name", "none", root=tmp_path)).refusal()


async def test_a_genesis_of_another_network_is_refused(tmp_path: Path) -> None:
    home = provision(tmp_path).home("s0v0")
    again = provision(tmp_path, "again")
    (home / "genesis.json").unlink()
    shutil.copy(again.genesis_path, home / "genesis.json")
    await verify_refused(home, "belongs to chain", "genesis")


async def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    home = provision(tmp_path).home("s0v0")
    for name in ("validator.pem", "validator.pem.passphrase"):
        (home / name).chmod(0o644)
        await verify_refused(home, name, "chmod 600")
        (home / name).chmod(0o600)


async def test_flipped_bytes_and_lost_votes_are_refused_and_the_member_itself_is_not_hurt(
    live: LiveNetwork, tmp_path: Path
) -> None:
    async with live.client("s0v0") as client:
        (payer,) = await open_traders(live.network, client, 0, 1)
        for _ in range(3):
            await certify(client, payer.pay())
    (await live.testnet("kill", "s0v3")).check()
    for number, (database, damage, word) in enumerate(DAMAGES):
        home = tmp_path / f"copy{number}" / "s0v3"
        shutil.copytree(live.home("s0v3"), home, ignore=shutil.ignore_patterns("*.sock", "process.json"))
        damage(home / database)
        before = digest_files(home / database)
        await verify_refused(home, database, word)
        after = digest_files(home / database)
        assert before.items() <= after.items(), "nothing is repaired silently"


def flip_byte(database: Path) -> None:
    """In the middle of the newest records, which are in the log until they are compacted."""
    largest = max(database.glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(largest.read_bytes())
    assert len(data) > 1_000, "there is something to damage"
    data[len(data) // 2] ^= 0x40
    largest.write_bytes(bytes(data))


def remove_database(database: Path) -> None:
    shutil.rmtree(database)


DAMAGES: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("votes", flip_byte, "votes"),
    ("chain", flip_byte, "chain"),
    ("votes", remove_database, "votes"),
)


def digest_files(database: Path) -> dict[str, bytes]:
    """Contents of the log files by name."""
    return {file.name: file.read_bytes() for file in database.glob("*.log")} if database.exists() else {}


# --- names and lives ---------------------------------------------------------------------------------------


async def test_a_name_in_use_is_refused_and_the_running_network_is_not_touched(live: LiveNetwork) -> None:
    before = live.pids()
    for options in ((), ("--shards", "1"), ("--detach", "--json")):
        outcome = await live.testnet("up", *options)
        assert "running already" in outcome.refusal()
        assert outcome.stdout == ""
    assert live.pids() == before


async def test_a_home_that_is_in_use_is_refused_and_its_node_goes_on(live: LiveNetwork) -> None:
    pid = live.pids()["s0v2"]
    outcome = await start_node(live.home("s0v2"))
    assert "s0v2" in outcome.refusal()
    assert live.pids()["s0v2"] == pid
    assert read_process_file(live.home("s0v2")).pid == pid, "its process file is still its own"
    async with live.client("s0v2") as client:
        assert (await client.ready())[0]


async def test_ctrl_c_while_a_network_starts_leaves_nothing_running(tmp_path: Path) -> None:
    directory = provision(tmp_path)
    homes = [member.home for member in read_network(directory).members]
    arguments = [RIALTO, "testnet", "up", "--name", directory.name]
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            arguments,
            check=False,
            capture_stderr=True,
            env=build_variables(tmp_path),
            # A shell that runs the tests in its background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        process = await nursery.start(start)
        await wait_true(lambda: is_started(homes), "the members' processes")
        process.send_signal(signal.SIGINT)
        with trio.fail_after(PROGRESS_DEADLINE_S):
            await process.wait()
    assert process.returncode != 0
    assert not scan_processes(homes)


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)])
async def test_a_bench_that_is_told_to_end_leaves_nothing_running_and_no_data(
    tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    def list_homes() -> list[Path]:
        return list(tmp_path.glob("rialto-bench-*/bench/homes/*"))

    async def has_members() -> bool:
        return bool(scan_processes(list_homes()))

    async with trio.open_nursery() as nursery:
        variables = {**os.environ, "TMPDIR": str(tmp_path)}
        start = partial(
            trio.run_process, [RIALTO, "bench", "single"], check=False, capture_stderr=True, env=variables
        )
        process = await nursery.start(start)
        await wait_true(has_members, "the members' processes")
        homes = list_homes()
        for number in signals:
            process.send_signal(number)
        with trio.fail_after(PROGRESS_DEADLINE_S):
            await process.wait()
    assert process.returncode == EXIT_INTERRUPTED
    assert not scan_processes(homes)
    assert not list(tmp_path.iterdir())


def build_variables(root: Path) -> dict[str, str]:
    return {**os.environ, "RIALTO_RUNS": str(root)}


async def is_started(homes: list[Path]) -> bool:
    return len(scan_processes(homes)) == len(homes)


async def test_down_twice_is_said_and_delete_removes_the_data(tmp_path: Path) -> None:
    directory = provision(tmp_path)
    tiny = LiveNetwork(tmp_path.resolve(), directory.name)
    try:
        await tiny.up()
        assert len(tiny.pids()) == 2
        (await tiny.testnet("down")).check()
        assert tiny.pids() == {}
        assert "not running" in (await tiny.testnet("down")).refusal()
        assert "not running" in (await tiny.testnet("kill", "s0v0")).refusal()
        (await tiny.testnet("down", "--delete")).check()
        assert not directory.path.exists()
        assert "no network 'tiny'" in (await tiny.testnet("down")).refusal()
    finally:
        await tiny.end()


async def test_a_full_disk_ends_the_node_with_one_line_and_loses_nothing_certified(tmp_path: Path) -> None:
    directory = provision(tmp_path)
    home = directory.home("s0v0")
    certified: dict[str, int] = {}

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, FULL_DISK_BYTES))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pay_until_it_ends, directory, certified)
        outcome = await run_rialto("node", "start", "--home", str(home), root=tmp_path, before=limit_file_size)
        nursery.cancel_scope.cancel()
    assert "the disk refused a write" in outcome.refusal()
    assert len(certified) >= BATCH
    process = start_in_background(home)
    try:
        async with NodeClient(await wait_bound(home, process.pid)) as client:
            for identity, height in certified.items():
                status = await client.transaction(identity)
                assert (status.state, status.height) == ("certified", height)
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: process.wait(PROGRESS_DEADLINE_S)) == 0
    finally:
        process.kill()
        process.wait()


def start_in_background(home: Path) -> subprocess.Popen[bytes]:
    """A node that the caller stops."""
    return subprocess.Popen([RIALTO, "node", "start", "--home", str(home)], cwd=home)


async def pay_until_it_ends(directory: NetworkDirectory, certified: dict[str, int]) -> None:
    """Fill the disk by transactions and note those that were shown as certified."""
    network = read_network(directory)
    account, recipient = network.accounts_of(0)
    trader = Trader(network, account, 0)
    url = await wait_bound(directory.home("s0v0"))
    async with NodeClient(url) as client:
        while True:
            try:
                batch = [trader.pay(recipient.address) for _ in range(BATCH)]
                for answer in await client.submit_transactions(batch):
                    status = await client.wait_certified(answer.id)
                    certified[answer.id] = status.height or 0
            except RemoteError:
                return


async def wait_bound(home: Path, pid: int | None = None) -> str:
    """The API's URL of the node that was just started there."""

    async def is_bound() -> str:
        try:
            process = read_process_file(home)
        except LocalError:
            return ""
        return process.rpc if pid in (None, process.pid) else ""

    url: str = await wait_true(is_bound, "the node's ports")
    return url
