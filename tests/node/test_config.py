"""The rules that node configurations hold: documented, typed, refused with the place of the mistake."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.config import (
    LimitSettings,
    LogSettings,
    NodeConfig,
    NodeSettings,
    PeerSettings,
    parse_config,
    read_config,
    render_config,
    write_config,
)
from node.replica_setup import ReplicaLimits
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD

HOME = Path("/var/lib/rialto")
LEAST = '[node]\nname = "s0v1"\nshard = 0\nindex = 1\n'


def read(text: str = "", **environment: str) -> NodeConfig:
    return parse_config(LEAST + text, HOME, environment)


def test_a_file_that_names_the_node_alone_gets_every_default() -> None:
    config = read()
    assert config.node == NodeSettings("s0v1", 0, 1)
    assert (config.p2p, config.log, config.limits) == (PeerSettings(), LogSettings(), LimitSettings())
    assert config.committee == "shard0"
    assert config.genesis_path == HOME / "genesis.json"


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    name=names,
    shard=st.sampled_from([0, 7, BEACON_SHARD]),
    index=st.integers(0, 999),
    port=st.integers(0, 65535),
    seeds=st.lists(names, max_size=3),
    log=st.builds(LogSettings, st.sampled_from(["debug", "error"]), st.sampled_from(["console", "json"]), names),
)
def test_a_written_configuration_reads_back_as_itself(
    name: str, shard: int, index: int, port: int, seeds: list[str], log: LogSettings
) -> None:
    config = NodeConfig(
        HOME,
        NodeSettings(name, shard, index),
        p2p=PeerSettings(port=port, seeds=tuple(seeds)),
        log=log,
    )
    assert parse_config(render_config(config), HOME, {}) == config


def test_every_setting_is_written_with_its_comment(tmp_path: Path) -> None:
    config = replace(read(), home=tmp_path)
    write_config(config)
    write_config(config)
    assert read_config(tmp_path, {}) == config
    text = (tmp_path / "config.toml").read_text()
    assert "# Port for peers; 0 lets the system choose.\nport = 0\n" in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[p2p]\nprot = 1", r"config.toml: p2p: unknown key 'prot': did you mean 'port'\?"),
        ("[ppp]\n", r"unknown section 'ppp': did you mean 'p2p'\?"),
        ("[qqqqq]\n", "unknown section 'qqqqq': known: chain, checks, devnet, limits, log, node, p2p, rpc"),
        ("[p2p]\nport = 65536", "p2p.port: must lie between 0 and 65535, not 65536"),
        ("[p2p]\nport = true", "p2p.port: must be an integer, not true or false"),
        ("[p2p]\nport = 1.5", "p2p.port: must be an integer, not a number with a fraction"),
        ('[p2p]\nseeds = "x"', "p2p.seeds: must be a list of strings"),
        ("[p2p]\nseeds = [1]", "p2p.seeds: must be a list of strings"),
        ('[checks]\nparanoid = "yes"', "checks.paranoid: must be true or false, not a string"),
        ('[log]\nlevel = "inof"', r"log.level: unknown value 'inof': did you mean 'info'\?"),
        ("[p2p", "is not TOML"),
    ],
)
def test_mistakes_in_the_file_are_refused_with_their_place(text: str, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        read(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "node.name: is missing"),
        ('[node]\nname = "x"', "node.shard: is missing"),
        ('[node]\nname = "x"\nshard = 65535', 'node.shard: must be "beacon" or a number'),
        ('[node]\nname = "x"\nshard = true', "node.shard: must be"),
        ('[node]\nname = "x"\nshard = 0', "node.index: is missing"),
        ('[node]\nname = "x"\nshard = 0\nindex = 1000', "node.index"),
        ("node = 1", "node: must be a table, not an integer"),
    ],
)
def test_a_node_without_identity_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        parse_config(text, HOME, {})


def test_the_beacon_is_spelt_by_name() -> None:
    config = parse_config('[node]\nname = "x"\nshard = "beacon"\nindex = 2', HOME, {})
    assert (config.node.shard, config.node.index, config.committee) == (BEACON_SHARD, 2, "beacon")
    assert 'shard = "beacon"' in render_config(config)


def test_the_environment_overrides_the_file() -> None:
    config = read(
        "[p2p]\nport = 1",
        RIALTO_P2P_PORT="7000",
        RIALTO_P2P_SEEDS="/ip4/1.2.3.4, /ip4/5.6.7.8",
        RIALTO_NODE_SHARD="beacon",
        RIALTO_NODE_INDEX="3",
        RIALTO_CHECKS_PARANOID="true",
        RIALTO_LIMITS_MEMPOOL_BYTES="70000",
        RIALTO_PASSPHRASE_FILE="/somewhere/else",
        HOME="/root",
    )
    assert (config.p2p.port, config.p2p.seeds) == (7000, ("/ip4/1.2.3.4", "/ip4/5.6.7.8"))
    assert (config.node.shard, config.node.index) == (BEACON_SHARD, 3)
    assert config.checks.paranoid
    assert config.limits.mempool_bytes == 70_000


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("RIALTO_P2P_PROT", "1", r"environment: RIALTO_P2P_PROT: unknown key 'prot': did you mean 'port'\?"),
        ("RIALTO_P2P_PORT", "x", "environment: RIALTO_P2P_PORT: must be an integer, not 'x'"),
        ("RIALTO_P2P_PORT", "65536", "environment: RIALTO_P2P_PORT: must lie between"),
        ("RIALTO_CHECKS_PARANOID", "yes", "must be true or false, not 'yes'"),
        ("RIALTO_NODE_SHARD", "moon", 'must be "beacon"'),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(variable: str, text: str, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        read(**{variable: text})


def test_a_missing_or_binary_file_is_our_operators_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read"):
        read_config(tmp_path, {})
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match="not UTF-8"):
        read_config(tmp_path, {})


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_local_error(text: str) -> None:
    with contextlib.suppress(LocalError):
        read(text)


def test_paces_are_the_replicas_own_unless_the_file_says_otherwise() -> None:
    limits = ReplicaLimits()
    assert (LimitSettings().flush_ms, LimitSettings().proposal_gap_ms) == (limits.flush_ms, limits.proposal_gap_ms)
    chosen = read("[limits]\nflush_ms = 0\nproposal_gap_ms = 7\n").limits
    assert chosen == LimitSettings(flush_ms=0, proposal_gap_ms=7)


@pytest.mark.parametrize(("written", "keep"), [('"archive"', 0), ("16", 16), ("5000", 5_000)])
def test_what_is_kept_is_a_number_of_blocks_or_everything(written: str, keep: int) -> None:
    config = read(f"[chain]\nkeep = {written}\n")
    assert config.chain.keep == keep
    assert parse_config(render_config(config), HOME, {}) == config


@pytest.mark.parametrize("written", ["15", "0", "true", '"all"', "-1", "[16]"])
def test_what_could_not_be_kept_is_refused(written: str) -> None:
    with pytest.raises(LocalError, match=r'chain.keep: must be "archive" or a number of blocks from 16 up'):
        read(f"[chain]\nkeep = {written}\n")


def test_pruning_without_snapshots_is_refused() -> None:
    with pytest.raises(LocalError, match="with snapshot_blocks of 0 nobody could join"):
        read("[chain]\nkeep = 100\nsnapshot_blocks = 0\n")
    assert read("[chain]\nsnapshot_blocks = 0\n").chain.snapshot_blocks == 0


def test_the_environment_says_what_is_kept() -> None:
    assert read(RIALTO_CHAIN_KEEP="64").chain.keep == 64
    assert read("[chain]\nkeep = 64\n", RIALTO_CHAIN_KEEP="archive").chain.keep == 0
