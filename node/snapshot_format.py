"""What makes a snapshot true: a certified header, the bucket hashes under its root, buckets that hash to them.

Every bucket is verified alone against the manifest, so a lie is its sender's and spoils nothing that others sent.
All of the state is under the root: accounts and markets (oracle and funding among them), channels with their open
transfers and pending credits, the inbox cursor, the digests of executed batches; on the beacon the whole registry.
The parent of the next block is the manifest's own header. The one thing that is not under the root is the followed
beacon's registry, which comes from a certified beacon header (``crosslink.follower_base``).

What does not live here: the frames (``node.snapshot_frames``), who asks and who serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consensus.certificate import verify_certificate
from consensus.committee import Committee
from crosslink.header import compute_header_hash
from node.snapshot_frames import CHUNK_BYTES, ChunkRequest, Entries, SnapshotChunk, SnapshotManifest
from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES
from primitives.signing import SignatureScheme
from primitives.state_tree import MAX_BUCKET_COUNT, compute_bucket_hash, compute_root_of_buckets

FRAMING_BYTES = 16
"""Charged for each record and bucket beside its bytes."""


def count_buckets(manifest: SnapshotManifest) -> int:
    """How many there are; a verified manifest has the number that the root fixes."""
    return len(manifest.bucket_hashes) // DIGEST_BYTES


def verify_manifest(
    manifest: SnapshotManifest, committee: Committee, scheme: SignatureScheme, above_height: int
) -> None:
    """Raise ``RemoteError`` unless a quorum of ``committee`` attested the header, it lies above ``above_height``
    (``STALE_SNAPSHOT``, which an honest member may cause), and the bucket hashes lead to its state root."""
    header, certificate = manifest.header, manifest.certificate
    ours = (committee.chain, committee.shard, committee.incarnation, committee.epoch)
    if (header.chain, header.shard, header.incarnation, header.epoch) != ours:
        raise RemoteError("BAD_SNAPSHOT", "a snapshot of another chain, shard or epoch", penalise=True)
    if header.height <= above_height:
        raise RemoteError("STALE_SNAPSHOT", f"a snapshot of height {header.height}")
    if (certificate.height, certificate.header_hash) != (header.height, compute_header_hash(header)):
        raise RemoteError("BAD_SNAPSHOT", "a snapshot whose certificate is of another header", penalise=True)
    verify_certificate(certificate, committee, scheme)
    count, rest = divmod(len(manifest.bucket_hashes), DIGEST_BYTES)
    if rest or not 1 <= count <= MAX_BUCKET_COUNT or count & (count - 1):
        raise RemoteError("BAD_SNAPSHOT", "a manifest without a hash for each of 2^n buckets", penalise=True)
    if compute_root_of_buckets(list(split_hashes(manifest))) != header.state_root:
        raise RemoteError("BAD_SNAPSHOT", "bucket hashes that lead to another root", penalise=True)


def split_hashes(manifest: SnapshotManifest) -> Iterator[bytes]:
    """The bucket hashes in order."""
    for start in range(0, len(manifest.bucket_hashes), DIGEST_BYTES):
        yield manifest.bucket_hashes[start : start + DIGEST_BYTES]


def is_bucket(manifest: SnapshotManifest, index: int, entries: Entries) -> bool:
    """Whether ``entries`` are exactly what bucket ``index`` holds."""
    start = index * DIGEST_BYTES
    return compute_bucket_hash(entries) == manifest.bucket_hashes[start : start + DIGEST_BYTES]


def compute_size(entries: Entries) -> int:
    """What these records count for in a chunk."""
    return sum([len(key) + len(value) + FRAMING_BYTES for key, value in entries])


def pack_chunk(request: ChunkRequest, records: Iterable[tuple[int, bytes, bytes]]) -> SnapshotChunk:
    """The answer to ``request`` from (bucket, key, value) in that order, beginning where it asks: whole buckets up
    to ``CHUNK_BYTES``, or a part of the first one. Reads no more than one record beyond that."""
    buckets: list[Entries] = []
    current: list[tuple[bytes, bytes]] = []
    bucket, size = request.first, 0
    for index, key, value in records:
        if index > request.last:
            break
        for _ in range(bucket, index):
            buckets.append(tuple(current))
            current = []
            size += FRAMING_BYTES
        bucket = index
        if size >= CHUNK_BYTES:
            return _cut(request, buckets, current)
        current.append((key, value))
        size += len(key) + len(value) + FRAMING_BYTES
    buckets.append(tuple(current))
    buckets.extend([()] * (request.last - bucket))
    return SnapshotChunk(request.height, request.first, request.after, tuple(buckets), is_cut=False)


def _cut(request: ChunkRequest, buckets: list[Entries], current: list[tuple[bytes, bytes]]) -> SnapshotChunk:
    """Where the size is reached: what is whole, else the part."""
    if buckets:
        return SnapshotChunk(request.height, request.first, request.after, tuple(buckets), is_cut=False)
    return SnapshotChunk(request.height, request.first, request.after, (tuple(current),), is_cut=True)
