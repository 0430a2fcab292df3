"""Names of things: chains, shards, accounts, and how members are called on the command line."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from primitives.errors import RemoteError
from primitives.hashing import hash_tagged

ADDRESS_BYTES: Final = 20
BEACON_SHARD: Final = 0xFFFF
"""The beacon's number wherever a shard number is expected; user shards are 0 … 0xFFFE."""

REMEMBERED_KEYS: Final = 4_096
"""What is computed of so many public keys is kept: the same owners come again and again. 1 MB a cache at most."""

_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")


@lru_cache(maxsize=REMEMBERED_KEYS)
def compute_address(public_key: bytes) -> bytes:
    """The account that an owner key controls: the first 20 bytes of its tagged hash."""
    return hash_tagged(b"rialto/address", public_key)[:ADDRESS_BYTES]


def format_address(address: bytes) -> str:
    """``0x`` and 40 lower-case hexadecimal digits."""
    return "0x" + address.hex()


def parse_address(text: str) -> bytes:
    """The 20 bytes of an address written as ``format_address`` writes it (``0x`` optional, any case).

    Raises ``RemoteError`` (``BAD_ADDRESS``) for anything else.
    """
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    # Not left to bytes.fromhex, which skips blanks between digits and would return fewer bytes.
    if len(digits) == 2 * ADDRESS_BYTES and _HEXADECIMAL.issuperset(digits):
        return bytes.fromhex(digits)
    raise RemoteError("BAD_ADDRESS", f"an address is 0x and 40 hexadecimal digits, not {text[:64]!r}")


def format_committee(shard: int) -> str:
    """``beacon``, ``shard0``, ``shard1`` …"""
    return "beacon" if shard == BEACON_SHARD else f"shard{shard}"


def format_member(shard: int, index: int) -> str:
    """``bv1`` for a beacon validator, ``s0v2`` for shard 0, validator 2."""
    return f"bv{index}" if shard == BEACON_SHARD else f"s{shard}v{index}"
