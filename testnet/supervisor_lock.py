"""Who supervises a network: a file lock that dies with its holder, and a file that says how far it is.

What does not live here: what a supervisor does (``testnet.supervisor``).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

import trio

from node.clock import monotonic_ms
from node.durable_files import PRIVATE_FILE_MODE
from primitives.errors import LocalError
from testnet.directory import NetworkDirectory, read_json, write_json

STARTING: Final = "starting"
READY: Final = "ready"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
FAILED: Final = "failed"
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class SupervisorState:
    """``phase`` is one of the constants above; ``text`` says what it is doing, or why it failed."""

    pid: int
    phase: str
    text: str = ""


@contextmanager
def hold_supervisor_lock(directory: NetworkDirectory) -> Iterator[None]:
    """Be the only supervisor of this network; raises ``LocalError`` where there is one already."""
    descriptor = os.open(directory.lock_path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"network {directory.name!r} is running already: choose another --name, "
                f"or stop it (rialto testnet down --name {directory.name})"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_supervised(directory: NetworkDirectory) -> bool:
    """Whether a supervisor lives. Asks for a *test* of the lock, which never gets in the way of a real one."""
    try:
        descriptor = os.open(directory.lock_path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # A shared lock for an instant; two such askers do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def wait_unsupervised(directory: NetworkDirectory, timeout_s: float) -> bool:
    """Wait until no supervisor lives; false where one still does when the time is up."""
    deadline_ms = monotonic_ms() + int(timeout_s * 1_000)
    while is_supervised(directory):
        if monotonic_ms() > deadline_ms:
            return False
        await trio.sleep(_POLL_S)
    return True


def read_supervisor_state(directory: NetworkDirectory) -> SupervisorState | None:
    """What the last supervisor wrote; ``None`` where there never was one."""
    try:
        return SupervisorState(**read_json(directory.supervisor_path))
    except (LocalError, TypeError):
        return None


def write_supervisor_state(directory: NetworkDirectory, phase: str, text: str = "") -> None:
    """Say how far this process, the supervisor, is."""
    write_json(directory.supervisor_path, asdict(SupervisorState(os.getpid(), phase, text)))
