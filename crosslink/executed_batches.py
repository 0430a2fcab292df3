"""Which batches were executed: their digests stay in the state until they expire, and repeats are skipped.

Used by every application. Records: ``batch/ ‖ digest → expiry height (8 bytes)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from crosslink.block import BlockBatch
from primitives.errors import LocalError
from primitives.hashing import DIGEST_BYTES

RECORD_PREFIX: Final = b"batch/"
_HEIGHT_BYTES: Final = 8


class ExecutedBatches:
    """Digests of executed batches, by expiry height.

    ``lifetime_blocks`` bounds how far ahead an expiry may lie: a batch beyond it is skipped, because its digest
    would have to stay in the state for as long.
    """

    __slots__ = ("_by_expiry", "_changes", "_digests", "_lifetime_blocks", "_swept")

    def __init__(self, lifetime_blocks: int) -> None:
        self._lifetime_blocks = lifetime_blocks
        self._digests: dict[bytes, int] = {}
        self._by_expiry: dict[int, list[bytes]] = {}
        self._swept = 0
        """Every expiry up to this height is forgotten."""
        self._changes: dict[bytes, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def filter(self, height: int, batches: Sequence[BlockBatch]) -> tuple[BlockBatch, ...]:
        """The batches that block ``height`` executes, in order; they count as executed from now on.

        A digest is forgotten one block after its expiry, when the expiry itself keeps it out.
        """
        self._sweep(height)
        fresh: list[BlockBatch] = []
        for batch in batches:
            in_time = height <= batch.expiry_height <= height + self._lifetime_blocks
            if in_time and batch.digest not in self._digests:
                self._remember(batch.digest, batch.expiry_height)
                self._changes[RECORD_PREFIX + batch.digest] = batch.expiry_height.to_bytes(_HEIGHT_BYTES, "big")
                fresh.append(batch)
        return tuple(fresh)

    def _sweep(self, height: int) -> None:
        """Forget what expired below ``height``. Expiries lie within one lifetime, which bounds the loop."""
        start = max(self._swept + 1, height - self._lifetime_blocks - 1)
        for expiry in range(start, height):
            for digest in self._by_expiry.pop(expiry, ()):
                del self._digests[digest]
                self._changes[RECORD_PREFIX + digest] = None
        self._swept = max(self._swept, height - 1)

    def _remember(self, digest: bytes, expiry: int) -> None:
        self._digests[digest] = expiry
        self._by_expiry.setdefault(expiry, []).append(digest)

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call (``None``: deleted)."""
        changes, self._changes = self._changes, {}
        return changes

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace everything by the records under ``RECORD_PREFIX``; raises ``LocalError`` for others."""
        self._digests, self._by_expiry, self._changes = {}, {}, {}
        for key, value in records:
            digest = key[len(RECORD_PREFIX) :]
            if not key.startswith(RECORD_PREFIX) or len(digest) != DIGEST_BYTES or len(value) != _HEIGHT_BYTES:
                raise LocalError(f"a stored batch digest is damaged: {key[:40].hex()}")
            self._remember(digest, int.from_bytes(value, "big"))
        self._swept = min(self._by_expiry, default=1) - 1
