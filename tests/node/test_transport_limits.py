"""The small bounded machines of the transport: admission, token buckets, queues, the delay line, identities."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.admission import SILENCE_MS, HandshakeSlot, HandshakeSlots
from node.delay_line import DelayLine
from node.framing import FrameBuffer
from node.identity import (
    SeedAddress,
    compute_peer_id,
    derive_key_pair,
    format_peer_id,
    parse_peer_id,
    parse_seed_address,
)
from node.outbound_queue import OutboundQueue, QueueLimits
from node.rate_limit import TokenBucket, Toll
from primitives.errors import LocalError
from primitives.signing import Ed25519Signer

KEY = Ed25519Signer(bytes([3]) * 32).public_key


class House:
    """Slots and the names of those that were evicted."""

    def __init__(self) -> None:
        self.slots = HandshakeSlots(total=4, per_address=2, per_loopback_address=3)
        self.evicted: list[str] = []

    def enter(self, name: str, now_ms: int, *, silent: bool = True, known: bool = False) -> bool:
        """``name`` is address and letter, such as ``10.0.0.1 a``."""
        address = name.split()[0]
        return self.slots.enter(
            HandshakeSlot(address, known, now_ms, lambda: silent, lambda: self.evicted.append(name))
        )


def test_an_address_takes_only_its_share_of_handshakes() -> None:
    house = House()
    assert [house.enter(f"10.0.0.1 {letter}", 0, silent=False) for letter in "abc"] == [True, True, False]
    assert house.enter("10.0.0.2 a", 0)
    assert [house.enter(f"127.0.0.1 {letter}", 0) for letter in "ab"] == [True, False]


def test_the_oldest_silent_connection_makes_room_after_a_moment() -> None:
    house = House()
    house.enter("10.0.0.1 speaks", 0, silent=False)
    house.enter("10.0.0.1 silent", 1)
    assert not house.enter("10.0.0.1 early", SILENCE_MS)
    assert house.enter("10.0.0.1 later", SILENCE_MS + 1, silent=False)
    assert house.evicted == ["10.0.0.1 silent"]
    assert not house.enter("10.0.0.1 last", 10 * SILENCE_MS)


def test_strangers_cannot_fill_the_house_for_members() -> None:
    house = House()
    assert [house.enter(f"10.0.0.{number} a", 0, silent=False) for number in range(6)] == [True] * 4 + [False] * 2
    assert house.enter("10.1.0.1 member", 0, silent=False, known=True)


def test_leaving_makes_room() -> None:
    house = House()
    slot = HandshakeSlot("10.0.0.1", False, 0, lambda: False, lambda: None)
    assert house.slots.enter(slot)
    house.slots.leave(slot)
    house.slots.leave(slot)
    assert len(house.slots) == 0


def test_a_bucket_passes_the_burst_then_the_rate_then_calls_it_abuse() -> None:
    bucket = TokenBucket(rate_per_s=1_000, burst=500, now_ms=0)
    assert bucket.take(0, 500) is Toll.PASS
    assert bucket.take(0, 1) is Toll.DROP
    assert bucket.take(100, 100) is Toll.PASS
    assert bucket.take(100, 400) is Toll.DROP
    assert bucket.take(100, 200) is Toll.ABUSE
    assert bucket.take(1_000, 500) is Toll.PASS


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300)), max_size=100))
@settings(max_examples=100, deadline=None)
def test_a_bucket_never_passes_more_than_burst_and_rate_allow(steps: list[tuple[int, int]]) -> None:
    bucket = TokenBucket(rate_per_s=2_000, burst=700, now_ms=0)
    now_ms = passed = 0
    for elapsed_ms, cost in steps:
        now_ms += elapsed_ms
        if bucket.take(now_ms, cost) is Toll.PASS:
            passed += cost
        assert passed <= 700 + now_ms * 2


@given(st.lists(st.binary(max_size=40), max_size=60), st.booleans(), st.integers(1, 200))
@settings(max_examples=150, deadline=None)
def test_a_queue_keeps_its_bounds_its_order_and_its_count(
    bodies: list[bytes], keeps_newest: bool, take_bytes: int
) -> None:
    queue = OutboundQueue(QueueLimits(max_bytes=200, max_frames=8, keeps_newest=keeps_newest))
    lost = 0
    for number, body in enumerate(bodies):
        lost += queue.put(number, body)
        assert queue.size_bytes <= 200
        assert len(queue) <= 8
    buffer, received, counted = FrameBuffer(1000), [], 0
    while len(queue):
        data, count = queue.take(take_bytes)
        counted += count
        received += buffer.feed(data)
    assert queue.size_bytes == 0
    assert counted == len(received) == len(bodies) - lost
    numbers = [number for number, _ in received]
    assert numbers == sorted(numbers)
    assert all(bodies[number] == body for number, body in received)
    if bodies and keeps_newest:
        assert numbers[-1] == len(bodies) - 1
    if bodies and not keeps_newest:
        assert numbers[0] == 0


def test_a_frame_larger_than_the_queue_is_lost_alone_or_with_what_it_displaced() -> None:
    for keeps_newest, expected_lost in ((True, 2), (False, 1)):
        queue = OutboundQueue(QueueLimits(max_bytes=100, max_frames=8, keeps_newest=keeps_newest))
        queue.put(1, b"small")
        assert queue.put(2, bytes(200)) == expected_lost


def test_the_delay_line_releases_by_time_and_then_by_arrival_and_is_bounded() -> None:
    line: DelayLine[str] = DelayLine(max_bytes=10)
    for due_ms, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b")):
        assert line.push(due_ms, name, 2)
    assert line.next_due_ms == 10
    assert not line.push(1, "too much", 3)
    assert line.pop_due(9) == []
    assert line.pop_due(20) == ["a", "b"]
    assert line.pop_due(100) == ["c", "d"]
    assert line.next_due_ms is None
    assert line.size_bytes == 0


def test_peer_ids_hold_the_key_and_sort_as_keys_do() -> None:
    keys = sorted(Ed25519Signer(bytes([number]) * 32).public_key for number in range(1, 40))
    peer_ids = [compute_peer_id(key) for key in keys]
    assert peer_ids == sorted(peer_ids)
    assert [parse_peer_id(format_peer_id(key)) for key in keys] == keys
    assert derive_key_pair(bytes([3]) * 32).public_key.to_bytes() == KEY


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused_rather_than_replaced_by_chance(length: int) -> None:
    with pytest.raises(LocalError):
        derive_key_pair(bytes(length))


PEER_ID = format_peer_id(KEY)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (f"10.0.0.1:7000/{PEER_ID}", "10.0.0.1", 7000),
        (f"[::1]:7000/{PEER_ID}", "::1", 7000),
        (f"seed.example.org:1/{PEER_ID}", "seed.example.org", 1),
        (f"/ip4/10.0.0.1/tcp/7000/p2p/{PEER_ID}", "10.0.0.1", 7000),
        (f"/ip6/::1/tcp/7000/p2p/{PEER_ID}", "::1", 7000),
        (f"/dns4/seed.example.org/tcp/7000/p2p/{PEER_ID}", "seed.example.org", 7000),
    ],
)
def test_seeds_are_read_in_both_notations(text: str, host: str, port: int) -> None:
    assert parse_seed_address(text) == SeedAddress(host, port, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "10.0.0.1:7000",
        f"10.0.0.1/{PEER_ID}",
        f"10.0.0.1:0/{PEER_ID}",
        f"10.0.0.1:65536/{PEER_ID}",
        f"10.0.0.1:7x/{PEER_ID}",
        "10.0.0.1:7000/12D3KooWnonsense",
        "10.0.0.1:7000/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/10.0.0.1/tcp/7000",
        f"/ip4/10.0.0.1/udp/7000/p2p/{PEER_ID}",
        "/ip4/999.0.0.1/tcp/7000/p2p/x",
    ],
)
def test_anything_else_is_a_local_error_that_names_the_text(text: str) -> None:
    with pytest.raises(LocalError):
        parse_seed_address(text)
