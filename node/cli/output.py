"""What commands print: tables for people, or exactly one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.table import Table

PLAIN_COLUMNS: Final = 160
"""Where standard output is no terminal, so has no width: enough for every table, or its cells would be cut."""


def open_console() -> Console:
    """Standard output as wide as the terminal, or as a table needs."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_COLUMNS)


def print_json(body: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(body, indent=1 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on standard output; a sentence where there are no rows."""
    console = open_console()
    if rows:
        console.print(make_table(title, columns, rows))
    else:
        console.print(f"{title}: none", highlight=False)


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Numbers to the right; ``None`` as an empty cell."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        table.add_column(column, justify="right" if cells and all(_is_number(cell) for cell in cells) else "left")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    return table


def print_line(text: str) -> None:
    """A sentence on standard output."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def show_progress(text: str) -> Iterator[Any]:
    """A spinner on standard error while something takes time; call the yielded ``update`` to change the text.
    Silent where standard error is no terminal."""
    console = Console(stderr=True)
    with console.status(text) as status:
        yield status


def _is_number(cell: Any) -> bool:
    if cell is None or isinstance(cell, int):
        return True
    return isinstance(cell, str) and cell.lstrip("-").replace(".", "", 1).isdigit()
