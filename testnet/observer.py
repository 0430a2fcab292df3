"""Watching committees while things are done to them: their certified heights over time, asked of every member.

What does not live here: judging the whole history (``testnet.checks``); this only sees what moves and what stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from node.client import NodeClient
from node.clock import monotonic_ms
from primitives.errors import RemoteError
from testnet.directory import MemberEntry, Network

POLL_S: Final = 0.25
REQUEST_TIMEOUT_S: Final = 1.0
_MS_PER_S: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sighting:
    """The highest certified height that any member of a committee had shown by a time (monotonic ms)."""

    time_ms: int
    height: int


@dataclass(slots=True)
class Observer:
    """Knows, for each committee, when its certified height grew; and each member's latest height."""

    network: Network
    growth: dict[int, list[Sighting]] = field(default_factory=dict)
    heights: dict[str, int] = field(default_factory=dict)
    in_sync: dict[str, bool] = field(default_factory=dict)

    async def run(self) -> None:
        """Ask every member again and again, until cancelled."""
        async with trio.open_nursery() as nursery:
            for member in self.network.members:
                nursery.start_soon(self._follow, member)

    async def _follow(self, member: MemberEntry) -> None:
        assert member.rpc is not None, "a network that is watched was started"
        async with NodeClient(member.rpc, timeout_s=REQUEST_TIMEOUT_S, connections=1) as client:
            while True:
                try:
                    status = await client.status()
                except RemoteError:
                    self.in_sync[member.name] = False
                else:
                    self._note(member, status["certified_height"], bool(status["in_sync"]))
                await trio.sleep(POLL_S)

    def _note(self, member: MemberEntry, height: int, in_sync: bool) -> None:
        self.heights[member.name] = height
        self.in_sync[member.name] = in_sync
        seen = self.growth.setdefault(member.shard, [])
        if not seen or height > seen[-1].height:
            seen.append(Sighting(monotonic_ms(), height))

    def height(self, shard: int) -> int:
        """The highest certified height of a committee so far."""
        seen = self.growth.get(shard)
        return seen[-1].height if seen else 0

    def count_blocks(self, shard: int, from_ms: int, to_ms: int) -> int:
        """Blocks that a committee certified in a time, as far as was seen."""
        seen = self.growth.get(shard, [])
        before = max((sighting.height for sighting in seen if sighting.time_ms <= from_ms), default=0)
        after = max((sighting.height for sighting in seen if sighting.time_ms <= to_ms), default=0)
        return max(0, after - before)

    def find_growth_after(self, shard: int, from_ms: int) -> float | None:
        """Seconds from a time to the committee's next certified block; ``None`` where none was seen."""
        for sighting in self.growth.get(shard, []):
            if sighting.time_ms > from_ms:
                return (sighting.time_ms - from_ms) / _MS_PER_S
        return None


async def wait_for(holds: Callable[[], bool], timeout_s: float) -> float | None:
    """Seconds until ``holds`` is true; ``None`` where it is not in time."""
    started_ms = monotonic_ms()
    while not holds():
        if monotonic_ms() - started_ms > timeout_s * _MS_PER_S:
            return None
        await trio.sleep(POLL_S)
    return (monotonic_ms() - started_ms) / _MS_PER_S
