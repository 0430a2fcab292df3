"""Chunks: whatever is packed is unpacked alike, in bounded pieces, and a change anywhere is a lie."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.certificate import Certificate
from crosslink.header import NO_BEACON_REF, START_CURSOR, ShardHeader
from node.snapshot_fetch import MAX_BUCKET_BYTES, MIN_PART_BYTES, BucketFetch
from node.snapshot_format import FRAMING_BYTES, compute_size, is_bucket, pack_chunk
from node.snapshot_frames import (
    CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    ChunkRequest,
    Entries,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffer,
)
from node.wire import FrameKind, decode_frame
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST
from primitives.state_tree import StateTree, compute_bucket_hash, compute_bucket_index, compute_root_of_buckets

BUCKETS = 8
TIMEOUT_MS = 100
OFFER = SnapshotOffer(9, b"\x01" * 32)

States = st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=60), max_size=40)


def _sort(state: dict[bytes, bytes], count: int = BUCKETS) -> list[Entries]:
    """The state by bucket."""
    buckets: list[list[tuple[bytes, bytes]]] = [[] for _ in range(count)]
    for key in sorted(state):
        buckets[compute_bucket_index(key, count)].append((key, state[key]))
    return [tuple(entries) for entries in buckets]


def _manifest(buckets: list[Entries]) -> SnapshotManifest:
    two, four = [ZERO_DIGEST] * 2, [ZERO_DIGEST] * 4
    header = ShardHeader(ZERO_DIGEST, 0, 0, 0, 9, *two, 1, *four, START_CURSOR, NO_BEACON_REF, ZERO_DIGEST)
    proof = Certificate(0, 0, 9, ZERO_DIGEST, (), ())
    return SnapshotManifest(header, proof, b"".join([compute_bucket_hash(entries) for entries in buckets]))


def _records(buckets: list[Entries], request: ChunkRequest) -> Iterator[tuple[int, bytes, bytes]]:
    """As the store gives them, from where the request begins."""
    for index in range(request.first, len(buckets)):
        for key, value in buckets[index]:
            if index > request.first or key > request.after:
                yield index, key, value


def _serve(buckets: list[Entries], request: ChunkRequest) -> SnapshotChunk:
    chunk = pack_chunk(request, _records(buckets, request))
    found = decode_frame(FrameKind.CHUNK, encode(chunk))
    assert isinstance(found, SnapshotChunk)
    assert found == chunk
    return found


def _fetch_all(buckets: list[Entries], fetch: BucketFetch) -> tuple[list[Entries], int]:
    """Everything from one honest peer; and how many chunks that took."""
    here: list[Entries] = []
    chunks = 0
    while not fetch.is_complete:
        requests = [request for _, request in fetch.ask([1], 0)]
        while requests:
            chunk = _serve(buckets, requests.pop())
            chunks += 1
            got, more = fetch.take(1, chunk, 0)
            here += got
            if more is not None:
                requests.append(more)
    return here, chunks


def _make_fetch(buckets: list[Entries], done: bytes | None = None) -> BucketFetch:
    return BucketFetch(_manifest(buckets), OFFER, bytes(1) if done is None else done, TIMEOUT_MS)


@given(States)
def test_the_hashes_of_the_buckets_lead_to_the_root_of_the_tree(state: dict[bytes, bytes]) -> None:
    tree = StateTree(BUCKETS)
    tree.update(dict(state))
    assert compute_root_of_buckets([compute_bucket_hash(entries) for entries in _sort(state)]) == tree.root


@settings(max_examples=40)
@given(States, st.integers(0, 255))
def test_a_whole_state_arrives_whatever_was_here_already(state: dict[bytes, bytes], done: int) -> None:
    buckets = _sort(state)
    here, _ = _fetch_all(buckets, _make_fetch(buckets, bytes([done])))
    wanted = [entries for index, entries in enumerate(buckets) if not done & 1 << index]
    assert sorted(here) == sorted(wanted)


@settings(max_examples=60)
@given(States, st.data())
def test_any_other_content_is_a_lie(state: dict[bytes, bytes], data: st.DataObject) -> None:
    buckets = _sort(state)
    fetch = _make_fetch(buckets)
    ((_, request),) = fetch.ask([1], 0)
    honest = _serve(buckets, request)
    other = data.draw(
        st.lists(
            st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), max_size=2), min_size=1, max_size=3
        )
    )
    lie = tuple([tuple(entries) for entries in other])
    if lie == honest.buckets[: len(lie)] or len(lie) > 1:
        return
    with pytest.raises(RemoteError, match="BAD_CHUNK") as caught:
        fetch.take(1, SnapshotChunk(request.height, request.first, b"", lie, is_cut=False), 0)
    assert caught.value.penalise
    here, _ = _fetch_all(buckets, fetch)
    assert sorted(here) == sorted(buckets)


def test_chunks_are_filled_up_to_their_size_and_not_beyond() -> None:
    state = {b"key %d" % number: bytes(1_000) for number in range(1_000)}
    buckets = _sort(state)
    fetch = _make_fetch(buckets)
    here, chunks = _fetch_all(buckets, fetch)
    assert sorted(here) == sorted(buckets)
    total = sum(map(compute_size, buckets))
    assert total // CHUNK_BYTES <= chunks <= 2 * BUCKETS + total // CHUNK_BYTES
    request = ChunkRequest(9, OFFER.header_hash, 0, BUCKETS - 1, b"")
    assert len(encode(_serve(buckets, request))) <= CHUNK_BYTES + 2_000 < MAX_CHUNK_BYTES


def test_a_bucket_that_fits_into_no_chunk_comes_in_parts_from_one_peer() -> None:
    """Whoever makes keys that fall into one bucket must not be able to stop snapshots."""
    state = {b"%06d" % number: bytes(500) for number in range(3_000)}
    buckets = _sort(state, 1)
    fetch = _make_fetch(buckets)
    here, chunks = _fetch_all(buckets, fetch)
    assert here == buckets
    assert chunks >= sum(map(compute_size, buckets)) // CHUNK_BYTES
    request = ChunkRequest(9, OFFER.header_hash, 0, 0, b"")
    chunk = _serve(buckets, request)
    assert chunk.is_cut
    assert CHUNK_BYTES <= compute_size(chunk.buckets[0]) <= CHUNK_BYTES + 500 + 6 + FRAMING_BYTES


def test_a_bucket_in_parts_that_ends_otherwise_than_it_should_is_a_lie() -> None:
    buckets = _sort({b"%06d" % number: bytes(500) for number in range(600)}, 1)
    fetch = _make_fetch(buckets)
    ((_, request),) = fetch.ask([1], 0)
    _, more = fetch.take(1, _serve(buckets, request), 0)
    assert more is not None
    with pytest.raises(RemoteError, match="BAD_CHUNK"):
        fetch.take(1, SnapshotChunk(9, 0, more.after, ((),), is_cut=False), 0)
    here, _ = _fetch_all(buckets, fetch)
    assert here == buckets


def test_a_bucket_without_end_is_a_lie_at_its_bound() -> None:
    fetch = _make_fetch(_sort({b"k": b"v"}, 1))
    ((_, request),) = fetch.ask([1], 0)
    taken = 0
    with pytest.raises(RemoteError, match="without end"):
        while taken <= MAX_BUCKET_BYTES:
            key = b"%012d" % taken
            part = SnapshotChunk(9, 0, request.after, (((key, bytes(1 << 20)),),), is_cut=True)
            _, more = fetch.take(1, part, 0)
            assert more is not None
            request = more
            taken += 1 << 20
    assert taken <= MAX_BUCKET_BYTES


@pytest.mark.parametrize(
    "entries",
    [
        ((b"k", bytes(MIN_PART_BYTES // 2)),),
        ((b"k", bytes(MIN_PART_BYTES)), (b"j", b"")),
        ((b"k", bytes(MIN_PART_BYTES)), (b"k", b"")),
        ((b"", bytes(MIN_PART_BYTES)),),
    ],
    ids=["small", "descending", "repeated", "before"],
)
def test_a_part_that_no_honest_member_sends_is_a_lie(entries: Entries) -> None:
    fetch = _make_fetch(_sort({b"k": b"v"}, 1))
    ((_, request),) = fetch.ask([1], 0)
    with pytest.raises(RemoteError, match="BAD_CHUNK"):
        fetch.take(1, SnapshotChunk(9, 0, request.after, (entries,), is_cut=True), 0)
    assert fetch.ask([2], 0), "it is asked of somebody else"


def test_whoever_is_late_or_gone_is_replaced_and_an_answer_to_nothing_refused() -> None:
    buckets = _sort({b"%d" % number: b"v" for number in range(20)})
    fetch = _make_fetch(buckets)
    first = dict(fetch.ask([1, 2], 0))
    assert fetch.ask([1, 2], 0) == []
    assert fetch.expire(TIMEOUT_MS - 1) == []
    assert fetch.expire(TIMEOUT_MS) == [1, 2]
    with pytest.raises(RemoteError, match="UNSOLICITED"):
        fetch.take(1, _serve(buckets, first[1]), TIMEOUT_MS)
    ((_, again),) = fetch.ask([3], TIMEOUT_MS)
    fetch.lose(3)
    with pytest.raises(RemoteError, match="UNSOLICITED"):
        fetch.take(3, _serve(buckets, again), TIMEOUT_MS)
    here, _ = _fetch_all(buckets, fetch)
    assert sorted(here) == sorted(buckets)


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_a_message_or_a_remote_error(data: bytes) -> None:
    for kind in range(FrameKind.SNAPSHOT_QUERY, FrameKind.BASE_REQUEST + 1):
        try:
            decode_frame(kind, data)
        except RemoteError:
            continue


def test_a_bucket_is_its_entries_and_nothing_else() -> None:
    buckets = _sort({b"a": b"1", b"b": b"2"}, 1)
    manifest = _manifest(buckets)
    assert is_bucket(manifest, 0, buckets[0])
    assert not is_bucket(manifest, 0, buckets[0][:1])
    assert not is_bucket(manifest, 0, tuple(reversed(buckets[0])))
