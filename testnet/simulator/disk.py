"""The disk of one host: what survives a crash, what is torn from the end, and how long a sync takes.

The stores are ``node.memory_store``'s, which keep the contract of the real ones including its worst case. What the
vote log was given lately is remembered by value, for the checker of durability. What does not live here: when a
host crashes (``faults``).
"""

from __future__ import annotations

from collections import deque
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
MAX_SEARCHED_VALUES: Final = 512
"""A claim is looked for in what was written last: it leaves with the group commit that covers it, or was known."""


class RememberingVoteLog(MemoryVoteLog):
    """A vote log that tells whether bytes are durable, or were when they were written."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        super().__init__()
        self._written: deque[bytes] = deque(maxlen=MAX_SEARCHED_VALUES)

    def write(self, records: Sequence[Record]) -> None:
        """One atomic, durable batch."""
        super().write(records)
        self._written.extend([record.value for record in records if record.value is not None])

    def has_held(self, content: bytes) -> bool:
        """Whether ``content`` is or lately was a value here, or within one."""
        if any(content in value for value in reversed(self._written)):
            return True
        return any(content in value for value in self._values.values())

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
