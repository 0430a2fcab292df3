"""The shard header: what a committee attests after executing a payload.

A header depends on its parent, the payload and the followed beacon alone; never on a view, a certificate or
a clock. Its hash is the block's identity. The beacon's own blocks have the same header, with
``beacon_ref = BeaconRef(0, ZERO_DIGEST)`` and ``inbox_cursor = (0, 0, 0)``.
"""

from __future__ import annotations

from primitives.codec import Wire, encode
from primitives.hashing import ZERO_DIGEST, hash_tagged

MAX_HEADER_BYTES = 1_024
"""A header encodes to about 350 bytes; anything over this is no header."""


class BeaconRef(Wire, frozen=True):
    """A beacon block: every deadline is a beacon height and is compared with this one only."""

    height: int
    hash: bytes


class InboxCursor(Wire, frozen=True):
    """The last consumed inbox item: beacon height, record index in that block, leaf index in that record.

    ``(h, 2**31, 0)`` means that everything up to and including beacon height h is consumed.
    """

    beacon_height: int
    record: int
    leaf: int


NO_BEACON_REF = BeaconRef(0, ZERO_DIGEST)
START_CURSOR = InboxCursor(0, 0, 0)


class ShardHeader(Wire, frozen=True):
    """All fields are committed to by the header hash; roots are 32 bytes, heights count from 1 (genesis is 0)."""

    chain: bytes
    shard: int
    incarnation: int
    epoch: int
    height: int
    parent: bytes
    payload_digest: bytes
    timestamp_ms: int
    state_root: bytes
    receipts_root: bytes
    outbox_root: bytes
    summary_root: bytes
    inbox_cursor: InboxCursor
    beacon_ref: BeaconRef
    next_committee_root: bytes


def compute_header_hash(header: ShardHeader) -> bytes:
    """The identity of the block: tagged SHA-256 of the canonical encoding."""
    return hash_tagged(b"rialto/header", encode(header))
