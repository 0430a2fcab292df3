"""What subscribers hear: topics, sequences, bounded queues.

Theory of operation. The runtime publishes each certified block once. The hub turns it into messages of the topics
that somebody subscribed to, encodes each once, and offers the text to the topic's subscribers; it never waits for
any of them. A topic's messages carry ``seq``, which grows by one.

A subscriber's queue is bounded. When it overflows, the queue is emptied and the subscriber is *lagging*: it is
offered nothing until its connection takes the next batch, which is a ``resync`` for each of its topics (with a
fresh snapshot for books), so it goes on from a consistent state. One that keeps lagging without ever draining
its queue is closed with a reason.

A book's messages are the difference between what queries show after this block and after the last one, so a
snapshot and the changes that follow it can never disagree.

What does not live here: sockets (``node.rpc.websocket``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import trio

from node.events import BlockCertified
from node.rpc.human_units import HumanUnits
from node.rpc.limits import (
    MAX_QUEUED_BYTES,
    MAX_QUEUED_MESSAGES,
    MAX_RESYNCS,
    MAX_STREAMS,
    MAX_SUBSCRIPTIONS,
    MAX_WAITERS,
    STREAM_DEPTH,
)
from node.rpc.service import NodeService
from primitives.errors import RemoteError
from primitives.identifiers import format_address, parse_address

T = TypeVar("T")
Levels: TypeAlias = dict[int, int]
"""One side of a book: price in ticks → size in lots."""

CLOSE_GOING_AWAY: Final = 1001
CLOSE_POLICY: Final = 1008
BLOCKS: Final = "blocks"
RECEIPTS: Final = "receipts"

_encoder = msgspec.json.Encoder()


@dataclass(slots=True, eq=False)
class Topic:
    """One topic with its subscribers; the last book shown, where it is one."""

    name: str
    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    seq: int = 0
    height: int = 0
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """``blocks``, ``receipts``, ``trades``, ``book`` or ``account``."""
        return self.name.partition(":")[0]

    @property
    def rest(self) -> str:
        """The market's number or the address."""
        return self.name.partition(":")[2]

    def describe(self, kind: str) -> dict[str, Any]:
        """The head of a message that tells where the topic stands."""
        return {"type": kind, "topic": self.name, "seq": self.seq, "height": self.height}


@dataclass(slots=True, eq=False)
class Subscriber:
    """One connection's queue. ``closing`` is the code and reason with which the connection has to end; ``_renew``
    gives what follows a topic's ``resync``."""

    _renew: Callable[[Topic], tuple[str, ...]]
    topics: dict[str, Topic] = field(default_factory=dict)
    queue: deque[str] = field(default_factory=deque)
    queued_bytes: int = 0
    lagging: bool = False
    resyncs: int = 0
    closing: tuple[int, str] | None = None
    _wake: trio.Event = field(default_factory=trio.Event)

    def offer(self, text: str) -> None:
        """Queue a message, or begin to lag where it does not fit."""
        if self.lagging or self.closing is not None:
            return
        if len(self.queue) < MAX_QUEUED_MESSAGES and self.queued_bytes + len(text) <= MAX_QUEUED_BYTES:
            self.queue.append(text)
            self.queued_bytes += len(text)
        else:
            self._lag()
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Have the connection closed; what is queued is not sent any more."""
        if self.closing is None:
            self.closing = (code, reason)
        self._wake.set()

    async def wait_message(self) -> str | None:
        """The next message; ``None`` where the connection has to close."""
        while not self.queue and not self.lagging and self.closing is None:
            self._wake = trio.Event()
            self.resyncs = 0
            await self._wake.wait()
        if self.closing is not None:
            return None
        if self.lagging and not self.queue:
            self._resync()
        text = self.queue.popleft()
        self.queued_bytes -= len(text)
        return text

    def _lag(self) -> None:
        self.queue.clear()
        self.queued_bytes = 0
        self.lagging = True
        self.resyncs += 1
        if self.resyncs > MAX_RESYNCS:
            self.close(CLOSE_POLICY, "too slow: reads fewer messages than its topics have")

    def _resync(self) -> None:
        """Fill the queue with the present state of every topic; nothing was missed between here and the next
        offer, because publishing is synchronous."""
        self.lagging = False
        for topic in self.topics.values():
            for text in (_text(topic.describe("resync")), *self._renew(topic)):
                self.queue.append(text)
                self.queued_bytes += len(text)


class StreamHub:
    """All topics and subscribers of one node, and those who wait for the next block."""

    def __init__(self, service: NodeService, units: HumanUnits) -> None:
        self._service = service
        self._units = units
        self._topics: dict[str, Topic] = {}
        self._subscribers: dict[Subscriber, None] = {}
        self._waiting = 0
        self._block = trio.Event()
        self._stopping: str | None = None

    @property
    def subscriber_count(self) -> int:
        """Open streams."""
        return len(self._subscribers)

    @contextmanager
    def open(self) -> Iterator[Subscriber]:
        """A new subscriber; raises ``RemoteError`` (``BUSY``, ``SHUTTING_DOWN``)."""
        self._check_running()
        if len(self._subscribers) >= MAX_STREAMS:
            raise RemoteError("BUSY", f"{MAX_STREAMS} streams are open; close one, or use another node")
        subscriber = Subscriber(self._snapshot)
        self._subscribers[subscriber] = None
        try:
            yield subscriber
        finally:
            del self._subscribers[subscriber]
            for name in list(subscriber.topics):
                self.unsubscribe(subscriber, name)

    def subscribe(self, subscriber: Subscriber, name: str) -> None:
        """Add a topic, or begin again from a fresh snapshot; raises ``RemoteError`` (``BAD_SUBSCRIPTION``)."""
        name = self._resolve(name)
        if name not in subscriber.topics and len(subscriber.topics) >= MAX_SUBSCRIPTIONS:
            raise RemoteError("BAD_SUBSCRIPTION", f"a stream has at most {MAX_SUBSCRIPTIONS} topics")
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, height=self._service.certified_height())
            if topic.noun == "book":
                self._refresh_book(topic)
        topic.subscribers[subscriber] = None
        subscriber.topics[name] = topic
        for text in self._snapshot(topic) or (_text(topic.describe("subscribed")),):
            subscriber.offer(text)

    def unsubscribe(self, subscriber: Subscriber, name: str) -> None:
        """Remove a topic; raises ``RemoteError`` (``BAD_SUBSCRIPTION``) where it was not subscribed."""
        topic = subscriber.topics.pop(name if name in subscriber.topics else self._resolve(name), None)
        if topic is None:
            raise RemoteError("BAD_SUBSCRIPTION", f"not subscribed to {name[:80]!r}")
        topic.subscribers.pop(subscriber, None)
        if not topic.subscribers:
            self._topics.pop(topic.name, None)

    def publish(self, notice: BlockCertified) -> None:
        """Called once per certified block, in order, after the service's queries show it. Never blocks."""
        self._block.set()
        self._block = trio.Event()
        if not self._topics:
            return
        height = notice.header.height
        for name, event in notice.events:
            topic = self._topics.get(name)
            if topic is not None:
                kind = "trade" if topic.noun == "trades" else "event"
                self._send(topic, height, kind, {"event": self._units.present(event)})
        for topic in self._topics.values():
            topic.height = height
            if topic.noun == "book":
                self._publish_book(topic)
        self._publish_block(notice)

    async def wait_until(self, look: Callable[[], T | None], wait_ms: int) -> T | None:
        """The first value that ``look`` gives after one of the next blocks; ``None`` when the time is up.

        Raises ``RemoteError`` (``BUSY``) where too many wait already, (``SHUTTING_DOWN``) when the node stops.
        """
        if self._waiting >= MAX_WAITERS:
            raise RemoteError("BUSY", f"{MAX_WAITERS} requests wait already; ask without wait_ms")
        self._waiting += 1
        try:
            found: T | None = None
            with trio.move_on_after(wait_ms / 1_000):
                while found is None:
                    self._check_running()
                    await self._block.wait()
                    found = look()
            return found
        finally:
            self._waiting -= 1

    def close_all(self, reason: str) -> None:
        """Close every stream with 1001 and release every waiting request; refuse new ones."""
        self._stopping = reason
        self._block.set()
        for subscriber in self._subscribers:
            subscriber.close(CLOSE_GOING_AWAY, reason)

    def _check_running(self) -> None:
        if self._stopping is not None:
            raise RemoteError("SHUTTING_DOWN", self._stopping)

    def _resolve(self, name: str) -> str:
        """The one spelling of a topic's name; raises ``RemoteError`` (``BAD_SUBSCRIPTION``)."""
        noun, _, rest = name.partition(":")
        if name in (BLOCKS, RECEIPTS):
            return name
        if noun == "account" and rest:
            return f"account:{format_address(parse_address(rest))}"
        if noun in ("trades", "book") and rest:
            market = self._service.market(rest)
            if market is not None:
                return f"{noun}:{market['id']}"
            raise RemoteError("BAD_SUBSCRIPTION", f"there is no market {rest[:40]!r} on this shard")
        raise RemoteError(
            "BAD_SUBSCRIPTION",
            f"topics are blocks, receipts, trades:<market>, book:<market>, account:<address>; not {name[:80]!r}",
        )

    def _publish_block(self, notice: BlockCertified) -> None:
        height, time_ms = notice.header.height, notice.header.timestamp_ms
        topic = self._topics.get(BLOCKS)
        if topic is not None:
            body = {"hash": notice.header_hash.hex(), "timestamp_ms": time_ms, "transactions": len(notice.receipts)}
            self._send(topic, height, "block", body)
        topic = self._topics.get(RECEIPTS)
        if topic is not None:
            code = self._service.receipt_code
            rows = [(identity.hex(), code(encoded)) for identity, encoded in notice.receipts]
            self._send(topic, height, "receipts", {"timestamp_ms": time_ms, "receipts": rows})

    def _publish_book(self, topic: Topic) -> None:
        bids, asks = topic.bids, topic.asks
        self._refresh_book(topic)
        changed = _compute_changes(bids, topic.bids), _compute_changes(asks, topic.asks)
        if changed[0] or changed[1]:
            self._send(topic, topic.height, "change", self._describe_levels(topic, *changed))

    def _refresh_book(self, topic: Topic) -> None:
        book = self._service.book(topic.rest, STREAM_DEPTH)
        if book is not None:
            topic.bids = dict(book["bids"])
            topic.asks = dict(book["asks"])

    def _snapshot(self, topic: Topic) -> tuple[str, ...]:
        """A book as it was last published; nothing for other topics, which have no state."""
        if topic.noun != "book":
            return ()
        return (_text({**topic.describe("snapshot"), **self._describe_levels(topic, topic.bids, topic.asks)}),)

    def _describe_levels(self, topic: Topic, bids: Levels, asks: Levels) -> dict[str, Any]:
        market = int(topic.rest)
        show = self._units.present_levels
        return {"bids": show(bids.items(), market), "asks": show(asks.items(), market)}

    def _send(self, topic: Topic, height: int, kind: str, body: Mapping[str, Any]) -> None:
        topic.seq += 1
        text = _text({"type": kind, "topic": topic.name, "seq": topic.seq, "height": height, **body})
        for subscriber in topic.subscribers:
            subscriber.offer(text)


def _compute_changes(before: Levels, after: Levels) -> Levels:
    """The levels that are new or different, and those that are gone with ``lots`` 0."""
    changes = {ticks: lots for ticks, lots in after.items() if before.get(ticks) != lots}
    return changes | {ticks: 0 for ticks in before if ticks not in after}


def _text(message: Mapping[str, Any]) -> str:
    return _encoder.encode(message).decode()
