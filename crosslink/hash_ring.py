"""The newest block hashes of one chain, in state records that are overwritten in turn.

The beacon keeps one for each shard (to recognise a fork off a registered ancestor) and one for itself (to check
the beacon references of headers). A height further back than the capacity is simply not known.
"""

from __future__ import annotations

from typing import Final

from primitives.errors import LocalError
from primitives.hashing import DIGEST_BYTES

_HEIGHT_BYTES: Final = 8
_SLOT_BYTES: Final = 4


class HashRing:
    """Hashes by height; ``prefix`` names the ring among the state records."""

    __slots__ = ("_capacity", "_entries", "_prefix")

    def __init__(self, prefix: bytes, capacity: int) -> None:
        self._prefix = prefix
        self._capacity = capacity
        self._entries: dict[int, tuple[int, bytes]] = {}

    def get(self, height: int) -> bytes | None:
        """The hash at ``height``, or ``None`` where it was never known or is overwritten."""
        entry = self._entries.get(height % self._capacity)
        return entry[1] if entry is not None and entry[0] == height else None

    def put(self, height: int, block_hash: bytes, changes: dict[bytes, bytes | None]) -> None:
        """Remember a hash and note the record in ``changes``."""
        slot = height % self._capacity
        self._entries[slot] = (height, block_hash)
        key = self._prefix + slot.to_bytes(_SLOT_BYTES, "big")
        changes[key] = height.to_bytes(_HEIGHT_BYTES, "big") + block_hash

    def load(self, key: bytes, value: bytes) -> None:
        """Take one stored record; raises ``LocalError`` where it is none of this ring's."""
        slot = int.from_bytes(key[len(self._prefix) :], "big")
        height = int.from_bytes(value[:_HEIGHT_BYTES], "big")
        wrong_size = len(key) != len(self._prefix) + _SLOT_BYTES or len(value) != _HEIGHT_BYTES + DIGEST_BYTES
        if wrong_size or height % self._capacity != slot:
            raise LocalError(f"a stored block hash is damaged: {key[:32].hex()}")
        self._entries[slot] = (height, value[_HEIGHT_BYTES:])
