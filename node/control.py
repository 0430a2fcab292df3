"""The control socket: how the supervisor of a local network talks to one of its members.

A Unix socket in the member's home, mode 0600, only where the genesis says ``devnet``. One JSON object a line
in, one a line out: ``{"ok": true, …}`` or ``{"ok": false, "error": sentence}``. What the operations do is
given as a table of handlers, so this file knows nothing of transports or faults. A handler may be a coroutine
function (the supervisor's wait for processes); the answer is sent when it is done.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio
from trio_typing import TaskStatus

from primitives.errors import LocalError, RemoteError

MAX_LINE_BYTES = 1 << 20
"""An address book of a thousand members is under 100 KB."""
MAX_CONNECTIONS = 8
IDLE_TIMEOUT_S = 60

Answer = Mapping[str, Any]
Handler = Callable[[Mapping[str, Any]], Answer | Awaitable[Answer]]


async def serve_control(
    path: Path,
    handlers: Mapping[str, Handler],
    *,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; the socket file is removed at the end.

    Raises ``LocalError`` where the path cannot be bound.
    """
    path.unlink(missing_ok=True)
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    # A Unix socket path has at most 107 bytes, so it is bound relative to its own directory.
    previous = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        await listener.bind(path.name)
    except OSError as error:
        raise LocalError(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.fchdir(previous)
        os.close(previous)
    path.chmod(0o600)
    listener.listen(MAX_CONNECTIONS)
    slots = trio.Semaphore(MAX_CONNECTIONS)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await slots.acquire()
                connection, _ = await listener.accept()
                nursery.start_soon(_serve_connection, trio.SocketStream(connection), handlers, slots)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _serve_connection(
    stream: trio.SocketStream, handlers: Mapping[str, Handler], slots: trio.Semaphore
) -> None:
    try:
        async with stream:
            buffer = bytearray()
            while (chunk := await _receive(stream)) and len(buffer) <= MAX_LINE_BYTES:
                buffer += chunk
                while (end := buffer.find(b"\n")) >= 0:
                    line = bytes(buffer[:end])
                    del buffer[: end + 1]
                    await stream.send_all(await _answer(line, handlers))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        slots.release()


async def _receive(stream: trio.SocketStream) -> bytes:
    """The next bytes; none at the end of the stream, or where the controller has been silent for too long."""
    chunk = b""
    with trio.move_on_after(IDLE_TIMEOUT_S):
        chunk = bytes(await stream.receive_some())
    return chunk  # noqa: RET504 — the old trio stubs hide that the scope may swallow the wait


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> bytes:
    try:
        request = json.loads(line)
        if not isinstance(request, dict) or request.get("op") not in handlers:
            raise RemoteError("BAD_REQUEST", f"known operations: {', '.join(sorted(handlers))}")
        answered = handlers[request["op"]](request)
        answer: Answer = {"ok": True, **(await answered if inspect.isawaitable(answered) else answered)}
    except (ValueError, KeyError, TypeError) as error:
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    except (RemoteError, LocalError) as error:
        answer = {"ok": False, "error": str(error)}
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
