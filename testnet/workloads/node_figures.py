"""What the shards' members say of themselves over the measured interval: slots, syncs, writes to the network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final, Protocol

import trio

from primitives.errors import RemoteError

MAX_QUESTIONS: Final = 8


class StatusReader(Protocol):
    """What is needed of ``node.client.NodeClient``."""

    async def status(self) -> dict[str, Any]: ...


class NodeFigures:
    """Read at the beginning and at the end; members that restarted in between, or are dead, are left out."""

    def __init__(self) -> None:
        self._before: dict[str, Mapping[str, Any]] = {}
        self._after: dict[str, Mapping[str, Any]] = {}

    async def begin(self, readers: Mapping[str, StatusReader]) -> None:
        """The first reading of every member."""
        self._before = await read_statuses(readers)

    async def end(self, readers: Mapping[str, StatusReader]) -> None:
        """The last one."""
        self._after = await read_statuses(readers)

    def summarise(self) -> dict[str, Any]:
        """Medians over the members: ``sync_p50_us``, ``slots_per_s`` and ``transport_writes_per_s``."""
        pairs = [
            (self._before[name], after)
            for name, after in self._after.items()
            if name in self._before and after["uptime_ms"] > self._before[name]["uptime_ms"]
        ]
        return {
            "sync_p50_us": _take_median([after["sync_p50_us"] for _, after in pairs]),
            "slots_per_s": _take_median([_compute_rate(*pair, "slots_decided") for pair in pairs]),
            "transport_writes_per_s": _take_median([_compute_rate(*pair, "transport_writes") for pair in pairs]),
            "view_changes": sum(after["view_changes"] - before["view_changes"] for before, after in pairs),
        }


async def read_statuses(readers: Mapping[str, StatusReader]) -> dict[str, Mapping[str, Any]]:
    """The status of every member that answers, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    limiter = trio.CapacityLimiter(MAX_QUESTIONS)

    async def ask(name: str, reader: StatusReader) -> None:
        async with limiter:
            try:
                found[name] = await reader.status()
            except RemoteError:
                return

    async with trio.open_nursery() as nursery:
        for name, reader in readers.items():
            nursery.start_soon(ask, name, reader)
    return found


def _compute_rate(before: Mapping[str, Any], after: Mapping[str, Any], counter: str) -> float:
    seconds = (after["uptime_ms"] - before["uptime_ms"]) / 1_000
    return (int(after[counter]) - int(before[counter])) / float(seconds)


def _take_median(values: list[float]) -> float:
    return round(statistics.median(values), 1) if values else 0.0
