"""``/v1/stream``: one WebSocket between a subscriber's queue and a client."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import trio
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import websocket

from node.rpc.context import Context
from node.rpc.limits import MAX_STREAM_MESSAGE_BYTES
from node.rpc.stream import CLOSE_GOING_AWAY, StreamHub, Subscriber
from primitives.errors import RemoteError

CLOSE_TRY_AGAIN = 1013


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client says."""

    op: Literal["subscribe", "unsubscribe"]
    topic: str


@websocket("/v1/stream")
async def serve_stream(socket: WebSocket[Any, Any, Any], context: Context) -> None:
    """Serve one client until it leaves, the node stops, or it proves too slow."""
    await socket.accept()
    try:
        with context.hub.open() as subscriber:
            await _serve(socket, context.hub, subscriber)
    except RemoteError as error:
        code = CLOSE_GOING_AWAY if error.code == "SHUTTING_DOWN" else CLOSE_TRY_AGAIN
        await socket.close(code, error.message)


async def _serve(socket: WebSocket[Any, Any, Any], hub: StreamHub, subscriber: Subscriber) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read_commands, socket, hub, subscriber, nursery.cancel_scope)
        while (text := await subscriber.wait_message()) is not None:
            await socket.send_text(text)
        code, reason = subscriber.closing or (CLOSE_GOING_AWAY, "")
        await socket.close(code, reason)
        nursery.cancel_scope.cancel()


async def _read_commands(
    socket: WebSocket[Any, Any, Any], hub: StreamHub, subscriber: Subscriber, scope: trio.CancelScope
) -> None:
    """Obey the client; when it is gone, end the connection."""
    try:
        while True:
            _obey(hub, subscriber, await socket.receive_data(mode="text"))
    except WebSocketDisconnect:
        scope.cancel()


def _obey(hub: StreamHub, subscriber: Subscriber, text: str) -> None:
    try:
        command = _read_command(text)
        if command.op == "subscribe":
            hub.subscribe(subscriber, command.topic)
        else:
            hub.unsubscribe(subscriber, command.topic)
            subscriber.offer(_encode({"type": "unsubscribed", "topic": command.topic}))
    except RemoteError as error:
        subscriber.offer(_encode({"type": "error", "code": error.code, "message": error.message}))


def _read_command(text: str) -> Command:
    if len(text) > MAX_STREAM_MESSAGE_BYTES:
        raise RemoteError("BAD_SUBSCRIPTION", f"a message has at most {MAX_STREAM_MESSAGE_BYTES} characters")
    try:
        return msgspec.json.decode(text, type=Command)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError(
            "BAD_SUBSCRIPTION", f'send {{"op": "subscribe", "topic": "blocks"}}: {str(error)[:120]}'
        ) from None


def _encode(message: dict[str, str]) -> str:
    return msgspec.json.encode(message).decode()
