"""The topology file (TOML): shards, validators, engines, markets, test accounts, parameters, as one value.

Everything has a default, so the shortest topology is an empty file: two shards of four and a beacon of four.

    seed = 7                        # of every key; drawn at random where it is left out
    [beacon]
    validators = 4
    engine = "pbft"
    [[shards]]                      # numbered from 0 in the order of the file
    validators = 4
    markets = ["BTCUSDT"]
    accounts = 16                   # funded test accounts
    balance = 10_000_000            # of each, in units of the quote currency
    [shards.engine_parameters]      # fields of consensus.engine.EngineParameters, and the engine's own
    leader_schedule = "round-robin"
    [shards.application]            # replaces fields of shards.genesis.ShardParameters; or, instead of a venue
                                    # with markets and accounts: application = "noop", or a table with
                                    # kind = "noop" and fields of shards.noop.parameters.NoopParameters
    [parameters]                    # fields of primitives.parameters.ProtocolParameters
    channel_window = 2048
    [node.log]                      # settings of every member's config.toml: rpc, log, limits, chain, checks
    level = "debug"

What does not live here: keys and the genesis made from it (``testnet.provision``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import tomlkit

from node.config import parse_config
from node.documents import Document, describe_unknown
from node.durable_files import read_file
from primitives.errors import LocalError
from primitives.parameters import ProtocolParameters
from shards.genesis import DEVNET_MARKETS
from shards.noop.parameters import KIND as NOOP
from shards.noop.parameters import is_noop

MAX_TOPOLOGY_BYTES: Final = 1 << 20
MAX_SHARDS: Final = 64
MAX_VALIDATORS: Final = 64
MAX_PROCESSES: Final = 256
"""One machine: each process takes about 80 MB, and two seconds of CPU to start."""
MAX_ACCOUNTS: Final = 1_024
MAX_BALANCE: Final = 10**12
MAX_SEED: Final = 2**63 - 1
CONFIG_SECTIONS: Final = ("rpc", "log", "limits", "chain", "checks")
"""What a topology may say of ``config.toml``; the rest follows from the member's place."""

DEFAULT_ENGINE: Final = "pbft"
LOCAL_ENGINE_PARAMETERS: Final[Mapping[str, Any]] = {
    "base_timeout_ms": 2_000,
    "leader_schedule": "round-robin",
    "pacemaker": "exponential",
}
"""Members of a local network share one machine's cores, so a leader is given twice an engine's usual time before
the others complain: a busy leader is not a dead one. Schedule and pacemaker are spelt out, so that the genesis
names what its members must agree on."""
DEFAULT_SHARDS: Final = 2
DEFAULT_VALIDATORS: Final = 4
DEFAULT_ACCOUNTS: Final = 16
DEFAULT_BALANCE: Final = 10_000_000

NOOP_PAYLOAD_BYTES: Final = 2 << 20
NOOP_BATCH_BYTES: Final = 512 << 10
"""What a batch, a slot and a group commit cost is shared by some thousand commands."""
NOOP_COMMAND_BYTES: Final = 256
NOOP_FLUSH_MS: Final = 10
NOOP_GAP_MS: Final = 5
"""Execution costs nothing, so small blocks may follow each other as fast as the engine goes."""


@dataclass(frozen=True, slots=True)
class BeaconTopology:
    """The beacon's committee; a single no-op shard can do without one (``validators`` 0)."""

    validators: int = DEFAULT_VALIDATORS
    engine: str = DEFAULT_ENGINE
    engine_parameters: Mapping[str, Any] = field(default_factory=lambda: dict(LOCAL_ENGINE_PARAMETERS))


@dataclass(frozen=True, slots=True)
class ShardTopology:
    """One shard. ``balance`` is in units of the quote currency; ``application`` replaces venue parameters, or asks
    for the no-op application, which has neither markets nor accounts."""

    markets: tuple[str, ...]
    validators: int = DEFAULT_VALIDATORS
    engine: str = DEFAULT_ENGINE
    engine_parameters: Mapping[str, Any] = field(default_factory=lambda: dict(LOCAL_ENGINE_PARAMETERS))
    accounts: int = DEFAULT_ACCOUNTS
    balance: int = DEFAULT_BALANCE
    application: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole network. ``node`` maps sections of ``config.toml`` to settings."""

    shards: tuple[ShardTopology, ...]
    beacon: BeaconTopology = field(default_factory=BeaconTopology)
    seed: int | None = None
    parameters: ProtocolParameters = field(default_factory=ProtocolParameters)
    node: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def default(cls) -> Topology:
        """Two shards of four, a beacon of four."""
        return build_topology()

    def with_seed(self, seed: int | None) -> Topology:
        """The same, of other keys."""
        return replace(self, seed=seed)

    def with_engine(self, engine: str) -> Topology:
        """The same, every committee's blocks ordered by this engine."""
        shards = tuple(replace(shard, engine=engine) for shard in self.shards)
        return replace(self, shards=shards, beacon=replace(self.beacon, engine=engine))

    @property
    def processes(self) -> int:
        """Validators of all committees: one process each."""
        return self.beacon.validators + sum(shard.validators for shard in self.shards)


def build_topology(
    shards: int = DEFAULT_SHARDS,
    validators: int = DEFAULT_VALIDATORS,
    beacon_validators: int = DEFAULT_VALIDATORS,
    seed: int | None = None,
) -> Topology:
    """What the options of ``up`` describe; raises ``LocalError`` where a number is out of bounds."""
    _require_bound("--shards", shards, MAX_SHARDS)
    _require_bound("--validators", validators, MAX_VALIDATORS)
    _require_bound("--beacon-validators", beacon_validators, MAX_VALIDATORS)
    if seed is not None and not 0 <= seed <= MAX_SEED:
        raise LocalError(f"--seed: must lie between 0 and {MAX_SEED}, not {seed}")
    topology = Topology(
        shards=tuple(
            ShardTopology(markets=choose_markets(shard), validators=validators) for shard in range(shards)
        ),
        beacon=BeaconTopology(validators=beacon_validators),
        seed=seed,
    )
    _validate_size("options", topology)
    return topology


def build_noop_topology(
    validators: int,
    engine: str = DEFAULT_ENGINE,
    seed: int | None = None,
    command_bytes: int = NOOP_COMMAND_BYTES,
) -> Topology:
    """One no-op shard and no beacon: an engine alone, with large batches and blocks that wait for nothing.

    Raises ``LocalError`` where the number is out of bounds.
    """
    _require_bound("--validators", validators, MAX_VALIDATORS)
    application = {"kind": NOOP, "command_bytes": command_bytes}
    shard = ShardTopology(
        markets=(), accounts=0, balance=0, validators=validators, engine=engine, application=application
    )
    return Topology(
        shards=(shard,),
        beacon=BeaconTopology(validators=0),
        seed=seed,
        parameters=ProtocolParameters(max_payload_bytes=NOOP_PAYLOAD_BYTES, max_batch_bytes=NOOP_BATCH_BYTES),
        node={"limits": {"flush_ms": NOOP_FLUSH_MS, "proposal_gap_ms": NOOP_GAP_MS}},
    )


def choose_markets(shard: int) -> tuple[str, ...]:
    """One market a shard unless the topology says otherwise: BTC on the first, ETH on the second, and so on."""
    names = tuple(DEVNET_MARKETS)
    return (names[shard % len(names)],)


def _require_bound(place: str, value: int, maximum: int) -> None:
    if not 1 <= value <= maximum:
        raise LocalError(f"{place}: must lie between 1 and {maximum}, not {value}")


def _validate_size(source: str, topology: Topology) -> None:
    if not topology.beacon.validators and not (
        len(topology.shards) == 1 and is_noop(topology.shards[0].application)
    ):
        raise LocalError(f"{source}: beacon.validators: only a single no-op shard can do without a beacon")
    if topology.processes > MAX_PROCESSES:
        raise LocalError(f"{source}: {topology.processes} validators where one machine runs {MAX_PROCESSES}")


# --- reading -----------------------------------------------------------------------------------------------


def read_topology(path: Path) -> Topology:
    """The topology in the file; raises ``LocalError`` that names the place of the mistake."""
    data = read_file(path, MAX_TOPOLOGY_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise LocalError(f"{path}: is not UTF-8 text") from None
    return parse_topology(text, str(path))


def parse_topology(text: str, source: str = "topology") -> Topology:
    """The topology in ``text``; raises ``LocalError``."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LocalError(f"{source}: is not TOML: {error}") from None
    document = Document(source, table)
    shards = (
        tuple(_parse_shard(number, shard) for number, shard in enumerate(document.tables("shards")))
        if document.holds("shards")
        else tuple(ShardTopology(markets=choose_markets(number)) for number in range(DEFAULT_SHARDS))
    )
    if not 1 <= len(shards) <= MAX_SHARDS:
        raise document.error("shards", f"there must be 1 to {MAX_SHARDS}, not {len(shards)}")
    topology = Topology(
        shards=shards,
        beacon=_parse_beacon(document.table("beacon")) if document.holds("beacon") else BeaconTopology(),
        seed=document.integer("seed", 0, MAX_SEED) if document.holds("seed") else None,
        parameters=_parse_parameters(document),
        node=_parse_node(document),
    )
    document.finish()
    _validate_size(source, topology)
    return topology


def _parse_beacon(document: Document) -> BeaconTopology:
    beacon = BeaconTopology(**_parse_committee(document, least=0))
    document.finish()
    return beacon


def _parse_shard(number: int, document: Document) -> ShardTopology:
    application: dict[str, Any] = {}
    if document.is_text("application"):
        if document.text("application", 64) != NOOP:
            raise document.error(
                "application", describe_unknown("application", document.text("application"), (NOOP,))
            )
        application = {"kind": NOOP}
    elif document.holds("application"):
        application = document.opaque("application")
    return (
        _parse_noop(document, application) if is_noop(application) else _parse_venue(number, document, application)
    )


def _parse_noop(document: Document, application: dict[str, Any]) -> ShardTopology:
    """Markets, accounts and balances are unknown keys here."""
    shard = ShardTopology(markets=(), accounts=0, balance=0, application=application, **_parse_committee(document))
    document.finish()
    return shard


def _parse_venue(number: int, document: Document, application: dict[str, Any]) -> ShardTopology:
    markets = document.texts("markets") if document.holds("markets") else choose_markets(number)
    for index, market in enumerate(markets):
        if market not in DEVNET_MARKETS:
            raise document.error(f"markets[{index}]", describe_unknown("market", market, DEVNET_MARKETS))
    shard = ShardTopology(
        markets=markets,
        accounts=_integer(document, "accounts", 1, MAX_ACCOUNTS, DEFAULT_ACCOUNTS),
        balance=_integer(document, "balance", 0, MAX_BALANCE, DEFAULT_BALANCE),
        application=application,
        **_parse_committee(document),
    )
    document.finish()
    return shard


def _parse_committee(document: Document, least: int = 1) -> dict[str, Any]:
    return {
        "validators": _integer(document, "validators", least, MAX_VALIDATORS, DEFAULT_VALIDATORS),
        "engine": document.text("engine", 64) if document.holds("engine") else DEFAULT_ENGINE,
        "engine_parameters": {
            **LOCAL_ENGINE_PARAMETERS,
            **(document.opaque("engine_parameters") if document.holds("engine_parameters") else {}),
        },
    }


def _integer(document: Document, name: str, minimum: int, maximum: int, default: int) -> int:
    return document.integer(name, minimum, maximum) if document.holds(name) else default


def _parse_parameters(document: Document) -> ProtocolParameters:
    if not document.holds("parameters"):
        return ProtocolParameters()
    table = document.table("parameters")
    known = [item.name for item in fields(ProtocolParameters)]
    values = {name: table.value(name, int) for name in known if table.holds(name)}
    table.finish()
    try:
        return ProtocolParameters(**values)
    except LocalError as error:
        raise LocalError(f"{document.source}: parameters.{error}") from None


def _parse_node(document: Document) -> dict[str, dict[str, Any]]:
    if not document.holds("node"):
        return {}
    table = document.table("node")
    sections = {name: table.opaque(name) for name in CONFIG_SECTIONS if table.holds(name)}
    table.finish()
    # The configuration's own reader knows the settings and their bounds; the rest of the file is made up.
    example = {"node": {"name": "s0v0", "shard": 0, "index": 0}, **sections}
    home = Path("node")
    try:
        parse_config(tomlkit.dumps(example), home, {})
    except LocalError as error:
        complaint = str(error).removeprefix(str(home / "config.toml") + ": ")
        raise LocalError(f"{document.source}: node.{complaint}") from None
    return sections


# --- writing -----------------------------------------------------------------------------------------------


def render_topology(topology: Topology) -> str:
    """The TOML text of every field; reads back as the same topology."""
    document = tomlkit.document()
    if topology.seed is not None:
        document.add("seed", tomlkit.item(topology.seed))
    document.add("beacon", tomlkit.item(_plain(topology.beacon)))
    shards = tomlkit.aot()
    for shard in topology.shards:
        shards.append(tomlkit.item(_plain(shard)))
    document.add("shards", shards)
    document.add("parameters", tomlkit.item(asdict(topology.parameters)))
    document.add("node", tomlkit.item({name: dict(section) for name, section in topology.node.items()}))
    return tomlkit.dumps(document)


def _plain(part: BeaconTopology | ShardTopology) -> dict[str, Any]:
    table = asdict(part)
    if isinstance(part, ShardTopology) and is_noop(part.application):
        for name in ("markets", "accounts", "balance"):
            del table[name]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}
