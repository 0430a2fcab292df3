"""Learning of certificates: one member's stream of receipts for each shard, another's when that one is gone.

The stream ``receipts`` costs a node one message a block, whatever the load. When a stream ends, falls silent or
loses messages, the blocks in between are read from the listing, so no certificate is missed and none counts twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import trio

from node.client_stream import Stream
from primitives.errors import RemoteError

RECEIPTS_TOPIC: Final = "receipts"
SILENCE_S: Final = 5.0
"""A stream without a word for so long may hang with its member; asking the next one costs little."""
RECONNECT_PAUSE_S: Final = 0.2


class StreamingClient(Protocol):
    """What is needed of ``node.client.NodeClient``."""

    def stream(self, topics: Sequence[str]) -> Stream: ...

    def block_transactions(self, height: int) -> AsyncIterator[dict[str, Any]]: ...


class CertificateFollower:
    """Tells ``on_receipt(id, code)`` of each certified transaction of one shard, others' too, and ``on_message``
    of the messages of further ``topics``."""

    def __init__(
        self,
        clients: Sequence[StreamingClient],
        topics: Sequence[str],
        on_receipt: Callable[[str, str], None],
        on_message: Callable[[Mapping[str, Any]], None],
    ) -> None:
        assert clients, "a shard has members"
        self._clients = tuple(clients)
        self._topics = (RECEIPTS_TOPIC, *topics)
        self._on_receipt = on_receipt
        self._on_message = on_message
        self.height: int | None = None
        """The last block whose receipts are known; ``None`` before the first stream."""
        self.blocks = 0
        self.switches = 0

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; started once the first stream stands."""
        started = False
        turn = 0
        while True:
            client = self._clients[turn % len(self._clients)]
            turn += 1
            try:
                async with client.stream(self._topics) as stream:
                    async for message in _until_silent(stream):
                        await self._on_stream_message(client, message)
                        if not started and self.height is not None:
                            started = True
                            task_status.started()
            except RemoteError:
                pass
            self.switches += 1
            await trio.sleep(RECONNECT_PAUSE_S)

    async def _on_stream_message(self, client: StreamingClient, message: Mapping[str, Any]) -> None:
        if message.get("topic") != RECEIPTS_TOPIC:
            self._on_message(message)
            return
        height = message.get("height")
        if not isinstance(height, int):
            raise RemoteError("BAD_RESPONSE", "a message of the stream without a height")
        if message.get("type") != "receipts":
            # ``subscribed``, or ``resync``: everything up to this height may have been missed.
            await self._catch_up(client, height)
            return
        if self.height is not None and height > self.height + 1:
            await self._catch_up(client, height - 1)
        if self.height is None or height > self.height:
            self.height = height
            self.blocks += 1
            for identity, code in message["receipts"]:
                self._on_receipt(identity, code)

    async def _catch_up(self, client: StreamingClient, height: int) -> None:
        """Read the blocks up to ``height`` from the listing; the first stream starts where it stands."""
        if self.height is None:
            self.height = height
            return
        while self.height < height:
            async for entry in client.block_transactions(self.height + 1):
                receipt = entry.get("receipt")
                if receipt is not None:
                    self._on_receipt(entry["id"], receipt["code"])
            self.height += 1
            self.blocks += 1


async def _until_silent(stream: Stream) -> AsyncIterator[dict[str, Any]]:
    """The stream's messages; ends when it does, or says nothing for too long."""
    while True:
        try:
            with trio.fail_after(SILENCE_S):
                message = await stream.__anext__()
        except (StopAsyncIteration, trio.TooSlowError):
            return
        yield message
