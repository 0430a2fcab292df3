"""The rules that a genesis holds: one chain id per meaning, mistakes refused with their place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.genesis import (
    BeaconGenesis,
    Genesis,
    ShardGenesis,
    compute_chain_id,
    parse_genesis,
    read_genesis,
    render_genesis,
    validate_genesis,
    write_genesis,
)
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from primitives.parameters import ProtocolParameters
from primitives.signing import Ed25519Signer


def make_key(number: int) -> bytes:
    return Ed25519Signer(number.to_bytes(32, "big")).public_key


KEYS = [make_key(number) for number in range(20)]


def make_genesis(**changes: Any) -> Genesis:
    genesis = Genesis(
        network="test",
        devnet=True,
        created_ms=1_700_000_000_000,
        salt=bytes(range(16)),
        beacon=BeaconGenesis(tuple(KEYS[0:4])),
        shards=(
            ShardGenesis(0, tuple(KEYS[4:8]), {"markets": [{"symbol": "BTC-PERP", "k": 100}]}),
            ShardGenesis(1, tuple(KEYS[8:12]), {}, "hotstuff", {"pace_ms": 50}),
        ),
        faucet=KEYS[12],
    )
    return replace(genesis, **changes)


def tables(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text(max_size=6), inner, max_size=3)


scalars = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | tables(inner), max_leaves=6)


@settings(max_examples=60, deadline=None)
@given(
    network=st.sampled_from(["a", "wide network ☂"]),
    salt=st.binary(min_size=16, max_size=16),
    created_ms=st.integers(0, 2**63 - 1),
    application=tables(values),
    engine_parameters=tables(values),
    split=st.integers(1, 10),
    faucet=st.none() | st.just(KEYS[19]),
    window=st.integers(16, 4096),
)
def test_a_written_genesis_reads_back_as_itself_with_the_same_chain_id(
    network: str,
    salt: bytes,
    created_ms: int,
    application: dict[str, Any],
    engine_parameters: dict[str, Any],
    split: int,
    faucet: bytes | None,
    window: int,
) -> None:
    genesis = Genesis(
        network=network,
        devnet=True,
        created_ms=created_ms,
        salt=salt,
        beacon=BeaconGenesis(tuple(KEYS[:split]), "pbft", engine_parameters),
        shards=(ShardGenesis(3, tuple(KEYS[split:12]), application),),
        faucet=faucet,
        parameters=ProtocolParameters(channel_window=window),
    )
    text = render_genesis(genesis)
    again = parse_genesis(text)
    assert again == genesis
    reordered = json.dumps(json.loads(text), sort_keys=True)
    assert compute_chain_id(parse_genesis(reordered)) == compute_chain_id(genesis)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "other"},
        {"devnet": False},
        {"created_ms": 1},
        {"salt": bytes(16)},
        {"faucet": None},
        {"parameters": ProtocolParameters(window_slots=8)},
        {"beacon": BeaconGenesis(tuple(KEYS[:3]))},
        {"beacon": BeaconGenesis(tuple(KEYS[:4]), "hotstuff")},
        {"beacon": BeaconGenesis(tuple(KEYS[:4]), "pbft", {"a": 1})},
        {"shards": (ShardGenesis(0, tuple(KEYS[4:8])),)},
        {"format_version": 2},
    ],
)
def test_every_field_moves_the_chain_id(changes: dict[str, Any]) -> None:
    assert compute_chain_id(make_genesis(**changes)) != compute_chain_id(make_genesis())


def test_files_are_created_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "genesis.json"
    write_genesis(path, make_genesis())
    assert read_genesis(path) == make_genesis()
    with pytest.raises(LocalError, match="never overwritten"):
        write_genesis(path, make_genesis())


def test_committees_are_found_by_shard_number() -> None:
    genesis = make_genesis()
    assert genesis.committee_of(BEACON_SHARD) == tuple(KEYS[0:4])
    assert genesis.committee_of(1) == tuple(KEYS[8:12])
    with pytest.raises(LocalError, match="has no shard 2"):
        genesis.shard(2)


def test_fractions_in_application_tables_are_refused() -> None:
    with pytest.raises(LocalError, match=r"shards\[0\].application.rate: cannot hold a number with a fraction"):
        validate_genesis(make_genesis(shards=(ShardGenesis(0, tuple(KEYS[4:8]), {"rate": 0.5}),)))


def edit(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        place: Any = table
        for step in path[:-1]:
            place = place[step]
        if to is edit:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return apply


SMALL_ORDER_KEY = bytes([1]) + bytes(31)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (edit("format_version", to=2), "format_version: 2 is newer than this version of Rialto: upgrade"),
        (edit("format_version", to=0), "format_version: must lie between"),
        (edit("network", to=""), "network: must have 1 to 64 characters"),
        (edit("network", to="a\nb"), "network: must hold printable"),
        (edit("devnet", to=1), "devnet: must be true or false, not an integer"),
        (edit("devnet", to=False), "faucet: only a network marked devnet"),
        (edit("salt", to="00"), "salt: must be 32 lower-case hexadecimal digits"),
        (edit("salt", to="AB" * 16), "salt: must be 32 lower-case hexadecimal digits"),
        (edit("created_ms", to=-1), "created_ms: must lie between"),
        (edit("faucet", to=SMALL_ORDER_KEY.hex()), "faucet: not a canonical Ed25519 key"),
        (edit("extra", to=1), "unknown key 'extra'"),
        (
            edit("parameters", "window_slot", to=1),
            r"parameters: unknown key 'window_slot': did you mean 'window_slots'",
        ),
        (edit("parameters", "window_slots", to=0), "parameters.window_slots: must be an integer from 1"),
        (edit("parameters", "window_slots", to=edit), "parameters.window_slots: is missing"),
        (edit("beacon", "committee", to=[]), "beacon.committee: needs at least one member"),
        (edit("beacon", "committee", 3, to=5), r"beacon.committee\[3\]: must be a string, not an integer"),
        (edit("shards", to=[]), "shards: a network needs at least one"),
        (edit("shards", 1, to=7), r"shards\[1\]: must be a table, not an integer"),
        (edit("shards", 0, "committee", 2, to="zz"), r"shards\[0\].committee\[2\]: must be 64 lower-case"),
        (
            edit("shards", 0, "committee", 2, to=SMALL_ORDER_KEY.hex()),
            r"shards\[0\].committee\[2\]: not a canonical Ed25519 key",
        ),
        (
            edit("shards", 1, "committee", 0, to=KEYS[2].hex()),
            r"shards\[1\].committee\[0\]: the same key as beacon.committee\[2\]",
        ),
        (edit("shards", 1, "shard", to=0), r"shards\[1\].shard: numbers grow.*0 cannot follow 0"),
        (edit("shards", 1, "shard", to=BEACON_SHARD), r"shards\[1\].shard: must lie between"),
        (edit("shards", 0, "application", "k", to=2**63), r"shards\[0\].application.k: must be below 2\*\*63"),
        (edit("shards", 0, "application", "s", to="\ud800"), r"application.s: is not valid Unicode"),
        (edit("shards", 0, "application", "\ud800", to=1), r"application: a key: is not valid Unicode"),
        (edit("shards", 0, "engine", to=edit), r"shards\[0\].engine: is missing; it must be a string"),
    ],
)
def test_mistakes_are_refused_with_their_place(change: Callable[[dict[str, Any]], None], complaint: str) -> None:
    table = json.loads(render_genesis(make_genesis()))
    change(table)
    with pytest.raises(LocalError, match="^g.json: .*" + complaint):
        parse_genesis(json.dumps(table), "g.json")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not JSON"),
        ("[1]", "must hold one JSON object"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ('{"a": 1.5}', "fractions have no place"),
        ('{"a": NaN}', "fractions have no place"),
        ("[" * 100_000, "is not JSON"),
        ('{"a":' * 30 + "1" + "}" * 30, "format_version: is missing"),
    ],
)
def test_what_is_no_genesis_at_all_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        parse_genesis(text)


def test_deeply_nested_application_tables_are_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(20):
        nested = {"a": nested}
    with pytest.raises(LocalError, match="nested too deeply"):
        validate_genesis(make_genesis(shards=(ShardGenesis(0, tuple(KEYS[4:8]), nested),)))


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=60), position=st.integers(0, 4_000))
def test_any_edit_of_the_text_is_read_or_refused_with_a_local_error(text: str, position: int) -> None:
    original = render_genesis(make_genesis())
    with contextlib.suppress(LocalError):
        parse_genesis(original[:position] + text + original[position + len(text) :])


def test_parameters_have_no_default_in_the_file() -> None:
    written = json.loads(render_genesis(make_genesis()))["parameters"]
    assert list(written) == [item.name for item in fields(ProtocolParameters)]
