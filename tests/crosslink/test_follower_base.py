"""Starting to follow the beacon in the middle: what proves the base, and that all goes on as for the others."""

from __future__ import annotations

import msgspec
import pytest

from crosslink.conservation import BeaconSummary
from crosslink.follower import BeaconFollower, FollowResult
from crosslink.follower_base import BeaconBase
from crosslink.header import InboxCursor, compute_header_hash
from crosslink.inbox import WHOLE_BLOCK
from primitives.codec import decode, encode
from primitives.errors import RemoteError
from primitives.identifiers import BEACON_SHARD
from tests.crosslink.toy_network import PARAMETERS, ToyNetwork, ToyScheme, certify, make_committee, request

SHARD = 1
BASE = 3


def _run() -> ToyNetwork:
    """Six beacon blocks; in each some shard sends something to another."""
    network = ToyNetwork(3)
    for number in range(6):
        network.step({number % 3: [request((number + 1) % 3)]})
    return network


def _prove(network: ToyNetwork, height: int = BASE) -> BeaconBase:
    block = network.beacon.blocks[height - 1]
    return BeaconBase(
        block.header, certify(block.header, make_committee(BEACON_SHARD)), (), encode(_summary_at(network, height))
    )


def _summary_at(network: ToyNetwork, height: int) -> BeaconSummary:
    """What the beacon said then: the same network, run so far."""
    again = ToyNetwork(3)
    for number in range(height):
        again.step({number % 3: [request((number + 1) % 3)]})
    assert again.beacon.blocks[-1].header == network.beacon.blocks[height - 1].header
    return again.beacon.summarise()


def _start(network: ToyNetwork, height: int = BASE) -> BeaconFollower:
    follower = BeaconFollower(SHARD, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    records = follower.open_base(encode(_prove(network, height)), height)
    assert follower.head.height == 0, "opening a base changes nothing here"
    follower.load(records.items())
    return follower


def test_a_follower_that_starts_at_a_base_sees_what_the_others_see() -> None:
    network = _run()
    old, new = network.shards[SHARD].follower, _start(network)
    assert new.head.height == BASE
    assert new.hash_at(BASE) == old.hash_at(BASE)
    for height in range(BASE + 1, 7):
        assert new.accept(network.beacon.bundle(height, SHARD)) is FollowResult.ADVANCED
    assert new.head == old.head
    for height in range(BASE, 7):
        for shard in range(3):
            known, found = old.view_at(height).tip(shard), new.view_at(height).tip(shard)
            assert (found.height, found.hash, found.incarnation) == (known.height, known.hash, known.incarnation)
            assert (found.beacon_ref_height, found.frozen) == (known.beacon_ref_height, known.frozen)
    behind = InboxCursor(BASE, WHOLE_BLOCK, 0)
    assert list(new.find_items(behind, 6)) == list(old.find_items(behind, 6)) != []


def test_a_base_covers_what_lies_between_it_and_the_head() -> None:
    network = _run()
    follower = _start(network)
    assert [follower.covers(height) for height in (BASE - 1, BASE, BASE + 1)] == [False, True, False]
    follower.accept(network.beacon.bundle(BASE + 1, SHARD))
    assert follower.covers(BASE + 1)


def test_a_base_before_anything_is_registered_has_no_tips() -> None:
    network = ToyNetwork(3)
    network.beacon.make_block()
    block = network.beacon.blocks[0]
    proof = BeaconBase(
        block.header, certify(block.header, make_committee(BEACON_SHARD)), (), encode(network.beacon.summarise())
    )
    follower = BeaconFollower(SHARD, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    follower.load(follower.open_base(encode(proof), 1).items())
    assert follower.view_at(1).tip(0).height == 0
    assert follower.head.hash == compute_header_hash(block.header)


def _refuse(proof: BeaconBase, height: int = BASE) -> str:
    follower = BeaconFollower(SHARD, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    with pytest.raises(RemoteError) as caught:
        follower.open_base(encode(proof), height)
    return caught.value.code


def test_a_lie_about_the_base_is_refused() -> None:
    network = _run()
    good = _prove(network)
    tips = decode(BeaconSummary, good.summary, max_bytes=1 << 16).tips
    forged = msgspec.structs.replace(tips[0], height=99)
    summary = decode(BeaconSummary, good.summary, max_bytes=1 << 16)
    lie = encode(msgspec.structs.replace(summary, tips=(forged, *tips[1:])))
    assert _refuse(msgspec.structs.replace(good, summary=lie)) == "BAD_BODY"
    other = _prove(network, BASE + 1)
    assert _refuse(msgspec.structs.replace(good, certificate=other.certificate)) == "MALFORMED"
    assert _refuse(other) == "UNSOLICITED"
    header = msgspec.structs.replace(good.header, timestamp_ms=7)
    assert _refuse(msgspec.structs.replace(good, header=header)) == "MALFORMED"
    shard_header = network.shards[0].blocks[BASE - 1].header
    shard_proof = BeaconBase(shard_header, certify(shard_header, make_committee(0)), (), b"")
    assert _refuse(shard_proof) == "WRONG_EPOCH"
    strangers = make_committee(BEACON_SHARD, epoch=1)
    assert _refuse(msgspec.structs.replace(good, certificate=certify(good.header, strangers))) == "WRONG_EPOCH"


def test_a_certificate_of_a_descendant_proves_the_base_too() -> None:
    network = _run()
    headers = [block.header for block in network.beacon.blocks]
    certificate = certify(headers[BASE + 1], make_committee(BEACON_SHARD))
    proof = BeaconBase(headers[BASE - 1], certificate, tuple(headers[BASE : BASE + 2]), _prove(network).summary)
    follower = BeaconFollower(SHARD, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    assert follower.open_base(encode(proof), BASE)
    assert _refuse(msgspec.structs.replace(proof, descendants=(headers[BASE + 1],))) == "MALFORMED"
