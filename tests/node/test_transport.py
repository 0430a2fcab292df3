"""Links between honest members: they come about, come back, carry frames, and obey the fault plane."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from node.clock import monotonic_ms
from node.framing import MAX_FRAME_BYTES, Lane
from node.link_faults import PPM, FaultRule
from node.outbound_queue import QueueLimits
from primitives.errors import LocalError, RemoteError
from tests.node.transport_harness import HOST, MEMBERS, Node, open_network, wait_ms, wait_until


def cut(node: Node, *others: Node, lease_ms: int = 60_000) -> None:
    destinations = frozenset((other.member.shard, other.member.index) for other in others)
    node.faults.apply([FaultRule("cut", monotonic_ms() + lease_ms, destinations, cut=True)])


async def test_frames_arrive_whole_in_order_and_from_whom_they_are() -> None:
    async with open_network() as network:
        first, second, third = await network.start_connected(3)
        bodies = [bytes([number % 256]) * (number * 37) for number in range(200)]
        for body in bodies:
            first.transport.send(second.member, Lane.BULK, 5, body)
        third.transport.send(second.member, Lane.VOTES, 6, b"vote")
        await wait_until(lambda: len(second.frames) == 201)
        assert second.bodies_from(first.member) == bodies
        assert (third.member, Lane.VOTES, 6, b"vote") in second.frames


async def test_the_largest_frame_of_each_lane_arrives() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        for lane in Lane:
            body = bytes(range(256)) * (MAX_FRAME_BYTES[lane] // 256)
            first.transport.send(second.member, lane, 1, body[:-1])
            first.transport.send(second.member, lane, 1, body)
        await wait_until(lambda: len(second.frames) == 2)
        assert sorted(len(body) + 1 for body in second.bodies_from(first.member)) == sorted(
            MAX_FRAME_BYTES.values()
        )
        assert first.statistics.dropped["oversize"] == 2


async def test_frames_queued_together_leave_in_one_write() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        writes = first.statistics.writes
        for _ in range(100):
            first.transport.send(second.member, Lane.VOTES, 1, b"x" * 200)
        await wait_until(lambda: len(second.frames) == 100)
        assert first.statistics.writes - writes <= 3


async def test_sending_to_nobody_is_counted_and_harmless() -> None:
    async with open_network() as network:
        first = await network.start(0)
        first.transport.send(MEMBERS[1], Lane.VOTES, 1, b"")
        first.transport.send(MEMBERS[5], Lane.VOTES, 1, b"")
        assert first.statistics.dropped == {"not_connected": 1, "not_a_member": 1}


async def test_a_port_that_is_taken_is_a_local_error() -> None:
    async with open_network() as network:
        first = await network.start(0)
        second = Node(1, MEMBERS[:2], listen_port=first.port)
        with pytest.raises(LocalError, match=f"cannot listen for peers on 127.0.0.1 port {first.port}"):
            await second.transport.run()


async def test_a_restarted_peer_on_a_new_port_is_connected_at_once() -> None:
    async with open_network() as network:
        first, second, _ = await network.start_connected(3)
        for restarted, witness in ((1, first), (0, second)):
            old = network.nodes[restarted]
            await old.transport.aclose()
            await wait_until(lambda old=old, witness=witness: old.member not in witness.transport.connected())
            began_ms = monotonic_ms()
            new = await network.start(restarted, size=3, generation=1)
            assert new.port != old.port
            await wait_until(lambda new=new: len(new.transport.connected()) == 2)
            assert monotonic_ms() - began_ms < 1_000


async def test_members_that_hang_do_not_delay_one_that_answers() -> None:
    """Members 1 to 4 are listeners that accept and say nothing; member 5 answers."""
    async with open_network() as network:
        first = await network.start_alone(0, size=6)
        mute = [trio.socket.socket() for _ in range(4)]
        for sock, member in zip(mute, MEMBERS[1:5], strict=True):
            await sock.bind((HOST, 0))
            sock.listen(64)
            first.transport.set_address(member, HOST, sock.getsockname()[1])
        await wait_until(lambda: first.statistics.refused.get("dial_timeout", 0) >= 8)
        began_ms = monotonic_ms()
        last = await network.start_alone(5, size=6)
        first.transport.set_address(last.member, HOST, last.port)
        await wait_until(lambda: last.transport.connected())
        assert monotonic_ms() - began_ms < 900
        for sock in mute:
            sock.close()


async def test_a_cancelled_sender_does_not_harm_the_connection() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        body = b"z" * (MAX_FRAME_BYTES[Lane.BULK] // 2)
        for number in range(5):
            with trio.move_on_after(0.001) as scope:
                first.transport.send(second.member, Lane.BULK, number, body)
                await trio.sleep_forever()
            assert scope.cancelled_caught
        first.transport.send(second.member, Lane.BULK, 9, b"last")
        await wait_until(lambda: len(second.frames) == 6)
        assert second.bodies_from(first.member) == [body] * 5 + [b"last"]
        assert first.statistics.closed == {}


async def test_heartbeats_keep_idle_links_open() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2, ping_interval_ms=50, missed_pings=3)
        await wait_ms(500)
        assert first.statistics.closed == second.statistics.closed == {}
        assert first.statistics.frames_in >= 8
        assert first.frames == []


async def test_a_frame_the_application_penalises_closes_the_link() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)

        def refuse(*_: object) -> None:
            raise RemoteError("FORGED", "a vote that its sender did not sign", penalise=True)

        second.on_frame = refuse
        first.transport.send(second.member, Lane.VOTES, 1, b"")
        await wait_until(lambda: second.statistics.closed.get("forged") == 1)
        await wait_until(lambda: second.transport.connected() and first.transport.connected())
        assert second.events == ["up s0v0", "down s0v0", "up s0v0"]


async def test_members_that_know_one_seed_find_each_other() -> None:
    """Only member 1's address is told to anybody; signed records bring 0 and 2 together."""
    async with open_network() as network:
        nodes = [await network.start_alone(index, size=3, address_sequence=1) for index in range(3)]
        for index in (0, 2):
            nodes[index].transport.set_address(nodes[1].member, HOST, nodes[1].port)
        await wait_until(lambda: all(len(node.transport.connected()) == 2 for node in nodes))


async def test_both_sides_dialling_at_once_settles_on_one_connection_for_each_lane() -> None:
    async with open_network() as network:
        collisions = 0
        for generation in range(20):
            pair = [await network.start_alone(index, generation=generation, turn_ms=0) for index in range(2)]
            first, second = pair
            first.transport.set_address(second.member, HOST, second.port)
            second.transport.set_address(first.member, HOST, first.port)
            # What is sent while one connection gives way to the other may be lost, so it is sent again.
            await wait_until(lambda pair=pair: exchange(*pair), "an exchange of frames")
            collisions += first.statistics.refused.get("duplicate", 0)
            collisions += sum(node.statistics.closed.get("replaced", 0) for node in pair)
            if generation == 0:
                await wait_ms(100)
                closed = [node.statistics.closed for node in pair]
                await wait_ms(300)
                assert closed == [node.statistics.closed for node in pair]
                assert [node.statistics.links for node in pair] == [2, 2]
            for node in pair:
                await node.transport.aclose()
        assert collisions > 0


def exchange(first: Node, second: Node) -> bool:
    """Send both ways; true once both have heard the other."""
    first.transport.send(second.member, Lane.VOTES, 1, b"")
    second.transport.send(first.member, Lane.VOTES, 1, b"")
    return bool(first.frames and second.frames)


async def test_a_cut_link_goes_silent_closes_and_heals_within_a_second() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2, ping_interval_ms=60)
        cut(first, second)
        cut(second, first)
        first.transport.send(second.member, Lane.VOTES, 1, b"lost")
        await wait_until(lambda: not first.transport.connected() and not second.transport.connected())
        await wait_ms(200)
        assert not first.transport.connected()
        assert second.frames == []
        assert first.statistics.dropped["fault"] >= 1
        assert first.statistics.closed.get("silent", 0) + second.statistics.closed.get("silent", 0) >= 2
        first.faults.clear()
        second.faults.clear()
        healed_ms = monotonic_ms()
        await wait_until(lambda: first.transport.connected() and second.transport.connected())
        assert monotonic_ms() - healed_ms < 1_000


async def test_a_one_way_cut_ends_the_link_at_the_deaf_side() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2, ping_interval_ms=60)
        cut(second, first)
        await wait_until(lambda: first.statistics.closed.get("silent"))
        await wait_until(lambda: second.statistics.refused.get("fault_cut"))
        second.faults.clear()
        await wait_until(lambda: first.transport.connected() and second.transport.connected())


async def test_a_cut_heals_when_its_lease_ends() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2, ping_interval_ms=50)
        cut(first, second, lease_ms=400)
        await wait_until(lambda: not second.transport.connected())
        await wait_until(lambda: second.transport.connected())


async def test_delayed_frames_arrive_late_and_others_overtake_them() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        first.faults.apply([FaultRule("slow", monotonic_ms() + 60_000, kinds=frozenset({1}), delay_ms=150)])
        began_ms = monotonic_ms()
        first.transport.send(second.member, Lane.VOTES, 1, b"slow")
        first.transport.send(second.member, Lane.VOTES, 2, b"fast")
        await wait_until(lambda: len(second.frames) == 2)
        assert second.bodies_from(first.member) == [b"fast", b"slow"]
        assert monotonic_ms() - began_ms >= 150


async def test_duplicates_and_losses_are_made_as_ordered() -> None:
    async with open_network() as network:
        first, second = await network.start_connected(2)
        rules = [
            FaultRule("twice", monotonic_ms() + 60_000, kinds=frozenset({1}), duplicate_ppm=PPM),
            FaultRule("never", monotonic_ms() + 60_000, kinds=frozenset({2}), drop_ppm=PPM),
        ]
        first.faults.apply(rules)
        for kind in (1, 2, 3):
            first.transport.send(second.member, Lane.VOTES, kind, bytes([kind]))
        await wait_until(lambda: len(second.frames) == 3)
        assert second.bodies_from(first.member) == [b"\x01", b"\x01", b"\x03"]
        assert first.statistics.dropped == {"fault": 1}


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_full_queue_loses_the_end_that_its_lane_can_spare(lane: Lane) -> None:
    limits = {
        Lane.VOTES: QueueLimits(max_bytes=1_000_000, max_frames=10, keeps_newest=True),
        Lane.BULK: QueueLimits(max_bytes=1_000_000, max_frames=10, keeps_newest=False),
    }
    async with open_network() as network:
        first, second = await network.start_connected(2, queue_limits=limits)
        for number in range(25):
            first.transport.send(second.member, lane, number, b"")
        await wait_until(lambda: len(second.frames) == 10)
        kinds = [kind for _, _, kind, _ in second.frames]
        assert kinds == (list(range(15, 25)) if lane is Lane.VOTES else list(range(10)))
        assert all(earlier < later for earlier, later in pairwise(kinds))
        assert first.statistics.dropped == {"queue_full": 15}
