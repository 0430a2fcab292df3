"""Strangers at the p2p port of a real validator: refused, counted in its metrics, and its shard goes on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from node.client import NodeClient
from node.framing import KIND_HELLO, Lane, encode_frame
from node.hello import PROTOCOL_VERSION, Hello
from node.identity import compute_peer_id, derive_key_pair
from node.process_file import read_process_file
from node.transport_channel import RawChannel, SecureChannel, Securer
from primitives.codec import encode
from testnet.keys import derive_validator_seed
from tests.integration.live_network import (
    PROGRESS_DEADLINE_S,
    LiveNetwork,
    certify,
    open_traders,
    read_metric,
    wait_true,
)

pytestmark = pytest.mark.process
TARGET = "s0v1"
HOST = "127.0.0.1"
STRANGER_SEED = b"\xee" * 32
MULTISTREAM = b"\x13/multistream/1.0.0\n"
PLAINTEXTS = {
    "garbage": bytes(range(1, 256)) * 64,
    "a web browser": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "half a multistream header": MULTISTREAM[:9],
    "libp2p in plain text": MULTISTREAM + b"\x11/plaintext/2.0.0\n" + bytes(64),
    "half a Noise message": MULTISTREAM + b"\x07/noise\n\x00\x20abc",
    "Noise of zeros": MULTISTREAM + b"\x07/noise\n\x00\x20" + bytes(32),
    "a length without an end": b"\xff" * 64,
}
FLOOD = 300


async def count_refused(client: NodeClient, **labels: str) -> float:
    """``rialto_transport_refused``, summed over reasons unless ``key`` names one."""
    return read_metric(await client.metrics(), "rialto_transport_refused", **labels)


@asynccontextmanager
async def observe(live: LiveNetwork, at_least: int, **labels: str) -> AsyncIterator[int]:
    """Give the p2p port; afterwards so many more refusals were counted, no link was lost, and the target's shard
    certifies what the target is sent."""
    port = read_process_file(live.home(TARGET)).p2p_port
    async with live.client(TARGET) as client:
        (payer,) = await open_traders(live.network, client, 0, 1)
        before = await count_refused(client, **labels)
        links = (await client.status())["peers"]
        yield port

        async def is_counted() -> bool:
            return await count_refused(client, **labels) >= before + at_least

        await wait_true(is_counted, f"{at_least} more refusals {labels}")
        assert (await certify(client, payer.pay())).code == "OK"
        assert (await client.status())["peers"] == links, "nobody lost a link"
        assert (await client.status())["alarms"] == []


async def wait_closed(stream: trio.SocketStream) -> None:
    """Read until the node ends the connection."""
    with trio.fail_after(PROGRESS_DEADLINE_S):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return


async def test_what_does_not_speak_noise_is_closed_and_counted(live: LiveNetwork) -> None:
    async with observe(live, len(PLAINTEXTS)) as port, trio.open_nursery() as nursery:
        for opening in PLAINTEXTS.values():
            nursery.start_soon(say_and_wait, port, opening)


async def say_and_wait(port: int, opening: bytes) -> None:
    """Connect, speak, wait for the end; the node may end it at any of these."""
    try:
        stream = await trio.open_tcp_stream(HOST, port)
    except OSError:
        return
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(opening)
            await wait_closed(stream)


async def test_a_flood_of_connections_does_not_stop_the_shard(live: LiveNetwork) -> None:
    async with observe(live, FLOOD // 2) as port, trio.open_nursery() as nursery:
        for _ in range(FLOOD):
            nursery.start_soon(say_and_wait, port, b"")


async def connect_secured(live: LiveNetwork, port: int, seed: bytes) -> SecureChannel:
    """A Noise connection to the target with the key of ``seed``."""
    sock = trio.socket.socket()
    await sock.connect((HOST, port))
    target = live.network.genesis.committee_of(0)[live.network.member(TARGET).index]
    return await Securer(derive_key_pair(seed)).dial(RawChannel(sock), compute_peer_id(target))


async def wait_refused(channel: SecureChannel) -> None:
    """Read until the node ends the connection."""
    with trio.fail_after(PROGRESS_DEADLINE_S):
        try:
            while True:
                await channel.receive()
        except Exception:
            return


async def test_a_key_that_the_genesis_does_not_name_is_refused(live: LiveNetwork) -> None:
    async with observe(live, 1, key="unknown_peer") as port:
        await wait_refused(await connect_secured(live, port, STRANGER_SEED))


def change_chain(live: LiveNetwork) -> bytes:
    return encode_frame(KIND_HELLO, encode(make_hello(bytes(32))))


def make_hello(chain: bytes) -> Hello:
    return Hello(chain, 0, 0, PROTOCOL_VERSION, Lane.VOTES, 0, 1)


OPENINGS: dict[str, tuple[str, Callable[[LiveNetwork], bytes]]] = {
    "another chain": ("wrong_chain", change_chain),
    "no hello": ("no_hello", lambda live: encode_frame(KIND_HELLO + 1, b"x")),
    "half a frame": ("", lambda live: encode_frame(KIND_HELLO, encode(make_hello(live.network.chain)))[:-5]),
}


@pytest.mark.parametrize(("reason", "make"), OPENINGS.values(), ids=OPENINGS.keys())
async def test_a_member_that_greets_wrongly_is_refused(
    live: LiveNetwork, reason: str, make: Callable[[LiveNetwork], bytes]
) -> None:
    labels = {"key": reason} if reason else {}
    async with observe(live, 1, **labels) as port:
        seed = derive_validator_seed(live.network.seed, 0, 3)
        channel = await connect_secured(live, port, seed)
        await channel.send(make(live))
        await wait_refused(channel)
