"""What the command line does to a network: through its supervisor, or by the directory alone where that is dead.

Each function raises ``LocalError`` with one clear line. What does not live here: bringing a network up
(``testnet.launch``), and what a supervisor does when asked (``testnet.supervisor``).
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from primitives.errors import LocalError
from testnet.control_client import request_control
from testnet.directory import LATEST, Network, NetworkDirectory, link_latest, list_networks, read_network
from testnet.faults import (
    expand_members,
    impose_partition,
    parse_partition,
    read_partition,
    record_event,
    send_faults,
)
from testnet.processes import (
    BIND_TIMEOUT_S,
    KILL_TIMEOUT_S,
    STOP_GRACE_S,
    find_process,
    scan_processes,
    signal_process,
    stop_processes,
    wait_gone,
)
from testnet.progress import Progress
from testnet.spawning import build_environment
from testnet.supervisor_lock import is_supervised, wait_unsupervised

OPERATION_TIMEOUT_S: Final = STOP_GRACE_S + KILL_TIMEOUT_S + BIND_TIMEOUT_S + 10
"""A restart stops a member, starts it and introduces it; each part has a bound of its own."""
DOWN_TIMEOUT_S: Final = STOP_GRACE_S + 2 * KILL_TIMEOUT_S
_TICK_S: Final = 0.2


async def kill_members(network: Network, names: Sequence[str], progress: Progress) -> list[str]:
    """SIGKILL; returns the names of those that lived."""
    if is_supervised(network.directory):
        return await _ask_supervisor(network, {"op": "kill", "members": list(names)}, progress)
    killed = _signal_members(network, names, signal.SIGKILL)
    record_event(network.directory, "kill", sorted(killed))
    await wait_gone({network.member(name).home: pid for name, pid in killed.items()}, KILL_TIMEOUT_S)
    return list(killed)


async def pause_members(network: Network, names: Sequence[str], progress: Progress) -> list[str]:
    """SIGSTOP; returns the names of those that lived."""
    if is_supervised(network.directory):
        return await _ask_supervisor(network, {"op": "pause", "members": list(names)}, progress)
    paused = _signal_members(network, names, signal.SIGSTOP)
    record_event(network.directory, "pause", list(paused))
    return list(paused)


async def resume_members(network: Network, names: Sequence[str], progress: Progress) -> list[str]:
    """SIGCONT, and the faults that came meanwhile; returns the names of those that lived."""
    if is_supervised(network.directory):
        return await _ask_supervisor(network, {"op": "resume", "members": list(names)}, progress)
    resumed = _signal_members(network, names, signal.SIGCONT)
    record_event(network.directory, "resume", list(resumed))
    members = [network.member(name) for name in resumed]
    await send_faults(network, members, read_partition(network.directory))
    return list(resumed)


async def restart_members(
    network: Network, names: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> list[str]:
    """Stop those that live and start them all.

    Where the supervisor is dead, a new one takes the network over in the background: it starts *every* member that
    does not live, and those named are restarted.
    """
    members = expand_members(names, network)
    living = [member.name for member in members if find_process(member.home) is not None]
    if not is_supervised(network.directory):
        await _take_over(network, environment, progress)
        if not living:
            return [member.name for member in members]
        names = living
    await _ask_supervisor(network, {"op": "restart", "members": list(names)}, progress)
    return [member.name for member in members]


async def renew_members(
    network: Network, names: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> list[str]:
    """Stop those that live, empty their databases, start them all as new members; see ``restart_members``."""
    members = expand_members(names, network)
    if is_supervised(network.directory):
        return await _ask_supervisor(network, {"op": "renew", "members": list(names)}, progress)
    # What this needs takes longer to load than what most commands do with a supervisor takes altogether.
    from node.home import renew_databases

    await stop_processes(scan_processes(member.home for member in members), STOP_GRACE_S)
    for member in members:
        renew_databases(member.home, build_environment(environment))
    record_event(network.directory, "renew", [member.name for member in members])
    await _take_over(network, environment, progress)
    return [member.name for member in members]


async def _take_over(network: Network, environment: Mapping[str, str], progress: Progress) -> None:
    from testnet.launch import launch_in_background

    progress.note(f"nobody supervises {network.name!r}: resuming the whole network in the background")
    await launch_in_background(network.directory, environment, progress)


async def partition_network(network: Network, spec: str, lease_s: int, progress: Progress) -> list[str]:
    """Put a partition in force; returns the names of members that will take it only when they resume."""
    partition = parse_partition(spec, network, lease_s)
    _require_running(network)
    if is_supervised(network.directory):
        body = {"op": "partition", "spec": spec, "lease_s": lease_s}
        return await _ask_supervisor(network, body, progress, answer="deaf")
    return await impose_partition(network, partition)


async def heal_network(network: Network, progress: Progress) -> list[str]:
    """Lift every fault; returns the names of members that did not answer."""
    _require_running(network)
    if is_supervised(network.directory):
        return await _ask_supervisor(network, {"op": "heal"}, progress, answer="deaf")
    return await impose_partition(network, None)


async def take_down(directory: NetworkDirectory, progress: Progress, *, delete: bool) -> int:
    """Stop everything, also orphans of a supervisor that crashed; returns how many processes there were.

    The data stays, unless ``delete``. Raises ``LocalError`` where nothing runs (and nothing is to be deleted).
    """
    network = read_network(directory)
    homes = [member.home for member in network.members]
    running = scan_processes(homes)
    supervised = is_supervised(directory)
    if not running and not supervised and not delete:
        raise LocalError(f"network {directory.name!r} is not running")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tick, progress, f"stopping {len(running)} processes")
        if supervised:
            await _end_supervisor(directory)
        orphans = scan_processes(homes)
        await stop_processes(orphans, STOP_GRACE_S)
        if orphans:
            record_event(directory, "down", [], f"{len(orphans)} orphans")
        nursery.cancel_scope.cancel()
    if delete:
        _delete(directory)
    return len(running)


async def _end_supervisor(directory: NetworkDirectory) -> None:
    try:
        await request_control(directory.control_path, {"op": "down"})
    except LocalError:
        # It may be ending already, or be too young to listen; the lock tells when it is gone.
        if not await wait_unsupervised(directory, KILL_TIMEOUT_S):
            raise LocalError(
                f"the supervisor of {directory.name!r} does not answer: see {directory.supervisor_log_path}"
            ) from None
    if not await wait_unsupervised(directory, DOWN_TIMEOUT_S):
        raise LocalError(f"network {directory.name!r} is still going down after {DOWN_TIMEOUT_S:g} s")


def _delete(directory: NetworkDirectory) -> None:
    # First its mark, so that half a directory never passes for a network.
    directory.network_path.unlink()
    shutil.rmtree(directory.path)
    link = directory.path.parent / LATEST
    if link.is_symlink() and link.resolve() == directory.path:
        _link_another(link)


def _link_another(link: Path) -> None:
    """Commands without ``--name`` go to a network that runs now, or else to the one used last."""
    rest = [NetworkDirectory(link.parent / name) for name in list_networks(link.parent)]
    if rest:
        link_latest(max(rest, key=lambda other: (is_supervised(other), _read_change_ns(other.supervisor_path))))
    else:
        link.unlink(missing_ok=True)


def _read_change_ns(path: Path) -> int:
    """When the file was written last; 0 where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


# --- asking ------------------------------------------------------------------------------------------------


async def _ask_supervisor(
    network: Network, body: Mapping[str, Any], progress: Progress, answer: str = "members"
) -> list[str]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tick, progress, str(body["op"]))
        table = await request_control(network.directory.control_path, body, timeout_s=OPERATION_TIMEOUT_S)
        nursery.cancel_scope.cancel()
    names: list[str] = table[answer]
    return names


async def _tick(progress: Progress, text: str) -> None:
    while True:
        progress.show(text)
        await trio.sleep(_TICK_S)


def _signal_members(network: Network, names: Sequence[str], number: signal.Signals) -> dict[str, int]:
    members = expand_members(names, network)
    reached = {}
    for member in members:
        process = find_process(member.home)
        if process is not None and signal_process(process.pid, member.home, number):
            reached[member.name] = process.pid
    if not reached:
        raise LocalError(f"{', '.join(member.name for member in members)}: not running")
    return reached


def _require_running(network: Network) -> None:
    if not any(find_process(member.home) for member in network.members):
        raise LocalError(f"network {network.name!r} is not running")
