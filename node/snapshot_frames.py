"""The frames by which members give each other snapshots: their structs and bounds. Decoded by ``node.wire``.

    SnapshotQuery     who has a snapshot above this height?         → SnapshotOffers
    ManifestRequest   what proves the snapshot at this height?      → SnapshotManifest, or SnapshotOffers
    ChunkRequest      these buckets of it, as far as they fit       → SnapshotChunk, or SnapshotOffers
    BaseRequest       of a shard's member, to the beacon's: what a  → ``crosslink.follower_base``
                      follower may start from at this height

``SnapshotOffers`` in place of an answer says that the snapshot is not there (any more), or that the asker has to
wait. What does not live here: what is true about their content (``node.snapshot_format``).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from consensus.certificate import Certificate
from crosslink.header import ShardHeader
from primitives.codec import Digest, Unsigned, Wire
from primitives.hashing import DIGEST_BYTES
from primitives.state_tree import MAX_BUCKET_COUNT

MAX_OFFERS: Final = 4
"""An honest member has two, and for a moment three."""
MAX_MANIFEST_BYTES: Final = MAX_BUCKET_COUNT * DIGEST_BYTES + (32 << 10)
"""A hash for each bucket, and a header with its certificate."""
CHUNK_BYTES: Final = 128 << 10
"""What a chunk is filled up to: some 4 ms of reading for who serves it, less than a vote may wait."""
MAX_CHUNK_BYTES: Final = 2 << 20
"""A chunk and one more record, of which none is longer than 1 MiB."""
MAX_KEY_BYTES: Final = 4 << 10


class SnapshotQuery(Wire, frozen=True):
    """Which snapshots above height ``above`` are offered?"""

    above: Unsigned


class SnapshotOffer(Wire, frozen=True):
    """A snapshot is known by its height and the hash of the header whose state it is."""

    height: Unsigned
    header_hash: Digest


class SnapshotOffers(Wire, frozen=True):
    """What the sender can serve now. A hint: the manifest is the proof. ``in_place`` of an answer: the sender has
    not got what was asked for, or has given us our share for the moment."""

    offers: Annotated[tuple[SnapshotOffer, ...], msgspec.Meta(max_length=MAX_OFFERS)]
    in_place: bool


class ManifestRequest(Wire, frozen=True):
    """The manifest of the snapshot at ``height`` is wanted."""

    height: Unsigned


class SnapshotManifest(Wire, frozen=True):
    """A certified header and the hash of every bucket under its state root, one behind the other. The same for
    every member but for the certificate's signers."""

    header: ShardHeader
    certificate: Certificate
    bucket_hashes: bytes


Entries = tuple[tuple[bytes, bytes], ...]
"""(key, value) of state records in ascending order of keys."""


class ChunkRequest(Wire, frozen=True):
    """The buckets from ``first`` to ``last`` are wanted, as many as fit; of ``first`` what comes behind key
    ``after``, where that is not empty."""

    height: Unsigned
    header_hash: Digest
    first: Unsigned
    last: Unsigned
    after: Annotated[bytes, msgspec.Meta(max_length=MAX_KEY_BYTES)]


class SnapshotChunk(Wire, frozen=True):
    """Whole buckets from ``first`` on. Where not even one fits (``is_cut``), the next part of the first one: what
    comes behind ``after``, and more is to follow."""

    height: Unsigned
    first: Unsigned
    after: Annotated[bytes, msgspec.Meta(max_length=MAX_KEY_BYTES)]
    buckets: Annotated[tuple[Entries, ...], msgspec.Meta(min_length=1, max_length=MAX_BUCKET_COUNT)]
    is_cut: bool


class BaseRequest(Wire, frozen=True):
    """What proves the registry as of beacon block ``height`` is wanted."""

    height: Unsigned
