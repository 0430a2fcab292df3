"""Listening, accepting and stopping: the sockets around ``RpcApplication``.

The port is bound before anything else starts, so the actual one (with port 0) is known before the node says that it
is ready. Stopping takes four steps: no new connections; streams get their close frame (1001); requests in flight
are answered within ``DRAIN_S``; whatever is left is cut.
"""

from __future__ import annotations

import errno
import socket
from typing import Final, Protocol

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.worker_context import EventWrapper

from node.rpc.app import RpcApplication
from node.rpc.connection import Connection, GuardedStream, build_config
from node.rpc.limits import DRAIN_S, MAX_CONNECTIONS
from primitives.errors import LocalError

BACKLOG: Final = 256
_ACCEPT_PAUSE_S: Final = 0.1
"""After running out of file descriptors: enough for a connection to end."""


class TaskStatus(Protocol):
    """What ``nursery.start`` gives: told the URL once connections are accepted."""

    def started(self, value: str, /) -> None: ...


_log = structlog.get_logger("rpc")


class RpcListener:
    """A bound and listening TCP socket."""

    def __init__(self, host: str, port: int) -> None:
        """Raises ``LocalError`` where the address cannot be used."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise LocalError(_explain(error, host, port)) from None
        self.host: str
        self.port: int
        self.host, self.port = self._socket.getsockname()[:2]

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def accept_from(self) -> trio.SocketListener:
        """The listener for the running trio loop."""
        self._socket.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))

    def close(self) -> None:
        """Free the port without having served."""
        self._socket.close()


class RpcServer:
    """Serves one application on one listener."""

    def __init__(self, application: RpcApplication, listener: RpcListener) -> None:
        self._application = application
        self._listener = listener
        self._config = build_config()
        self._terminated = EventWrapper()
        self._refused = 0
        self._open: set[trio.SocketStream] = set()
        self._stop = trio.Event()
        self._one_ended = trio.Event()

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return self._listener.url

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._open)

    def stop(self) -> None:
        """Begin the graceful end; ``serve`` returns when it is over."""
        self._stop.set()

    async def serve(self, *, task_status: TaskStatus = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and answer until ``stop``; reports the URL once connections are accepted."""
        listener = self._listener.accept_from()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(self._accept, listener, connections)
                task_status.started(self.url)
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            await listener.aclose()
            await self._drain()
            connections.cancel_scope.cancel()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    raise
                _log.warning("no resources for another RPC connection", error=str(error))
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            if len(self._open) >= MAX_CONNECTIONS:
                self._note_refusal()
                await trio.aclose_forcefully(stream)
                continue
            self._open.add(stream)
            connections.start_soon(self._serve_connection, stream)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        try:
            app = ASGIWrapper(self._application)
            await Connection(app, self._config, self._terminated, GuardedStream(stream)).run()
        except Exception as error:
            # One client's broken protocol must not end the others' connections.
            _log.info("an RPC connection ended badly", error=repr(error)[:300])
        finally:
            self._open.discard(stream)
            self._one_ended.set()
            await trio.aclose_forcefully(stream)

    def _note_refusal(self) -> None:
        """Log at every power of two: a flood of connections must not become a flood of lines."""
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            _log.warning(
                "too many RPC connections; new ones are closed", limit=MAX_CONNECTIONS, closed=self._refused
            )

    async def _drain(self) -> None:
        """See the module. ``terminated`` ends idle connections at once, and busy ones after their answer."""
        self._application.begin_drain("the node is stopping")
        await self._terminated.set()
        with trio.move_on_after(DRAIN_S):
            while self._open:
                self._one_ended = trio.Event()
                await self._one_ended.wait()
        for stream in list(self._open):
            stream.socket.close()


def _explain(error: OSError | OverflowError, host: str, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"cannot serve RPC on {host}:{port}: the port is in use, perhaps by another node; choose another or 0"
        )
    return f"cannot serve RPC on {host}:{port}: {error}"
