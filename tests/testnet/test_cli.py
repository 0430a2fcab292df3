"""The command line: bad input is one clear line and a non-zero status; JSON is all that standard output gets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testnet.cli import run
from testnet.command_line import PARTS
from testnet.directory import NetworkDirectory, link_latest, locate_network
from testnet.supervisor_lock import STOPPED, hold_supervisor_lock, write_supervisor_state
from tests.testnet.network_setup import create_small_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIALTO_RUNS", str(tmp_path / "runs"))
    return (tmp_path / "runs").resolve()


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a failing command line says."""
    assert run(list(arguments)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["status"], "bring one up first"),
        (["status", "--name", "absent"], "there is no network 'absent'"),
        (["down", "--name", "No Such"], "cannot be called 'No Such'"),
        (["up", "--name", "latest"], "cannot be called 'latest'"),
        (["up", "--shards", "0"], "--shards: must lie between 1 and 64, not 0"),
        (["up", "--shards", "64", "--validators", "64"], "4100 validators where one machine runs 256"),
        (["up", "--topology", "absent.toml"], "cannot read absent.toml"),
        (["up", "--topology", "x.toml", "--shards", "2"], "leave out --shards"),
        (["load", "--workload", "storm"], "'storm' is none of agents, market-data, transfers"),
        (["kill", "s0v0", "--name", "absent"], "there is no network 'absent'"),
    ],
)
def test_a_bad_command_is_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint in fail(capsys, "testnet", *arguments)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["down"], "network 'small' is not running"),
        (["kill", "s0v0"], "s0v0: not running"),
        (["kill", "s0v7"], "unknown member or group 's0v7': did you mean"),
        (["pause", "shard0"], "s0v0, s0v1: not running"),
        (["partition", "s0v0|s0v1"], "network 'small' is not running"),
        (["partition", "s0v0"], "name at least two groups"),
        (["partition", "s0v0|s0v1", "--lease", "0"], "--lease: must lie between 1 and"),
        (["heal"], "network 'small' is not running"),
        (["check"], "network 'small' is not running"),
        (["logs", "s0v9"], "unknown member or group 's0v9'"),
        (["report", "--output", "/nowhere/page.html"], "there is no directory /nowhere"),
        (["up", "--shards", "3"], "exists with another topology"),
    ],
)
def test_a_network_that_is_down_says_so(
    arguments: list[str], complaint: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_small_network(runs)
    assert complaint in fail(capsys, "testnet", *arguments, "--name", "small")


def test_a_name_in_use_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold_supervisor_lock(create_small_network(runs)):
        assert "'small' is running already: choose another --name" in fail(
            capsys, "testnet", "up", "--name", "small"
        )


def test_a_bad_topology_file_creates_nothing(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.toml"
    file.write_text("[[shards]]\nvalidatrs = 4\n")
    line = fail(capsys, "testnet", "up", "--name", "bad", "--topology", str(file))
    assert "net.toml: shards[0]: unknown key 'validatrs': did you mean 'validators'?" in line
    assert not runs.exists()


def test_status_of_a_network_that_is_down_is_json_with_dead_members(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_small_network(runs)
    assert run(["testnet", "status", "--name", "small", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["name"], status["seed"]) == ("small", 7)
    assert set(status["members"][0]) >= {"name", "committee", "pid", "alive", "rpc", "height", "view", "peers"}
    assert [member["name"] for member in status["members"]] == ["s0v0", "s0v1", "bv0"]
    assert all(
        (member["alive"], member["height"], member["view"]) == (False, None, None) for member in status["members"]
    )
    (account,) = status["accounts"]
    assert set(account) == {"address", "key_file", "shard", "balances"}
    assert Path(account["key_file"]).exists()


def test_down_with_delete_removes_a_network_that_is_down(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = create_small_network(runs)
    assert run(["testnet", "down", "--delete", "--json", "--name", "small"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] is True
    assert not directory.path.exists()


def test_after_the_latest_network_is_removed_one_that_runs_is_meant(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("running", "made-later", "removed"):
        link_latest(create_small_network(runs, name))
    with hold_supervisor_lock(NetworkDirectory(runs / "running")):
        assert run(["testnet", "down", "--delete", "--name", "removed"]) == 0
    assert locate_network(None, os.environ).name == "running"
    write_supervisor_state(NetworkDirectory(runs / "made-later"), STOPPED)
    link_latest(create_small_network(runs, "removed"))
    assert run(["testnet", "down", "--delete", "--name", "removed"]) == 0
    assert locate_network(None, os.environ).name == "made-later"
    for name in ("running", "made-later"):
        assert run(["testnet", "down", "--delete", "--name", name]) == 0
    capsys.readouterr()
    assert "bring one up first" in fail(capsys, "testnet", "status")


@pytest.mark.parametrize("arguments", [["tesnet"], ["testnet", "upp"], ["testnet", "up", "--shards", "two"]])
def test_wrong_usage_has_a_status_of_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().out == ""


def test_every_part_of_the_command_line_loads(capsys: pytest.CaptureFixture[str]) -> None:
    for part in PARTS:
        assert run([part, "--help"]) == 0
        assert "Usage: rialto" in capsys.readouterr().out


def run_importing_none_of(heavy: set[str], arguments: list[str], status: int) -> str:
    """What a command line that imports nothing of that prints on standard error, in a process of its own."""
    code = (
        f"import sys; from testnet.cli import run; assert run({arguments!r}) == {status};"
        f"heavy = {heavy!r} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_help_imports_no_part_and_no_heavy_library() -> None:
    heavy = {"httpx", "libp2p", "litestar", "plyvel", "testnet.commands", "node.cli.node"}
    run_importing_none_of(heavy, ["--help"], 0)


def test_the_start_of_a_node_loads_nothing_of_the_command_line() -> None:
    errors = run_importing_none_of({"typer", "pydantic", "httpx"}, ["node", "start", "--home", "absent"], 1)
    assert errors == f"error: cannot read {ROOT / 'absent' / 'config.toml'}: No such file or directory\n"
