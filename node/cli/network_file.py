"""Where the nodes are: a network's directory (``--name``), or one URL (``--node``).

Of ``runs/<name>/network.json`` only what clients need is read here: members with the URLs of their API, test
accounts with their key files. The rest of a network's directory belongs to ``testnet``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from node.durable_files import read_file
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD, format_address

RUNS_VARIABLE: Final = "RIALTO_RUNS"
NETWORK_FILE_NAME: Final = "network.json"
LATEST: Final = "latest"
FAUCET_ROLE: Final = "faucet"
MAX_NETWORK_BYTES: Final = 16 << 20


class ListedMember(msgspec.Struct, frozen=True):
    """A member; ``rpc`` is ``None`` until it was started for the first time."""

    name: str
    shard: int
    rpc: str | None = None


class ListedAccount(msgspec.Struct, frozen=True):
    """A test account; ``shard`` is its home, ``None`` where it is at home everywhere."""

    name: str
    address: str
    role: str
    key_file: str
    shard: int | None = None


class _NetworkFile(msgspec.Struct, frozen=True):
    members: tuple[ListedMember, ...]
    accounts: tuple[ListedAccount, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Nodes to talk to. With ``--node`` there is one member, of a shard that only its status tells."""

    members: tuple[ListedMember, ...]
    accounts: tuple[ListedAccount, ...] = ()
    folder: Path | None = None
    is_direct: bool = False

    @property
    def shards(self) -> list[int]:
        """The user shards, ascending; empty where only the node itself knows."""
        if self.is_direct:
            return []
        return sorted({member.shard for member in self.members if member.shard != BEACON_SHARD})

    def urls_of(self, shard: int) -> list[str]:
        """The APIs of a shard's members; raises ``LocalError`` where there are none."""
        urls = [member.rpc for member in self.members if member.rpc and (self.is_direct or member.shard == shard)]
        if not urls:
            raise LocalError(f"the network has no shard {shard} with a running member (shards: {self.shards})")
        return urls

    def home_of(self, address: bytes) -> int:
        """The shard where a test account has its funds; 0 for others."""
        for account in self.accounts:
            if account.address == format_address(address) and account.shard is not None:
                return account.shard
        return self.shards[0] if self.shards else 0

    def faucet_key(self) -> Path:
        """The faucet's key file; raises ``LocalError`` where it is not here."""
        if self.folder is not None:
            for account in self.accounts:
                if account.role == FAUCET_ROLE:
                    return self.folder / account.key_file
        raise LocalError("the faucet's key is not here: use --name of a local devnet, or give --faucet-key FILE")


def find_target(name: str | None, node: str | None, environment: Mapping[str, str] = os.environ) -> Target:
    """What ``--name`` and ``--node`` mean; raises ``LocalError``."""
    if node is not None and name is not None:
        raise LocalError("give --name or --node, not both")
    if node is not None:
        return Target((ListedMember("node", 0, _validate_url(node)),), is_direct=True)
    root = Path(environment.get(RUNS_VARIABLE) or "runs").resolve()
    folder = root / (name or LATEST)
    path = folder / NETWORK_FILE_NAME
    if not path.exists() or folder.resolve().parent != root:
        wanted = f"no network {name!r} in {root}" if name else f"no network in {root}"
        raise LocalError(f"{wanted}: bring one up (rialto testnet up --name …), or give --node URL")
    try:
        table = msgspec.json.decode(read_file(path, MAX_NETWORK_BYTES), type=_NetworkFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LocalError(f"{path}: is damaged: {error}") from None
    return Target(table.members, table.accounts, folder)


def _validate_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise LocalError(f"--node: {text[:80]!r} is no URL: write http://host:port")
    return text.rstrip("/")
