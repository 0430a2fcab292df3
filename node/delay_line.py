"""Frames that a fault holds back: ordered by when they are due, bounded in bytes. Sans-IO."""

from __future__ import annotations

import heapq
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_DELAYED_BYTES: Final = 64 * 1024 * 1024
"""A delay is a queue in disguise; this is its bound, over all peers together."""


class DelayLine(Generic[T]):
    """A heap of (due, order of arrival); two items due at once leave in the order they came."""

    __slots__ = ("_arrivals", "_heap", "_max_bytes", "size_bytes")

    def __init__(self, max_bytes: int = MAX_DELAYED_BYTES) -> None:
        self._heap: list[tuple[int, int, int, T]] = []
        self._arrivals = 0
        self._max_bytes = max_bytes
        self.size_bytes = 0

    @property
    def next_due_ms(self) -> int | None:
        """When the first item is due; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def push(self, due_ms: int, item: T, size_bytes: int) -> bool:
        """Hold ``item`` until ``due_ms``; false if the line is full and it was not taken."""
        if self.size_bytes + size_bytes > self._max_bytes:
            return False
        self._arrivals += 1
        self.size_bytes += size_bytes
        heapq.heappush(self._heap, (due_ms, self._arrivals, size_bytes, item))
        return True

    def pop_due(self, now_ms: int) -> list[T]:
        """Everything due at ``now_ms``, in order."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, size_bytes, item = heapq.heappop(self._heap)
            self.size_bytes -= size_bytes
            due.append(item)
        return due
