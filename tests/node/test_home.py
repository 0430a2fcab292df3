"""What a home accepts and refuses, and how a chain store is rebuilt."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.engine import Record
from node.config import NodeConfig, NodeSettings
from node.genesis import BeaconGenesis, Genesis, ShardGenesis
from node.home import find_membership, forget_votes, initialise_home, open_home, rebuild_chain, renew_databases
from node.standing import FORGOTTEN
from node.vote_records import read_vote_log
from primitives.errors import LocalError
from primitives.signing import Ed25519Signer, derive_seed

BEACON_SEED = derive_seed(b"home tests", "beacon")
SHARD_SEED = derive_seed(b"home tests", "shard")
GENESIS = Genesis(
    network="home",
    devnet=True,
    created_ms=1,
    salt=bytes(16),
    beacon=BeaconGenesis((Ed25519Signer(BEACON_SEED).public_key,)),
    shards=(ShardGenesis(0, (Ed25519Signer(SHARD_SEED).public_key,)),),
)


def make_home(path: Path) -> NodeConfig:
    config = NodeConfig(path, NodeSettings("s0v0", 0, 0))
    initialise_home(config, GENESIS, SHARD_SEED, None)
    return config


def test_a_new_home_opens_and_a_second_opener_is_told_why_not(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    opened = open_home(tmp_path / "home", {}, None)
    try:
        assert opened.genesis == GENESIS
        with pytest.raises(LocalError, match="open in this process already"):
            open_home(tmp_path / "home", {}, None)
    finally:
        opened.close()


def test_a_home_is_never_made_over_another(tmp_path: Path) -> None:
    config = make_home(tmp_path / "home")
    with pytest.raises(LocalError, match="never overwritten"):
        initialise_home(config, GENESIS, SHARD_SEED, None)


def test_a_key_is_found_in_the_genesis_or_refused(tmp_path: Path) -> None:
    assert find_membership(GENESIS, SHARD_SEED) == (0, 0)
    stranger = derive_seed(b"home tests", "stranger")
    with pytest.raises(LocalError, match="has no member with this key"):
        find_membership(GENESIS, stranger)
    with pytest.raises(LocalError, match="is not the one that the genesis names"):
        initialise_home(NodeConfig(tmp_path / "home", NodeSettings("s0v0", 0, 0)), GENESIS, stranger, None)


def test_a_rebuilt_chain_store_is_empty_and_the_old_one_kept(tmp_path: Path) -> None:
    config = make_home(tmp_path / "home")
    (config.chain_path / "CURRENT").unlink()
    with pytest.raises(LocalError, match="rialto node rebuild"):
        open_home(config.home, {}, None)
    aside = rebuild_chain(config.home, {}, None)
    assert aside is not None
    assert aside.is_dir()
    open_home(config.home, {}, None).close()


def make_member_of_four(path: Path) -> NodeConfig:
    seeds = [SHARD_SEED, *[derive_seed(b"home tests", "other", index) for index in range(3)]]
    keys = tuple(Ed25519Signer(seed).public_key for seed in seeds)
    config = NodeConfig(path, NodeSettings("s0v0", 0, 0))
    initialise_home(config, replace(GENESIS, shards=(ShardGenesis(0, keys),)), SHARD_SEED, None)
    return config


@pytest.mark.parametrize("loss", ["deleted", "damaged", "old"])
def test_a_lost_vote_log_is_refused_with_a_command_that_marks_it_as_lost(tmp_path: Path, loss: str) -> None:
    config = make_member_of_four(tmp_path / "home")
    old = tmp_path / "old"
    shutil.copytree(config.vote_log_path, old)
    opened = open_home(config.home, {}, None)
    for number in range(3):
        opened.vote_log.write([Record(b"evote", b"%d" % number)])
    opened.store.write([Record(b"x", b"y")], sync=True)
    opened.close()
    if loss == "damaged":
        (config.vote_log_path / "CURRENT").unlink()
    else:
        shutil.rmtree(config.vote_log_path)
    if loss == "old":
        shutil.copytree(old, config.vote_log_path)
    command = f"rialto node rebuild --forget-votes --home {config.home}"
    with pytest.raises(LocalError, match=re.escape(command)):
        open_home(config.home, {}, None)
    aside = forget_votes(config.home, {}, None)
    assert (aside is None) == (loss == "deleted")
    opened = open_home(config.home, {}, None)
    try:
        log = read_vote_log(opened.vote_log.load())
        assert log.standing == FORGOTTEN and not log.engine
        opened.vote_log.write([Record(b"evote", b"new")])
        opened.store.write([Record(b"x", b"z")], sync=True)
    finally:
        opened.close()
    open_home(config.home, {}, None).close()


def test_votes_are_not_forgotten_under_a_running_node_nor_in_a_committee_that_cannot_settle_them(
    tmp_path: Path,
) -> None:
    config = make_member_of_four(tmp_path / "home")
    opened = open_home(config.home, {}, None)
    try:
        with pytest.raises(LocalError, match="open in this process"):
            forget_votes(config.home, {}, None)
    finally:
        opened.close()
    alone = make_home(tmp_path / "alone")
    with pytest.raises(LocalError, match="cannot show what one of its members forgot"):
        forget_votes(alone.home, {}, None)
    open_home(alone.home, {}, None).close()


def test_a_home_with_a_changed_genesis_is_refused(tmp_path: Path) -> None:
    config = make_home(tmp_path / "home")
    text = config.genesis_path.read_text()
    config.genesis_path.unlink()
    config.genesis_path.write_text(text.replace('"created_ms": 1', '"created_ms": 2'))
    with pytest.raises(LocalError, match="belongs to chain"):
        open_home(config.home, {}, None)


def test_a_renewed_home_has_empty_databases_and_its_key(tmp_path: Path) -> None:
    config = make_home(tmp_path / "home")
    opened = open_home(config.home, {}, None)
    opened.vote_log.write([Record(b"v", b"vote")])
    opened.store.write([Record(b"c", b"chain")], sync=True)
    opened.close()
    renew_databases(config.home, {})
    opened = open_home(config.home, {}, None)
    try:
        assert opened.store.get(b"c") is None
        assert b"v" not in opened.vote_log.load()
        assert opened.seed == SHARD_SEED
    finally:
        opened.close()


def test_only_a_devnets_member_forgets_what_it_signed(tmp_path: Path) -> None:
    config = NodeConfig(tmp_path / "home", NodeSettings("s0v0", 0, 0))
    initialise_home(config, replace(GENESIS, devnet=False), SHARD_SEED, b"a passphrase")
    with pytest.raises(LocalError, match="only a member of a devnet"):
        renew_databases(config.home, {})
    assert config.vote_log_path.exists()
