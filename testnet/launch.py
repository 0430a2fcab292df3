"""Bringing a network up: here until somebody stops it, or in the background.

What does not live here: making a new one (``testnet.provision``), what a supervisor does (``testnet.supervisor``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_typing import TaskStatus

from node.clock import monotonic_ms
from node.durable_files import PRIVATE_FILE_MODE
from primitives.errors import LocalError
from testnet.directory import (
    RUNS_VARIABLE,
    NetworkDirectory,
    find_runs_folder,
    link_latest,
    read_network,
    validate_name,
)
from testnet.processes import STOP_GRACE_S
from testnet.progress import Progress
from testnet.provision import create_network
from testnet.supervisor import Supervisor
from testnet.supervisor_lock import READY, STARTING, is_supervised, read_supervisor_state, write_supervisor_state
from testnet.topology import Topology, read_topology, render_topology

SUPERVISE_COMMAND: Final = (sys.executable, "-m", "testnet.cli", "testnet", "supervise")
_POLL_S: Final = 0.1
_TEXT_INTERVAL_MS: Final = 300


def prepare_network(
    name: str, topology: Topology | None, environment: Mapping[str, str], progress: Progress
) -> NetworkDirectory:
    """The directory of a network that is not running: the existing one, else a new one of ``topology``.

    ``None`` is the default topology for a new network, and whatever it is for an existing one. Raises
    ``LocalError`` where the network runs, and where the existing one is another than ``topology`` asks for.
    """
    directory = NetworkDirectory(find_runs_folder(environment) / validate_name(name))
    if not directory.exists:
        create_network(directory, topology or Topology.default(), progress)
    elif is_supervised(directory):
        raise LocalError(
            f"network {name!r} is running already: choose another --name, or stop it "
            f"(rialto testnet down --name {name})"
        )
    elif topology is not None:
        _require_same(directory, topology)
    link_latest(directory)
    return directory


def _require_same(directory: NetworkDirectory, wanted: Topology) -> None:
    found = read_topology(directory.topology_path)
    if wanted.seed is None:
        wanted = wanted.with_seed(found.seed)
    if render_topology(wanted) != render_topology(found):
        raise LocalError(
            f"network {directory.name!r} exists with another topology ({directory.topology_path}): leave the "
            "options out to resume it, choose another --name, or remove it "
            f"(rialto testnet down --delete --name {directory.name})"
        )


@asynccontextmanager
async def run_network(
    directory: NetworkDirectory, environment: Mapping[str, str], progress: Progress
) -> AsyncIterator[Supervisor]:
    """A network that runs, ready, while the body does, and is down afterwards. Raises ``LocalError``.

    A signal that asks to stop cancels the body and raises ``KeyboardInterrupt`` once nothing of the network is
    left; a second one does not wait for members.
    """
    supervisor = Supervisor(read_network(directory), environment, progress)
    was_told = False

    def end() -> None:
        nonlocal was_told
        was_told = True
        supervisor.stop()
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as nursery:
                await watch.start(call_on_signals, end)
                await nursery.start(supervisor.run)
                yield supervisor
                supervisor.stop()
            watch.cancel_scope.cancel()
    finally:
        if was_told:
            raise KeyboardInterrupt


async def hold_network(
    directory: NetworkDirectory,
    environment: Mapping[str, str],
    progress: Progress,
    on_ready: Callable[[Supervisor], Awaitable[None]],
) -> None:
    """Run a network until a signal, or ``down``, ends it. A second signal does not wait for members."""
    supervisor = Supervisor(read_network(directory), environment, progress)

    async def run(*, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await supervisor.run(task_status=task_status)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(call_on_signals, supervisor.stop)
        await nursery.start(run)
        await on_ready(supervisor)


async def call_on_signals(
    act: Callable[[], None], *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """``act`` on SIGTERM, and on Ctrl-C and a closing terminal unless we were started to ignore them."""
    heeded = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    with trio.open_signal_receiver(signal.SIGTERM, *heeded) as received:
        task_status.started()
        async for _ in received:
            act()


# --- in the background -------------------------------------------------------------------------------------


class StateProgress:
    """Progress of a supervisor in the background: into ``supervisor.json``, and lines into its log."""

    def __init__(self, directory: NetworkDirectory) -> None:
        self._directory = directory
        self._written_ms = 0

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        state = read_supervisor_state(self._directory)
        if state is None or state.phase != STARTING or monotonic_ms() - self._written_ms < _TEXT_INTERVAL_MS:
            return
        self._written_ms = monotonic_ms()
        counted = f"{text} ({done}/{total})" if total else text
        write_supervisor_state(self._directory, STARTING, counted)

    def note(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


async def launch_in_background(
    directory: NetworkDirectory, environment: Mapping[str, str], progress: Progress
) -> None:
    """Start a supervisor that outlives us, and wait until the network is ready.

    Raises ``LocalError`` with its reason where it is not; nothing runs then, also where we are interrupted.
    """
    descriptor = os.open(directory.supervisor_log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)
    try:
        process = await trio.lowlevel.open_process(
            [*SUPERVISE_COMMAND, "--name", directory.name],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=directory.path,
            env={**environment, RUNS_VARIABLE: str(directory.path.parent)},
            # A session of its own: no terminal, and so no hang-up and no Ctrl-C.
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    is_ready = False
    try:
        await _wait_background(directory, process, progress)
        is_ready = True
    finally:
        if not is_ready:
            with trio.CancelScope(shield=True):
                await _end(process)


async def _wait_background(directory: NetworkDirectory, process: trio.Process, progress: Progress) -> None:
    while True:
        ended = process.poll() is not None
        state = read_supervisor_state(directory)
        if state is not None and state.pid == process.pid:
            if state.phase == READY:
                return
            if state.text and not ended:
                progress.show(state.text)
        if ended:
            reason = state.text if state is not None and state.pid == process.pid else ""
            raise LocalError(reason or f"the supervisor ended: see {directory.supervisor_log_path}")
        await trio.sleep(_POLL_S)


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(2 * STOP_GRACE_S):
        await process.wait()
    if process.poll() is None:
        process.kill()
