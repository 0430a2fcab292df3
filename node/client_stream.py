"""Client side of ``/v1/stream``: one WebSocket, some topics, an iterator of messages.

``Book`` keeps a mirror of one market's book from the stream. What does not live here: reconnecting, which is the
caller's decision (a new stream starts with a fresh snapshot).
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import trio_websocket

from primitives.errors import RemoteError

MAX_MESSAGE_BYTES: Final = 16 << 20
"""A block's notice with some thousand receipts has 300 KiB; anything near this is no node."""
DISCONNECT_S: Final = 1
"""How long leaving a stream waits for the node's close frame."""


def open_stream(url: str, topics: Sequence[str], *, timeout_s: float = 10.0) -> Stream:
    """A stream of the node at the HTTP URL ``url``; entering it connects and subscribes."""
    return Stream("ws" + url.rstrip("/").removeprefix("http") + "/v1/stream", tuple(topics), timeout_s)


class Stream:
    """An asynchronous context manager and iterator of JSON messages.

    The iteration ends where the node closes the stream: ``closed`` then holds the code and reason (1001 before a
    drain). Raises ``RemoteError`` (``UNREACHABLE``) where there is no connection, or the node's code where a
    subscription is refused.
    """

    def __init__(self, url: str, topics: tuple[str, ...], timeout_s: float) -> None:
        self._url = url
        self._topics = topics
        self._timeout_s = timeout_s
        self._stack = AsyncExitStack()
        self._socket: trio_websocket.WebSocketConnection | None = None
        self.closed: tuple[int, str] | None = None

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | None = ssl.create_default_context() if self._url.startswith("wss") else None
        try:
            # The library's own timeout: a cancel scope of ours around it would not nest with its nursery.
            self._socket = await self._stack.enter_async_context(
                trio_websocket.open_websocket_url(
                    self._url,
                    ssl_context=context,
                    max_message_size=MAX_MESSAGE_BYTES,
                    connect_timeout=self._timeout_s,
                    disconnect_timeout=DISCONNECT_S,
                )
            )
        except (OSError, trio_websocket.HandshakeError, trio_websocket.ConnectionTimeout) as error:
            raise RemoteError("UNREACHABLE", f"{self._url} does not answer: {error or 'too slow'}") from None
        for topic in self._topics:
            await self.subscribe(topic)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A node that is too busy, or too dead, to answer our goodbye has lost the stream all the same.
        with contextlib.suppress(trio_websocket.DisconnectionTimeout):
            await self._stack.aclose()

    async def subscribe(self, topic: str) -> None:
        """Add a topic; answered by a ``subscribed`` message, a ``snapshot`` for a book, or an ``error``."""
        await self._send({"op": "subscribe", "topic": topic})

    async def unsubscribe(self, topic: str) -> None:
        await self._send({"op": "unsubscribe", "topic": topic})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        assert self._socket is not None, "a stream is entered before it is read"
        try:
            text = await self._socket.get_message()
        except trio_websocket.ConnectionClosed as error:
            reason = error.reason
            self.closed = (1006, "connection lost") if reason is None else (reason.code, reason.reason or "")
            raise StopAsyncIteration from None
        try:
            message = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise RemoteError("BAD_RESPONSE", "a stream message that is not JSON") from None
        if not isinstance(message, dict):
            raise RemoteError("BAD_RESPONSE", "a stream message that is no object")
        if message.get("type") == "error":
            raise RemoteError(str(message.get("code")), str(message.get("message")))
        return message

    async def _send(self, message: Mapping[str, str]) -> None:
        assert self._socket is not None, "a stream is entered before it is used"
        try:
            await self._socket.send_message(msgspec.json.encode(message).decode())
        except trio_websocket.ConnectionClosed:
            raise RemoteError("UNREACHABLE", "the node closed the stream") from None


class Book:
    """A mirror of one market's book: feed it every message of topic ``book:<market>``.

    ``bids`` and ``asks`` map a price in ticks to a size in lots. ``apply`` says whether the mirror is whole; it is
    not between a gap and the next snapshot (the caller resubscribes to get one at once).
    """

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.height = 0
        self.whole = False
        self._seq = 0

    def apply(self, message: Mapping[str, Any]) -> bool:
        """Apply a ``snapshot``, ``change`` or ``resync`` message; others are ignored."""
        match message.get("type"):
            case "snapshot":
                self.bids = {level["ticks"]: level["lots"] for level in message["bids"]}
                self.asks = {level["ticks"]: level["lots"] for level in message["asks"]}
                self._advance(message)
                self.whole = True
            case "change" if self.whole and message["seq"] == self._seq + 1:
                _merge(self.bids, message["bids"])
                _merge(self.asks, message["asks"])
                self._advance(message)
            case "change" | "resync":
                self.whole = False
            case _:
                pass
        return self.whole

    def _advance(self, message: Mapping[str, Any]) -> None:
        self._seq = message["seq"]
        self.height = message["height"]


def _merge(side: dict[int, int], changes: Sequence[Mapping[str, int]]) -> None:
    for level in changes:
        if level["lots"]:
            side[level["ticks"]] = level["lots"]
        else:
            side.pop(level["ticks"], None)
