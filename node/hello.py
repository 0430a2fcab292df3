"""The first frame each way on a peer link: which chain, which committee, which lane, which protocol.

Sans-IO. By the time a hello is read, Noise has proved who the peer is; the hello proves that both sides
mean the same network before anything else is decoded.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from node.framing import Lane
from node.members import Member
from primitives.codec import Wire, decode
from primitives.errors import RemoteError

PROTOCOL_VERSION: Final = 1
MAX_HELLO_BYTES: Final = 256
"""A hello is below 100 bytes; the bound keeps a peer from making us buffer more before it is judged."""

_HIGHEST_LANE: Final = max(Lane)


class Role(IntEnum):
    """What a node does with what it hears: a validator votes, a full node only follows."""

    VALIDATOR = 0
    FULL = 1


class Hello(Wire, frozen=True):
    """``boot`` is drawn at process start: it tells a restarted peer from one that merely reconnects."""

    chain: bytes
    incarnation: int
    shard: int
    version: int
    lane: int
    role: int
    boot: int


def decode_hello(body: bytes) -> Hello:
    """The hello in ``body``. Raises ``RemoteError`` for anything else."""
    return decode(Hello, body, max_bytes=MAX_HELLO_BYTES)


def validate_hello(hello: Hello, member: Member, ours: Hello) -> None:
    """Raise ``RemoteError`` unless ``member`` may speak on our network as ``hello`` says.

    The incarnation counts per shard (it grows when a forked shard is resumed), so it is compared only
    within a committee.
    """
    if hello.chain != ours.chain:
        raise RemoteError("WRONG_CHAIN", f"{member.name} is on another chain: {hello.chain.hex()[:64]}")
    if hello.version != ours.version:
        raise RemoteError("WRONG_VERSION", f"{member.name} speaks protocol {hello.version}, not {ours.version}")
    if hello.shard != member.shard:
        raise RemoteError("WRONG_SHARD", f"{member.name} says that it serves shard {hello.shard}")
    if hello.shard == ours.shard and hello.incarnation != ours.incarnation:
        raise RemoteError("WRONG_INCARNATION", f"{member.name} is in incarnation {hello.incarnation}")
    if not 0 <= hello.lane <= _HIGHEST_LANE:
        raise RemoteError("WRONG_LANE", f"{member.name} asks for lane {hello.lane}", penalise=True)
    if hello.role not in (Role.VALIDATOR, Role.FULL):
        raise RemoteError("WRONG_ROLE", f"{member.name} has role {hello.role}", penalise=True)
