"""The real server on loopback: ports, hostile clients, and a graceful end."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import trio

from node.client import NodeClient
from node.rpc import app, connection, server
from node.rpc.limits import MAX_BODY_BYTES
from node.rpc.server import RpcListener
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_bytes
from tests.node.rpc.fake_service import ADDRESS, ServedNode, serve_fake

DEADLINE_S = 5


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(app, "BODY_DEADLINE_S", 0.05)
    monkeypatch.setattr(connection, "WRITE_DEADLINE_S", 0.05)
    monkeypatch.setattr(server, "DRAIN_S", 0.1)
    yield


async def read_all(stream: trio.SocketStream) -> bytes:
    """Everything until the server closes."""
    received = b""
    with trio.fail_after(DEADLINE_S):
        try:
            async for chunk in stream:
                received += chunk
        except trio.BrokenResourceError:
            # A reset also ends what the server had to say.
            pass
    return received


async def connect(node: ServedNode) -> trio.SocketStream:
    host, port = node.url.removeprefix("http://").split(":")
    return await trio.open_tcp_stream(host, int(port))


def test_port_zero_becomes_an_actual_port_before_anything_is_served() -> None:
    listener = RpcListener("127.0.0.1", 0)
    assert listener.port > 0
    assert listener.url == f"http://127.0.0.1:{listener.port}"
    listener.close()


def test_a_port_in_use_is_one_clear_line() -> None:
    listener = RpcListener("127.0.0.1", 0)
    with pytest.raises(LocalError, match=rf"127\.0\.0\.1:{listener.port}: the port is in use") as caught:
        RpcListener("127.0.0.1", listener.port)
    assert "\n" not in str(caught.value)
    listener.close()


def test_an_impossible_address_is_one_clear_line() -> None:
    for host, port in (("203.0.113.1", 0), ("127.0.0.1", 70_000), ("no such host", 0)):
        with pytest.raises(LocalError, match="cannot serve RPC on"):
            RpcListener(host, port)


async def test_the_client_submits_in_bulk_and_waits_for_the_certificate() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client:
        transactions = [b"ok%d" % index for index in range(3_000)]
        results = await client.submit_transactions(transactions)
        assert [row.id for row in results] == [hash_bytes(data).hex() for data in transactions]
        assert all(row.accepted for row in results)
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.wait_certified, hash_bytes(b"ok7"))
                while not node.application.in_flight:
                    await trio.lowlevel.checkpoint()
                node.certify()
        status = await client.transaction(hash_bytes(b"ok2999"))
        assert (status.state, status.index, status.code) == ("certified", 2_999, "OK")


async def test_the_client_follows_pages_to_their_end() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client:
        node.service.open_orders = 450
        assert [order["seq"] async for order in client.orders(ADDRESS)] == list(range(450))


async def test_the_client_repeats_the_nodes_code() -> None:
    async with serve_fake() as node, NodeClient(node.url) as client:
        with pytest.raises(RemoteError) as caught:
            await client.account(bytes(20))
        assert caught.value.code == "NOT_FOUND"
        node.service.unready = "no certificate for 12 s"
        assert await client.ready() == (False, "no certificate for 12 s")


async def test_an_absent_node_is_unreachable_and_not_a_traceback() -> None:
    listener = RpcListener("127.0.0.1", 0)
    listener.close()
    async with NodeClient(listener.url) as client:
        with pytest.raises(RemoteError) as caught:
            await client.status()
    assert caught.value.code == "UNREACHABLE"


async def test_garbage_gets_an_answer_or_the_end_and_hurts_nobody_else() -> None:
    async with serve_fake() as node:
        for garbage in (
            b"\x16\x03\x01\x02\x00" + bytes(64) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /" + b"a" * 70_000,
            b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ):
            stream = await connect(node)
            await stream.send_all(garbage)
            await stream.send_eof()
            answer = await read_all(stream)
            assert answer[:7] in (b"HTTP/1.", b""), answer[:80]
        async with NodeClient(node.url) as client:
            assert (await client.status())["name"] == "s0v0"


async def test_an_oversized_body_is_refused_before_it_is_read() -> None:
    async with serve_fake() as node:
        stream = await connect(node)
        head = f"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        await stream.send_all(head.encode())
        answer = await read_all(stream)
        assert b"413" in answer.split(b"\r\n")[0]
        assert b'"TOO_LARGE"' in answer


async def test_a_client_that_sends_its_refused_body_to_the_end_reads_the_refusal_and_that_the_connection_ends() -> (
    None
):
    async with serve_fake() as node:
        for head, code in (
            (f"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: {8 << 20}\r\n\r\n", b"TOO_LARGE"),
            (
                f"POST /v1/transactions?{'y' * 3_000} HTTP/1.1\r\nHost: x\r\nContent-Length: {8 << 20}\r\n\r\n",
                b"TARGET_TOO_LONG",
            ),
        ):
            stream = await connect(node)
            await stream.send_all(head.encode())
            with trio.fail_after(DEADLINE_S):
                answer = bytes(await stream.receive_some(1 << 16))
                # More than the socket buffers hold: a server that did not read it would reset the connection.
                await stream.send_all(bytes(8 << 20))
            answer += await read_all(stream)
            assert code in answer
            assert b"connection: close" in answer.lower()
            await stream.aclose()
        with trio.fail_after(DEADLINE_S):
            while node.server.connections:
                await trio.lowlevel.checkpoint()


async def test_a_client_that_goes_on_sending_after_its_refusal_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with serve_fake() as node:
        stream = await connect(node)
        await stream.send_all(b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        assert b"413" in await stream.receive_some(1 << 16)
        with trio.fail_after(DEADLINE_S), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(1 << 16))


async def test_a_pooled_connection_is_not_reused_after_a_body_that_was_refused_unread() -> None:
    async with serve_fake() as node, httpx.AsyncClient(base_url=node.url, trust_env=False) as http:
        for _ in range(50):
            refused = await http.post("/v1/transactions", content=bytes(2 << 20))
            assert refused.status_code == 413
            assert (await http.get("/health")).status_code == 200


async def test_a_body_that_trickles_is_refused_in_time(hasty: None) -> None:
    async with serve_fake() as node:
        stream = await connect(node)
        await stream.send_all(b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        assert b'"REQUEST_TIMEOUT"' in await read_all(stream)


async def test_a_client_that_reads_nothing_is_cut_off(hasty: None) -> None:
    async with serve_fake() as node:
        node.service.waiting = [b"ok" + bytes(8_000) for _ in range(200)]
        node.service.certify()
        stream = await connect(node)
        request = b"GET /v1/blocks/4/transactions?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n"
        await stream.send_all(request)
        with trio.fail_after(DEADLINE_S):
            while node.application.in_flight == 0:
                await trio.lowlevel.checkpoint()
            while node.application.in_flight:
                await trio.testing.wait_all_tasks_blocked(0.02)
        assert len(await read_all(stream)) < 3_200_000


async def test_too_many_connections_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with serve_fake() as node:
        kept = [await connect(node) for _ in range(2)]
        assert await read_all(await connect(node)) == b""
        await kept[0].aclose()
        await kept[1].aclose()
        with trio.fail_after(DEADLINE_S):
            while True:
                try:
                    async with NodeClient(node.url) as client:
                        await client.status()
                    break
                except RemoteError:
                    await trio.lowlevel.checkpoint()


async def test_a_request_in_flight_is_answered_before_the_end() -> None:
    answers: list[httpx.Response] = []
    async with serve_fake() as node:
        node.service.waiting = [b"ok"]

        async def ask() -> None:
            async with httpx.AsyncClient() as http:
                path = f"{node.url}/v1/transactions/{hash_bytes(b'ok').hex()}?wait_ms=9000"
                answers.append(await http.get(path, timeout=DEADLINE_S))

        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                while not node.application.in_flight:
                    await trio.lowlevel.checkpoint()
                node.server.stop()
    assert answers[0].status_code == 503
    assert answers[0].json()["code"] == "SHUTTING_DOWN"


async def test_the_end_cuts_what_does_not_leave(hasty: None) -> None:
    with trio.fail_after(DEADLINE_S):
        async with serve_fake() as node:
            stream = await connect(node)
            await stream.send_all(b"POST /v1/transactions HTTP/1.1\r\nContent-Length: 9\r\n")
    assert await read_all(stream) == b""
