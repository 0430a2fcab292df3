"""Transports on loopback for tests: nodes that record what happens to them, and peers that misbehave.

A ``Network`` starts real transports with short timings; ``NoisePeer`` is a bare Noise connection made with any
key, for saying things that no transport of ours would say.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import trio

from node.clock import monotonic_ms
from node.framing import KIND_HELLO, Lane, encode_frame
from node.hello import PROTOCOL_VERSION, Hello
from node.identity import compute_peer_id, derive_key_pair
from node.link_faults import LinkFaults
from node.members import Member
from node.transport import Transport
from node.transport_channel import RawChannel, SecureChannel, Securer
from node.transport_config import TransportConfig, TransportStatistics
from primitives.codec import encode
from primitives.signing import Ed25519Signer

HOST = "127.0.0.1"
CHAIN = b"\x07" * 32
DEADLINE_S = 10
POLL_S = 0.005

SEEDS = [bytes([number]) * 32 for number in range(1, 7)]


def order_members() -> list[tuple[bytes, Member]]:
    """Seeds and members of shard 0 in the order of their keys, so that member 0 dials all others."""
    keyed = sorted((Ed25519Signer(seed).public_key, seed) for seed in SEEDS)
    return [(seed, Member(0, index, key)) for index, (key, seed) in enumerate(keyed)]


ORDERED = order_members()
MEMBERS = [member for _, member in ORDERED]
STRANGER_SEED = b"\xee" * 32


async def wait_until(is_met: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as ``is_met``; fail after a deadline."""
    with trio.move_on_after(DEADLINE_S):
        while not is_met():  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        return
    raise AssertionError(f"{what} did not come about within {DEADLINE_S} s")


async def wait_ms(duration_ms: int) -> None:
    """Let real time pass, for tests that something does *not* happen in it."""
    await trio.sleep(duration_ms / 1000)


def make_config(index: int, **changes: Any) -> TransportConfig:
    """Short timings for member ``index`` of shard 0."""
    config = TransportConfig(
        chain=CHAIN,
        incarnation=0,
        shard=0,
        index=index,
        listen_host=HOST,
        listen_port=0,
        redial_base_ms=20,
        redial_cap_ms=200,
        turn_ms=200,
        cut_poll_ms=20,
    )
    return replace(config, **changes)


class Node:
    """A transport and what it reported."""

    def __init__(self, index: int, members: list[Member], generation: int = 0, **changes: Any) -> None:
        self.seed, self.member = ORDERED[index]
        self.frames: list[tuple[Member, Lane, int, bytes]] = []
        self.events: list[str] = []
        self.port = 0
        self.on_frame: Callable[[Member, Lane, int, bytes], None] = self._record
        self.faults = LinkFaults(Random(index))
        self.transport = Transport(
            make_config(index, **changes),
            self.seed,
            members,
            members,
            on_frame=lambda *frame: self.on_frame(*frame),
            on_connected=lambda member: self.events.append(f"up {member.name}"),
            on_disconnected=lambda member: self.events.append(f"down {member.name}"),
            clock=monotonic_ms,
            rng=Random(1000 * generation + index),
            faults=self.faults,
        )

    def _record(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        self.frames.append((member, lane, kind, body))

    @property
    def statistics(self) -> TransportStatistics:
        return self.transport.statistics()

    def bodies_from(self, member: Member) -> list[bytes]:
        return [body for sender, _, _, body in self.frames if sender == member]


class Network:
    """Nodes that know each other's addresses."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.nodes: dict[int, Node] = {}

    async def start_alone(self, index: int, *, size: int = 2, generation: int = 0, **changes: Any) -> Node:
        """Start member ``index`` of ``size``, which nobody is told of."""
        node = Node(index, MEMBERS[:size], generation, **changes)
        node.port = await self._nursery.start(node.transport.run)
        self.nodes[index] = node
        return node

    async def start(self, index: int, *, size: int = 2, generation: int = 0, **changes: Any) -> Node:
        """Start member ``index`` of ``size`` and tell everybody where it listens."""
        node = await self.start_alone(index, size=size, generation=generation, **changes)
        for other in self.nodes.values():
            other.transport.set_address(node.member, HOST, node.port)
            node.transport.set_address(other.member, HOST, other.port)
        return node

    async def start_connected(self, size: int, **changes: Any) -> list[Node]:
        """Start ``size`` members and wait until all are connected."""
        nodes = [await self.start(index, size=size, **changes) for index in range(size)]
        await wait_until(lambda: all(len(node.transport.connected()) == size - 1 for node in nodes), "links")
        return nodes


@asynccontextmanager
async def open_network() -> AsyncIterator[Network]:
    """A network that is closed at the end."""
    async with trio.open_nursery() as nursery:
        network = Network(nursery)
        yield network
        for node in network.nodes.values():
            await node.transport.aclose()
        nursery.cancel_scope.cancel()


async def open_socket(port: int) -> trio.socket.SocketType:
    """A bare TCP connection, which the other side may already have reset."""
    sock = trio.socket.socket(socket.AF_INET)
    with contextlib.suppress(ConnectionResetError):
        await sock.connect((HOST, port))
    return sock


async def is_closed_by_peer(sock: trio.socket.SocketType) -> bool:
    """Read until the other side closes; false if it does not within the deadline."""
    with trio.move_on_after(DEADLINE_S):
        try:
            while await sock.recv(65536):
                pass
        except OSError:
            pass
        return True
    return False


def make_hello(**changes: Any) -> Hello:
    """The hello of an honest member of shard 0, changed."""
    fields = {
        "chain": CHAIN,
        "incarnation": 0,
        "shard": 0,
        "version": PROTOCOL_VERSION,
        "lane": Lane.VOTES,
        "role": 0,
        "boot": 1,
    }
    return Hello(**{**fields, **changes})


class NoisePeer:
    """The dialling end of a Noise connection that says whatever the test wants."""

    def __init__(self, raw: RawChannel, channel: SecureChannel) -> None:
        self.raw = raw
        self.channel = channel

    @classmethod
    async def connect(cls, node: Node, seed: bytes) -> NoisePeer:
        raw = RawChannel(await open_socket(node.port))
        securer = Securer(derive_key_pair(seed))
        return cls(raw, await securer.dial(raw, compute_peer_id(node.member.public_key)))

    @classmethod
    async def connect_greeted(cls, node: Node, seed: bytes, **changes: Any) -> NoisePeer:
        """Connected as a member that has exchanged hellos."""
        peer = await cls.connect(node, seed)
        await peer.say(KIND_HELLO, encode(make_hello(**changes)))
        await peer.channel.receive()
        return peer

    async def say(self, kind: int, body: bytes) -> None:
        await self.channel.send(encode_frame(kind, body))

    async def say_together(self, frames: list[tuple[int, bytes]]) -> None:
        """Each frame in a Noise message of its own, all of them in one segment."""
        sealed = [self.channel._seal(encode_frame(kind, body)) for kind, body in frames]
        await self.raw.send_all(b"".join(sealed))

    async def say_nothing(self) -> None:
        """A Noise message without content."""
        message = self.channel._cipher.encrypt(b"")
        await self.raw.send_all(len(message).to_bytes(2, "big") + message)

    async def wait_closed(self) -> None:
        """Read until the connection ends; fail after a deadline."""
        with trio.fail_after(DEADLINE_S):
            try:
                while True:
                    await self.channel.receive()
            except Exception:
                return
