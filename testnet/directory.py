"""A local network as a directory, and the read model of it that every other command uses.

    runs/<name>/topology.toml        what was asked for
                genesis.json         what the members agree on
                network.json         members with their API addresses, test accounts
                keys/                test accounts' keys, each with its passphrase beside it (devnet!)
                homes/<member>/      config.toml, genesis.json → ../../genesis.json, validator.pem, data,
                                     process.json while it runs, node.log, output.log, control.sock
                supervisor.lock      held while a supervisor runs; supervisor.json says how far it is
                control.sock         of the supervisor
                faults.json          the partition that is wanted
                events.jsonl         kills, restarts, partitions …
                samples.jsonl        what the members said about themselves, every few seconds
                loads/               results of loads;  check.json: of the last check
    runs/latest → <name>

The root is ``$RIALTO_RUNS``, else ``./runs``. What does not live here: who writes a new network
(``testnet.provision``), and processes (``testnet.processes``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.durable_files import PUBLIC_FILE_MODE, create_directory, read_file, replace_file
from node.genesis import Genesis, read_genesis
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import BEACON_SHARD, format_address, format_committee, format_member, parse_address
from shards.noop.parameters import is_noop

RUNS_VARIABLE: Final = "RIALTO_RUNS"
RUNS_FOLDER: Final = "runs"
LATEST: Final = "latest"
DEFAULT_NAME: Final = "devnet"
MAX_JSON_BYTES: Final = 16 << 20
FORMAT_VERSION: Final = 1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")

ROLE_AGENT: Final = "agent"
ROLE_REPORTER: Final = "reporter"
ROLE_FAUCET: Final = "faucet"


@dataclass(frozen=True, slots=True)
class NetworkDirectory:
    """Where everything of one network is; nothing needs to exist."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def topology_path(self) -> Path:
        return self.path / "topology.toml"

    @property
    def genesis_path(self) -> Path:
        return self.path / "genesis.json"

    @property
    def network_path(self) -> Path:
        return self.path / "network.json"

    @property
    def keys_path(self) -> Path:
        return self.path / "keys"

    @property
    def homes_path(self) -> Path:
        return self.path / "homes"

    @property
    def lock_path(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def supervisor_path(self) -> Path:
        return self.path / "supervisor.json"

    @property
    def supervisor_log_path(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def control_path(self) -> Path:
        return self.path / "control.sock"

    @property
    def faults_path(self) -> Path:
        return self.path / "faults.json"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def loads_path(self) -> Path:
        return self.path / "loads"

    @property
    def check_path(self) -> Path:
        return self.path / "check.json"

    @property
    def observed_path(self) -> Path:
        return self.path / "observed.json"

    @property
    def exists(self) -> bool:
        """Whether a whole network is here: ``network.json`` is written last."""
        return self.network_path.exists()

    def home(self, member: str) -> Path:
        """The home directory of ``s0v1``, ``bv0`` …"""
        return self.homes_path / member


def find_runs_folder(environment: Mapping[str, str]) -> Path:
    """``$RIALTO_RUNS``, else ``runs`` below the working directory; absolute and without links, because a
    process is recognised by the home that its command line names."""
    return Path(environment.get(RUNS_VARIABLE) or RUNS_FOLDER).resolve()


def validate_name(name: str) -> str:
    """``name``; raises ``LocalError`` unless it can name a network, and so a directory."""
    if name == LATEST or not _NAME.fullmatch(name):
        raise LocalError(
            f"a network cannot be called {name[:60]!r}: use 1 to 40 lower-case letters, digits, - and _, "
            f"not {LATEST!r}"
        )
    return name


def locate_network(name: str | None, environment: Mapping[str, str]) -> NetworkDirectory:
    """The directory of network ``name``, or of the one that ``latest`` leads to.

    Raises ``LocalError`` where there is none, naming those that exist.
    """
    root = find_runs_folder(environment)
    if name is None:
        directory = NetworkDirectory((root / LATEST).resolve())
        if directory.exists:
            return directory
        raise LocalError(f"no network in {root}: bring one up first (rialto testnet up), or give --name")
    directory = NetworkDirectory(root / validate_name(name))
    if not directory.exists:
        others = ", ".join(list_networks(root)) or "none"
        raise LocalError(f"there is no network {name!r} in {root} (there: {others})")
    return directory


def list_networks(root: Path) -> list[str]:
    """Names of the networks below ``root``."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if not path.is_symlink() and NetworkDirectory(path).exists)


def link_latest(directory: NetworkDirectory) -> None:
    """Make ``runs/latest`` lead to this network, in one step."""
    link = directory.path.parent / LATEST
    temporary = link.with_name(f".{LATEST}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(directory.name)
    temporary.replace(link)


# --- the read model ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """A validator: ``rpc`` is the URL of its API, ``None`` before its ports were bound for the first time."""

    name: str
    shard: int
    index: int
    home: Path
    rpc: str | None

    @property
    def committee(self) -> str:
        return format_committee(self.shard)


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """A test account with funds from genesis. ``shard`` is where its funds are; the faucet works on all: ``None``.

    ``role`` is agent, reporter (names oracle prices) or faucet (mints).
    """

    name: str
    address: bytes
    role: str
    shard: int | None
    key_file: Path


@dataclass(frozen=True, slots=True)
class Network:
    """What is fixed about a network: read once, good until ``down``. Which member lives is another question."""

    directory: NetworkDirectory
    seed: int
    chain: bytes
    members: tuple[MemberEntry, ...]
    accounts: tuple[AccountEntry, ...]
    genesis: Genesis

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def shards(self) -> tuple[int, ...]:
        """The user shards' numbers, ascending."""
        return tuple(shard.shard for shard in self.genesis.shards)

    @property
    def venues(self) -> tuple[int, ...]:
        """Those of the user shards that have accounts and markets: all that do not run the no-op application."""
        return tuple(shard.shard for shard in self.genesis.shards if not is_noop(shard.application))

    @property
    def committees(self) -> tuple[int, ...]:
        """The user shards, then the beacon where there is one."""
        return (*self.shards, BEACON_SHARD) if self.genesis.has_beacon else self.shards

    def members_of(self, shard: int) -> tuple[MemberEntry, ...]:
        """The members of one shard, or of the beacon, by index."""
        return tuple(member for member in self.members if member.shard == shard)

    def member(self, name: str) -> MemberEntry:
        """Raises ``LocalError`` for an unknown name."""
        for member in self.members:
            if member.name == name:
                return member
        raise LocalError(f"network {self.name!r} has no member {name!r}: there are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def accounts_of(self, shard: int, role: str = ROLE_AGENT) -> tuple[AccountEntry, ...]:
        """The test accounts with funds (or a reporter's duty) on ``shard``."""
        return tuple(account for account in self.accounts if account.shard == shard and account.role == role)

    @property
    def faucet(self) -> AccountEntry:
        """The key that mints."""
        return next(account for account in self.accounts if account.role == ROLE_FAUCET)


def open_network(name: str | None, environment: Mapping[str, str]) -> Network:
    """The network called ``name``, or the latest; raises ``LocalError``."""
    return read_network(locate_network(name, environment))


def read_network(directory: NetworkDirectory) -> Network:
    """The read model of what is in ``directory``; raises ``LocalError`` where it is damaged."""
    table = read_json(directory.network_path)
    try:
        if table["format_version"] != FORMAT_VERSION:
            raise LocalError(f"{directory.network_path}: was written by another version of Rialto")
        return Network(
            directory=directory,
            seed=table["seed"],
            chain=bytes.fromhex(table["chain"]),
            members=tuple(
                MemberEntry(
                    format_member(row["shard"], row["index"]),
                    row["shard"],
                    row["index"],
                    directory.home(row["name"]),
                    row["rpc"],
                )
                for row in table["members"]
            ),
            accounts=tuple(
                AccountEntry(
                    row["name"],
                    parse_address(row["address"]),
                    row["role"],
                    row["shard"],
                    directory.path / row["key_file"],
                )
                for row in table["accounts"]
            ),
            genesis=read_genesis(directory.genesis_path),
        )
    except (KeyError, TypeError, ValueError, RemoteError) as error:
        raise LocalError(f"{directory.network_path}: is damaged ({type(error).__name__}: {error})") from None


def write_network(
    directory: NetworkDirectory,
    seed: int,
    chain: bytes,
    members: Sequence[MemberEntry],
    accounts: Sequence[AccountEntry],
) -> None:
    """Write ``network.json``, durably and in one step."""
    write_json(
        directory.network_path,
        {
            "format_version": FORMAT_VERSION,
            "seed": seed,
            "chain": chain.hex(),
            "members": [
                {
                    "name": member.name,
                    "committee": member.committee,
                    "shard": member.shard,
                    "index": member.index,
                    "rpc": member.rpc,
                }
                for member in members
            ],
            "accounts": [
                {
                    "name": account.name,
                    "address": format_address(account.address),
                    "role": account.role,
                    "shard": account.shard,
                    "key_file": os.path.relpath(account.key_file, directory.path),
                }
                for account in accounts
            ],
        },
    )


# --- files -------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; raises ``LocalError``."""
    try:
        table = json.loads(read_file(path, MAX_JSON_BYTES))
    except ValueError as error:
        raise LocalError(f"{path}: is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise LocalError(f"{path}: must hold one JSON object")
    return table


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Replace ``path`` durably and in one step."""
    replace_file(path, json.dumps(table, indent=1).encode() + b"\n", PUBLIC_FILE_MODE)


def append_json_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line; a single write, so that lines of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PUBLIC_FILE_MODE)
    try:
        os.write(descriptor, json.dumps(row, separators=(",", ":")).encode() + b"\n")
    finally:
        os.close(descriptor)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in ``path``, line by line; a last line that a crash cut short is left out. Empty if absent."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    rows = []
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def save_load_result(directory: NetworkDirectory, number: int, table: Mapping[str, Any]) -> Path:
    """Keep the result of a load for the report."""
    create_directory(directory.loads_path)
    path = directory.loads_path / f"{number:013d}.json"
    write_json(path, table)
    return path
