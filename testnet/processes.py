"""Processes of members: finding them again, signalling them.

A process is recognised by its command line, which names its home, and by its start time; a pid alone may be
somebody else's by now and is never signalled. Each runs in a session of its own, so a terminal's Ctrl-C reaches the
supervisor only. What does not live here: starting them (``testnet.spawning``), which of them should run
(``testnet.supervisor``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import trio

from node.process_file import ProcessFile, read_process_file
from primitives.errors import LocalError

HOME_OPTION: Final = "--home"
BIND_TIMEOUT_S: Final = 60.0
"""Twelve interpreters that start at once on two slow cores need a quarter of this."""
STOP_GRACE_S: Final = 20.0
"""Longer than a node's own shutdown takes with clients that do not let go."""
KILL_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.05
START_TIME_SLACK_MS: Final = 2_000
"""A process starts before it writes when it did; the kernel's clock for start times ticks coarsely."""


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A living member: what it told the world when it had bound its ports, and whether it is stopped (paused)."""

    file: ProcessFile
    paused: bool

    @property
    def pid(self) -> int:
        return self.file.pid


# --- finding -----------------------------------------------------------------------------------------------


def find_process(home: Path) -> RunningProcess | None:
    """The living process that wrote ``process.json`` in ``home``; ``None`` where it is dead or not there yet."""
    file = find_process_file(home)
    if file is None or not is_process_of(file.pid, home):
        return None
    try:
        process = psutil.Process(file.pid)
        if process.create_time() * 1_000 > file.started_ms + START_TIME_SLACK_MS:
            return None
        return RunningProcess(file, paused=process.status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return None


def find_process_file(home: Path) -> ProcessFile | None:
    """What ``process.json`` says, dead or alive; ``None`` where there is none, or half of one."""
    try:
        return read_process_file(home)
    except LocalError:
        return None


def is_process_of(pid: int, home: Path) -> bool:
    """Whether ``pid`` lives and its command line names ``home``."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and _home_of(process.cmdline()) == str(home)
    except psutil.Error:
        return False


def scan_processes(homes: Iterable[Path]) -> dict[Path, int]:
    """home → pid of the living processes of these homes, also those that have not bound anything yet.

    Reads the command line of every process of this machine: for starting and stopping, not for polling.
    """
    wanted = {str(home): home for home in homes}
    found: dict[Path, int] = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        home = wanted.get(_home_of(process.info["cmdline"] or ()) or "")
        if home is not None and process.info["status"] != psutil.STATUS_ZOMBIE:
            found[home] = process.pid
    return found


def _home_of(arguments: Sequence[str]) -> str | None:
    """What follows the last option: a forked process has its whole command line in one piece, padded."""
    _, option, home = " ".join(arguments).rstrip().rpartition(f" {HOME_OPTION} ")
    return home if option else None


# --- signalling --------------------------------------------------------------------------------------------


def signal_process(pid: int, home: Path, number: signal.Signals) -> bool:
    """Send a signal to the member's process group; false where the process is gone (or somebody else's)."""
    if not is_process_of(pid, home):
        return False
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


async def stop_processes(pids: Mapping[Path, int], grace_s: float) -> list[Path]:
    """Ask the processes to end, wait ``grace_s``, kill the rest. Returns the homes of those that were killed."""
    for home, pid in pids.items():
        signal_process(pid, home, signal.SIGTERM)
        # A stopped process sees nothing but this signal; the other one is waiting for it then.
        signal_process(pid, home, signal.SIGCONT)
    remaining = await wait_gone(pids, grace_s)
    for home in remaining:
        signal_process(pids[home], home, signal.SIGKILL)
    stuck = await wait_gone({home: pids[home] for home in remaining}, grace_s)
    if stuck:
        raise LocalError(f"processes {sorted(pids[home] for home in stuck)} cannot be killed")
    return remaining


async def wait_gone(pids: Mapping[Path, int], timeout_s: float, poll_s: float = POLL_S) -> list[Path]:
    """Wait until none of the processes lives; returns the homes of those that still do when the time is up."""
    remaining = [home for home, pid in pids.items() if is_process_of(pid, home)]
    with trio.move_on_after(timeout_s):
        while remaining:
            await trio.sleep(poll_s)
            remaining = [home for home in remaining if is_process_of(pids[home], home)]
    return remaining
