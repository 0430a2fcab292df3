"""Virtual time: one heap of actions by (time, sequence), and seeded chance.

Two actions of the same microsecond run in the order in which they were planned, so a run depends on its seed
alone. Each link, disk, host and workload draws from a generator of its own: a fault that takes one more number
somewhere does not change everything else. What does not live here: what happens at those times.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final, TypeAlias

US_PER_MS: Final = 1_000
US_PER_S: Final = 1_000_000

Action: TypeAlias = Callable[[], None]


class Scheduler:
    """The clock of a simulated world, in µs from its start."""

    __slots__ = ("_heap", "_sequence", "is_stopped", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.is_stopped = False
        """Set by whoever saw enough: no further action runs."""
        self._sequence = 0
        self._heap: list[tuple[int, int, Action]] = []

    def at(self, due_us: int, action: Action) -> None:
        """Plan ``action``; what is due already runs next, never at once."""
        self._sequence += 1
        heappush(self._heap, (due_us if due_us > self.now_us else self.now_us, self._sequence, action))

    @property
    def executed(self) -> int:
        """How many actions have run."""
        return self._sequence - len(self._heap)

    def after(self, delay_us: int, action: Action) -> None:
        """Plan ``action`` for ``delay_us`` from now."""
        self.at(self.now_us + delay_us, action)

    def run_until(self, deadline_us: int) -> None:
        """Run what is due up to the deadline, unless ``is_stopped`` is set."""
        heap = self._heap
        while heap and heap[0][0] <= deadline_us and not self.is_stopped:
            self.now_us, _, action = heappop(heap)
            action()
        if not self.is_stopped:
            self.now_us = max(self.now_us, deadline_us)


class Chance:
    """Generators by name, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, *names: str | int) -> Random:
        """The generator for ``names``. Text seeds go through SHA-512 inside, never through ``hash()``."""
        return Random("/".join(["rialto", str(self.seed), *[str(name) for name in names]]))
