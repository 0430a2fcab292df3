"""Snapshots between a shard and its beacon: starting to follow in the middle, and what pruning leaves to others."""

from __future__ import annotations

import msgspec

from consensus.engine import NULL_PAYLOAD
from crosslink.bundle import decode_bundle
from crosslink.follower import RETAINED_BLOCKS
from crosslink.header import BeaconRef
from node.chain import Chain
from node.events import Outgoing
from node.members import Member
from node.snapshot_maker import BEACON_INTERVAL_BLOCKS, is_due
from node.wire import FrameKind
from primitives.identifiers import BEACON_SHARD
from tests.node.test_beacon_link import Pair

FRESH = 3
SNAPSHOT_BLOCKS = 8


def _pair() -> Pair:
    """A beacon and a shard that trade for a while; one member of the shard has never been there."""
    pair = Pair()
    pair.shard.with_limits(snapshot_blocks=SNAPSHOT_BLOCKS, snapshot_gap_blocks=2 * SNAPSHOT_BLOCKS)
    pair.beacon.start()
    pair.shard.start(0, 1, 2)
    pair.shard.run_until(lambda: min(pair.shard.heights()[:FRESH] + pair.beacon.heights()) >= 1)
    _trade(pair, 36)
    return pair


def _trade(pair: Pair, blocks: int) -> None:
    """Some blocks of the shard, most of them registered and so followed by a beacon block."""
    stop = max(pair.shard.heights()) + blocks
    while max(pair.shard.heights()) < stop:
        pair.trade(3)
    pair.shard.run(1_000)


def _withhold(pair: Pair, up_to: int) -> None:
    """Nobody has beacon blocks up to this height any more."""

    def drop(sender: int, outgoing: Outgoing) -> bool:
        is_ours = outgoing.member == pair.shard.nodes[FRESH].member
        is_bundle = is_ours and outgoing.kind == FrameKind.BEACON_BLOCK
        return is_bundle and decode_bundle(outgoing.body).header.height <= up_to

    pair.beacon.drops = pair.shard.drops = drop


def _join(pair: Pair) -> None:
    pair.shard.run_until(lambda: pair.shard.heights()[FRESH] >= max(pair.shard.heights()) - 1, 60_000)


def test_a_fresh_member_follows_the_beacon_from_a_certified_header_where_older_blocks_are_gone() -> None:
    pair = _pair()
    consumed = Chain(pair.shard.nodes[0].store).get_header(max(pair.shard.heights()) // 8 * 8)
    assert consumed is not None
    withheld = consumed.beacon_ref.height - 2
    assert withheld >= 2
    _withhold(pair, withheld)
    pair.shard.start(FRESH)
    _join(pair)
    assert pair.beacon.frames.get(FrameKind.BASE, 0) >= 1
    node = pair.shard.nodes[FRESH]
    store = Chain(node.store)
    assert store.first_height() >= SNAPSHOT_BLOCKS
    assert store.areas().follower == b"g"
    _trade(pair, 6)
    pair.shard.run_until(lambda: len(set(pair.shard.heights())) == 1)
    pair.shard.run_until(lambda: min(pair.followed()) == max(pair.beacon.heights()))
    assert node.application.values == pair.shard.nodes[0].application.values
    assert node.halted is None
    pair.shard.check_prefixes()


def test_a_lie_about_the_base_only_costs_another_question() -> None:
    pair = _pair()
    header = Chain(pair.shard.nodes[0].store).get_header(max(pair.shard.heights()) // 8 * 8)
    assert header is not None
    _withhold(pair, header.beacon_ref.height - 2)
    withhold = pair.beacon.drops
    lies: list[int] = []

    def lie(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind != FrameKind.BASE or lies:
            return withhold(sender, outgoing)
        lies.append(sender)
        forged = outgoing.body[:-1] + bytes([outgoing.body[-1] ^ 1])
        source = Member(BEACON_SHARD, sender, pair.beacon.committee.members[sender])
        pair.beacon.deliver(source, outgoing.member, FrameKind.BASE, forged)
        return True

    pair.beacon.drops = lie
    pair.shard.start(FRESH)
    _join(pair)
    assert lies
    assert pair.beacon.frames[FrameKind.BASE] >= 2
    assert Chain(pair.shard.nodes[FRESH].store).first_height() >= SNAPSHOT_BLOCKS


def test_a_fresh_beacon_member_joins_and_serves_followers_from_there_on() -> None:
    pair = Pair()
    pair.beacon.with_limits(snapshot_blocks=SNAPSHOT_BLOCKS, snapshot_gap_blocks=2 * SNAPSHOT_BLOCKS)
    pair.beacon.start(0, 1, 2)
    pair.shard.start()
    pair.shard.run_until(lambda: min(pair.shard.heights()) >= 1)
    while max(pair.beacon.heights()) < 26:
        pair.trade(6)
    pair.shard.run(1_500)
    pair.beacon.start(FRESH)
    pair.beacon.run_until(lambda: pair.beacon.heights()[FRESH] >= max(pair.beacon.heights()) - 1, 60_000)
    store = Chain(pair.beacon.nodes[FRESH].store)
    assert store.first_height() >= SNAPSHOT_BLOCKS
    pair.shard.kill(1)
    pair.trade(10)
    # Whoever asks it for blocks from before its time gets nothing from it, and the blocks from the others.
    pair.shard.start(1)
    certified = max(pair.shard.heights())
    pair.shard.run_until(lambda: pair.registered() >= certified, 20_000)
    pair.shard.run_until(lambda: min(pair.followed()) == max(pair.beacon.heights()))
    pair.beacon.check_prefixes()
    first, last = pair.beacon.nodes[0].application, pair.beacon.nodes[FRESH].application
    pair.beacon.run_until(lambda: len(set(pair.beacon.heights())) == 1)
    assert last.summarise() == first.summarise()


def test_the_beacon_keeps_what_its_slowest_shard_has_not_consumed() -> None:
    pair = Pair()
    pair.beacon.with_limits(snapshot_blocks=4, keep_blocks=2)
    pair.shard.with_limits(snapshot_blocks=4, keep_blocks=2)
    pair.boot()
    pair.trade(40)
    pair.shard.run(3_000)
    beacon = pair.beacon.nodes[0]
    height = max(pair.beacon.heights())
    consumed = beacon.application.lowest_followed()
    assert 0 < consumed <= height
    assert consumed < RETAINED_BLOCKS, "so all of its blocks are kept for those who are behind"
    chain = Chain(beacon.store)
    assert [found for found, _ in chain.scan_payloads(1, height)] == list(range(1, height + 1))
    # The shard itself prunes what is registered and below the older snapshot that it offers.
    shard = Chain(pair.shard.nodes[0].store)
    floor = shard.floor_height()
    assert 1 < floor <= beacon.application.registry.tip(0).height
    for number in range(floor, max(pair.shard.heights()) + 1):
        payload = shard.get_payload(number)
        assert payload is not None
        assert payload == NULL_PAYLOAD or shard.get_outbox(number) is not None


def test_a_shard_that_has_registered_nothing_keeps_the_beacon_from_pruning() -> None:
    pair = Pair()
    pair.beacon.start()
    pair.beacon.run_until(lambda: min(pair.beacon.heights()) >= 1)
    assert pair.beacon.nodes[0].application.lowest_followed() == 0


def test_an_idle_shard_gets_snapshots_by_the_beacons_clock() -> None:
    pair = Pair()
    pair.boot()
    header = Chain(pair.shard.nodes[0].store).get_header(1)
    assert header is not None

    def at(height: int, beacon_height: int, parent_beacon_height: int, interval_blocks: int = 100) -> bool:
        reference = BeaconRef(beacon_height, bytes(32))
        made = msgspec.structs.replace(header, height=height, beacon_ref=reference)
        return is_due(made, parent_beacon_height, interval_blocks)

    assert at(200, 5, 5)
    assert not at(201, 5, 5)
    assert at(201, BEACON_INTERVAL_BLOCKS, BEACON_INTERVAL_BLOCKS - 1)
    assert at(201, 2 * BEACON_INTERVAL_BLOCKS + 9, BEACON_INTERVAL_BLOCKS + 1)
    assert not at(201, BEACON_INTERVAL_BLOCKS + 9, BEACON_INTERVAL_BLOCKS + 1)
    assert not at(200, BEACON_INTERVAL_BLOCKS, 5, interval_blocks=0)
