"""The trace: one fixed-width line per transition, the member's column identifying it, and a hash over them all.

A line of a world with five members, where ``s0v2`` (third column) handled an engine frame of ``s0v0``:

    000001204517 . . E . .  s0v2   ENGINE 171 B from s0v0

Most lines are never read, so a replica's event is only hashed (time, member, kind, and all its bytes) and written
out when somebody asks: a ``sink`` gets every line, and the last ones are kept for whoever looks at a violation.
Equal seeds give equal hashes, on any machine and under any ``PYTHONHASHSEED``. What does not live here: what is
worth a line (``world``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from struct import Struct
from typing import Final
from zlib import crc32

from node.events import (
    FrameReceived,
    LinkDown,
    LinkUp,
    ReplicaEvent,
    Start,
    TimerFired,
    TransactionsSubmitted,
)
from node.wire import FrameKind

KEPT_LINES: Final = 400
DETAIL_WIDTH: Final = 56
"""Longer details are cut: every line has the same width."""
HASHED_AT_ONCE: Final = 1 << 16
_ENTRY: Final = Struct("<QHI")
_WORLD: Final = 0xFFFF
_KIND_NAMES: Final = {kind.value: kind.name for kind in FrameKind}


class Trace:
    """``columns`` are the names of all hosts, left to right."""

    def __init__(self, columns: Sequence[str], sink: Callable[[str], None] | None = None) -> None:
        self._columns = tuple(columns)
        self._places = {name: place for place, name in enumerate(columns)}
        self._hasher = sha256()
        self._unhashed = bytearray()
        self._sink = sink
        self._kept: deque[tuple[int, int, str, str | ReplicaEvent]] = deque(maxlen=KEPT_LINES)

    def note(self, now_us: int, name: str, letter: str, detail: str) -> None:
        """A transition of host ``name``; ``letter`` stands in its column."""
        self._add(now_us, self._places[name], letter, detail)

    def note_world(self, now_us: int, detail: str) -> None:
        """Something that concerns no single host: a fault, a phase."""
        self._add(now_us, _WORLD, "", detail)

    def note_event(self, now_us: int, name: str, event: ReplicaEvent) -> None:
        """A replica takes an event."""
        place = self._places[name]
        if type(event) is not FrameReceived:
            letter, detail = describe_event(event)
            self._add(now_us, place, letter, detail)
            return
        self._hash(now_us, place, crc32(event.body, event.kind))
        self._kept.append((now_us, place, "", event))
        if self._sink is not None:
            self._sink(self._format(now_us, place, "", event))

    @property
    def tail(self) -> list[str]:
        """The last lines."""
        return [self._format(*entry) for entry in self._kept]

    def digest(self) -> str:
        """The hash over everything so far, in hexadecimal digits."""
        self._drain()
        return self._hasher.hexdigest()

    def _add(self, now_us: int, place: int, letter: str, detail: str) -> None:
        self._hash(now_us, place, crc32(f"{letter} {detail}".encode()))
        self._kept.append((now_us, place, letter, detail))
        if self._sink is not None:
            self._sink(self._format(now_us, place, letter, detail))

    def _hash(self, now_us: int, place: int, content: int) -> None:
        self._unhashed += _ENTRY.pack(now_us, place, content)
        if len(self._unhashed) >= HASHED_AT_ONCE:
            self._drain()

    def _drain(self) -> None:
        self._hasher.update(self._unhashed)
        self._unhashed.clear()

    def _format(self, now_us: int, place: int, letter: str, detail: str | ReplicaEvent) -> str:
        if not isinstance(detail, str):
            letter, detail = describe_event(detail)
        marks = [letter if column == place else "." for column in range(len(self._columns))]
        text = f"{detail[:DETAIL_WIDTH]:<{DETAIL_WIDTH}}"
        if place == _WORLD:
            return f"{now_us:012d} {'  ' * len(self._columns)} -      {text}"
        return f"{now_us:012d} {' '.join(marks)}  {self._columns[place]:<7}{text}"


def describe_event(event: ReplicaEvent) -> tuple[str, str]:
    """A letter and a few words for the trace."""
    match event:
        case FrameReceived(member=member, kind=kind, body=body):
            name = _KIND_NAMES.get(kind, f"kind {kind}")
            return name[0], f"{name} {len(body)} B from {member.name}"
        case TimerFired(timer=timer):
            return "t", f"timer {timer}"
        case LinkUp(member=member):
            return "u", f"link up {member.name}"
        case LinkDown(member=member):
            return "d", f"link down {member.name}"
        case TransactionsSubmitted(transactions=transactions):
            return "x", f"{len(transactions)} transactions"
        case Start():
            return "*", "start"
