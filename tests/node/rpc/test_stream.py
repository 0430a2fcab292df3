"""Streams over real WebSockets, and the hub's rules for slow subscribers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
import trio_websocket

from node.client import NodeClient
from node.client_stream import Book, Stream
from node.rpc import limits, stream
from node.rpc.human_units import HumanUnits
from node.rpc.stream import StreamHub, Subscriber
from primitives.errors import RemoteError
from primitives.hashing import hash_bytes
from primitives.identifiers import format_address
from tests.node.rpc.fake_service import ADDRESS, FakeService, serve_fake

DEADLINE_S = 5
ACCOUNT = format_address(ADDRESS)


async def take(messages: Stream, kind: str) -> dict[str, Any]:
    """The next message, which has this type."""
    with trio.fail_after(DEADLINE_S):
        message = await anext(messages)
    assert message["type"] == kind, message
    return message


async def test_blocks_and_receipts_are_heard_once_certified() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(["blocks", "receipts"]) as heard:
        await take(heard, "subscribed")
        await take(heard, "subscribed")
        node.service.waiting = [b"ok"]
        node.certify()
        block = await take(heard, "block")
        assert (block["height"], block["transactions"], block["seq"]) == (4, 1, 1)
        receipts = await take(heard, "receipts")
        assert receipts["receipts"] == [[hash_bytes(b"ok").hex(), "OK"]]


async def test_trades_and_account_events_go_to_their_topics_only() -> None:
    topics = ["trades:BTC-PERP", "account:" + ACCOUNT.upper().replace("X", "x")]
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(topics) as heard:
        assert (await take(heard, "subscribed"))["topic"] == "trades:1"
        assert (await take(heard, "subscribed"))["topic"] == "account:" + ACCOUNT
        node.certify(
            [("trades:2", {"lots": 1}), ("trades:1", {"market": 1, "lots": 2}), ("account:" + ACCOUNT, {"fee": 3})]
        )
        assert (await take(heard, "trade"))["event"] == {"market": 1, "size": "0.002", "lots": 2}
        assert (await take(heard, "event"))["event"] == {"fee": "0.000003", "fee_raw": 3}


async def test_a_book_is_a_snapshot_and_then_changes_that_keep_a_mirror_whole() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(["book:1"]) as heard:
        book = Book()
        node.service.bids = {10: 3}
        assert book.apply(await take(heard, "snapshot"))
        node.service.bids, node.service.asks = {10: 3, 9: 1}, {11: 5}
        node.certify()
        assert book.apply(await take(heard, "change"))
        node.service.bids, node.service.asks = {9: 2}, {11: 5}
        node.certify()
        changed = await take(heard, "change")
        assert (changed["asks"], len(changed["bids"])) == ([], 2)
        assert book.apply(changed)
        assert (book.bids, book.asks, book.height) == ({9: 2}, {11: 5}, 5)


def test_a_mirror_with_a_gap_is_not_whole_until_the_next_snapshot() -> None:
    book = Book()
    level = {"ticks": 5, "lots": 1}
    assert book.apply({"type": "snapshot", "seq": 7, "height": 1, "bids": [level], "asks": []})
    assert not book.apply({"type": "change", "seq": 9, "height": 3, "bids": [], "asks": []})
    assert not book.apply({"type": "change", "seq": 10, "height": 4, "bids": [], "asks": []})
    assert book.apply({"type": "snapshot", "seq": 10, "height": 4, "bids": [], "asks": []})
    assert book.bids == {}


async def test_subscribing_again_gives_a_fresh_snapshot() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(["book:1"]) as heard:
        await take(heard, "snapshot")
        node.service.bids = {10: 3}
        node.certify()
        await take(heard, "change")
        await heard.subscribe("book:1")
        snapshot = await take(heard, "snapshot")
        assert (snapshot["seq"], [row["ticks"] for row in snapshot["bids"]]) == (1, [10])


@pytest.mark.parametrize("topic", ["", "blocks:1", "book:", "book:7", "trades:x", "account:0x1", "everything"])
async def test_an_unknown_topic_is_answered_and_the_stream_goes_on(topic: str) -> None:
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream([topic]) as heard:
        with pytest.raises(RemoteError) as caught:
            await take(heard, "subscribed")
        assert caught.value.code in ("BAD_SUBSCRIPTION", "BAD_ADDRESS")
        await heard.subscribe("blocks")
        await take(heard, "subscribed")


@pytest.mark.parametrize("text", ["", "[]", "{", "blocks", '{"op":"sing","topic":"blocks"}', '{"op":"subscribe"}'])
async def test_a_bad_message_is_answered_and_the_stream_goes_on(text: str) -> None:
    async with serve_fake() as node:
        url = node.url.replace("http", "ws") + "/v1/stream"
        async with trio_websocket.open_websocket_url(url) as socket:
            for message in (text, text.encode()):
                await socket.send_message(message)
                with trio.fail_after(DEADLINE_S):
                    assert '"BAD_SUBSCRIPTION"' in await socket.get_message()


async def test_a_message_beyond_the_limit_closes_the_stream_with_the_reason() -> None:
    async with serve_fake() as node:
        url = node.url.replace("http", "ws") + "/v1/stream"
        async with trio_websocket.open_websocket_url(url) as socket:
            await socket.send_message("x" * (limits.MAX_STREAM_MESSAGE_BYTES + 1))
            with trio.fail_after(DEADLINE_S), pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1009


async def test_streams_are_closed_with_1001_before_the_drain() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(["blocks"]) as heard:
        await take(heard, "subscribed")
        node.server.stop()
        with trio.fail_after(DEADLINE_S):
            assert [message async for message in heard] == []
        assert heard.closed == (1001, "the node is stopping")


async def test_a_stream_too_many_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    async with serve_fake() as node, NodeClient(node.url) as client, client.stream(["blocks"]) as first:
        await take(first, "subscribed")
        async with client.stream([]) as second:
            with trio.fail_after(DEADLINE_S):
                assert [message async for message in second] == []
            assert second.closed is not None
            assert second.closed[0] == 1013


# --- the hub alone -----------------------------------------------------------------------------------------


def make_hub(service: FakeService) -> StreamHub:
    return StreamHub(service, HumanUnits(service))


async def drain(subscriber: Subscriber) -> list[str]:
    """The types of everything that is queued, in order."""
    texts = []
    while subscriber.queue or subscriber.lagging:
        texts.append(await subscriber.wait_message() or "")
    return [text.partition('"type":"')[2].partition('"')[0] for text in texts]


async def test_a_slow_subscriber_resyncs_and_loses_nobody_elses_messages() -> None:
    service = FakeService()
    hub = make_hub(service)
    with hub.open() as slow, hub.open() as quick:
        for subscriber in (slow, quick):
            hub.subscribe(subscriber, "book:1")
            hub.subscribe(subscriber, "blocks")
        await drain(quick)
        book = Book()
        heard = []
        for lots in range(1, limits.MAX_QUEUED_MESSAGES + 10):
            service.bids = {10: lots}
            hub.publish(service.certify())
            heard += await drain(quick)
        assert heard == ["change", "block"] * (limits.MAX_QUEUED_MESSAGES + 9)
        assert len(slow.queue) == 0
        assert await drain(slow) == ["resync", "snapshot", "resync"]
        hub.publish(service.certify())
        assert await drain(slow) == ["block"]
        assert book.whole is False


async def test_a_subscriber_that_never_drains_its_queue_is_closed_with_a_reason() -> None:
    service = FakeService()
    hub = make_hub(service)
    with hub.open() as slow:
        hub.subscribe(slow, "blocks")
        for count in itertools.count():
            assert count < (limits.MAX_RESYNCS + 2) * (limits.MAX_QUEUED_MESSAGES + 1)
            hub.publish(service.certify())
            if slow.lagging:
                # It takes one message and then stalls again.
                text = await slow.wait_message()
                if text is None:
                    break
        assert slow.closing is not None
        assert slow.closing[0] == stream.CLOSE_POLICY
        assert "too slow" in slow.closing[1]


async def test_large_messages_count_by_their_bytes() -> None:
    subscriber = Subscriber(lambda _: ())
    for _ in range(5):
        subscriber.offer("x" * (limits.MAX_QUEUED_BYTES // 4))
    assert subscriber.lagging
    assert subscriber.queued_bytes == 0


def test_topics_are_forgotten_with_their_last_subscriber() -> None:
    hub = make_hub(FakeService())
    with hub.open() as subscriber:
        hub.subscribe(subscriber, "book:BTC-PERP")
        hub.unsubscribe(subscriber, "book:BTC-PERP")
        with pytest.raises(RemoteError):
            hub.unsubscribe(subscriber, "book:1")
        hub.subscribe(subscriber, "blocks")
    assert hub.subscriber_count == 0
    assert hub._topics == {}


def test_a_stream_has_a_bounded_number_of_topics() -> None:
    hub = make_hub(FakeService())
    with hub.open() as subscriber:
        for index in range(limits.MAX_SUBSCRIPTIONS):
            hub.subscribe(subscriber, f"account:0x{index:040x}")
        with pytest.raises(RemoteError, match="at most"):
            hub.subscribe(subscriber, "blocks")
