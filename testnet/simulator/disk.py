"""The disk of one host: what survives a crash, what is torn from the end, and how long a sync takes.

The stores are ``node.memory_store``'s, which keep the contract of the real ones including its worst case. What the
vote log ever held is remembered by value, for the checker of durability. What does not live here: when a host
crashes (``faults``).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from consensus.engine import Record
from node.memory_store import MemoryStore, MemoryVoteLog

SYNC_MIN_US: Final = 100
SYNC_MAX_US: Final = 400
RARE_SYNC_US: Final = 3_000
RARE_SYNC_CHANCE: Final = 0.02
"""Syncs as measured on NVMe: 0.1–0.3 ms, rarely 2–3 ms."""
MAX_REMEMBERED_VALUE_BYTES: Final = 1 << 10
"""Votes are small; payloads and bodies need not be remembered."""


class RememberingVoteLog(MemoryVoteLog):
    """A vote log that remembers which small values were ever durable."""

    __slots__ = ("ever",)

    def __init__(self) -> None:
        super().__init__()
        self.ever: set[bytes] = set()

    def write(self, records: Sequence[Record]) -> None:
        """One atomic, durable batch."""
        super().write(records)
        for record in records:
            if record.value is not None and len(record.value) <= MAX_REMEMBERED_VALUE_BYTES:
                self.ever.add(record.value)

    @property
    def size(self) -> int:
        """Records held now."""
        return len(self._values)


class Disk:
    """Both databases of one host."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.store = MemoryStore()
        self.vote_log = RememberingVoteLog()
        self.slowdown = 1
        """A fault multiplies the time of a sync by this."""

    def draw_sync_us(self) -> int:
        """How long the next group commit takes."""
        rng = self._rng
        if rng.random() < RARE_SYNC_CHANCE:
            return RARE_SYNC_US * self.slowdown
        return rng.randint(SYNC_MIN_US, SYNC_MAX_US) * self.slowdown

    def crash(self) -> int:
        """Lose a random number of unsynced batches of the chain store from the end; returns how many."""
        return self.store.crash(self._rng)
