"""The configuration of one node: ``config.toml`` in the node's home directory.

Every setting is a field below, with its default, its bounds and the comment that is written beside it. The
environment overrides the file: ``RIALTO_<SECTION>_<KEY>``, for example ``RIALTO_P2P_PORT=7000``; lists are
separated by commas. Unknown keys are refused, in the file and in the environment.

What does not live here: whatever all members must agree on (``node.genesis``), and secrets (``node.keystore``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import tomlkit

from node.documents import MAX_INTEGER, describe_kind, describe_unknown
from node.durable_files import PUBLIC_FILE_MODE, read_file, replace_file
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD, format_committee

CONFIG_FILE_NAME: Final = "config.toml"
MAX_CONFIG_BYTES: Final = 1 << 20
ENVIRONMENT_PREFIX: Final = "RIALTO_"
MAX_PORT: Final = 65_535
MAX_INDEX: Final = 999
ARCHIVE: Final = 0
MIN_KEEP_BLOCKS: Final = 16
"""A window of slots: with less, whoever misses a moment would have to take a snapshot."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What may stand in a field: its type, bounds, choices, and how the file spells it."""

    comment: str
    kind: type
    minimum: int
    maximum: int
    choices: tuple[str, ...]
    parse: Callable[[Any], Any] | None
    render: Callable[[Any], Any] | None


def setting(
    default: Any,
    comment: str,
    *,
    kind: type | None = None,
    minimum: int = 0,
    maximum: int = MAX_INTEGER,
    choices: tuple[str, ...] = (),
    parse: Callable[[Any], Any] | None = None,
    render: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field that is a setting; ``default`` is ``MISSING`` where the file must say it.

    ``parse`` reads the file's form of the value and raises ``ValueError`` with a complaint; ``render`` writes it.
    """
    described = Setting(comment, kind or type(default), minimum, maximum, choices, parse, render)
    return field(default=default, metadata={"setting": described})


def parse_shard(written: object) -> int:
    """``"beacon"`` or a shard's number, as files and command lines write it; raises ``ValueError``."""
    if written == "beacon":
        return BEACON_SHARD
    digits = str(written)
    if type(written) is bool or not digits.isdecimal() or not int(digits) < BEACON_SHARD:
        raise ValueError(f'must be "beacon" or a number from 0 to {BEACON_SHARD - 1}, not {written!r}')
    return int(digits)


def _render_shard(shard: int) -> int | str:
    return "beacon" if shard == BEACON_SHARD else shard


def parse_keep(written: object) -> int:
    """``"archive"``, or a number of blocks; raises ``ValueError``."""
    if written == "archive":
        return ARCHIVE
    digits = str(written)
    if type(written) is bool or not digits.isdecimal() or not MIN_KEEP_BLOCKS <= int(digits) <= MAX_INTEGER:
        raise ValueError(f'must be "archive" or a number of blocks from {MIN_KEEP_BLOCKS} up, not {written!r}')
    return int(digits)


def _render_keep(keep: int) -> int | str:
    return "archive" if keep == ARCHIVE else keep


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who this node is."""

    name: str = setting(MISSING, "How logs and metrics call this node.", kind=str)
    shard: int = setting(
        MISSING,
        'The committee it belongs to: a shard\'s number, or "beacon".',
        parse=parse_shard,
        render=_render_shard,
    )
    index: int = setting(
        MISSING,
        "Its place in that committee in the genesis, from 0.",
        kind=int,
        maximum=MAX_INDEX,
    )


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Links to other members."""

    host: str = setting("127.0.0.1", "Address to listen on for peers.")
    advertise: str = setting("", "IP address that other members are told; default: host.")
    port: int = setting(0, "Port for peers; 0 lets the system choose.", maximum=MAX_PORT)
    seeds: tuple[str, ...] = setting((), "Multiaddrs (with peer ids) of one or two members to ask for the others.")


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """The client API."""

    host: str = setting("127.0.0.1", "Address to listen on for clients.")
    port: int = setting(0, "Port for clients; 0 lets the system choose.", maximum=MAX_PORT)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    level: str = setting("info", "Least severity.", choices=("debug", "info", "warning", "error"))
    format: str = setting("console", '"console" for people, "json" for machines.', choices=("console", "json"))
    file: str = setting("", "File instead of standard error, relative to the home; kept below 64 MiB.")


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What this node spends on others; each bound protects its memory from one kind of flood."""

    mempool_bytes: int = setting(64 << 20, "Transactions waiting for a batch.", minimum=1 << 16)
    mempool_transactions: int = setting(100_000, "The same, counted.", minimum=1)
    flush_ms: int = setting(50, "Least time between two batches that are not full.", maximum=1_000)
    proposal_gap_ms: int = setting(
        100, "Least time between two proposals that are not full, without load.", maximum=5_000
    )


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """What is kept of the chain, and when a snapshot is made or taken. Raises ``LocalError`` where that makes no
    sense. ``keep`` is 0 for everything."""

    keep: int = setting(
        ARCHIVE,
        'Certified blocks whose transactions and receipts are kept, or "archive": all. Headers are always kept.',
        parse=parse_keep,
        render=_render_keep,
    )
    snapshot_blocks: int = setting(
        2_048, "Blocks between two snapshots that members who join can have; 0: none. Best the same on all members."
    )
    snapshot_gap_blocks: int = setting(
        4_096, "Further behind than this, take a snapshot; 0: only where nobody has the blocks any more."
    )

    def __post_init__(self) -> None:
        if self.keep and not self.snapshot_blocks:
            raise LocalError("chain.keep: with snapshot_blocks of 0 nobody could join who needs an older block")


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Self-checks that cost time."""

    paranoid: bool = setting(False, "Recompute summaries and the state root from the full state every block.")


@dataclass(frozen=True, slots=True)
class DevnetSettings:
    """Refused unless the genesis is marked devnet."""

    control_socket: str = setting("", "Unix socket for injecting faults, relative to the home; empty: off.")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All settings of one node. ``home`` is the directory that holds the file, and everything else it owns."""

    home: Path
    node: NodeSettings
    p2p: PeerSettings = field(default_factory=PeerSettings)
    rpc: RpcSettings = field(default_factory=RpcSettings)
    log: LogSettings = field(default_factory=LogSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    chain: ChainSettings = field(default_factory=ChainSettings)
    checks: CheckSettings = field(default_factory=CheckSettings)
    devnet: DevnetSettings = field(default_factory=DevnetSettings)

    @property
    def committee(self) -> str:
        """``beacon``, ``shard0`` …, as logs and metrics call it."""
        return format_committee(self.node.shard)

    @property
    def genesis_path(self) -> Path:
        return self.home / "genesis.json"

    @property
    def key_path(self) -> Path:
        return self.home / "validator.pem"

    @property
    def chain_path(self) -> Path:
        return self.home / "chain"

    @property
    def vote_log_path(self) -> Path:
        return self.home / "votes"

    @property
    def bodies_path(self) -> Path:
        return self.home / "bodies"


_SECTIONS: Final[dict[str, type[Any]]] = {
    "node": NodeSettings,
    "p2p": PeerSettings,
    "rpc": RpcSettings,
    "log": LogSettings,
    "limits": LimitSettings,
    "chain": ChainSettings,
    "checks": CheckSettings,
    "devnet": DevnetSettings,
}


# --- reading -----------------------------------------------------------------------------------------------


def read_config(home: Path, environment: Mapping[str, str]) -> NodeConfig:
    """The configuration in ``home``, as ``environment`` overrides it; raises ``LocalError``."""
    path = home / CONFIG_FILE_NAME
    try:
        text = read_file(path, MAX_CONFIG_BYTES).decode()
    except UnicodeDecodeError:
        raise LocalError(f"{path}: is not UTF-8 text") from None
    return parse_config(text, home, environment)


def parse_config(text: str, home: Path, environment: Mapping[str, str]) -> NodeConfig:
    """The configuration that ``text`` (TOML) and ``environment`` give; raises ``LocalError`` with the place."""
    source = str(home / CONFIG_FILE_NAME)
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LocalError(f"{source}: is not TOML: {error}") from None
    for name in tables:
        if name not in _SECTIONS:
            raise LocalError(f"{source}: {describe_unknown('section', name, _SECTIONS)}")
    overrides = _read_environment(environment)
    sections: dict[str, Any] = {}
    for name, section in _SECTIONS.items():
        table = tables.get(name, {})
        if type(table) is not dict:
            raise LocalError(f"{source}: {name}: must be a table, not {describe_kind(type(table))}")
        sections[name] = _parse_section(source, name, section, table, overrides[name])
    return NodeConfig(home=home, **sections)


def _read_environment(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """section → key → text. Variables of other sections are not ours to judge."""
    overrides: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for variable, text in environment.items():
        section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not variable.startswith(ENVIRONMENT_PREFIX) or section not in _SECTIONS:
            continue
        known = [item.name for item in fields(_SECTIONS[section])]
        if key not in known:
            raise LocalError(f"environment: {variable}: {describe_unknown('key', key, known)}")
        overrides[section][key] = text
    return overrides


def _parse_section(
    source: str, name: str, section: type[Any], table: Mapping[str, Any], overrides: Mapping[str, str]
) -> Any:
    known = {item.name: item for item in fields(section)}
    for key in table:
        if key not in known:
            raise LocalError(f"{source}: {name}: {describe_unknown('key', key, known)}")
    values: dict[str, Any] = {}
    for key, item in known.items():
        try:
            if key in overrides:
                place = f"environment: {ENVIRONMENT_PREFIX}{name.upper()}_{key.upper()}"
                values[key] = _check(item, _convert_text(item, overrides[key]))
            elif key in table:
                place = f"{source}: {name}.{key}"
                values[key] = _check(item, table[key])
            elif item.default is MISSING:
                raise LocalError(f"{source}: {name}.{key}: is missing. {_setting_of(item).comment}")
        except ValueError as error:
            raise LocalError(f"{place}: {error}") from None
    return section(**values)


def _setting_of(item: Field[Any]) -> Setting:
    described: Setting = item.metadata["setting"]
    return described


def _convert_text(item: Field[Any], text: str) -> Any:
    """An environment variable's text as the TOML value that it stands for; raises ``ValueError``."""
    described = _setting_of(item)
    if described.parse is not None or described.kind is str:
        return text
    if described.kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"must be true or false, not {text!r}")
        return text == "true"
    if described.kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be an integer, not {text!r}") from None


def _check(item: Field[Any], written: Any) -> Any:
    """The field's value for what the file says; raises ``ValueError`` with a complaint."""
    described = _setting_of(item)
    if described.parse is not None:
        return described.parse(written)
    if described.kind is tuple:
        if not isinstance(written, list) or not all(isinstance(part, str) for part in written):
            raise ValueError("must be a list of strings")
        return tuple(written)
    kind: type = type(written)
    if kind is not described.kind:
        raise ValueError(f"must be {describe_kind(described.kind)}, not {describe_kind(kind)}")
    if described.kind is int and not described.minimum <= written <= described.maximum:
        raise ValueError(f"must lie between {described.minimum} and {described.maximum}, not {written}")
    if described.choices and written not in described.choices:
        raise ValueError(describe_unknown("value", written, described.choices))
    return written


# --- writing -----------------------------------------------------------------------------------------------


def render_config(config: NodeConfig) -> str:
    """The TOML text of every setting, each under its comment; reads back as the same configuration."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"Environment variables {ENVIRONMENT_PREFIX}<SECTION>_<KEY> override this file."))
    for name, section in _SECTIONS.items():
        table = tomlkit.table()
        for item in fields(section):
            described = _setting_of(item)
            value = getattr(getattr(config, name), item.name)
            table.add(tomlkit.comment(described.comment))
            table.add(item.name, described.render(value) if described.render else _plain(value))
        document.add(name, table)
    return tomlkit.dumps(document)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def write_config(config: NodeConfig) -> None:
    """Write ``config.toml`` into the home, replacing an older one durably; raises ``LocalError``."""
    replace_file(config.home / CONFIG_FILE_NAME, render_config(config).encode(), PUBLIC_FILE_MODE)
