"""A network's directory: whole or absent, private where it must be, the same keys for the same seed."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import read_config
from node.genesis import compute_chain_id, read_genesis
from node.home import open_home
from node.keystore import load_seed, read_passphrase
from primitives.errors import LocalError
from testnet.directory import (
    ROLE_AGENT,
    ROLE_REPORTER,
    NetworkDirectory,
    append_json_line,
    find_runs_folder,
    link_latest,
    list_networks,
    locate_network,
    open_network,
    read_json_lines,
    read_network,
    validate_name,
)
from testnet.keys import compute_key_address
from testnet.progress import SilentProgress
from testnet.provision import create_network
from tests.testnet.network_setup import build_small_topology, create_small_network


def test_a_new_network_is_read_back_whole(tmp_path: Path) -> None:
    network = read_network(create_small_network(tmp_path))
    assert network.names == ("s0v0", "s0v1", "bv0")
    assert network.chain == compute_chain_id(network.genesis)
    assert network.seed == 7
    assert all(member.rpc is None for member in network.members)
    assert len(network.accounts_of(0, ROLE_AGENT)) == 1
    assert len(network.accounts_of(0, ROLE_REPORTER)) == 3
    assert network.faucet.shard is None


def test_the_keys_are_those_that_the_genesis_names(tmp_path: Path) -> None:
    network = read_network(create_small_network(tmp_path))
    for account in network.accounts:
        seed = load_seed(account.key_file, read_passphrase(account.key_file, {}, None))
        assert compute_key_address(seed) == account.address
    for member in network.members:
        open_home(member.home, {}, None).close()


def test_the_same_seed_gives_the_same_keys_and_another_chain(tmp_path: Path) -> None:
    for name in ("first", "second"):
        create_network(NetworkDirectory(tmp_path / name), build_small_topology(), SilentProgress())
    first, second = (read_network(NetworkDirectory(tmp_path / name)) for name in ("first", "second"))
    assert first.genesis.beacon.committee == second.genesis.beacon.committee
    assert [account.address for account in first.accounts] == [account.address for account in second.accounts]
    assert first.chain != second.chain


def test_a_seed_is_drawn_where_none_is_given_and_written_down(tmp_path: Path) -> None:
    directory = NetworkDirectory(tmp_path / "drawn")
    create_network(directory, replace(build_small_topology(), seed=None), SilentProgress())
    assert f"seed = {read_network(directory).seed}\n" in directory.topology_path.read_text()


def test_keys_and_passphrases_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    secret = [*directory.keys_path.iterdir(), *directory.homes_path.glob("*/validator.pem*")]
    assert len(secret) == 2 * (5 + 3)
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_homes_share_the_genesis(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    link = directory.home("bv0") / "genesis.json"
    assert link.is_symlink()
    assert read_genesis(link) == read_genesis(directory.genesis_path)
    assert read_config(directory.home("bv0"), {}).devnet.control_socket == "control.sock"


def test_nothing_is_left_where_a_network_cannot_be_made(tmp_path: Path) -> None:
    topology = build_small_topology()
    broken = replace(topology.shards[0], application={"min_transfer": -1})
    with pytest.raises(LocalError, match=r"topology: shards\[0\].application"):
        create_network(NetworkDirectory(tmp_path / "bad"), replace(topology, shards=(broken,)), SilentProgress())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(LocalError, match="exists already"):
        create_network(NetworkDirectory(tmp_path / "taken"), build_small_topology(), SilentProgress())
    assert list((tmp_path / "taken").iterdir()) == []


def test_latest_is_the_one_that_was_linked_last(tmp_path: Path) -> None:
    environment = {"RIALTO_RUNS": str(tmp_path)}
    with pytest.raises(LocalError, match="bring one up first"):
        open_network(None, environment)
    for name in ("first", "second"):
        link_latest(create_small_network(tmp_path, name))
    assert open_network(None, environment).name == "second"
    assert list_networks(find_runs_folder(environment)) == ["first", "second"]
    with pytest.raises(LocalError, match=r"no network 'third' in .* \(there: first, second\)"):
        locate_network("third", environment)


@pytest.mark.parametrize("name", ["", "latest", "a/b", "..", ".hidden", "Big", "x" * 41, "a b"])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(LocalError, match="cannot be called"):
        validate_name(name)


def test_a_damaged_network_file_is_one_clear_line(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    for text in ("[]", "{}", '{"format_version": 1, "seed": 1, "chain": "zz"}', "not json"):
        directory.network_path.write_text(text)
        with pytest.raises(LocalError, match=r"network\.json"):
            read_network(directory)


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_json_line(path, {"kind": "kill"})
    with path.open("a") as file:
        file.write('{"kind": "re')
    assert read_json_lines(path) == [{"kind": "kill"}]
    assert read_json_lines(tmp_path / "absent.jsonl") == []
