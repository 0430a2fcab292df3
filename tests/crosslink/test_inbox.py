"""The forced inbox: what a block consumes follows from the chain alone; and when the crosslinks want a block."""

from __future__ import annotations

from dataclasses import replace

from crosslink.block import Readiness
from crosslink.header import START_CURSOR, InboxCursor
from crosslink.header_rules import order_cursor
from crosslink.inbox import LOCK_WEIGHT, WHOLE_BLOCK, assess_readiness, derive_inbox
from crosslink.messages import Purpose
from tests.crosslink.toy_network import PARAMETERS, USD, ToyNetwork, address, request


def flood(network: ToyNetwork, count: int) -> None:
    """Fill the channel 0 → 1 with ``count`` locks in one registered block."""
    shard = network.shards[0]
    for owner in range(10, 10 + count):
        shard.ledger.cash[address(owner), 0, USD] = 1_000
        shard.ledger.minted[USD] += 1_000
    wanted = [request(1, owner=10 + n, purpose=Purpose.TOP_UP) for n in range(count)]
    assert shard.make_block(wanted).codes == ("OK",) * count
    network.beacon.make_block([shard.build_submission(1)])
    network.push(1)


def test_an_inbox_flood_is_consumed_by_weight_over_blocks_in_order_without_omission() -> None:
    network = ToyNetwork(2)
    count = PARAMETERS.channel_window
    flood(network, count)
    per_block = PARAMETERS.inbox_weight // LOCK_WEIGHT
    follower, cursor, seen, cursors = network.shards[1].follower, START_CURSOR, [], []
    for _ in range(count // per_block + 1):
        intake = derive_inbox(follower, cursor, 1, PARAMETERS)
        assert len(intake.items) <= per_block
        seen += [item.message.sequence for item in intake.items]
        cursor = intake.cursor
        cursors.append(order_cursor(cursor))
    assert seen == list(range(count))
    assert cursors == sorted(cursors) and cursor == InboxCursor(1, WHOLE_BLOCK, 0)
    assert derive_inbox(follower, cursor, 1, PARAMETERS).items == ()


def test_every_replica_derives_the_same_from_the_same_chain() -> None:
    network = ToyNetwork(3)
    network.step({0: [request(2)], 1: [request(2), request(0)]})
    network.step()
    follower = network.shards[2].follower
    first = derive_inbox(follower, START_CURSOR, 1, PARAMETERS)
    network.step()
    assert derive_inbox(follower, START_CURSOR, 1, PARAMETERS) == first, "later blocks change nothing"


def test_nothing_is_consumed_beyond_the_effective_reference() -> None:
    network = ToyNetwork(2)
    network.step({0: [request(1)]})
    assert derive_inbox(network.shards[1].follower, START_CURSOR, 0, PARAMETERS).items == ()
    assert derive_inbox(network.shards[1].follower, START_CURSOR, 0, PARAMETERS).cursor == START_CURSOR


def test_a_message_heavier_than_the_limit_is_still_consumed() -> None:
    network = ToyNetwork(2)
    flood(network, 3)
    narrow = replace(PARAMETERS, inbox_weight=1)
    intake = derive_inbox(network.shards[1].follower, START_CURSOR, 1, narrow)
    assert [item.message.sequence for item in intake.items] == [0]


def test_locks_consumed_by_one_block_never_fill_more_than_one_outbox() -> None:
    network = ToyNetwork(2)
    flood(network, 20)
    narrow = replace(PARAMETERS, messages_per_beacon_block=8, inbox_weight=4_096)
    intake = derive_inbox(network.shards[1].follower, START_CURSOR, 1, narrow)
    assert len(intake.items) == 4


def test_messages_are_work_registrations_alone_are_not() -> None:
    network = ToyNetwork(3)
    network.step({0: [request(1)]})

    def ready(shard: int) -> Readiness:
        toy = network.shards[shard]
        due = toy.machine.is_release_due(toy.follower.view_at(toy.follower.head.height))
        return assess_readiness(toy.follower, toy.cursor, toy.reference.height, due, PARAMETERS)

    assert (ready(0), ready(1), ready(2)) == (Readiness.IDLE, Readiness.PENDING, Readiness.IDLE)
    network.shards[1].make_block()
    assert ready(1) is Readiness.IDLE
    data = network.submit(1)
    assert data is not None
    network.beacon.make_block([data])
    network.push(0)
    network.push(1)
    assert ready(0) is Readiness.PENDING, "a verdict waits"
    assert ready(1) is Readiness.PENDING, "a pending credit can be freed"


def test_a_reference_that_is_held_back_becomes_work_and_then_a_complaint() -> None:
    network = ToyNetwork(2)
    network.step()
    levels = []
    for _ in range(PARAMETERS.stall_after_blocks // 2 + 1):
        network.beacon.make_block()
        network.push(0)
        toy = network.shards[0]
        levels.append(assess_readiness(toy.follower, toy.cursor, toy.reference.height, False, PARAMETERS))
    third = PARAMETERS.stall_after_blocks // 3
    # After one step the reference is 0 and the head 1, so the first entry trails by 2.
    assert levels[third - 3] is Readiness.IDLE
    assert levels[third - 2] is Readiness.PENDING
    assert levels[-1] is Readiness.OVERDUE
    network.shards[0].make_block()
    toy = network.shards[0]
    assert assess_readiness(toy.follower, toy.cursor, toy.reference.height, False, PARAMETERS) is Readiness.IDLE


def test_one_block_advances_the_reference_by_at_most_the_step() -> None:
    narrow = replace(PARAMETERS, beacon_ref_step_blocks=4)
    network = ToyNetwork(2, narrow)
    for _ in range(10):
        network.beacon.make_block()
    network.push(0)
    heights = [network.shards[0].make_block().header.beacon_ref.height for _ in range(3)]
    assert heights == [4, 8, 10]
    assert network.beacon.make_block([network.shards[0].build_submission(1)]).codes == ("OK",)
