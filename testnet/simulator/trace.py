"""The trace: one fixed-width line per transition, the member's column identifying it, and a hash over all lines.

A line of a world with five members, where ``s0v2`` (third column) handled an engine frame of ``s0v0``:

    000001204517 . . E . .  s0v2   ENGINE 171 B from s0v0

Equal seeds give equal hashes, on any machine and under any ``PYTHONHASHSEED``. The last lines are kept for whoever
looks at a violation; ``sink`` gets every line. What does not live here: what is worth a line (``world``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

KEPT_LINES: Final = 400
DETAIL_WIDTH: Final = 56
"""Longer details are cut: every line has the same width."""


class Trace:
    """``columns`` are the names of all hosts, left to right."""

    def __init__(self, columns: Sequence[str], sink: Callable[[str], None] | None = None) -> None:
        width = 2 * len(columns)
        dots = ". " * len(columns)
        self._heads = {name: (dots[: 2 * place], dots[2 * place + 1 :]) for place, name in enumerate(columns)}
        self._blank = " " * width
        self._names = {name: f"{name:<7}" for name in columns}
        self._hasher = sha256()
        self._sink = sink
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)

    def note(self, now_us: int, name: str, letter: str, detail: str) -> None:
        """A transition of host ``name``; ``letter`` stands in its column."""
        left, right = self._heads[name]
        self._add(f"{now_us:012d} {left}{letter}{right} {self._names[name]}{detail[:DETAIL_WIDTH]:<{DETAIL_WIDTH}}")

    def note_world(self, now_us: int, detail: str) -> None:
        """Something that concerns no single host: a fault, a phase."""
        self._add(f"{now_us:012d} {self._blank} -      {detail[:DETAIL_WIDTH]:<{DETAIL_WIDTH}}")

    def digest(self) -> str:
        """The hash over all lines so far, in hexadecimal digits."""
        return self._hasher.hexdigest()

    def _add(self, line: str) -> None:
        self._hasher.update(line.encode())
        self.tail.append(line)
        if self._sink is not None:
            self._sink(line)
