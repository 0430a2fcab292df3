"""Bytes from outside give a value or a ``RemoteError``, never anything else; and identities are what they say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crosslink.bundle import decode_bundle
from crosslink.follower import BeaconFollower
from crosslink.hash_ring import HashRing
from crosslink.messages import (
    Purpose,
    RejectReason,
    TransferLock,
    TransferVerdict,
    Verdict,
    compute_xid,
    decode_message,
    encode_message,
)
from crosslink.records import decode_record
from crosslink.summary import (
    AssetSummary,
    PeerSummary,
    ShardSummary,
    compute_summary_root,
    decode_summary,
)
from crosslink.turns import TURN_BEACON_BLOCKS, TURN_PATIENCE_MS, compute_submitter
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import BEACON_SHARD
from tests.crosslink.toy_network import CHAIN, PARAMETERS, ToyNetwork, ToyScheme, address, make_committee, request

NETWORK = ToyNetwork(2)
NETWORK.step({0: [request(1)]})
NETWORK.step()
SUBMISSION = NETWORK.shards[0].build_submission(1)
BUNDLE = NETWORK.beacon.bundle(1, 1)
LEAF = NETWORK.shards[0].blocks[0].leaves[0]
RECORD = NETWORK.beacon.blocks[0].result.outbox[0]
SUMMARY = encode(NETWORK.shards[0].blocks[0].summary)


def decode_submission(data: bytes) -> Any:
    application = NETWORK.beacon.application
    transaction = application.decode(data)
    application.verify(transaction)
    application.admit(transaction, 0)
    return transaction


def accept_bundle(data: bytes) -> Any:
    return BeaconFollower(1, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme()).accept(data)


READERS: tuple[tuple[Callable[[bytes], Any], bytes], ...] = (
    (lambda data: decode_message(data, PARAMETERS.message_bytes), LEAF),
    (decode_record, RECORD),
    (decode_summary, SUMMARY),
    (decode_bundle, BUNDLE),
    (accept_bundle, BUNDLE),
    (decode_submission, SUBMISSION),
)


@settings(max_examples=150, deadline=None)
@given(
    reader=st.integers(0, len(READERS) - 1),
    edits=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 2**16)),
)
def test_damaged_bytes_decode_or_raise_a_remote_error(
    reader: int, edits: list[tuple[int, int]], cut: int | None
) -> None:
    read, good = READERS[reader]
    data = bytearray(good)
    for position, value in edits:
        data[position % len(data)] = value
    with suppress(RemoteError):
        read(bytes(data if cut is None else data[: cut % len(data)]))


@settings(max_examples=100, deadline=None)
@given(reader=st.integers(0, len(READERS) - 1), data=st.binary(max_size=80))
@example(reader=0, data=b"")
@example(reader=5, data=b"\xdd\xff\xff\xff\xff")
def test_garbage_raises_a_remote_error(reader: int, data: bytes) -> None:
    with pytest.raises(RemoteError):
        READERS[reader][0](data)


def test_no_field_of_a_message_can_change_without_changing_its_bytes() -> None:
    lock = TransferLock(CHAIN, 0, 1, 5, address(1), 0, address(2), 0, 0, 100, 30, Purpose.TRANSFER)
    assert decode_message(encode_message(lock), 512) == lock
    with pytest.raises(RemoteError):
        decode_message(encode_message(lock), 16)


def test_a_verdict_names_the_transfer_it_is_about_and_only_a_rejection_has_a_reason() -> None:
    def verdict(xid: bytes, kind: Verdict, reason: RejectReason) -> bytes:
        return encode_message(TransferVerdict(CHAIN, 1, 0, 4, xid, kind, reason, 0, 100))

    xid = compute_xid(CHAIN, 0, 1, 4)
    decode_message(verdict(xid, Verdict.ACCEPTED, RejectReason.NONE), 512)
    for bad in (
        verdict(compute_xid(CHAIN, 1, 0, 4), Verdict.ACCEPTED, RejectReason.NONE),
        verdict(xid, Verdict.ACCEPTED, RejectReason.BLOCKED),
        verdict(xid, Verdict.REJECTED, RejectReason.NONE),
    ):
        with pytest.raises(RemoteError):
            decode_message(bad, 512)


def test_a_transfer_is_named_by_chain_pair_and_sequence() -> None:
    names = {
        compute_xid(chain, source, destination, sequence)
        for chain in (CHAIN, bytes(32))
        for source, destination in ((0, 1), (1, 0), (1, 2))
        for sequence in (0, 1, 256)
    }
    assert len(names) == 18


def test_a_summary_has_one_order_and_kinds_of_records_never_mix() -> None:
    asset, other = (AssetSummary(n, 0, 0, 0, 0, 0, 0, 0, 0, 0) for n in (1, 2))
    peer = PeerSummary(1, 0, 0, 0, 0, ())
    good = ShardSummary((asset, other), (peer,))
    assert decode_summary(encode(good)) == good
    for bad in (ShardSummary((other, asset), ()), ShardSummary((asset, asset), ()), ShardSummary((), (peer, peer))):
        with pytest.raises(RemoteError):
            decode_summary(encode(bad))
    roots = {compute_summary_root(s) for s in (good, ShardSummary((asset,), (peer,)), ShardSummary((), ()))}
    assert len(roots) == 3


def test_every_member_gets_its_turn_when_the_ones_before_are_late() -> None:
    assert [compute_submitter(height, 0, 0, 4) for height in range(5)] == [0, 1, 2, 3, 0]
    by_blocks = [compute_submitter(6, late * TURN_BEACON_BLOCKS, 0, 4) for late in range(4)]
    by_time = [compute_submitter(6, 0, late * TURN_PATIENCE_MS, 4) for late in range(4)]
    assert by_blocks == by_time == [2, 3, 0, 1]


def test_a_ring_knows_the_newest_hashes_and_restores_them() -> None:
    ring, changes = HashRing(b"r/", 4), dict[bytes, bytes | None]()
    for height in range(1, 7):
        ring.put(height, bytes([height]) * 32, changes)
    assert [ring.get(height) is not None for height in range(8)] == [False] * 3 + [True] * 4 + [False]
    twin = HashRing(b"r/", 4)
    for key, value in changes.items():
        assert value is not None
        twin.load(key, value)
    assert [twin.get(height) for height in range(8)] == [ring.get(height) for height in range(8)]
    with pytest.raises(LocalError):
        twin.load(b"r/\x00\x00\x00\x01", (2).to_bytes(8, "big") + bytes(32))
