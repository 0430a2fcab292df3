"""The chain store and the vote log in memory, for tests and for the simulator.

They keep the contract of ``node.store`` including its worst case: ``MemoryStore.crash`` loses a random number of
unsynced batches from the end, as a power failure does to LevelDB. Nothing here is ever on a disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final

from consensus.engine import Record
from node.store import CAPTURE_KEY

MAX_UNSYNCED_BATCHES: Final = 1_024
"""Older batches count as written: a real system flushes its page cache within seconds."""


class MemoryStore:
    """A ``node.store.Store``."""

    __slots__ = ("_captured", "_sorted", "_undo", "_values")

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = []
        """The keys in order; ``None`` since one came or went. Scans are rare, writes are not."""
        self._undo: deque[list[tuple[bytes, bytes | None]]] = deque()
        self._captured: tuple[bytes, Iterator[tuple[bytes, bytes]]] | None = None

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key``."""
        return self._values.get(key)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start ≤ key < stop as they are now, in key order or backwards."""
        if self._sorted is None:
            self._sorted = sorted(self._values)
        keys = self._sorted[bisect_left(self._sorted, start) : bisect_left(self._sorted, stop)]
        if reverse:
            keys.reverse()
        return iter([(key, self._values[key]) for key in keys])

    def write(self, records: Sequence[Record], *, sync: bool = False) -> None:
        """One atomic batch; a synced one makes everything before it durable."""
        if sync:
            self._undo.clear()
        else:
            self._undo.append([(record.key, self._values.get(record.key)) for record in records])
            if len(self._undo) > MAX_UNSYNCED_BATCHES:
                self._undo.popleft()
        for record in records:
            self._set(record.key, record.value)
        if records and records[-1].key == CAPTURE_KEY:
            mark = records[-1].value or b""
            self._captured = mark, self.scan(mark[:1], bytes([mark[0] + 1]))

    def take_captured(self, mark: bytes) -> Iterator[tuple[bytes, bytes]] | None:
        """The entries as the batch with this mark left them, once."""
        captured, self._captured = self._captured, None
        return captured[1] if captured is not None and captured[0] == mark else None

    def crash(self, rng: Random) -> int:
        """Lose a random number of unsynced batches from the end, and return it; the rest is durable."""
        lost = rng.randint(0, len(self._undo))
        for _ in range(lost):
            for key, value in self._undo.pop():
                self._set(key, value)
        self._undo.clear()
        self._captured = None
        return lost

    def close(self) -> None:
        """The records stay: opening again is using the same object again."""
        self._captured = None

    def _set(self, key: bytes, value: bytes | None) -> None:
        if (value is not None) != (key in self._values):
            self._sorted = None
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value


class MemoryVoteLog:
    """A ``node.store.VoteLog``: every write survives every crash. A stale log is one made from older records."""

    __slots__ = ("_values", "sequence")

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        self._values: dict[bytes, bytes] = dict(records or {})
        self.sequence = 0

    def load(self) -> dict[bytes, bytes]:
        """Every record, in key order."""
        return dict(sorted(self._values.items()))

    def write(self, records: Sequence[Record]) -> None:
        """One atomic, durable batch."""
        for record in records:
            if record.value is None:
                self._values.pop(record.key, None)
            else:
                self._values[record.key] = record.value
        self.sequence += bool(records)

    def close(self) -> None:
        """The records stay: opening again is using the same object again."""
