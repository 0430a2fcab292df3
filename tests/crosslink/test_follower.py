"""Following the beacon: what is believed, whom to blame, what stops it, and what survives a restart."""

from __future__ import annotations

import msgspec
import pytest

from crosslink.bundle import BeaconBlock, collect_deliveries, decode_bundle, encode_bundle
from crosslink.follower import RETAINED_BLOCKS, BeaconFollower, FollowResult, block_key
from crosslink.header import InboxCursor, compute_header_hash
from crosslink.inbox import WHOLE_BLOCK
from crosslink.records import Registration, decode_record
from crosslink.tips import UNREGISTERED
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import BEACON_SHARD
from primitives.merkle import compute_root
from tests.crosslink.toy_network import (
    PARAMETERS,
    ToyBeacon,
    ToyNetwork,
    ToyScheme,
    certify,
    decode_receipt,
    make_committee,
    request,
)


def make_follower(shard: int) -> BeaconFollower:
    return BeaconFollower(shard, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())


def run_network(steps: int = 3) -> ToyNetwork:
    network = ToyNetwork(3)
    for number in range(steps):
        network.step({0: [request(1), request(2)], 2: [request(1)]} if number == 0 else None)
    return network


def refuse(follower: BeaconFollower, data: bytes) -> str:
    with pytest.raises(RemoteError) as caught:
        follower.accept(data)
    return caught.value.code


def change(data: bytes, **changes: object) -> bytes:
    return encode(msgspec.structs.replace(decode_bundle(data), **changes))


def test_a_follower_takes_blocks_in_order_and_names_gaps() -> None:
    network = run_network()
    follower = make_follower(1)
    assert follower.accept(network.beacon.bundle(2, 1)) is FollowResult.GAP
    for height in (1, 2, 3):
        assert follower.accept(network.beacon.bundle(height, 1)) is FollowResult.ADVANCED
    assert follower.accept(network.beacon.bundle(2, 1)) is FollowResult.KNOWN
    assert follower.accept(network.beacon.bundle(2, 1, signers=(1, 2, 3))) is FollowResult.KNOWN
    assert follower.head.height == 3
    assert follower.head.hash == compute_header_hash(network.beacon.blocks[2].header)
    assert follower.hash_at(1) == compute_header_hash(network.beacon.blocks[0].header)


def test_the_view_is_the_one_of_the_asked_height() -> None:
    network = run_network()
    follower = network.shards[1].follower
    assert follower.view_at(0).tip(0) is UNREGISTERED
    for height in (1, 2, 3):
        tip = follower.view_at(height).tip(0)
        assert (tip.height, tip.registered_at) == (height, height)
        assert tip.hash == compute_header_hash(network.shards[0].blocks[height - 1].header)


def test_messages_queue_by_beacon_height_record_and_leaf() -> None:
    network = run_network(1)
    items = list(network.shards[1].follower.find_items(InboxCursor(0, 0, 0), 1))
    assert [item.cursor for item in items] == [InboxCursor(1, 0, 0), InboxCursor(1, 2, 0)]
    assert [item.message.source for item in items] == [0, 2]
    follower = network.shards[1].follower
    assert list(follower.find_items(InboxCursor(1, 0, 0), 1)) == items[1:]
    assert list(follower.find_items(InboxCursor(1, WHOLE_BLOCK, 0), 9)) == []


def test_bodies_that_the_header_does_not_commit_to_are_the_senders_fault() -> None:
    network = run_network()
    good = network.beacon.bundle(1, 1)
    block = decode_bundle(good)
    follower = make_follower(1)
    assert refuse(follower, change(good, records=block.records[:-1])) == "BAD_BODY"
    assert refuse(follower, change(good, records=block.records[::-1])) == "BAD_BODY"
    assert refuse(follower, change(good, deliveries=())) == "BAD_BODY"
    assert refuse(follower, change(good, deliveries=block.deliveries[::-1])) == "BAD_BODY"
    assert refuse(follower, change(good, deliveries=(*block.deliveries, (b"x",)))) == "BAD_BODY"
    assert refuse(follower, network.beacon.bundle(1, 2)) == "BAD_BODY", "another shard's bundle"
    second = decode_record(block.records[1])
    assert isinstance(second, Registration) and not second.deliveries
    other_tip = encode(msgspec.structs.replace(second, tip_hash=hash_tagged(b"other tip")))
    lie = (block.records[0], other_tip, *block.records[2:])
    assert refuse(follower, change(good, records=lie)) == "BAD_BODY", "a tip that nobody registered"
    assert follower.accept(good) is FollowResult.ADVANCED and follower.stopped is None


def test_certificates_of_strangers_other_committees_and_other_headers_are_refused() -> None:
    network = run_network()
    good = network.beacon.bundle(1, 1)
    header = network.beacon.blocks[0].header
    follower = make_follower(1)
    shard_committee = make_committee(0)
    old = make_committee(BEACON_SHARD, epoch=1)
    assert refuse(follower, change(good, certificate=certify(header, shard_committee))) == "BAD_SIGNATURE"
    assert refuse(follower, change(good, certificate=certify(header, old))) == "WRONG_EPOCH"
    other = certify(network.beacon.blocks[1].header, network.beacon.committee)
    assert refuse(follower, change(good, certificate=other)) == "MALFORMED"
    forged = msgspec.structs.replace(header, shard=0)
    assert refuse(follower, change(good, header=forged)) == "WRONG_SHARD"
    assert refuse(follower, change(good, header=msgspec.structs.replace(header, chain=bytes(32)))) == "WRONG_CHAIN"


def test_a_block_without_a_certificate_of_its_own_is_proved_by_a_descendant() -> None:
    network = run_network()
    headers = [block.header for block in network.beacon.blocks]
    outbox = network.beacon.blocks[0].result.outbox
    deliveries = network.beacon.application.recent_deliveries(1)
    assert deliveries is not None
    proof = certify(headers[2], network.beacon.committee)
    follower = make_follower(1)
    broken = encode_bundle(headers[0], proof, headers[2:3], outbox, deliveries, 1)
    assert refuse(follower, broken) == "MALFORMED"
    assert (
        follower.accept(encode_bundle(headers[0], proof, headers[1:3], outbox, deliveries, 1))
        is FollowResult.ADVANCED
    )


def fork_beacon(network: ToyNetwork, height: int) -> bytes:
    """Another certified beacon block at ``height``."""
    block = network.beacon.blocks[height - 1]
    header = msgspec.structs.replace(block.header, payload_digest=hash_tagged(b"other"))
    certificate = certify(header, network.beacon.committee, (1, 2, 3))
    return change(network.beacon.bundle(height, 1), header=header, certificate=certificate)


def test_two_certified_hashes_at_one_height_stop_the_follower_with_evidence() -> None:
    network = run_network()
    follower = network.shards[1].follower
    fork = fork_beacon(network, 2)
    assert (
        refuse(follower, change(fork, certificate=decode_bundle(network.beacon.bundle(2, 1)).certificate))
        == "MALFORMED"
    )
    assert follower.accept(fork) is FollowResult.STOPPED
    assert follower.stopped is not None and follower.stopped.evidence == (fork,)
    network.beacon.make_block()
    assert follower.accept(network.beacon.bundle(4, 1)) is FollowResult.STOPPED
    assert follower.head.height == 3, "the reference stays where it is"
    assert network.shards[1].make_block().header.beacon_ref.height == 3, "and the shard trades on"


def test_a_certified_block_off_the_followed_chain_stops_the_follower() -> None:
    network = run_network(2)
    follower = make_follower(1)
    follower.accept(fork_beacon(network, 1))
    assert follower.accept(network.beacon.bundle(2, 1)) is FollowResult.STOPPED


def certify_records(beacon: ToyBeacon, records: tuple[bytes, ...]) -> bytes:
    """The next beacon block with records that an honest beacon does not make."""
    last = beacon.blocks[-1].header
    header = msgspec.structs.replace(
        last, height=last.height + 1, parent=compute_header_hash(last), outbox_root=compute_root(records)
    )
    return encode(BeaconBlock(header, certify(header, beacon.committee), (), records, ()))


def test_certified_records_that_break_the_rules_stop_the_follower() -> None:
    for record in (
        b"\xc0",
        encode(Registration(0, 0, 2, 2, bytes(32), 0, ())),  # registered again
        encode(Registration(0, 0, 9, 9, bytes(32), 0, ())),  # a gap
        encode(Registration(0, 0, 4, 3, bytes(32), 0, ())),  # nothing
    ):
        network = run_network()
        follower = network.shards[1].follower
        assert follower.accept(certify_records(network.beacon, (record,))) is FollowResult.STOPPED
        assert follower.stopped is not None and follower.head.height == 3


def test_deliveries_can_be_collected_from_the_store_again() -> None:
    network = ToyNetwork(3)
    for shard in network.shards:
        shard.make_block([request((shard.shard + 1) % 3), request((shard.shard + 2) % 3)])
    submissions = [shard.build_submission(1) for shard in network.shards]
    block = network.beacon.make_block([*submissions, submissions[0]])
    assert {decode_receipt(receipt.encoded).code for receipt in block.result.receipts} == {"OK", "STALE"}
    collected = collect_deliveries(block.result.outbox, submissions, PARAMETERS.submission_bytes)
    assert collected == network.beacon.application.recent_deliveries(1)
    with pytest.raises(LocalError):
        collect_deliveries(block.result.outbox, submissions[1:], PARAMETERS.submission_bytes)


def test_a_restored_follower_knows_the_same() -> None:
    network = run_network(5)
    follower = network.shards[1].follower
    twin = make_follower(1)
    twin.load(reversed(list(follower.take_changes().items())))  # type: ignore[arg-type]
    assert twin.head == follower.head
    start = InboxCursor(0, 0, 0)
    assert list(twin.find_items(start, 9)) == list(follower.find_items(start, 9))
    for height in range(6):
        for shard in range(3):
            assert twin.view_at(height).tip(shard) == follower.view_at(height).tip(shard)


def test_a_stopped_follower_stays_stopped_after_a_restart() -> None:
    network = run_network()
    follower = network.shards[1].follower
    follower.accept(fork_beacon(network, 2))
    twin = make_follower(1)
    twin.load((key, value) for key, value in follower.take_changes().items() if value is not None)
    assert twin.stopped == follower.stopped
    assert twin.accept(network.beacon.bundle(3, 1)) is FollowResult.STOPPED


def test_pruning_forgets_executed_blocks_and_keeps_what_later_ones_need() -> None:
    network = run_network()
    total = RETAINED_BLOCKS + 20
    while network.beacon.height < total:
        network.beacon.make_block()
        network.push(1)
    follower = network.shards[1].follower
    stored = {key: value for key, value in follower.take_changes().items() if value is not None}
    follower.prune(InboxCursor(total - 5, WHOLE_BLOCK, 0), total - 2)
    changes = follower.take_changes()
    for key, value in changes.items():
        if value is None:
            del stored[key]
        else:
            stored[key] = value
    pruned = total - 5 - RETAINED_BLOCKS
    assert block_key(pruned) not in stored and block_key(pruned + 1) in stored
    assert follower.hash_at(pruned) is None
    twin = make_follower(1)
    twin.load(stored.items())
    assert twin.head == follower.head
    for shard in range(3):
        assert twin.view_at(total).tip(shard) == follower.view_at(total).tip(shard)
        assert twin.view_at(pruned + 1).tip(shard) == follower.view_at(pruned + 1).tip(shard)
    follower.prune(InboxCursor(3, 0, 0), total)
    assert not follower.take_changes(), "an unconsumed queue is never pruned"


def test_damaged_records_are_refused() -> None:
    network = run_network()
    stored = dict(network.shards[1].follower.take_changes())
    for broken in (
        {key: value for key, value in stored.items() if key != block_key(2)},
        {**stored, block_key(2): stored[block_key(3)]},
        {**stored, block_key(3): b"\x90"},
    ):
        with pytest.raises(LocalError):
            make_follower(1).load((key, value) for key, value in broken.items() if value is not None)
