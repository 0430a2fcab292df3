"""Joining by snapshot: who is far behind, or finds everything pruned, gets the state from peers and goes on alike.

Liars, silence, crashes at every moment of the download and of the installation, and what stays true through them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from consensus.certificate import Certificate, attest
from consensus.engine import NULL_PAYLOAD, load_engine_factory
from crosslink.header import ShardHeader, compute_header_hash
from node.chain import Chain
from node.events import Outgoing
from node.memory_store import MemoryStore, MemoryVoteLog
from node.payload import decode_payload
from node.snapshot import CHUNK_BURST_BYTES
from node.snapshot_download import STUCK_MS, JoinPhase
from node.snapshot_format import verify_manifest
from node.snapshot_frames import (
    CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    ChunkRequest,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffer,
    SnapshotOffers,
)
from node.wire import FrameKind, Status, decode_frame
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenSigner, make_signers
from tests.node.replica_cluster import FAST_LIMITS, Cluster, Node
from tests.node.toy_application import make_transaction

LIMITS = replace(FAST_LIMITS, snapshot_blocks=8, snapshot_gap_blocks=12, snapshot_timeout_ms=500)
PRUNING = replace(LIMITS, keep_blocks=4)
FRESH = 3


def _grow(cluster: Cluster, blocks: int, value: bytes = b"v") -> None:
    """So many more certified blocks, each with a record of its own."""
    stop, until_ms = max(cluster.heights()) + blocks, cluster.now_ms + 60_000
    while max(cluster.heights()) < stop:
        assert cluster.now_ms < until_ms, cluster.describe()
        key = b"key %d" % cluster.now_ms
        data = make_transaction(TokenSigner(f"grow {cluster.now_ms % 7}"), cluster.now_ms, key, value)
        living = [node.index for node in cluster.nodes if node.replica is not None]
        cluster.submit(living[cluster.now_ms % len(living)], data)
        cluster.run(53)


def _make(limits: Any = LIMITS, blocks: int = 28, size: int = 4) -> Cluster:
    """A cluster whose last member has been away for so long."""
    cluster = Cluster(size, limits=limits)
    cluster.boot()
    cluster.kill(FRESH)
    _grow(cluster, blocks)
    cluster.run(2_000)
    return cluster


def _renew(node: Node) -> None:
    """Both databases are gone."""
    node.store, node.log = MemoryStore(), MemoryVoteLog()


def _join(cluster: Cluster, within_ms: int = 30_000) -> None:
    behind = max(cluster.heights())
    cluster.run_until(lambda: cluster.heights()[FRESH] >= behind, within_ms)


def _verify_same(cluster: Cluster) -> None:
    """All members go on alike: the same values, the same headers, nobody halted or alarmed."""
    _grow(cluster, 5)
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 10_000)
    first = cluster.nodes[0]
    for node in cluster.nodes:
        assert node.application.values == first.application.values
        assert node.halted is None
        assert [alarm for alarm in node.alarms if not alarm.startswith("abstains")] == []
    cluster.check_prefixes()


def _offered(cluster: Cluster, index: int) -> int:
    return int(cluster.statistics(index).snapshot.offered)


# --- making ------------------------------------------------------------------------------------------------


def test_members_offer_the_same_snapshots_at_certified_heights_and_keep_two() -> None:
    cluster = Cluster(limits=LIMITS)
    cluster.boot()
    _grow(cluster, 34)
    cluster.run(2_000)
    for node in cluster.nodes:
        assert sorted(key[1:] for key, _ in node.store.scan(b"k", b"l")) == [
            height.to_bytes(8, "big") for height in (24, 32)
        ]
        assert {key[1:9] for key, _ in node.store.scan(b"n", b"o")} == {
            height.to_bytes(8, "big") for height in (24, 32)
        }
    manifests = [_read_manifest(cluster, index) for index in range(4)]
    assert len({manifest.bucket_hashes for manifest in manifests}) == 1
    assert manifests[0].header == Chain(cluster.nodes[1].store).get_header(32)


def _read_manifest(cluster: Cluster, index: int) -> SnapshotManifest:
    ((_, data),) = list(cluster.nodes[index].store.scan(b"k", b"l"))[-1:]
    manifest = decode_frame(FrameKind.MANIFEST, data)
    assert isinstance(manifest, SnapshotManifest)
    return manifest


def test_a_crash_gives_up_what_was_being_made_and_leaves_no_litter() -> None:
    cluster = Cluster(limits=LIMITS)
    cluster.boot()
    rng = Random(5)
    for turn in range(6):
        _grow(cluster, 8 - max(cluster.heights()) % 8)
        cluster.run(rng.randint(0, 60))
        cluster.kill(turn % 4, rng)
        cluster.start(turn % 4)
        cluster.run_until(lambda: len(set(cluster.heights())) == 1)
    cluster.run(3_000)
    for node in cluster.nodes:
        offered = {key[1:] for key, _ in node.store.scan(b"k", b"l")}
        assert {key[1:9] for key, _ in node.store.scan(b"n", b"o")} == offered
    _verify_same(cluster)


# --- joining -----------------------------------------------------------------------------------------------


def test_a_member_that_was_away_for_long_takes_a_snapshot_and_ranges() -> None:
    cluster = _make()
    executed = cluster.nodes[0].application
    cluster.start(FRESH)
    _join(cluster)
    node = cluster.nodes[FRESH]
    assert node.reopened == 1
    assert cluster.statistics(FRESH).executed_blocks < 10
    assert node.application.values == executed.values
    assert Chain(node.store).first_height() == 24
    _verify_same(cluster)


def test_a_fresh_member_joins_while_the_others_trade() -> None:
    cluster = _make()
    _renew(cluster.nodes[FRESH])
    cluster.start(FRESH)
    _grow(cluster, 10)
    _join(cluster)
    assert Chain(cluster.nodes[FRESH].store).first_height() >= 24
    _verify_same(cluster)


def test_a_small_gap_is_closed_by_ranges_alone() -> None:
    cluster = _make(blocks=10)
    cluster.start(FRESH)
    _join(cluster)
    assert cluster.nodes[FRESH].reopened == 0
    assert FrameKind.MANIFEST not in cluster.frames


def test_what_everybody_has_pruned_is_replaced_by_a_snapshot_however_small_the_gap() -> None:
    cluster = _make(replace(PRUNING, snapshot_gap_blocks=0), blocks=28)
    assert all(cluster.statistics(index).snapshot.floor_height > 8 for index in range(3))
    cluster.start(FRESH)
    _join(cluster)
    assert cluster.nodes[FRESH].reopened == 1
    _verify_same(cluster)


def test_who_still_has_the_blocks_is_asked_before_a_snapshot_is_taken() -> None:
    cluster = Cluster(limits=replace(LIMITS, snapshot_gap_blocks=0))
    cluster.start(0)
    cluster.with_limits(keep_blocks=PRUNING.keep_blocks or 0)
    cluster.start(1, 2)
    _grow(cluster, 28)
    cluster.run(2_000)
    assert cluster.statistics(1).snapshot.floor_height > 8
    assert cluster.statistics(0).snapshot.floor_height == 1
    cluster.start(FRESH)
    _join(cluster)
    assert cluster.nodes[FRESH].reopened == 0
    _verify_same(cluster)


def test_the_joined_member_votes_and_the_committee_needs_it() -> None:
    cluster = _make()
    node = cluster.nodes[FRESH]
    _renew(node)
    cluster.start(FRESH)
    _join(cluster)
    while node.replica is not None and node.replica.standing[0] != "voting":
        _grow(cluster, 5)
    cluster.kill(0)
    before = cluster.heights()[FRESH]
    _grow(cluster, 5)
    assert cluster.heights()[FRESH] >= before + 5
    cluster.start(0)
    _verify_same(cluster)


@pytest.mark.parametrize("engine", ["pbft", "tendermint", "hotstuff"])
def test_every_engine_goes_on_from_a_certificate_far_above_its_records(engine: str) -> None:
    """It had voted, was away, jumped, and is then needed for the quorum."""
    cluster = Cluster(limits=LIMITS, factory=load_engine_factory(engine))
    cluster.boot()
    _grow(cluster, 4)
    cluster.kill(FRESH)
    _grow(cluster, 28)
    cluster.run(2_000)
    cluster.start(FRESH)
    _join(cluster)
    assert cluster.nodes[FRESH].reopened == 1
    cluster.kill(0)
    _grow(cluster, 6)
    cluster.start(0)
    _verify_same(cluster)


def test_a_joined_member_serves_snapshots_and_ranges_to_the_next() -> None:
    cluster = _make()
    _renew(cluster.nodes[FRESH])
    cluster.start(FRESH)
    _join(cluster)
    _grow(cluster, 20)
    cluster.run(2_000)
    assert _offered(cluster, FRESH) > 32
    cluster.kill(1)
    _renew(cluster.nodes[1])
    cluster.drops = lambda sender, outgoing: (
        sender in (0, 2) and outgoing.kind in (FrameKind.MANIFEST, FrameKind.CHUNK, FrameKind.RANGE)
    )
    cluster.start(1)
    cluster.run_until(lambda: cluster.heights()[1] >= max(cluster.heights()) - 1, 60_000)
    assert Chain(cluster.nodes[1].store).first_height() > 24
    cluster.drops = lambda sender, outgoing: False
    _verify_same(cluster)


def test_a_batch_that_was_executed_before_the_snapshot_is_still_skipped_after_it() -> None:
    """The dedup window travels with the state: the same batch must not run again at the joined member only."""
    cluster = _make()
    cluster.start(FRESH)
    _join(cluster)
    node, peer = cluster.nodes[FRESH], cluster.nodes[0]
    chain = Chain(peer.store)
    payload = chain.get_payload(20)
    assert payload not in (None, NULL_PAYLOAD)
    (reference, *_) = decode_payload(payload or b"").batches
    frame = chain.get_body(reference.digest)
    assert frame is not None
    assert Chain(node.store).get_body(reference.digest) is None
    assert any(reference.digest in key for key, _ in Chain(node.store).state_records())
    for sender in (0, 1, 2):
        cluster.deliver(cluster.nodes[sender].member, node.member, FrameKind.BATCH, frame)
    cluster.run(20)
    assert cluster.statistics(FRESH).batches.batches == 0, "nobody can fill its payloads with what was executed"
    _verify_same(cluster)


# --- hostile peers -----------------------------------------------------------------------------------------


def _forge(cluster: Cluster, kind: FrameKind, forge: Callable[[Any], Any], liars: list[int]) -> list[int]:
    """Whoever sends the first frame of this kind to the fresh member lies from then on; returns how often, by one
    entry each."""
    told: list[int] = []

    def lie(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind != kind or outgoing.member.index != FRESH or sender not in (liars or [sender]):
            return False
        liars[:] = [sender]
        message = forge(decode_frame(kind, outgoing.body))
        told.append(sender)
        if message is not None:
            body = message if isinstance(message, bytes) else encode(message)
            cluster.deliver(cluster.nodes[sender].member, outgoing.member, kind, body)
        return True

    cluster.drops = lie
    return told


def _lie_value(chunk: SnapshotChunk) -> SnapshotChunk:
    """One value of one record is another."""
    buckets = list(chunk.buckets)
    place = next(index for index, entries in enumerate(buckets) if entries)
    (key, value), *rest = buckets[place]
    buckets[place] = ((key, value + b"!"), *rest)
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, tuple(buckets), chunk.is_cut)


def _lie_omission(chunk: SnapshotChunk) -> SnapshotChunk:
    buckets = tuple([entries[1:] for entries in chunk.buckets])
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, buckets, chunk.is_cut)


def _lie_addition(chunk: SnapshotChunk) -> SnapshotChunk:
    buckets = (*chunk.buckets[:-1], (*chunk.buckets[-1], (b"zzz", b"money")))
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, buckets, chunk.is_cut)


def _lie_more_buckets(chunk: SnapshotChunk) -> SnapshotChunk:
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, (*chunk.buckets, ()), chunk.is_cut)


def _lie_endless(chunk: SnapshotChunk) -> SnapshotChunk:
    """Claims that a bucket goes on and on, in parts too small to ever end."""
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, (((chunk.after + b"a", b""),),), is_cut=True)


def _lie_oversized(chunk: SnapshotChunk) -> SnapshotChunk:
    return SnapshotChunk(chunk.height, chunk.first, chunk.after, (((b"k", bytes(MAX_CHUNK_BYTES)),),), chunk.is_cut)


@pytest.mark.parametrize(
    "forge",
    [
        _lie_value,
        _lie_omission,
        _lie_addition,
        _lie_more_buckets,
        _lie_endless,
        _lie_oversized,
        lambda chunk: b"\xc1",
    ],
    ids=["value", "omission", "addition", "more-buckets", "endless", "oversized", "garbage"],
)
def test_a_lying_chunk_is_refused_its_sender_dropped_and_the_rest_comes_from_others(
    forge: Callable[[Any], Any],
) -> None:
    cluster = _make()
    liars: list[int] = []
    told = _forge(cluster, FrameKind.CHUNK, forge, liars)
    node = cluster.nodes[FRESH]
    cluster.start(FRESH)
    refused: dict[str, int] = {}

    def is_joined() -> bool:
        if not node.reopened:
            refused.update(cluster.statistics(FRESH).refused.get(f"s0v{liars[0]}", {}) if liars else {})
        return node.reopened == 1

    cluster.run_until(is_joined)
    assert 1 <= len(told) <= 2, "a liar is not asked again"
    assert sum(refused.values()) >= 1
    _join(cluster)
    _verify_same(cluster)


def test_a_silent_peer_costs_a_timeout() -> None:
    cluster = _make()
    liars: list[int] = []
    told = _forge(cluster, FrameKind.CHUNK, lambda chunk: None, liars)
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.nodes[FRESH].reopened == 1)
    assert told
    _join(cluster)
    _verify_same(cluster)


def _forge_header(manifest: SnapshotManifest, **changes: Any) -> SnapshotManifest:
    fields = {name: getattr(manifest.header, name) for name in manifest.header.__struct_fields__} | changes
    header = ShardHeader(**fields)
    proof = manifest.certificate
    certificate = Certificate(
        proof.incarnation, proof.epoch, header.height, compute_header_hash(header), proof.signers, proof.signatures
    )
    return SnapshotManifest(header, certificate, manifest.bucket_hashes)


def _lie_uncertified(manifest: SnapshotManifest) -> SnapshotManifest:
    return _forge_header(manifest, timestamp_ms=7)


def _lie_other_chain(manifest: SnapshotManifest) -> SnapshotManifest:
    return _forge_header(manifest, chain=b"\x09" * 32)


def _lie_other_shard(manifest: SnapshotManifest) -> SnapshotManifest:
    return _forge_header(manifest, shard=5)


def _lie_hashes(manifest: SnapshotManifest) -> SnapshotManifest:
    hashes = bytearray(manifest.bucket_hashes)
    hashes[3] ^= 1
    return SnapshotManifest(manifest.header, manifest.certificate, bytes(hashes))


def _lie_fewer_hashes(manifest: SnapshotManifest) -> SnapshotManifest:
    half = len(manifest.bucket_hashes) // 2
    return SnapshotManifest(manifest.header, manifest.certificate, manifest.bucket_hashes[:half])


def _lie_other_certificate(manifest: SnapshotManifest) -> SnapshotManifest:
    """A real quorum, of another height."""
    signers = make_signers(4)
    hashed = compute_header_hash(manifest.header)
    cluster = Cluster()
    votes = [attest(cluster.committee, signers[index], 9, hashed) for index in range(3)]
    certificate = Certificate(0, 0, 9, hashed, (0, 1, 2), tuple(vote.signature for vote in votes))
    return SnapshotManifest(manifest.header, certificate, manifest.bucket_hashes)


@pytest.mark.parametrize(
    "forge",
    [
        _lie_uncertified,
        _lie_other_chain,
        _lie_other_shard,
        _lie_hashes,
        _lie_fewer_hashes,
        _lie_other_certificate,
        lambda manifest: b"\xc1",
        lambda manifest: None,
    ],
    ids=["uncertified", "chain", "shard", "hashes", "fewer", "certificate", "garbage", "silent"],
)
def test_a_lying_manifest_is_refused_and_another_member_is_asked(forge: Callable[[Any], Any]) -> None:
    cluster = _make()
    liars: list[int] = []
    told = _forge(cluster, FrameKind.MANIFEST, forge, liars)
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.nodes[FRESH].reopened == 1, 60_000)
    assert told
    _join(cluster)
    _verify_same(cluster)


def test_a_snapshot_that_is_not_ahead_of_us_is_stale_and_no_crime() -> None:
    cluster = _make()
    manifest = _read_manifest(cluster, 0)
    height = manifest.header.height
    verify_manifest(manifest, cluster.committee, cluster.scheme, height - 1)
    with pytest.raises(RemoteError, match="STALE_SNAPSHOT") as caught:
        verify_manifest(manifest, cluster.committee, cluster.scheme, height)
    assert not caught.value.penalise


def test_a_manifest_that_nobody_asked_for_is_refused() -> None:
    cluster = _make()
    manifest = encode(_read_manifest(cluster, 0))
    cluster.deliver(cluster.nodes[0].member, cluster.nodes[1].member, FrameKind.MANIFEST, manifest)
    cluster.run(10)
    assert cluster.statistics(1).refused["s0v0"] == {"UNSOLICITED": 1}


def test_offers_of_heights_that_nobody_has_cost_one_request_each() -> None:
    cluster = _make()
    liars: list[int] = []
    offer = SnapshotOffers((SnapshotOffer(10**6, b"\x07" * 32),), in_place=False)
    _forge(cluster, FrameKind.SNAPSHOT_OFFERS, lambda offers: offer, liars)
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.nodes[FRESH].reopened == 1, 60_000)
    _join(cluster)
    _verify_same(cluster)


def test_a_claim_to_be_far_ahead_brings_no_snapshot_that_does_not_help() -> None:
    cluster = Cluster(limits=LIMITS)
    cluster.boot()
    _grow(cluster, 10)
    cluster.run(1_000)
    for target in range(3):
        cluster.deliver(
            cluster.nodes[3].member,
            cluster.nodes[target].member,
            FrameKind.STATUS,
            encode(Status(10**9, bytes(32))),
        )
    cluster.run(5_000)
    _grow(cluster, 5)
    assert [node.reopened for node in cluster.nodes] == [0] * 4
    assert all(cluster.statistics(index).snapshot.phase <= JoinPhase.ASKING for index in range(4))


def test_requests_for_what_is_not_there_are_answered_with_what_is() -> None:
    cluster = _make()
    answers: list[Any] = []

    def watch(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind in (FrameKind.SNAPSHOT_OFFERS, FrameKind.CHUNK) and outgoing.member.index == 1:
            answers.append(decode_frame(outgoing.kind, outgoing.body))
        return False

    cluster.drops = watch
    manifest = _read_manifest(cluster, 0)
    good = compute_header_hash(manifest.header)
    wrong = [ChunkRequest(24, bytes(32), 0, 1, b""), ChunkRequest(17, good, 0, 1, b"")]
    bad = [ChunkRequest(24, good, 5, 4, b""), ChunkRequest(24, good, 0, 256, b"")]
    for request in (*wrong, *bad):
        cluster.deliver(cluster.nodes[1].member, cluster.nodes[0].member, FrameKind.CHUNK_REQUEST, encode(request))
        cluster.run(6_000)
    assert [type(answer) for answer in answers] == [SnapshotOffers] * 2
    assert answers[0].offers[-1] == SnapshotOffer(24, good)
    assert cluster.statistics(0).refused["s0v1"] == {"BAD_REQUEST": 2}


def test_whoever_takes_more_than_its_share_is_told_to_wait() -> None:
    cluster = _make()
    answers: list[type] = []

    def watch(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind in (FrameKind.SNAPSHOT_OFFERS, FrameKind.CHUNK) and outgoing.member.index == 1:
            answers.append(type(decode_frame(outgoing.kind, outgoing.body)))
        return False

    cluster.drops = watch
    manifest = _read_manifest(cluster, 0)
    request = encode(ChunkRequest(24, compute_header_hash(manifest.header), 0, 3, b""))
    share = CHUNK_BURST_BYTES // CHUNK_BYTES
    for _ in range(share + 8):
        cluster.deliver(cluster.nodes[1].member, cluster.nodes[0].member, FrameKind.CHUNK_REQUEST, request)
    cluster.run(5)
    assert answers[:share] == [SnapshotChunk] * share
    assert answers[share + 1 :] == [SnapshotOffers] * 7
    cluster.run(1_000)
    cluster.deliver(cluster.nodes[1].member, cluster.nodes[0].member, FrameKind.CHUNK_REQUEST, request)
    cluster.run(5)
    assert answers[-1] is SnapshotChunk


def test_a_peer_that_says_wait_is_asked_again() -> None:
    cluster = _make()
    waits: list[int] = []

    def delay(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind != FrameKind.CHUNK or outgoing.member.index != FRESH or len(waits) >= 30:
            return False
        waits.append(sender)
        offers = SnapshotOffers((_offer_of(_read_manifest(cluster, sender)),), in_place=True)
        cluster.deliver(cluster.nodes[sender].member, outgoing.member, FrameKind.SNAPSHOT_OFFERS, encode(offers))
        return True

    cluster.drops = delay
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.nodes[FRESH].reopened == 1)
    assert len(waits) == 30
    _join(cluster)
    _verify_same(cluster)


def _offer_of(manifest: SnapshotManifest) -> SnapshotOffer:
    return SnapshotOffer(manifest.header.height, compute_header_hash(manifest.header))


# --- crashes -----------------------------------------------------------------------------------------------


def test_killed_at_any_moment_it_has_the_old_state_or_the_new_one_and_joins_in_the_end() -> None:
    """Power failures every few milliseconds of the download, each losing a part of what was not synced."""
    rng = Random(11)
    cluster = _make()
    node = cluster.nodes[FRESH]
    height = Chain(node.store).tip_height()
    for life in range(60):
        cluster.start(FRESH)
        cluster.run(rng.randint(1, 12) * (1 + life))
        assert node.halted is None
        tip = cluster.statistics(FRESH).height
        assert tip == height or tip >= 24
        cluster.kill(FRESH, rng)
        if node.reopened:
            break
    assert node.reopened == 1
    cluster.start(FRESH)
    _join(cluster)
    _verify_same(cluster)


def test_a_download_goes_on_after_a_restart_where_it_was() -> None:
    cluster = _make()
    chunks = 0

    def stop_after_some(sender: int, outgoing: Outgoing) -> bool:
        nonlocal chunks
        chunks += outgoing.kind == FrameKind.CHUNK and outgoing.member.index == FRESH
        return outgoing.kind == FrameKind.CHUNK and chunks > 20

    cluster.drops = stop_after_some
    cluster.start(FRESH)
    cluster.run_until(lambda: chunks > 20)
    done = cluster.statistics(FRESH).snapshot.buckets_done
    assert 0 < done < 256
    cluster.kill(FRESH)
    cluster.start(FRESH)
    assert cluster.statistics(FRESH).snapshot.phase == JoinPhase.FETCHING
    assert cluster.statistics(FRESH).snapshot.buckets_done == done
    chunks = -(10**6)
    _join(cluster)
    _verify_same(cluster)


def test_a_snapshot_that_nobody_offers_any_more_is_given_up_for_a_newer_one() -> None:
    cluster = _make()
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.CHUNK
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.statistics(FRESH).snapshot.phase == JoinPhase.FETCHING)
    assert cluster.statistics(FRESH).snapshot.height == 24
    cluster.kill(FRESH)
    _grow(cluster, 20)
    cluster.run(2_000)
    assert min(_offered(cluster, index) for index in range(3)) >= 40
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.RANGE
    cluster.start(FRESH)
    cluster.run_until(lambda: cluster.nodes[FRESH].reopened == 1, STUCK_MS + 30_000)
    cluster.drops = lambda sender, outgoing: False
    _join(cluster)
    assert Chain(cluster.nodes[FRESH].store).first_height() >= 40
    _verify_same(cluster)


def test_what_is_stored_otherwise_than_it_was_verified_is_found_before_it_is_used() -> None:
    cluster = _make()
    node = cluster.nodes[FRESH]
    cluster.delay_ms = 20
    cluster.start(FRESH)
    cluster.run_until(lambda: any(node.store.scan(b"q", b"r")))
    ((key, value), *_) = node.store.scan(b"q", b"r")
    node.store._values[key] = value + b"!"
    cluster.run_until(lambda: node.reopened == 1, 60_000)
    assert node.alarms == ["what was stored of a snapshot is not what was verified: is the disk sound?"]
    node.alarms.clear()
    _join(cluster)
    _verify_same(cluster)


def test_old_areas_are_swept_after_the_installation() -> None:
    cluster = _make()
    node = cluster.nodes[FRESH]
    cluster.start(FRESH)
    _join(cluster)
    cluster.run(2_000)
    assert Chain(node.store).areas().state == b"q"
    assert not list(node.store.scan(b"s", b"t"))
    cluster.kill(FRESH)
    _grow(cluster, 25)
    cluster.run(2_000)
    cluster.start(FRESH)
    _join(cluster)
    cluster.run(2_000)
    assert Chain(node.store).areas().state == b"s"
    assert not list(node.store.scan(b"q", b"r"))
    _verify_same(cluster)


# --- pruning -----------------------------------------------------------------------------------------------


def test_pruning_keeps_what_a_joining_member_needs_and_takes_the_rest() -> None:
    cluster = Cluster(limits=PRUNING)
    cluster.boot()
    _grow(cluster, 34)
    cluster.run(3_000)
    chain = Chain(cluster.nodes[0].store)
    floor = cluster.statistics(0).snapshot.floor_height
    assert floor == 24 + 1, "the older snapshot that is offered is at 24"
    for height in (1, 10, floor - 1):
        assert chain.get_header(height) is not None
        assert chain.find_covering_certificate(height) is not None
        assert chain.get_summary(height) is not None
        assert chain.get_payload(height) is None
        assert chain.get_receipts(height) == ()
    assert chain.get_payload(floor) is not None
    named = {
        reference.digest
        for _, payload in chain.scan_payloads(1, 10**6)
        if payload != NULL_PAYLOAD
        for reference in decode_payload(payload).batches
    }
    assert {key[1:] for key, _ in cluster.nodes[0].store.scan(b"b", b"c")} == named
    assert {key[1:] for key, _ in cluster.nodes[0].store.scan(b"u", b"v")} == named
    heights = {int.from_bytes(key[-8:], "big") for key, _ in cluster.nodes[0].store.scan(b"x", b"y")}
    assert min(heights) >= floor


def test_a_restart_in_the_middle_of_pruning_loses_nothing() -> None:
    cluster = Cluster(limits=PRUNING)
    cluster.boot()
    rng = Random(3)
    for _ in range(6):
        _grow(cluster, 6)
        cluster.run(rng.randint(1, 400))
        cluster.kill(1, rng)
        cluster.start(1)
        cluster.run_until(lambda: len(set(cluster.heights())) == 1)
    cluster.run(3_000)
    chain = Chain(cluster.nodes[1].store)
    floor = chain.floor_height()
    assert floor > 8
    assert [height for height, _ in chain.scan_payloads(1, 10**6)] == list(range(floor, chain.tip_height() + 1))
    _verify_same(cluster)


def test_without_a_policy_nothing_is_pruned() -> None:
    cluster = Cluster(limits=LIMITS)
    cluster.boot()
    _grow(cluster, 20)
    cluster.run(2_000)
    chain = Chain(cluster.nodes[0].store)
    assert chain.floor_height() == 1
    assert [height for height, _ in chain.scan_payloads(1, 10**6)] == list(range(1, chain.tip_height() + 1))


def test_a_silent_member_that_may_have_what_the_others_pruned_keeps_nobody_out() -> None:
    cluster = _make(replace(PRUNING, snapshot_gap_blocks=0))
    cluster.drops = lambda sender, outgoing: sender == 0 and outgoing.kind == FrameKind.RANGE
    cluster.start(FRESH)
    _join(cluster)
    assert cluster.nodes[FRESH].reopened == 1
    _verify_same(cluster)
