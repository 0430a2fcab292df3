"""When a network is ready: every member in sync, every committee has certified a block. Asked through the API.

Also the samples of what members say about themselves, which the report plots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import trio

from node.client import NodeClient
from node.clock import monotonic_ms, wall_ms
from primitives.errors import LocalError, RemoteError
from testnet.directory import MemberEntry, Network, NetworkDirectory, append_json_line
from testnet.processes import find_process
from testnet.progress import Progress

READY_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.3
REQUEST_TIMEOUT_S: Final = 3.0
SAMPLE_INTERVAL_S: Final = 4.0
MAX_SAMPLES_BYTES: Final = 64 << 20
"""About a day of a network of twelve; the file before is kept too."""
SAMPLED_FIELDS: Final = (
    "certified_height",
    "beacon_height",
    "view",
    "peers",
    "view_changes",
    "transactions_certified",
    "actions_certified",
    "cpu_us",
    "uss_bytes",
    "uptime_ms",
)


async def wait_ready(
    network: Network,
    progress: Progress,
    timeout_s: float = READY_TIMEOUT_S,
    has_failed: Callable[[], str | None] = lambda: None,
) -> None:
    """Wait until all members are in sync and have a certified block.

    Committees make their first block without waiting for a client. ``has_failed`` gives a reason to stop waiting (a
    process ended). Raises ``LocalError`` with whom it waited for.
    """
    members = network.members
    waiting = {member.name: "has not answered yet" for member in members}

    async def follow(member: MemberEntry) -> None:
        assert member.rpc is not None, "ports are bound before anybody waits"
        async with NodeClient(member.rpc, timeout_s=REQUEST_TIMEOUT_S, connections=1) as client:
            while (reason := await _ask(client)) is not None:
                waiting[member.name] = reason
                await trio.sleep(POLL_S)
        del waiting[member.name]

    deadline_ms = monotonic_ms() + int(timeout_s * 1_000)
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(follow, member)
        while waiting:
            progress.show(f"waiting for {_name_some(sorted(waiting))}", len(members) - len(waiting), len(members))
            if (failure := has_failed()) is not None:
                raise LocalError(failure)
            if monotonic_ms() > deadline_ms:
                name = min(waiting)
                others = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
                raise LocalError(f"not ready after {timeout_s:g} s: {name} {waiting[name]}{others}")
            await trio.sleep(POLL_S)


async def _ask(client: NodeClient) -> str | None:
    """``None`` when ready, else why not."""
    try:
        ready, reason = await client.ready()
        if not ready:
            return f"is not in sync: {reason}"
        status = await client.status()
    except RemoteError as error:
        return f"does not answer: {error.message}"
    return None if status.get("certified_height", 0) >= 1 else "has no certified block"


def _name_some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


# --- samples -----------------------------------------------------------------------------------------------


async def record_samples(directory: NetworkDirectory, members: Callable[[], Sequence[MemberEntry]]) -> None:
    """Write what every living member says about itself, at an even pace, until cancelled."""
    async with AsyncExitStack() as stack:
        clients: dict[str, NodeClient] = {}
        while True:
            _rotate(directory.samples_path)
            async with trio.open_nursery() as nursery:
                for member in members():
                    process = find_process(member.home)
                    if process is None or process.paused:
                        continue
                    url = process.file.rpc
                    if url not in clients:
                        client = NodeClient(url, timeout_s=REQUEST_TIMEOUT_S, connections=1)
                        clients[url] = await stack.enter_async_context(client)
                    nursery.start_soon(_record_sample, directory.samples_path, member.name, clients[url])
            await trio.sleep(SAMPLE_INTERVAL_S)


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > MAX_SAMPLES_BYTES:
        path.replace(path.with_suffix(".previous.jsonl"))


async def _record_sample(path: Path, name: str, client: NodeClient) -> None:
    try:
        status = await client.status()
    except RemoteError:
        return
    row: dict[str, Any] = {field: status.get(field) for field in SAMPLED_FIELDS}
    append_json_line(path, {"time_ms": wall_ms(), "member": name, **row})
