"""What a database directory says about itself, and why a node refuses one that is not its own.

The record is written once, when the directory is initialised, and compared at every start. Its first four bytes
are the format version, outside the encoding, so that every later version can read at least that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from primitives.codec import Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import format_committee

FORMAT_VERSION: Final = 1
MAX_IDENTITY_BYTES: Final = 256
_VERSION_BYTES: Final = 4


class DatabaseKind(StrEnum):
    """The two databases of a node."""

    CHAIN = "chain"
    VOTES = "votes"


_REMEDIES: Final = {
    DatabaseKind.CHAIN: (
        "run: rialto node rebuild --home {home} (this is set aside, and the node catches up from its peers)"
    ),
    DatabaseKind.VOTES: (
        "what this member signed is no longer known, so it must not vote; run: rialto node rebuild --forget-votes "
        "--home {home} (it abstains until all that it may have voted for is settled; see 'A lost vote log' in "
        "docs/operators.md)"
    ),
}


def describe_remedy(kind: DatabaseKind, path: Path) -> str:
    """What an operator does about the damaged database at ``path``, which lies in the node's home."""
    return _REMEDIES[kind].format(home=path.parent)


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """Whose database it is. ``chain`` is the hash of the genesis; ``public_key`` is empty for a full node."""

    kind: DatabaseKind
    chain: bytes
    shard: int
    role: str
    public_key: bytes


class _Written(Wire, frozen=True):
    kind: str
    chain: bytes
    shard: int
    role: str
    public_key: bytes


def encode_identity(identity: DatabaseIdentity) -> bytes:
    """The record's bytes."""
    written = _Written(identity.kind.value, identity.chain, identity.shard, identity.role, identity.public_key)
    return FORMAT_VERSION.to_bytes(_VERSION_BYTES, "big") + encode(written)


def check_identity(path: Path, record: bytes | None, ours: DatabaseIdentity) -> None:
    """Raise ``LocalError``, saying what to do, unless the record in the database at ``path`` is ours."""
    remedy = describe_remedy(ours.kind, path)
    if record is None:
        raise LocalError(f"{path}: was never initialised to its end: delete the directory and initialise it again")
    version = int.from_bytes(record[:_VERSION_BYTES], "big")
    if version > FORMAT_VERSION:
        raise LocalError(
            f"{path}: has format {version}, newer than {FORMAT_VERSION} of this version: upgrade Rialto"
        )
    if version < FORMAT_VERSION:
        raise LocalError(f"{path}: its identity record is damaged: {remedy}")
    try:
        found: _Written = decode(_Written, record[_VERSION_BYTES:], max_bytes=MAX_IDENTITY_BYTES)
    except RemoteError:
        raise LocalError(f"{path}: its identity record is damaged: {remedy}") from None
    if found.kind != ours.kind.value:
        raise LocalError(f"{path}: holds {found.kind!r}, not {ours.kind.value!r}: the directories are swapped")
    if found.chain != ours.chain:
        raise LocalError(
            f"{path}: belongs to chain {found.chain.hex()[:16]}…, the genesis says {ours.chain.hex()[:16]}…: "
            "use this network's own home directory"
        )
    if found.shard != ours.shard:
        raise LocalError(
            f"{path}: belongs to {format_committee(found.shard)}, this node to {format_committee(ours.shard)}: "
            "use the node's own home directory"
        )
    if found.role != ours.role:
        raise LocalError(
            f"{path}: was made for role {found.role!r}, not {ours.role!r}: set the role back, or use a new home"
        )
    if found.public_key != ours.public_key:
        raise LocalError(
            f"{path}: belongs to the member with key {found.public_key.hex()[:16]}…, ours is "
            f"{ours.public_key.hex()[:16]}…: never copy a member's databases"
        )
