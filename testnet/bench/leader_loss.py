"""What a dead leader costs: it is killed under light load, and the certified blocks are timed at a survivor.

An engine with a lasting leader stands still once; one whose leaders take turns stands still at every turn of the
dead one, so blocks are watched until every member's turn has come. What does not live here: the rest of the bench.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from node.client import NodeClient
from node.clock import monotonic_us, wall_ms
from primitives.errors import LocalError, RemoteError
from testnet.directory import MemberEntry, Network
from testnet.supervisor import Supervisor

RECORD_EVERY_S: Final = 0.03
"""A block for each record, so the gaps between blocks show nothing else."""
ROUNDS_WATCHED: Final = 2
"""So many turns of every member."""
LEAST_WATCHED_S: Final = 1.0
DEADLINE_S: Final = 30.0
WARM_BLOCKS: Final = 10


class _Clock:
    """When the last certified block was seen, and the longest time without one."""

    def __init__(self) -> None:
        self.blocks = 0
        self.longest_s = 0.0
        self._last_s = _now_s()

    def start(self) -> None:
        """Count from now on."""
        self.blocks, self.longest_s, self._last_s = 0, 0.0, _now_s()

    def on_block(self) -> None:
        now_s = _now_s()
        self.blocks += 1
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s


async def measure_leader_loss(supervisor: Supervisor, record_bytes: int) -> float:
    """Kill the leader; the longest time without a certified block, in ms. Raises ``LocalError`` where the others do
    not go on."""
    network = supervisor.network
    leader = await _find_leader(network)
    survivor = next(member for member in network.members if member != leader)
    clock = _Clock()
    async with NodeClient(survivor.rpc or "") as client, trio.open_nursery() as nursery:
        await nursery.start(_watch_blocks, client, clock)
        nursery.start_soon(_send_records, client, record_bytes)
        await _wait(lambda: clock.blocks >= WARM_BLOCKS, "blocks before the leader is killed")
        await supervisor.kill([(await _find_other_leader(network, survivor)).name])
        clock.start()
        started_s = _now_s()
        enough = ROUNDS_WATCHED * len(network.members)
        await _wait(
            lambda: clock.blocks >= enough and _now_s() - started_s >= LEAST_WATCHED_S,
            "blocks after the leader was killed",
        )
        nursery.cancel_scope.cancel()
    return round(clock.longest_s * 1_000, 1)


async def _find_leader(network: Network) -> MemberEntry:
    """The member that proposes now, as any member says."""
    async with NodeClient(network.members[-1].rpc or "") as client:
        primary: str = (await client.status())["primary"]
    return network.member(primary)


async def _find_other_leader(network: Network, survivor: MemberEntry) -> MemberEntry:
    """Where leaders take turns it may be the survivor's just now: then one of the next."""
    deadline_s = _now_s() + DEADLINE_S
    while (leader := await _find_leader(network)) == survivor:
        if _now_s() > deadline_s:
            raise LocalError(f"{survivor.name} leads since {DEADLINE_S:.0f} s, though another member led before")
        await trio.sleep(RECORD_EVERY_S)
    return leader


async def _watch_blocks(client: NodeClient, clock: _Clock, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    async with client.stream(["blocks"]) as stream:
        async for message in stream:
            if message.get("type") == "block":
                clock.on_block()
            else:
                task_status.started()


async def _send_records(client: NodeClient, record_bytes: int) -> None:
    """One record after the other, whatever becomes of them."""
    number = wall_ms() << 20
    while True:
        number += 1
        with suppress(RemoteError):
            await client.submit_transactions([number.to_bytes(record_bytes, "big")])
        await trio.sleep(RECORD_EVERY_S)


async def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline_s = _now_s() + DEADLINE_S
    while not holds():
        if _now_s() > deadline_s:
            raise LocalError(f"no {what} within {DEADLINE_S:.0f} s")
        await trio.sleep(0.01)


def _now_s() -> float:
    return monotonic_us() / 1e6
