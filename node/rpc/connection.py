"""One client's connection: hypercorn's HTTP/1.1 and WebSocket protocols over a guarded stream.

Hypercorn's own server is not used around it, because there an exception in one connection ends all of them, a
client that reads nothing blocks a shielded write for ever, and HTTP/2 and compressed WebSocket messages (which may
inflate a thousandfold) cannot be refused.
"""

from __future__ import annotations

from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from node.rpc.limits import (
    IDLE_S,
    MAX_STREAM_MESSAGE_BYTES,
    PING_INTERVAL_S,
    WRITE_DEADLINE_S,
)

LONG_BODY_BYTES: Final = 512 << 10
"""Read at once where a body is longer than a usual piece: half of the largest."""
_UNWANTED_HEADERS: Final = (b"sec-websocket-extensions", b"http2-settings")


def build_config() -> Config:
    """Hypercorn's settings for every connection."""
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_S
    config.keep_alive_max_requests = 2**31
    config.read_timeout = IDLE_S
    config.h11_max_incomplete_size = 16 << 10
    config.websocket_max_message_size = MAX_STREAM_MESSAGE_BYTES
    config.websocket_ping_interval = PING_INTERVAL_S
    return config


class GuardedStream:
    """A TCP stream whose writes have a deadline: a client that takes nothing is cut off."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._last_bytes = 0
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        """Raises ``trio.BrokenResourceError`` where the client took no more within the deadline."""
        if not data:
            # The end of a body with a known length; a system call would say nothing.
            return
        with trio.move_on_after(WRITE_DEADLINE_S) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the client reads nothing")

    async def receive_some(self, max_bytes: int) -> bytes:
        """Up to ``max_bytes``, or more where a long body keeps coming: each piece passes through a dozen
        coroutines. Empty at the end."""
        is_long = self._last_bytes >= max_bytes
        data = bytes(await self._stream.receive_some(LONG_BODY_BYTES if is_long else max_bytes))
        self._last_bytes = len(data)
        return data

    async def send_eof(self) -> None:
        """End our side."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close both sides; may be repeated."""
        await self._stream.aclose()


class PlainHttp(H11Protocol):
    """HTTP/1.1 without upgrades to HTTP/2 and without compressed WebSockets."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never switch to another protocol."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name.lower() not in _UNWANTED_HEADERS]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )


class ConnectionContext(WorkerContext):
    """What hypercorn shares between connections, except that its sleeps end with this connection: otherwise a
    WebSocket that is gone would be kept until the next ping is due."""

    def __init__(self, terminated: EventWrapper) -> None:
        super().__init__(None)
        self.terminated = terminated
        self.ended = trio.Event()

    async def sleep(self, wait: float) -> None:  # type: ignore[override]
        """Wait, at most until the connection ends."""
        with trio.move_on_after(wait):
            await self.ended.wait()


class Connection(TCPServer):
    """Serves one accepted stream until either side ends it. An exception that leaves ``run`` is the client's
    doing (a protocol violation that hypercorn does not handle) or a bug; the server logs it and goes on."""

    def __init__(self, app: AppWrapper, config: Config, terminated: EventWrapper, stream: GuardedStream) -> None:
        guarded: Any = stream
        self._lifetime = ConnectionContext(terminated)
        super().__init__(app, config, self._lifetime, {}, guarded)

    async def run(self) -> None:
        """See the class."""
        socket = self.stream.socket  # type: ignore[attr-defined]
        try:
            client = _address(socket.getpeername())
            server = _address(socket.getsockname())
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = PlainHttp(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    False,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.protocol.initiate()
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                # Nothing more can come: do not wait for idle time or pings, only for an answer in the making.
                self._lifetime.ended.set()
                await self.idle_task.stop()
        except OSError:
            # The client went away between two calls: nothing is left to say to it.
            return
        finally:
            await self._close()


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
