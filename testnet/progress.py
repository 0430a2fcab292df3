"""Progress of what takes long, on a terminal: one line on standard error that is rewritten in place.

Silent where standard error is no terminal, and where the command prints JSON. What does not live here: results,
which go to standard output.
"""

from __future__ import annotations

import sys
from typing import Final, Protocol, Self, TextIO

from node.clock import monotonic_ms

REDRAW_MS: Final = 100
"""Ten times a second looks alive and costs nothing."""
BAR_COLUMNS: Final = 24
MAX_LINE_COLUMNS: Final = 110
_CLEAR_LINE: Final = "\r\x1b[2K"


class Progress(Protocol):
    """Where long work says how far it is. Every method is cheap and may be called as often as one likes."""

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """What is being done now, and ``done`` of ``total`` of it where that is known."""
        ...

    def note(self, text: str) -> None:
        """A line that stays: something was finished, or happened."""
        ...


class SilentProgress:
    """Says nothing."""

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class TerminalProgress:
    """Draws on a terminal; a context manager that removes its line at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started_ms = monotonic_ms()
        self._drawn_ms = -REDRAW_MS
        self._drawn = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        now_ms = monotonic_ms()
        if now_ms - self._drawn_ms < REDRAW_MS:
            return
        self._drawn_ms = now_ms
        line = f"{(now_ms - self._started_ms) / 1_000:6.1f} s  {text}{_format_bar(done, total)}"
        self._drawn = line[:MAX_LINE_COLUMNS]
        self._stream.write(_CLEAR_LINE + self._drawn)
        self._stream.flush()

    def note(self, text: str) -> None:
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line, so that results can be printed below."""
        if self._drawn:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._drawn = ""


def open_progress(*, silent: bool) -> Progress:
    """Progress on standard error; silent on request and where nobody could watch."""
    if silent or not sys.stderr.isatty():
        return SilentProgress()
    return TerminalProgress(sys.stderr)


def close_progress(progress: Progress) -> None:
    """Remove a line that is still shown."""
    if isinstance(progress, TerminalProgress):
        progress.clear()


def _format_bar(done: int | None, total: int | None) -> str:
    if done is None:
        return ""
    if not total:
        return f"  {done:,}"
    filled = min(BAR_COLUMNS, BAR_COLUMNS * done // total)
    return f"  [{'█' * filled}{'·' * (BAR_COLUMNS - filled)}] {done:,}/{total:,}"
