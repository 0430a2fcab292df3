"""Finding engines, leader schedules and pacemakers by name, through the entry-point groups of installed packages.

A package of anybody's registers an object under a name in one of the groups below; a topology and a genesis name
it. What does not live here: what the objects must do (``engine``, ``leader``, ``pacemaker``).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from primitives.errors import LocalError

ENGINES: Final = "rialto.engines"
LEADER_SCHEDULES: Final = "rialto.leader_schedules"
PACEMAKERS: Final = "rialto.pacemakers"

_NOUNS: Final = {ENGINES: "consensus engine", LEADER_SCHEDULES: "leader schedule", PACEMAKERS: "pacemaker"}


def list_registered(group: str) -> tuple[str, ...]:
    """The names that are installed in ``group``, sorted."""
    return tuple(sorted(_find_entry_points(group)))


def load_registered(group: str, name: str) -> Any:
    """The object registered under ``name``; raises ``LocalError`` that lists the installed names.

    Asked again it is the same object: the simulator opens thousands of engines in one process.
    """
    found = _find_entry_points(group)
    if name not in found:
        raise LocalError(f"no {_NOUNS[group]} {name!r}; installed: {', '.join(sorted(found)) or 'none'}")
    try:
        return _load(found[name])
    except (ImportError, AttributeError) as error:
        raise LocalError(f"the {_NOUNS[group]} {name!r} does not load: {error}") from error


@cache
def _find_entry_points(group: str) -> dict[str, EntryPoint]:
    # What is installed does not change while a process runs, and looking costs milliseconds.
    return {entry.name: entry for entry in entry_points(group=group)}


@cache
def _load(entry: EntryPoint) -> Any:
    return entry.load()
