"""The payload: what an engine orders for a slot, and the rules that make it valid.

A payload names batches by digest, so it is small at any throughput; up to 32 KiB of bodies may ride inside. Its
only system inputs are a timestamp and a beacon height. **Validity is a pure function** of the payload's bytes, the
bodies, the slot and the genesis: never of a clock, of what this member happens to hold, or of chain state.
Admission (``node.obtaining``) is separate and only defers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from consensus.committee import Committee
from node.batches import MAX_PAYLOAD_BATCHES, MAX_PAYLOAD_TRANSACTIONS, BatchState, HeldBatch
from node.wire import (
    MAX_BATCH_TRANSACTIONS,
    MAX_PAYLOAD_FRAME_BYTES,
    SignedBatch,
    compute_batch_digest,
    decode_signed_batch,
)
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.parameters import ProtocolParameters

MAX_INLINE_BYTES: Final = 32 << 10
"""Bodies inside the proposal save a round trip for small loads; above this they would delay votes."""
MAX_TIMESTAMP_MS: Final = 2**47
"""Some four thousand years; leaves room for sums of times below 2**63."""
PAYLOAD_OVERHEAD_BYTES: Final = 8 << 10
"""A single batch may be this much larger than ``max_payload_bytes``, so that the largest transaction fits in its
envelopes."""


class BatchRef(Wire, frozen=True):
    """A batch by digest. ``size_bytes`` is that of the encoded ``SignedBatch``, ``transactions`` their number;
    both must be true, so that limits are checked before bodies are fetched."""

    author: Unsigned
    digest: Digest
    size_bytes: Unsigned
    transactions: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH_TRANSACTIONS)]


class Payload(Wire, frozen=True):
    """``timestamp_ms`` is the proposer's wall clock, ``beacon_height`` the beacon block it has followed to (0
    where there is no beacon to follow). ``inline`` are encoded ``SignedBatch`` of some of ``batches``."""

    timestamp_ms: Unsigned
    beacon_height: Unsigned
    batches: Annotated[tuple[BatchRef, ...], msgspec.Meta(max_length=MAX_PAYLOAD_BATCHES)]
    inline: tuple[bytes, ...]


def build_payload(
    timestamp_ms: int, beacon_height: int, batches: Sequence[HeldBatch], inline: Sequence[HeldBatch]
) -> bytes:
    """The encoded payload of these batches."""
    references = tuple([BatchRef(batch.author, batch.digest, len(batch.frame), batch.count) for batch in batches])
    return encode(Payload(timestamp_ms, beacon_height, references, tuple([batch.frame for batch in inline])))


def decode_payload(data: bytes) -> Payload:
    """The payload in ``data``; raises ``RemoteError`` where it is none. Says nothing yet about its validity."""
    payload: Payload = decode(Payload, data, max_bytes=MAX_PAYLOAD_FRAME_BYTES)
    return payload


def validate_payload(
    payload: Payload, committee: Committee, parameters: ProtocolParameters, *, follows_beacon: bool
) -> None:
    """Raise ``RemoteError`` unless the payload itself, without any body that is not inside, may be valid."""
    if payload.timestamp_ms > MAX_TIMESTAMP_MS:
        raise RemoteError("BAD_PAYLOAD", "an impossible timestamp", penalise=True)
    if payload.beacon_height > 2**40 or (payload.beacon_height and not follows_beacon):
        raise RemoteError("BAD_PAYLOAD", "an impossible beacon height", penalise=True)
    digests = {reference.digest for reference in payload.batches}
    if len(digests) != len(payload.batches):
        raise RemoteError("BAD_PAYLOAD", "a batch is named twice", penalise=True)
    if any(reference.author >= committee.size for reference in payload.batches):
        raise RemoteError("BAD_PAYLOAD", "a batch of a stranger", penalise=True)
    size = sum([reference.size_bytes for reference in payload.batches])
    allowed = parameters.max_payload_bytes + (PAYLOAD_OVERHEAD_BYTES if len(digests) == 1 else 0)
    if size > allowed or sum([reference.transactions for reference in payload.batches]) > MAX_PAYLOAD_TRANSACTIONS:
        raise RemoteError("BAD_PAYLOAD", f"{size} bytes of batches where {allowed} are allowed", penalise=True)
    if sum([len(body) for body in payload.inline]) > MAX_INLINE_BYTES:
        raise RemoteError("BAD_PAYLOAD", "too many bytes of bodies inside", penalise=True)


def open_inline(payload: Payload, committee: Committee) -> tuple[tuple[bytes, SignedBatch, bytes], ...]:
    """(digest, batch, encoded) of the bodies inside; raises ``RemoteError`` where one is not named, or twice."""
    named = {reference.digest for reference in payload.batches}
    opened = []
    for data in payload.inline:
        batch = decode_signed_batch(data)
        digest = compute_batch_digest(committee, batch.body)
        if digest not in named:
            raise RemoteError("BAD_PAYLOAD", "a body inside that is not named, or named twice", penalise=True)
        named.discard(digest)
        opened.append((digest, batch, data))
    return tuple(opened)


def has_valid_bodies(
    payload: Payload, bodies: Mapping[bytes, HeldBatch], slot: int, parameters: ProtocolParameters
) -> bool:
    """Whether all bodies are what the payload says. An expired batch is skipped by execution; one that would live
    too long is not allowed, because its digest would have to be remembered as long."""
    for reference in payload.batches:
        batch = bodies[reference.digest]
        if (
            batch.state is not BatchState.VERIFIED
            or batch.author != reference.author
            or len(batch.frame) != reference.size_bytes
            or batch.count != reference.transactions
            or batch.body.expiry_height > slot + parameters.batch_lifetime_blocks
        ):
            return False
    return True


def is_full(payload: Payload, parameters: ProtocolParameters) -> bool:
    """Whether one more batch of the usual size might not have fitted: a chain that is busy, not one that
    censors."""
    return (
        sum([reference.size_bytes for reference in payload.batches])
        > parameters.max_payload_bytes - parameters.max_batch_bytes
        or sum([reference.transactions for reference in payload.batches])
        > MAX_PAYLOAD_TRANSACTIONS - MAX_BATCH_TRANSACTIONS
        or len(payload.batches) == MAX_PAYLOAD_BATCHES
    )
