"""Where the checks read: the living members of a network, asked with bounded concurrency, one for another.

What does not live here: what is concluded from the answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from node.client import NodeClient
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import format_committee
from testnet.directory import MemberEntry, Network
from testnet.processes import find_process
from testnet.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY: Final = 6
"""Requests in flight over the whole network: enough to keep this process busy, too few to disturb consensus."""
REQUEST_TIMEOUT_S: Final = 15.0
PROBE_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class LivingMember:
    """A member that answered when the check began, with the certified height that it showed then. One that joined
    by snapshot has headers from ``headers_from`` on only."""

    entry: MemberEntry
    client: NodeClient
    certified_height: int
    mempool_transactions: int
    headers_from: int = 1


@dataclass(frozen=True, slots=True)
class Sources:
    """Everybody who can be asked."""

    network: Network
    members: tuple[LivingMember, ...]
    progress: Progress

    def of(self, shard: int) -> tuple[LivingMember, ...]:
        """The living members of one committee; empty where nobody answers."""
        return tuple(member for member in self.members if member.entry.shard == shard)

    def certified_height(self, shard: int) -> int:
        """The highest certified height that the committee showed when the check began; 0 where nobody answered."""
        return max((member.certified_height for member in self.of(shard)), default=0)

    def is_dead(self, shard: int) -> bool:
        """Whether too few members live for the committee to go on."""
        size = len(self.network.members_of(shard))
        return len(self.of(shard)) < (size + (size - 1) // 3) // 2 + 1

    async def ask(self, shard: int, request: Callable[[NodeClient], Awaitable[R]], turn: int = 0) -> R:
        """The answer of one of the committee's members, beginning with the ``turn``-th; the others stand in for one
        that does not answer, or does not have it yet. Raises ``RemoteError`` with the last one's refusal.
        """
        members = self.of(shard)
        if not members:
            raise RemoteError("UNREACHABLE", f"nobody of {format_committee(shard)} answers")
        refusal: RemoteError | None = None
        for step in range(len(members)):
            try:
                return await request(members[(turn + step) % len(members)].client)
            except RemoteError as error:
                refusal = error
        assert refusal is not None, "somebody was asked"
        raise refusal

    async def map(self, text: str, items: Sequence[T], work: Callable[[int, T], Awaitable[R]]) -> list[R]:
        """``work(index, item)`` for every item, a few at a time; results in order. Shows progress."""
        results: dict[int, R] = {}
        upcoming = iter(enumerate(items))

        async def run() -> None:
            for index, item in upcoming:
                results[index] = await work(index, item)
                self.progress.show(text, len(results), len(items))

        async with trio.open_nursery() as nursery:
            for _ in range(min(CONCURRENCY, len(items))):
                nursery.start_soon(run)
        return [results[index] for index in range(len(items))]


@asynccontextmanager
async def open_sources(network: Network, progress: Progress) -> AsyncIterator[Sources]:
    """Connect to every living member. Raises ``LocalError`` where none answers."""
    async with AsyncExitStack() as stack:
        living: dict[str, LivingMember] = {}

        async def probe(member: MemberEntry, url: str) -> None:
            try:
                async with NodeClient(url, timeout_s=PROBE_TIMEOUT_S, connections=1) as client:
                    status = await client.status()
            except RemoteError:
                return
            living[member.name] = LivingMember(
                member,
                NodeClient(url, timeout_s=REQUEST_TIMEOUT_S, connections=CONCURRENCY),
                status["certified_height"],
                status["mempool_transactions"],
                status["headers_from"],
            )

        async with trio.open_nursery() as nursery:
            for member in network.members:
                process = find_process(member.home)
                if process is not None and not process.paused:
                    nursery.start_soon(probe, member, process.file.rpc)
        members = tuple(living[name] for name in network.names if name in living)
        if not members:
            raise LocalError(f"network {network.name!r} is not running: nobody answers")
        for source in members:
            await stack.enter_async_context(source.client)
        yield Sources(network, members, progress)
