"""One client's connection: hypercorn's HTTP/1.1 and WebSocket protocols over a guarded stream.

Hypercorn's own server is not used around it, because there an exception in one connection ends all of them, a
client that reads nothing blocks a shielded write for ever, and HTTP/2 and compressed WebSocket messages (which may
inflate a thousandfold) cannot be refused.

A connection that we shall end says so with its last answer (``Connection: close``), and is ended without a reset
while the client still sends (RFC 9112, section 9.6): otherwise a client may lose the answer, or reuse a connection
that is gone.
"""

from __future__ import annotations

from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, H11SendableEvent

from node.rpc.limits import (
    IDLE_S,
    LINGER_S,
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
        self._discards = False
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
        while True:
            is_long = self._last_bytes >= max_bytes
            data = bytes(await self._stream.receive_some(LONG_BODY_BYTES if is_long else max_bytes))
            self._last_bytes = len(data)
            if not data or not self._discards:
                return data

    async def send_eof(self) -> None:
        """End our side."""
        await self._stream.send_eof()

    async def linger(self) -> None:
        """End our side; whatever the client still sends is read and thrown away until it ends its own."""
        self._discards = True
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close both sides; may be repeated."""
        await self._stream.aclose()


class PlainHttp(H11Protocol):
    """HTTP/1.1 without upgrades to HTTP/2 and without compressed WebSockets; an answer's head and the first piece
    of its body are one write."""

    _head = b""

    @property
    def is_interrupted(self) -> bool:
        """Whether the client may still be sending what we shall not read: a body, or what is no HTTP."""
        return self.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    async def stream_send(self, event: StreamEvent) -> None:
        """Name the end of the connection in the answer after which hypercorn ends it."""
        if isinstance(event, Response) and (self.is_interrupted or self.context.terminated.is_set()):
            headers = [*event.headers, (b"connection", b"close")]
            event = Response(stream_id=event.stream_id, headers=headers, status_code=event.status_code)
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data
            return
        head, self._head = self._head, b""
        await self.send(RawData(data=head + data))

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

    async def protocol_send(self, event: Event) -> None:
        """Linger where hypercorn would close on a client that is still sending."""
        protocol: Any = self.protocol
        if isinstance(event, Closed) and protocol.is_interrupted:
            try:
                await self._linger()
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                # The client is gone already, or takes nothing.
                await self._close()
            await protocol.handle(Closed())
            return
        await super().protocol_send(event)

    async def _linger(self) -> None:
        guarded: Any = self.stream
        await guarded.linger()
        self._task_group.spawn(self._end_lingering)

    async def _end_lingering(self) -> None:
        lifetime = self._lifetime
        with trio.move_on_after(LINGER_S):
            async with trio.open_nursery() as nursery:
                for event in (lifetime.ended, lifetime.terminated):
                    nursery.start_soon(_cancel_after, event, nursery.cancel_scope)
        await self.stream.aclose()


async def _cancel_after(event: trio.Event | EventWrapper, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
