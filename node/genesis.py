"""The genesis: what a network agrees on before its first block, and the chain id that follows from it.

A genesis is a JSON file that people can read and compare. The chain id is the tagged hash of the canonical
encoding of its *values*, so spaces and the order of keys do not matter, and everything else does. Nothing has a
default in the file: a later version with other defaults must compute the same chain id. The creation time and
sixteen random bytes keep two networks with the same seeded keys apart.

What does not live here: the meaning of ``application`` tables (``shards.genesis``), and of ``engine_parameters``
(each engine).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NoReturn

from node.documents import MAX_INTEGER, Document, check_encodable
from node.durable_files import PUBLIC_FILE_MODE, create_file, read_file
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import BEACON_SHARD
from primitives.parameters import ProtocolParameters
from primitives.signing import PUBLIC_KEY_BYTES, validate_public_key
from shards.noop.parameters import is_noop

FORMAT_VERSION: Final = 1
SALT_BYTES: Final = 16
MAX_GENESIS_BYTES: Final = 64 << 20
"""Some 400,000 funded accounts; above this something else is wrong."""


@dataclass(frozen=True, slots=True)
class BeaconGenesis:
    """The beacon's engine and its committee's public keys, in index order. An empty committee is no beacon, which
    only a network of a single no-op shard can do without."""

    committee: tuple[bytes, ...]
    engine: str = "pbft"
    engine_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardGenesis:
    """One shard. ``application`` (markets, accounts) holds JSON values without fractions."""

    shard: int
    committee: tuple[bytes, ...]
    application: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "pbft"
    engine_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Genesis:
    """``created_ms`` is wall-clock time; ``faucet`` is the key that may mint, on devnets only.

    Construction checks nothing, so that the simulator may use keys of its own kind; ``validate_genesis`` does,
    and so do ``parse_genesis`` and ``write_genesis``.
    """

    network: str
    devnet: bool
    created_ms: int
    salt: bytes
    beacon: BeaconGenesis
    shards: tuple[ShardGenesis, ...]
    faucet: bytes | None = None
    parameters: ProtocolParameters = field(default_factory=ProtocolParameters)
    format_version: int = FORMAT_VERSION

    @property
    def has_beacon(self) -> bool:
        """Whether there is a beacon to follow."""
        return bool(self.beacon.committee)

    def committee_of(self, shard: int) -> tuple[bytes, ...]:
        """The keys of a shard's committee, or the beacon's; raises ``LocalError`` for a shard not in here."""
        return self.beacon.committee if shard == BEACON_SHARD else self.shard(shard).committee

    def shard(self, shard: int) -> ShardGenesis:
        """The shard of this number; raises ``LocalError`` where there is none."""
        for candidate in self.shards:
            if candidate.shard == shard:
                return candidate
        raise LocalError(f"network {self.network!r} has no shard {shard}")


def compute_chain_id(genesis: Genesis) -> bytes:
    """H(genesis): 32 bytes that every header and every signature is bound to."""
    beacon = genesis.beacon
    plain = [
        genesis.format_version,
        genesis.network,
        genesis.devnet,
        genesis.created_ms,
        genesis.salt,
        genesis.faucet,
        asdict(genesis.parameters),
        [beacon.engine, beacon.engine_parameters, beacon.committee],
        [
            [shard.shard, shard.engine, shard.engine_parameters, shard.application, shard.committee]
            for shard in genesis.shards
        ],
    ]
    return hash_tagged(b"rialto/genesis", encode(plain))


# --- checking ----------------------------------------------------------------------------------------------


def validate_genesis(genesis: Genesis, source: str = "genesis") -> None:
    """Raise ``LocalError``, with the place of the mistake, unless a network can start from this."""
    if genesis.format_version != FORMAT_VERSION:
        raise LocalError(
            f"{source}: format_version: is {genesis.format_version}, this version reads {FORMAT_VERSION}: "
            "use the version of Rialto that wrote it"
        )
    if len(genesis.salt) != SALT_BYTES:
        raise LocalError(f"{source}: salt: must have {SALT_BYTES} bytes, not {len(genesis.salt)}")
    if not 0 <= genesis.created_ms <= MAX_INTEGER:
        raise LocalError(f"{source}: created_ms: must be milliseconds since 1970, not {genesis.created_ms}")
    _validate_faucet(genesis, source)
    seen: dict[bytes, str] = {}
    if not genesis.shards:
        raise LocalError(f"{source}: shards: a network needs at least one")
    if genesis.has_beacon or len(genesis.shards) > 1 or not is_noop(genesis.shards[0].application):
        _validate_committee(source, "beacon", genesis.beacon, seen)
    previous = -1
    for index, shard in enumerate(genesis.shards):
        place = f"shards[{index}]"
        if not previous < shard.shard < BEACON_SHARD:
            raise LocalError(
                f"{source}: {place}.shard: numbers grow, from 0 to {BEACON_SHARD - 1}; {shard.shard} "
                f"cannot follow {'the start' if previous < 0 else previous}"
            )
        previous = shard.shard
        check_encodable(f"{source}: {place}.application", shard.application)
        _validate_committee(source, place, shard, seen)


def _validate_faucet(genesis: Genesis, source: str) -> None:
    if genesis.faucet is None:
        return
    if not genesis.devnet:
        raise LocalError(f"{source}: faucet: only a network marked devnet may have one")
    _validate_key(f"{source}: faucet", genesis.faucet)


def _validate_committee(
    source: str, place: str, holder: BeaconGenesis | ShardGenesis, seen: dict[bytes, str]
) -> None:
    """Keys are distinct over the whole network: a process is a member of exactly one committee."""
    check_encodable(f"{source}: {place}.engine_parameters", holder.engine_parameters)
    if not holder.committee:
        raise LocalError(f"{source}: {place}.committee: needs at least one member")
    for index, key in enumerate(holder.committee):
        here = f"{place}.committee[{index}]"
        _validate_key(f"{source}: {here}", key)
        if key in seen:
            raise LocalError(f"{source}: {here}: the same key as {seen[key]}; every member has its own")
        seen[key] = here


def _validate_key(place: str, key: bytes) -> None:
    try:
        validate_public_key(key)
    except RemoteError as error:
        raise LocalError(f"{place}: {error.message}") from None


# --- the file ----------------------------------------------------------------------------------------------


def render_genesis(genesis: Genesis) -> str:
    """The JSON text, keys in a fixed order, hashes and keys as hexadecimal digits."""
    table: dict[str, Any] = {
        "format_version": genesis.format_version,
        "network": genesis.network,
        "devnet": genesis.devnet,
        "created_ms": genesis.created_ms,
        "salt": genesis.salt.hex(),
        "faucet": None if genesis.faucet is None else genesis.faucet.hex(),
        "parameters": asdict(genesis.parameters),
        "beacon": _render_committee(genesis.beacon),
        "shards": [
            {"shard": shard.shard, **_render_committee(shard), "application": shard.application}
            for shard in genesis.shards
        ],
    }
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def _render_committee(holder: BeaconGenesis | ShardGenesis) -> dict[str, Any]:
    return {
        "engine": holder.engine,
        "engine_parameters": holder.engine_parameters,
        "committee": [key.hex() for key in holder.committee],
    }


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Check it and create the file; raises ``LocalError``, also where the file exists."""
    validate_genesis(genesis, str(path))
    create_file(path, render_genesis(genesis).encode(), PUBLIC_FILE_MODE)


def read_genesis(path: Path) -> Genesis:
    """The checked genesis in the file; raises ``LocalError`` that names the place of the mistake."""
    data = read_file(path, MAX_GENESIS_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise LocalError(f"{path}: is not UTF-8 text") from None
    return parse_genesis(text, str(path))


def parse_genesis(text: str, source: str = "genesis") -> Genesis:
    """The checked genesis in ``text``; raises ``LocalError``."""

    def refuse_fraction(digits: str) -> NoReturn:
        raise LocalError(f"{source}: holds {digits}: fractions have no place here, use an integer unit")

    try:
        table = json.loads(
            text,
            object_pairs_hook=_refuse_repeated_keys(source),
            parse_float=refuse_fraction,
            parse_constant=refuse_fraction,
        )
    except (ValueError, RecursionError) as error:
        raise LocalError(f"{source}: is not JSON: {error}") from None
    if type(table) is not dict:
        raise LocalError(f"{source}: must hold one JSON object")
    document = Document(source, table)
    genesis = _parse_fields(document)
    document.finish()
    validate_genesis(genesis, source)
    return genesis


def _refuse_repeated_keys(source: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """JSON allows a key twice and readers disagree on which one counts."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) == len(pairs):
            return table
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LocalError(f"{source}: the key {twice!r} appears twice in one object")

    return build


def _parse_fields(document: Document) -> Genesis:
    version = document.integer("format_version", 1, MAX_INTEGER)
    if version > FORMAT_VERSION:
        raise document.error("format_version", f"{version} is newer than this version of Rialto: upgrade it")
    return Genesis(
        format_version=version,
        network=document.text("network", 64),
        devnet=document.flag("devnet"),
        created_ms=document.integer("created_ms", 0, MAX_INTEGER),
        salt=document.hexadecimal("salt", SALT_BYTES),
        faucet=document.hexadecimal("faucet", PUBLIC_KEY_BYTES) if document.holds("faucet") else None,
        parameters=_parse_parameters(document.table("parameters")),
        beacon=_parse_beacon(document.table("beacon")),
        shards=tuple(_parse_shard(table) for table in document.tables("shards")),
    )


def _parse_parameters(document: Document) -> ProtocolParameters:
    values = {item.name: document.value(item.name, int) for item in fields(ProtocolParameters)}
    document.finish()
    try:
        return ProtocolParameters(**values)
    except LocalError as error:
        raise LocalError(f"{document.source}: {document.path}.{error}") from None


def _parse_beacon(document: Document) -> BeaconGenesis:
    beacon = BeaconGenesis(
        engine=document.text("engine"),
        engine_parameters=document.opaque("engine_parameters"),
        committee=_parse_committee(document),
    )
    document.finish()
    return beacon


def _parse_shard(document: Document) -> ShardGenesis:
    shard = ShardGenesis(
        shard=document.integer("shard", 0, BEACON_SHARD - 1),
        engine=document.text("engine"),
        engine_parameters=document.opaque("engine_parameters"),
        committee=_parse_committee(document),
        application=document.opaque("application"),
    )
    document.finish()
    return shard


def _parse_committee(document: Document) -> tuple[bytes, ...]:
    return tuple(
        document.parse_hexadecimal(f"committee[{index}]", text, PUBLIC_KEY_BYTES)
        for index, text in enumerate(document.texts("committee"))
    )
