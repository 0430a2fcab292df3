"""Peers that break rules on real sockets: they are closed and counted, and nobody else is hurt."""

from __future__ import annotations

import pytest
import trio
from libp2p.crypto.keys import KeyPair

from node.clock import monotonic_ms
from node.framing import (
    FIRST_TRANSPORT_KIND,
    KIND_ADDRESSES,
    KIND_HELLO,
    KIND_PING,
    MAX_FRAME_BYTES,
    Lane,
    encode_header,
)
from node.identity import compute_peer_id, derive_key_pair
from node.outbound_queue import QueueLimits
from node.transport_channel import HANDSHAKE_BYTES, HandshakeError, RawChannel, Securer
from node.transport_config import InboundLimits
from primitives.codec import encode
from tests.node.transport_harness import (
    MEMBERS,
    ORDERED,
    STRANGER_SEED,
    Network,
    Node,
    NoisePeer,
    is_closed_by_peer,
    make_hello,
    open_network,
    open_socket,
    wait_until,
)

MULTISTREAM = b"\x13/multistream/1.0.0\n"
FAST = {"handshake_timeout_ms": 200}


async def start_target(network: Network, **changes: object) -> tuple[Node, Node]:
    """Members 1 and 2 connected; member 0 is left for the test to impersonate."""
    nodes = [await network.start(index, size=3, **changes) for index in (1, 2)]
    await wait_until(lambda: all(node.transport.connected() for node in nodes))
    return nodes[0], nodes[1]


async def check_unhurt(target: Node, witness: Node) -> None:
    """The link between the two never broke and still carries frames."""
    count = len(target.frames)
    witness.transport.send(target.member, Lane.VOTES, 1, b"still here")
    await wait_until(lambda: len(target.frames) > count)
    assert witness.statistics.closed == {}


SILENT_OR_GARBLED = {
    "silent": b"",
    "garbage": bytes(range(1, 256)) * 4,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "half a multistream": MULTISTREAM[:7],
    "multistream and nothing": MULTISTREAM,
    "a length of 2**62": b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",
    "an endless length": b"\xff" * 64,
    "endless listing": MULTISTREAM + b"\x03ls\n" * 300,
    "plain text protocol": MULTISTREAM + b"\x11/plaintext/2.0.0\n" + bytes(64),
    "no text": b"\x04\xff\xfe\xfd\n",
    "empty noise message": MULTISTREAM + b"\x07/noise\n\x00\x00",
    "half a noise message": MULTISTREAM + b"\x07/noise\n\x00\x20abc",
    "noise of zeros": MULTISTREAM + b"\x07/noise\n\x00\x20" + bytes(32),
    "a huge noise message": MULTISTREAM + b"\x07/noise\n\xff\xff" + b"x" * 65535,
}


@pytest.mark.parametrize("opening", SILENT_OR_GARBLED.values(), ids=SILENT_OR_GARBLED.keys())
async def test_connections_that_are_no_noise_are_closed_and_counted(opening: bytes) -> None:
    async with open_network() as network:
        target, witness = await start_target(network, **FAST)
        refused = sum(target.statistics.refused.values())
        sock = await open_socket(target.port)
        if opening:
            await sock.send(opening)
        assert await is_closed_by_peer(sock)
        await wait_until(lambda: sum(target.statistics.refused.values()) == refused + 1)
        assert target.statistics.handshakes == 0
        await check_unhurt(target, witness)


async def test_a_drip_feeder_is_closed_at_the_handshake_deadline() -> None:
    async with open_network() as network:
        target, witness = await start_target(network, handshake_timeout_ms=300)
        sock = await open_socket(target.port)
        began_ms = monotonic_ms()

        async def wait_while_dripping() -> None:
            for byte in MULTISTREAM * 50:
                try:
                    await sock.send(bytes([byte]))
                except OSError:
                    return
                await trio.sleep(0.03)

        await wait_while_dripping()
        assert monotonic_ms() - began_ms < 1_000
        await wait_until(lambda: target.statistics.refused.get("handshake_timeout") == 1)
        await check_unhurt(target, witness)


async def test_a_handshake_message_that_could_hold_an_rsa_key_is_refused_before_it_is_read() -> None:
    async with open_network() as network:
        target, _ = await start_target(network)
        raw = RawChannel(await open_socket(target.port))
        await raw.write(MULTISTREAM + b"\x07/noise\n")
        await raw.write(b"\x00\x20" + b"e" * 32 + (HANDSHAKE_BYTES + 1).to_bytes(2, "big") + bytes(HANDSHAKE_BYTES))
        await wait_until(lambda: target.statistics.refused.get("handshake_ConnectionClosedError") == 1)


async def test_an_unknown_key_is_refused_before_it_says_anything() -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect(target, STRANGER_SEED)
        await peer.wait_closed()
        assert target.statistics.refused == {"unknown_peer": 1}
        assert peer.raw.bytes_in < HANDSHAKE_BYTES
        await check_unhurt(target, witness)


async def test_a_members_id_with_another_key_is_impossible() -> None:
    """A dialler that presents a member's public key must sign with its private key, which it has not."""
    async with open_network() as network:
        target, witness = await start_target(network)
        victim, thief = derive_key_pair(ORDERED[0][0]), derive_key_pair(STRANGER_SEED)

        class Forged(type(thief.private_key)):  # type: ignore[misc]
            def get_public_key(self) -> object:
                return victim.public_key

        forged = KeyPair(Forged(thief.private_key.impl), victim.public_key)
        raw = RawChannel(await open_socket(target.port))
        channel = await Securer(forged).dial(raw, compute_peer_id(target.member.public_key))
        with pytest.raises(Exception, match=r"closed_by_peer|connection_lost"):
            await channel.receive()
        await wait_until(lambda: target.statistics.refused.get("handshake_InvalidSignature") == 1)
        assert MEMBERS[0] not in target.transport.connected()
        await check_unhurt(target, witness)


async def test_a_listener_with_another_key_is_not_taken_for_the_member_that_was_dialled() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        third = await network.start(2, size=3)
        raw = RawChannel(await open_socket(third.port))
        with pytest.raises(HandshakeError, match="PeerIDMismatchesPubkey"):
            await Securer(derive_key_pair(first.seed)).dial(raw, compute_peer_id(second.member.public_key))


WRONG_HELLOS = {
    "wrong_chain": {"chain": b"\x08" * 32},
    "wrong_version": {"version": 99},
    "wrong_shard": {"shard": 1},
    "wrong_incarnation": {"incarnation": 1},
    "wrong_lane": {"lane": 7},
    "wrong_role": {"role": 9},
}


@pytest.mark.parametrize(("reason", "changes"), WRONG_HELLOS.items(), ids=WRONG_HELLOS.keys())
async def test_a_hello_for_another_network_is_refused(reason: str, changes: dict[str, object]) -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect(target, ORDERED[0][0])
        await peer.say(KIND_HELLO, encode(make_hello(**changes)))
        await peer.wait_closed()
        assert target.statistics.refused == {reason: 1}
        await check_unhurt(target, witness)


NO_HELLOS = {
    "no_hello": encode_header(1, 4) + b"vote",
    "malformed": encode_header(KIND_HELLO, 3) + b"\x93\x01\x02",
    "frame_too_large": encode_header(KIND_HELLO, 300) + bytes(300),
    "empty_frame": bytes(4),
}


@pytest.mark.parametrize(("reason", "data"), NO_HELLOS.items(), ids=NO_HELLOS.keys())
async def test_anything_but_a_hello_first_is_refused(reason: str, data: bytes) -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect(target, ORDERED[0][0])
        await peer.channel.send(data)
        await peer.wait_closed()
        assert target.statistics.refused == {reason: 1}
        assert target.bodies_from(MEMBERS[0]) == []
        await check_unhurt(target, witness)


async def test_frames_hidden_behind_the_hello_are_refused() -> None:
    async with open_network() as network:
        target, _ = await start_target(network)
        peer = await NoisePeer.connect(target, ORDERED[0][0])
        hello = encode(make_hello())
        await peer.channel.send(encode_header(KIND_HELLO, len(hello)) + hello + encode_header(1, 1) + b"x")
        await peer.wait_closed()
        assert target.statistics.refused == {"no_hello": 1}


async def test_a_member_that_authenticates_and_says_nothing_is_closed_at_the_deadline() -> None:
    async with open_network() as network:
        target, _ = await start_target(network, **FAST)
        peer = await NoisePeer.connect(target, ORDERED[0][0])
        await peer.wait_closed()
        assert target.statistics.refused == {"handshake_timeout": 1}


BROKEN_STREAMS = {
    "frame_too_large": encode_header(1, MAX_FRAME_BYTES[Lane.VOTES]),
    "empty_frame": bytes(4),
    "unknown_kind": encode_header(FIRST_TRANSPORT_KIND, 0),
    "malformed": encode_header(KIND_ADDRESSES, 1) + b"\xc1",
}


@pytest.mark.parametrize(("reason", "data"), BROKEN_STREAMS.items(), ids=BROKEN_STREAMS.keys())
async def test_a_member_that_breaks_the_framing_loses_its_link(reason: str, data: bytes) -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await peer.channel.send(data)
        await peer.wait_closed()
        await wait_until(lambda: target.statistics.closed == {reason: 1})
        await check_unhurt(target, witness)


async def test_a_changed_ciphertext_ends_the_link() -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await peer.raw.write(b"\x00\x20" + bytes(32))
        await peer.wait_closed()
        await wait_until(lambda: target.statistics.closed == {"bad_ciphertext": 1})
        await check_unhurt(target, witness)


async def test_empty_noise_messages_end_the_link() -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await peer.say_nothing()
        await peer.wait_closed()
        await wait_until(lambda: target.statistics.closed == {"empty_message": 1})
        await check_unhurt(target, witness)


async def test_frames_that_follow_the_hello_at_once_are_delivered() -> None:
    """The hello and the first frames may arrive in one segment; nothing must wait for a later one."""
    async with open_network() as network:
        target, _ = await start_target(network, ping_interval_ms=60_000)
        peer = await NoisePeer.connect(target, ORDERED[0][0])
        await peer.say_together([(KIND_HELLO, encode(make_hello())), (1, b"first"), (2, b"second")])
        await wait_until(lambda: target.bodies_from(MEMBERS[0]) == [b"first", b"second"])


async def test_half_a_frame_and_then_silence_is_closed() -> None:
    async with open_network() as network:
        target, witness = await start_target(network, ping_interval_ms=80)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await peer.channel.send(encode_header(1, 1000) + b"half")
        await peer.wait_closed()
        await wait_until(lambda: target.statistics.closed == {"silent": 1})
        await check_unhurt(target, witness)


async def test_a_frame_that_never_ends_is_closed_though_bytes_keep_coming() -> None:
    async with open_network() as network:
        target, witness = await start_target(network, frame_timeout_ms=300)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await peer.channel.send(encode_header(1, 100_000))

        async def wait_while_dripping() -> None:
            while not target.statistics.closed:
                try:
                    await peer.channel.send(b".")
                except Exception:
                    return
                await trio.sleep(0.02)

        with trio.fail_after(5):
            await wait_while_dripping()
        await wait_until(lambda: target.statistics.closed == {"partial_frame": 1})
        await check_unhurt(target, witness)


async def test_300_connections_later_a_member_still_connects() -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        for number in range(300):
            sock = await open_socket(target.port)
            await sock.send(b"garbage" if number % 2 else MULTISTREAM)
            sock.close()
        await wait_until(lambda: target.statistics.accepted >= 300)
        await wait_until(lambda: target.statistics.handshakes == 0)
        for seed in [STRANGER_SEED] * 20 + [ORDERED[0][0]]:
            peer = await NoisePeer.connect(target, seed)
        await peer.say(KIND_HELLO, encode(make_hello()))
        assert await peer.channel.receive()
        await check_unhurt(target, witness)


@pytest.mark.parametrize("per_address", [4, 32])
async def test_idle_connections_do_not_keep_a_member_out(per_address: int) -> None:
    async with open_network() as network:
        target = await network.start(1, size=2, handshakes_per_loopback_address=per_address)
        idle = [await open_socket(target.port) for _ in range(40)]
        await wait_until(lambda: target.statistics.accepted == 40)
        assert target.statistics.handshakes <= per_address
        began_ms = monotonic_ms()
        await network.start(0, size=2)
        await wait_until(lambda: target.transport.connected())
        assert monotonic_ms() - began_ms < 900
        assert target.statistics.refused.get("evicted", 0) >= 1
        for sock in idle:
            assert await is_closed_by_peer(sock)


async def test_a_reconnecting_member_replaces_its_old_connection() -> None:
    async with open_network() as network:
        target, witness = await start_target(network)
        old = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        new = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await old.wait_closed()
        await new.say(1, b"after")
        await wait_until(lambda: target.bodies_from(MEMBERS[0]) == [b"after"])
        await wait_until(lambda: target.statistics.closed == {"replaced": 1})
        await check_unhurt(target, witness)


async def test_a_flooder_loses_its_frames_then_its_link_and_nobody_else_does() -> None:
    limits = {lane: InboundLimits(rate_bytes_per_s=10_000, burst_bytes=50_000) for lane in Lane}
    async with open_network() as network:
        target, witness = await start_target(network, inbound_limits=limits)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        burst = (encode_header(1, 100) + b"f" * 100) * 500
        try:
            for _ in range(20):
                await peer.channel.send(burst)
        except Exception as error:
            assert str(error) == "connection_lost"
        await peer.wait_closed()
        await wait_until(lambda: target.statistics.closed == {"flood": 1})
        delivered = len(target.bodies_from(MEMBERS[0]))
        assert 100 <= delivered <= 200
        assert target.statistics.rejected["flood"] >= 100
        await check_unhurt(target, witness)
        again = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        await again.channel.send(burst[: len(burst) // 5])
        await wait_until(lambda: target.statistics.rejected["flood"] >= 200)
        assert len(target.bodies_from(MEMBERS[0])) < delivered + 50


async def test_a_peer_that_stops_reading_is_closed_and_slows_nobody() -> None:
    limits = dict.fromkeys(Lane, QueueLimits(max_bytes=4_000_000, max_frames=1_000, keeps_newest=True))
    async with open_network() as network:
        target, witness = await start_target(
            network, stall_timeout_ms=400, ping_interval_ms=5_000, queue_limits=limits
        )
        deaf = await NoisePeer.connect_greeted(target, ORDERED[0][0], lane=Lane.BULK)

        def send_until_it_is_full() -> bool:
            target.transport.send(MEMBERS[0], Lane.BULK, 1, bytes(1_000_000))
            target.transport.send(witness.member, Lane.BULK, 1, b"small")
            return target.statistics.dropped.get("queue_full", 0) >= 20

        await wait_until(send_until_it_is_full, "a full queue")
        assert 0 < target.statistics.queued_bytes["s0v0/bulk"] <= 4_000_000
        sent = target.statistics.dropped["queue_full"]
        await wait_until(lambda: len(witness.frames) >= sent)
        await wait_until(lambda: target.statistics.closed == {"stalled": 1})
        assert deaf.raw.bytes_in < 1_000
        await check_unhurt(target, witness)


async def test_a_black_hole_is_closed_after_missed_heartbeats() -> None:
    async with open_network() as network:
        target, witness = await start_target(network, ping_interval_ms=60, missed_pings=3)
        peer = await NoisePeer.connect_greeted(target, ORDERED[0][0])
        began_ms = monotonic_ms()
        while monotonic_ms() - began_ms < 400:
            await peer.say(KIND_PING, b"")
            await wait_until(lambda seen=target.statistics.frames_in: target.statistics.frames_in > seen)
        assert target.statistics.closed == {}
        await wait_until(lambda: target.statistics.closed == {"silent": 1})
        await check_unhurt(target, witness)
