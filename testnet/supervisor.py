"""The supervisor of one local network: starts the members, introduces them to each other, looks after them.

Theory of operation.

    start    every member without a living process is started, all at once; living ones (orphans of a supervisor
             that crashed) are adopted
    bind     a member writes ``process.json`` when it has bound its ports; they are written into its
             ``config.toml``, so that it has the same ones after every restart
    meet     each member is given the faults in force, then the address book, through its control socket
    ready    all are in sync and every committee has certified a block
    watch    a member that ends is noted, and stays down until ``restart``: what died on purpose must stay dead
    down     SIGTERM to all, after a grace SIGKILL; this happens however the supervisor ends, unless it is killed

The supervisor holds nothing that is not in the directory, so another one can take over. ``control.sock`` offers
kill, restart, renew, pause, resume, partition, heal, down and state; every answer is sent when the thing is done.

What does not live here: how processes are found and signalled (``testnet.processes``), what a partition means
(``testnet.faults``), the command line.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from trio_typing import TaskStatus

from node.clock import monotonic_ms
from node.config import read_config, write_config
from node.control import serve_control
from node.home import renew_databases
from node.process_file import PROCESS_FILE_NAME, ProcessFile
from primitives.errors import LocalError
from testnet.control_client import request_control
from testnet.directory import MemberEntry, Network, NetworkDirectory, write_network
from testnet.failures import find_expected_error
from testnet.faults import (
    DEFAULT_LEASE_S,
    expand_members,
    impose_partition,
    parse_partition,
    read_partition,
    record_event,
    send_faults,
)
from testnet.forking import ForkSpawner
from testnet.processes import (
    BIND_TIMEOUT_S,
    KILL_TIMEOUT_S,
    POLL_S,
    STOP_GRACE_S,
    find_process,
    find_process_file,
    scan_processes,
    signal_process,
    stop_processes,
    wait_gone,
)
from testnet.progress import Progress
from testnet.readiness import READY_TIMEOUT_S, record_samples, wait_ready
from testnet.spawning import FoundMember, MemberProcess, Spawner, build_environment, read_last_words
from testnet.supervisor_lock import (
    FAILED,
    READY,
    STARTING,
    STOPPED,
    STOPPING,
    hold_supervisor_lock,
    write_supervisor_state,
)

MEET_ATTEMPTS_S: Final = 5.0


@dataclass(slots=True)
class MemberSlot:
    """One member as the supervisor sees it. ``process`` is ``None`` while it is dead; ``error`` says why the last
    start failed."""

    entry: MemberEntry
    process: MemberProcess | None = None
    endpoint: ProcessFile | None = None
    ends_on_purpose: bool = False
    error: str | None = None

    @property
    def lives(self) -> bool:
        return self.process is not None

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid


OpenSpawner = Callable[[trio.Nursery, Mapping[str, str]], Spawner]
"""Who starts the members; gets the nursery of ``Supervisor.run`` and the environment."""
ReadyCondition = Callable[[Network, Progress, float, Callable[[], str | None]], Awaitable[None]]
"""``testnet.readiness.wait_ready``, or what a test takes for it."""


class Supervisor:
    """Supervises ``network`` while ``run`` runs."""

    def __init__(
        self,
        network: Network,
        environment: Mapping[str, str],
        progress: Progress,
        open_spawner: OpenSpawner = ForkSpawner,
        wait_until_ready: ReadyCondition = wait_ready,
    ) -> None:
        self.network = network
        self._environment = environment
        self._progress = progress
        self._open_spawner = open_spawner
        self._wait_until_ready = wait_until_ready
        self._slots = {member.name: MemberSlot(member) for member in network.members}
        self._scope = trio.CancelScope()
        self._asked_to_stop = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._spawner: Spawner | None = None

    @property
    def directory(self) -> NetworkDirectory:
        return self.network.directory

    def stop(self) -> None:
        """Make ``run`` end; it returns when every member is down. Asked twice, members are not waited for."""
        if self._asked_to_stop.is_set():
            for home, pid in scan_processes(slot.entry.home for slot in self._slots.values()).items():
                signal_process(pid, home, signal.SIGKILL)
        self._asked_to_stop.set()
        self._scope.cancel()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring the network up, report ``started`` when it is ready, hold it until ``stop``.

        Raises ``LocalError`` where it is supervised already, where a member does not start, and where it was
        stopped before it was ready. However it ends, nothing of the network runs afterwards.
        """
        with hold_supervisor_lock(self.directory):
            write_supervisor_state(self.directory, STARTING)
            outcome, reason = FAILED, "it was stopped before it was ready"
            try:
                with self._scope:
                    async with trio.open_nursery() as nursery:
                        self._nursery = nursery
                        self._spawner = self._open_spawner(nursery, self._environment)
                        await nursery.start(serve_control, self.directory.control_path, self._handlers())
                        await self._start_all()
                        outcome, reason = STOPPED, ""
                        nursery.start_soon(record_samples, self.directory, lambda: self.network.members)
                        task_status.started()
                        await self._asked_to_stop.wait()
                if outcome is FAILED:
                    raise LocalError(reason)
            except BaseExceptionGroup as group:
                expected = find_expected_error(group)
                outcome, reason = FAILED, str(expected or repr(group))
                if expected is not None:
                    raise expected from None
                raise
            finally:
                with trio.CancelScope(shield=True):
                    if outcome is STOPPED:
                        write_supervisor_state(self.directory, STOPPING)
                    await self._stop_all()
                    write_supervisor_state(self.directory, outcome, reason)

    # --- starting ------------------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        await self._adopt_orphans()
        absent = [slot for slot in self._slots.values() if not slot.lives]
        record_event(self.directory, "up", [slot.entry.name for slot in absent])
        async with trio.open_nursery() as nursery:
            for slot in absent:
                nursery.start_soon(self._start, slot)
            nursery.start_soon(self._show_binding, absent)
        await self._meet(list(self._slots.values()))
        await self._wait_until_ready(self.network, self._progress, READY_TIMEOUT_S, self.find_ended)
        write_supervisor_state(self.directory, READY)
        record_event(self.directory, "ready", [])

    async def _adopt_orphans(self) -> None:
        homes = {slot.entry.home: slot for slot in self._slots.values()}
        unbound: dict[Any, int] = {}
        for home, pid in scan_processes(homes).items():
            running = find_process(home)
            if running is None:
                unbound[home] = pid
                continue
            slot = homes[home]
            slot.process, slot.endpoint = FoundMember(home, running.pid), running.file
            self._watch(slot)
        # Whatever had not bound its ports is started anew rather than guessed at.
        await stop_processes(unbound, STOP_GRACE_S)

    async def _start(self, slot: MemberSlot) -> None:
        """Start one member and wait until it has bound its ports; raises ``LocalError``."""
        entry = slot.entry
        (entry.home / PROCESS_FILE_NAME).unlink(missing_ok=True)
        assert self._spawner is not None, "members live inside run()"
        slot.process = await self._spawner.spawn(entry.home)
        slot.ends_on_purpose, slot.error, slot.endpoint = False, None, None
        self._watch(slot)
        with trio.move_on_after(BIND_TIMEOUT_S):
            while slot.lives:
                file = find_process_file(entry.home)
                if file is not None and file.pid == slot.pid:
                    slot.endpoint = file
                    self._keep_ports(slot, file)
                    return
                await trio.sleep(POLL_S)
        if slot.lives:
            raise LocalError(f"{entry.name} has not bound its ports after {BIND_TIMEOUT_S:g} s")
        slot.error = f"{entry.name} did not start: {read_last_words(entry.home)}"
        raise LocalError(slot.error)

    async def _show_binding(self, slots: Sequence[MemberSlot]) -> None:
        while (bound := sum(slot.endpoint is not None for slot in slots)) < len(slots):
            self._progress.show("starting processes", bound, len(slots))
            await trio.sleep(POLL_S)

    def _keep_ports(self, slot: MemberSlot, file: ProcessFile) -> None:
        """Write the bound ports down, so that the member has them after every restart."""
        home = slot.entry.home
        config = read_config(home, {})
        if config.p2p.port == file.p2p_port and config.rpc.port == file.rpc_port:
            return
        write_config(
            replace(
                config,
                p2p=replace(config.p2p, port=file.p2p_port),
                rpc=replace(config.rpc, port=file.rpc_port),
            )
        )

    async def _meet(self, slots: Sequence[MemberSlot]) -> None:
        """Give these members the faults in force and then the address book; keep the API addresses."""
        self._keep_addresses()
        book = {
            name: ["127.0.0.1", slot.endpoint.p2p_port]
            for name, slot in self._slots.items()
            if slot.endpoint is not None
        }
        living = [slot for slot in slots if slot.lives]
        await send_faults(self.network, [slot.entry for slot in living], read_partition(self.directory))
        async with trio.open_nursery() as nursery:
            for slot in living:
                nursery.start_soon(self._introduce, slot, book)

    async def _introduce(self, slot: MemberSlot, book: Mapping[str, Any]) -> None:
        path = slot.entry.home / "control.sock"
        await request_control(path, {"op": "addresses", "book": book}, timeout_s=MEET_ATTEMPTS_S)

    def _keep_addresses(self) -> None:
        members = tuple(
            member if slot.endpoint is None else replace(member, rpc=slot.endpoint.rpc)
            for member in self.network.members
            for slot in (self._slots[member.name],)
        )
        if members == self.network.members:
            return
        self.network = replace(self.network, members=members)
        for member in members:
            self._slots[member.name].entry = member
        write_network(self.directory, self.network.seed, self.network.chain, members, self.network.accounts)

    # --- watching ------------------------------------------------------------------------------------------

    def _watch(self, slot: MemberSlot) -> None:
        assert self._nursery is not None and slot.process is not None, "members live inside run()"
        self._nursery.start_soon(self._watch_end, slot, slot.process)

    async def _watch_end(self, slot: MemberSlot, process: MemberProcess) -> None:
        status = await process.wait()
        if slot.process is not process:
            return
        slot.process = None
        if not slot.ends_on_purpose and slot.endpoint is not None:
            code = "" if status is None else f" with status {status}"
            words = f"ended{code}: {read_last_words(slot.entry.home)}"
            record_event(self.directory, "ended", [slot.entry.name], words)
            self._progress.note(f"{slot.entry.name} {words}")

    def find_ended(self) -> str | None:
        """A sentence about a member that ended though nobody asked it to; ``None`` while all is well."""
        for slot in self._slots.values():
            if not slot.lives and not slot.ends_on_purpose:
                return slot.error or f"{slot.entry.name} ended: {read_last_words(slot.entry.home)}"
        return None

    # --- operations ----------------------------------------------------------------------------------------

    async def kill(self, names: Sequence[str]) -> list[str]:
        """SIGKILL; returns the names of those that lived. Raises ``LocalError`` where none did."""
        slots = self._living(names)
        for slot in slots:
            assert slot.pid is not None
            slot.ends_on_purpose = True
            signal_process(slot.pid, slot.entry.home, signal.SIGKILL)
        killed = [slot.entry.name for slot in slots]
        record_event(self.directory, "kill", killed)
        await self._wait_ended(slots, KILL_TIMEOUT_S)
        return killed

    async def pause(self, names: Sequence[str]) -> list[str]:
        """SIGSTOP; returns the names of those that lived."""
        slots = self._living(names)
        for slot in slots:
            assert slot.pid is not None
            signal_process(slot.pid, slot.entry.home, signal.SIGSTOP)
        record_event(self.directory, "pause", [slot.entry.name for slot in slots])
        return [slot.entry.name for slot in slots]

    async def resume(self, names: Sequence[str]) -> list[str]:
        """SIGCONT, and the faults that came meanwhile; returns the names of those that lived."""
        slots = self._living(names)
        for slot in slots:
            assert slot.pid is not None
            signal_process(slot.pid, slot.entry.home, signal.SIGCONT)
        record_event(self.directory, "resume", [slot.entry.name for slot in slots])
        await send_faults(self.network, [slot.entry for slot in slots], read_partition(self.directory))
        return [slot.entry.name for slot in slots]

    async def restart(self, names: Sequence[str]) -> list[str]:
        """Stop those that live, start them all; returns when they have bound their ports and met the others.

        Raises ``LocalError`` where one does not start; the others do.
        """
        slots = [self._slots[member.name] for member in expand_members(names, self.network)]
        record_event(self.directory, "restart", [slot.entry.name for slot in slots])
        await self._end(slots)
        return await self._begin(slots)

    async def renew(self, names: Sequence[str]) -> list[str]:
        """As ``restart``, but with empty databases: the members come back as if they had never been there."""
        slots = [self._slots[member.name] for member in expand_members(names, self.network)]
        await self._end(slots)
        for slot in slots:
            renew_databases(slot.entry.home, build_environment(self._environment))
        record_event(self.directory, "renew", [slot.entry.name for slot in slots])
        return await self._begin(slots)

    async def _end(self, slots: Sequence[MemberSlot]) -> None:
        living = {slot.entry.home: slot.pid for slot in slots if slot.pid is not None}
        for slot in slots:
            slot.ends_on_purpose = True
        await stop_processes(living, STOP_GRACE_S)
        await self._wait_ended(slots, KILL_TIMEOUT_S)

    async def _begin(self, slots: Sequence[MemberSlot]) -> list[str]:
        failures: list[str] = []

        async def start(slot: MemberSlot) -> None:
            try:
                await self._start(slot)
            except LocalError as error:
                failures.append(str(error))

        async with trio.open_nursery() as nursery:
            for slot in slots:
                nursery.start_soon(start, slot)
        await self._meet([slot for slot in slots if slot.lives])
        if failures:
            raise LocalError("; ".join(sorted(failures)))
        return [slot.entry.name for slot in slots]

    async def partition(self, spec: str, lease_s: int = DEFAULT_LEASE_S) -> list[str]:
        """Put a partition in force; returns the names of members that will only take it when they resume."""
        return await impose_partition(self.network, parse_partition(spec, self.network, lease_s))

    async def heal(self) -> list[str]:
        """Lift the partition."""
        return await impose_partition(self.network, None)

    def _living(self, names: Sequence[str]) -> list[MemberSlot]:
        slots = [self._slots[member.name] for member in expand_members(names, self.network)]
        living = [slot for slot in slots if slot.lives]
        if not living:
            raise LocalError(f"{', '.join(slot.entry.name for slot in slots)}: not running")
        return living

    async def _wait_ended(self, slots: Sequence[MemberSlot], timeout_s: float) -> None:
        deadline_ms = monotonic_ms() + int(timeout_s * 1_000)
        while any(slot.lives for slot in slots):
            if monotonic_ms() > deadline_ms:
                names = [slot.entry.name for slot in slots if slot.lives]
                raise LocalError(f"{', '.join(names)}: still running after {timeout_s:g} s")
            await trio.sleep(POLL_S)

    # --- ending --------------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        """Nothing survives: also what a cancelled start had just spawned."""
        if self._spawner is not None:
            await self._spawner.close()
        processes = [slot.process for slot in self._slots.values() if slot.process is not None]
        pids = scan_processes(slot.entry.home for slot in self._slots.values())
        self._progress.show(f"stopping {len(pids)} processes")
        killed = await stop_processes(pids, STOP_GRACE_S)
        await wait_gone(pids, KILL_TIMEOUT_S)
        for process in processes:
            await process.wait()
        record_event(self.directory, "down", [], f"killed {len(killed)} that did not end" if killed else "")

    # --- the control socket --------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Any]:
        def answer_members(operation: Any) -> Any:
            async def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
                return {"members": await operation(_read_names(request))}

            return handle

        async def partition(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"deaf": await self.partition(str(request["spec"]), int(request["lease_s"]))}

        async def heal(_: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"deaf": await self.heal()}

        def down(_: Mapping[str, Any]) -> Mapping[str, Any]:
            self.stop()
            return {}

        def state(_: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"members": {name: slot.pid for name, slot in self._slots.items()}}

        members = {
            name: answer_members(getattr(self, name)) for name in ("kill", "pause", "resume", "restart", "renew")
        }
        return {**members, "partition": partition, "heal": heal, "down": down, "state": state}


def _read_names(request: Mapping[str, Any]) -> list[str]:
    names = request["members"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise LocalError("members: must be a list of names")
    return names
