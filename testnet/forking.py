"""Starting members by forking them from one process that has loaded everything (``testnet.fork_server``).

The process is started with the first member and kept, idle, for restarts. Where it is killed, members live on and
are watched from outside; the next start brings another one up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from primitives.errors import LocalError
from testnet.spawning import FoundMember, MemberProcess, build_environment

SERVER_COMMAND: Final = (sys.executable, "-P", "-m", "testnet.fork_server")
CLOSE_TIMEOUT_S: Final = 10.0
"""It may be loading still: some seconds where cores are busy."""
_NAME_ROOM: Final = {"RIALTO_NAME_ROOM": "-" * 4_096}
"""A process writes its new name over its arguments and environment: a long path must fit. Members lose it again."""
_RECEIVED_BYTES: Final = 1 << 14


@dataclass(eq=False)
class ForkedMember:
    """A member whose parent is the fork server."""

    home: Path
    pid: int
    status: int | None = None
    settled: trio.Event = field(default_factory=trio.Event)
    """It has ended, or the server that would tell is gone."""

    async def wait(self) -> int | None:
        await self.settled.wait()
        if self.status is None:
            return await FoundMember(self.home, self.pid).wait()
        return self.status


class ForkSpawner:
    """Starts members for a supervisor; its nursery must outlive them, and ``close`` must be called."""

    def __init__(self, nursery: trio.Nursery, environment: Mapping[str, str]) -> None:
        self._nursery = nursery
        self._environment = build_environment(environment) | _NAME_ROOM
        self._opening = trio.Lock()
        self._server: ForkServer | None = None

    async def spawn(self, home: Path) -> MemberProcess:
        async with self._opening:
            if self._server is None or self._server.has_ended:
                self._server = ForkServer(await self._open_process())
                self._nursery.start_soon(self._server.listen)
        return await self._server.start(home)

    async def _open_process(self) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                list(SERVER_COMMAND),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise LocalError(f"cannot start {SERVER_COMMAND[0]}: {error.strerror or error}") from error

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None


class ForkServer:
    """One such process, and the members that it is the parent of."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._writing = trio.Lock()
        self._starting: dict[Path, trio.MemorySendChannel[ForkedMember | LocalError]] = {}
        self._members: dict[int, ForkedMember] = {}

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    async def start(self, home: Path) -> ForkedMember:
        """Start a member; raises ``LocalError``."""
        send, receive = trio.open_memory_channel[ForkedMember | LocalError](1)
        self._starting[home] = send
        try:
            async with self._writing:
                await self._requests.send_all((json.dumps({"home": str(home)}) + "\n").encode())
            answer = await receive.receive()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            raise LocalError(f"cannot start {home.name}: the process that starts members has ended") from None
        finally:
            self._starting.pop(home, None)
        if isinstance(answer, LocalError):
            raise answer
        return answer

    async def listen(self) -> None:
        """Take answers until the process ends."""
        partial = b""
        while received := await self._answers.receive_some(_RECEIVED_BYTES):
            *lines, partial = (partial + received).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        await self._process.wait()
        self._let_go()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "status" in message:
            member = self._members.pop(message["pid"], None)
            if member is not None:
                member.status = message["status"]
                member.settled.set()
            return
        home = Path(message["home"])
        answer: ForkedMember | LocalError
        if "error" in message:
            answer = LocalError(message["error"])
        else:
            answer = self._members[message["pid"]] = ForkedMember(home, message["pid"])
        if home in self._starting:
            self._starting[home].send_nowait(answer)

    async def close(self) -> None:
        """Let it answer what was asked, and end it."""
        await self._requests.aclose()
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await self._process.wait()
        if not self.has_ended:
            self._process.kill()
            await self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        for member in self._members.values():
            member.settled.set()
        self._members.clear()
        for waiting in self._starting.values():
            waiting.close()
