"""The logs of all members as one stream in order of time: coloured for people, or as the JSON lines that they are.

What does not live here: what is logged (``node.logs`` fixes the form).
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from testnet.directory import MemberEntry
from testnet.provision import LOG_FILE

FOLLOW_INTERVAL_S: Final = 0.3
MAX_READ_BYTES: Final = 4 << 20
"""Of one member at a time; a burst is read in several rounds."""
_COLOURS: Final = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_LEVEL_COLOURS: Final = {"warning": 33, "error": 31, "critical": 31}
_MEMBER_COLUMNS: Final = 6
_EVENT_COLUMNS: Final = 28
_OWN_FIELDS: Final = frozenset({"time", "member", "committee", "level", "event", "logger"})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: ``time`` is ISO 8601 in UTC, which sorts as text; ``fields`` is everything that it says."""

    time: str
    member: str
    fields: Mapping[str, Any]


def parse_line(member: str, text: str) -> LogLine:
    """A line of a member's log; what is no JSON object (a traceback) becomes an event of its own."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        fields = {"member": member, "level": "error", "event": text}
    return LogLine(str(fields.get("time", "")), member, fields)


def read_logs(members: Sequence[MemberEntry]) -> Iterator[LogLine]:
    """Everything that the members have logged, merged by time; the rotated file of each comes first."""
    return heapq.merge(*(_read_member(member) for member in members), key=lambda line: line.time)


def _read_member(member: MemberEntry) -> Iterator[LogLine]:
    time = ""
    for path in (member.home / f"{LOG_FILE}.1", member.home / LOG_FILE):
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                line = parse_line(member.name, text.rstrip("\n"))
                # A line without a time (inside a traceback) stays behind the one before it.
                time = max(time, line.time)
                yield LogLine(time, line.member, line.fields)


class LogFollower:
    """Reads what is appended to the members' logs, also when a file is rotated."""

    def __init__(self, members: Sequence[MemberEntry]) -> None:
        self._tails = {member.name: _Tail(member.home / LOG_FILE) for member in members}

    def skip_to_end(self) -> None:
        """Leave out what is there already."""
        for tail in self._tails.values():
            tail.skip_to_end()

    def read_new(self) -> list[LogLine]:
        """The lines since the last call, in order of time."""
        lines = [parse_line(name, text) for name, tail in self._tails.items() for text in tail.read_lines()]
        return sorted(lines, key=lambda line: line.time)

    async def wait_new(self) -> list[LogLine]:
        """The next lines, as soon as there are some."""
        while True:
            lines = self.read_new()
            if lines:
                return lines
            await trio.sleep(FOLLOW_INTERVAL_S)


class _Tail:
    """The growing end of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def skip_to_end(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        self._inode, self._offset = status.st_ino, status.st_size

    def read_lines(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                file.seek(self._offset)
                data = file.read(MAX_READ_BYTES)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def format_line(line: LogLine, *, coloured: bool) -> str:
    """One line for people: time of day, member, event, and the rest as key=value."""
    level = str(line.fields.get("level", "info"))
    event = str(line.fields.get("event", ""))
    rest = " ".join(f"{key}={_format_value(value)}" for key, value in line.fields.items() if key not in _OWN_FIELDS)
    clock = line.time[11:23] or " " * 12
    if not coloured:
        return f"{clock} {line.member:<{_MEMBER_COLUMNS}} {level:<8}{event:<{_EVENT_COLUMNS}} {rest}".rstrip()
    member = _paint(f"{line.member:<{_MEMBER_COLUMNS}}", _COLOURS[sum(line.member.encode()) % len(_COLOURS)])
    shown = f"{event:<{_EVENT_COLUMNS}}"
    if level in _LEVEL_COLOURS:
        shown = _paint(shown, _LEVEL_COLOURS[level])
    return f"\x1b[2m{clock}\x1b[0m {member} {shown} \x1b[2m{rest}\x1b[0m".rstrip()


def _format_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if " " in text or "\n" in text else text


def _paint(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"
