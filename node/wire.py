"""The frames that replicas exchange: their kinds, their structs, and the bounded decoding of each.

An engine's own messages travel under ``ENGINE`` and are decoded by the engine's factory; beacon blocks, bases and
submissions (``BEACON_BLOCK``, ``BASE``, ``SUBMISSION``) by ``crosslink``. Everything else is decoded here, in one
step that gives a value or raises ``RemoteError``. What does not live here: what a replica does with a message.

Kinds are numbered from 0; the transport keeps those from 0xF0 for itself. Retired kinds: none.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.certificate import Attestation, Certificate
from consensus.committee import Committee
from crosslink.header import ShardHeader
from node.recall_frames import MAX_RECALL_FRAME_BYTES, RecallRequest, RecallResponse
from node.snapshot_frames import (
    MAX_CHUNK_BYTES,
    MAX_MANIFEST_BYTES,
    BaseRequest,
    ChunkRequest,
    ManifestRequest,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffers,
    SnapshotQuery,
)
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SIGNATURE_BYTES, SignatureScheme, Signer


class FrameKind(IntEnum):
    """What is in a frame."""

    ENGINE = 1
    ATTESTATION = 2
    CERTIFICATE = 3
    STATUS = 4
    BATCH = 5
    BODY_REQUEST = 6
    PAYLOAD_REQUEST = 7
    PAYLOAD = 8
    RANGE_REQUEST = 9
    RANGE = 10
    BEACON_BLOCK = 11
    BEACON_REQUEST = 12
    SUBMISSION = 13
    SNAPSHOT_QUERY = 14
    SNAPSHOT_OFFERS = 15
    MANIFEST_REQUEST = 16
    MANIFEST = 17
    CHUNK_REQUEST = 18
    CHUNK = 19
    BASE_REQUEST = 20
    BASE = 21
    RECALL_REQUEST = 22
    RECALL_RESPONSE = 23


MAX_VOTE_FRAME_BYTES: Final = 256 << 10
"""An engine's message; the largest is a new-view that quotes view changes of a large committee."""
MAX_PROOF_BYTES: Final = 16 << 10
"""Attestations, certificates, status: a certificate of a committee of 100 has 7 KiB."""
MAX_REQUEST_BYTES: Final = 4 << 10
MAX_REQUESTED_BODIES: Final = 64
"""Bodies asked for in one request; a payload names more than this many only in many small batches."""
MAX_BATCH_FRAME_BYTES: Final = (1 << 20) + (4 << 10)
"""The largest transaction (a beacon submission of 1 MiB) and its envelope."""
MAX_RANGE_BYTES: Final = 4 << 20
"""A range holds at least one block, so this is above the largest block with its receipts left out."""
MAX_RANGE_BLOCKS: Final = 64
MAX_PAYLOAD_FRAME_BYTES: Final = 256 << 10
"""A payload holds references and at most 32 KiB of inline bodies."""
MAX_BATCH_TRANSACTIONS: Final = 512

_BATCH_TAG = b"rialto/batch"
_BATCH_SIGNATURE_TAG = b"rialto/batch-signature/1"

Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class BatchBody(Wire, frozen=True):
    """Transactions that member ``author`` accepted, as its clients sent them. Skipped by execution above
    ``expiry_height``. ``sequence`` grows with each batch of an author and keeps equal contents apart."""

    author: Unsigned
    sequence: Unsigned
    expiry_height: Unsigned
    transactions: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=MAX_BATCH_TRANSACTIONS)]


class SignedBatch(Wire, frozen=True):
    """An encoded ``BatchBody`` and its author's signature over the digest: it is passed on by anybody."""

    body: bytes
    signature: Signature


class Status(Wire, frozen=True):
    """How far the sender is: its last certified height and that header's hash. A hint, never a proof."""

    certified_height: Unsigned
    header_hash: Digest


class BodyRequest(Wire, frozen=True):
    """Batches wanted; each is answered by one ``BATCH`` frame, or not at all."""

    digests: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=MAX_REQUESTED_BODIES)]


class PayloadRequest(Wire, frozen=True):
    """The payload with this digest is wanted; answered by ``PayloadResponse``, or not at all."""

    digest: Digest


class PayloadResponse(Wire, frozen=True):
    """Payload bytes; the receiver hashes them."""

    payload: bytes


class RangeRequest(Wire, frozen=True):
    """Certified blocks from ``first`` to ``last`` are wanted, as many as fit."""

    first: Unsigned
    last: Unsigned


class RangeBlock(Wire, frozen=True):
    """One block as a member that is behind needs it. ``certificate`` may be absent below the last block of a
    range: a certificate certifies all ancestors. ``bodies`` are encoded ``SignedBatch`` in payload order."""

    header: ShardHeader
    certificate: Certificate | None
    payload: bytes
    bodies: tuple[bytes, ...]


class RangeResponse(Wire, frozen=True):
    """Consecutive blocks from ``first`` on; empty where the sender has none. ``tip`` is its certified height,
    ``floor`` the lowest from which it has every block: below that it has pruned them, or never had them."""

    first: Unsigned
    tip: Unsigned
    blocks: Annotated[tuple[RangeBlock, ...], msgspec.Meta(max_length=MAX_RANGE_BLOCKS)]
    floor: Unsigned = 1


class BeaconRequest(Wire, frozen=True):
    """Certified beacon blocks from ``first`` on are wanted, as ``BEACON_BLOCK`` frames."""

    first: Unsigned


SnapshotMessage: TypeAlias = (
    SnapshotQuery | SnapshotOffers | ManifestRequest | SnapshotManifest | ChunkRequest | SnapshotChunk
)
PeerMessage: TypeAlias = (
    Attestation
    | Certificate
    | Status
    | SignedBatch
    | BodyRequest
    | PayloadRequest
    | PayloadResponse
    | RangeRequest
    | RangeResponse
    | BeaconRequest
    | RecallRequest
    | RecallResponse
    | SnapshotMessage
    | BaseRequest
)

_DECODED: Final[dict[int, tuple[type, int]]] = {
    FrameKind.ATTESTATION: (Attestation, MAX_PROOF_BYTES),
    FrameKind.CERTIFICATE: (Certificate, MAX_PROOF_BYTES),
    FrameKind.STATUS: (Status, MAX_PROOF_BYTES),
    FrameKind.BATCH: (SignedBatch, MAX_BATCH_FRAME_BYTES),
    FrameKind.BODY_REQUEST: (BodyRequest, MAX_REQUEST_BYTES),
    FrameKind.PAYLOAD_REQUEST: (PayloadRequest, MAX_REQUEST_BYTES),
    FrameKind.PAYLOAD: (PayloadResponse, MAX_PAYLOAD_FRAME_BYTES),
    FrameKind.RANGE_REQUEST: (RangeRequest, MAX_REQUEST_BYTES),
    FrameKind.RANGE: (RangeResponse, MAX_RANGE_BYTES),
    FrameKind.BEACON_REQUEST: (BeaconRequest, MAX_REQUEST_BYTES),
    FrameKind.RECALL_REQUEST: (RecallRequest, MAX_REQUEST_BYTES),
    FrameKind.RECALL_RESPONSE: (RecallResponse, MAX_RECALL_FRAME_BYTES),
    FrameKind.SNAPSHOT_QUERY: (SnapshotQuery, MAX_REQUEST_BYTES),
    FrameKind.SNAPSHOT_OFFERS: (SnapshotOffers, MAX_REQUEST_BYTES),
    FrameKind.MANIFEST_REQUEST: (ManifestRequest, MAX_REQUEST_BYTES),
    FrameKind.MANIFEST: (SnapshotManifest, MAX_MANIFEST_BYTES),
    FrameKind.CHUNK_REQUEST: (ChunkRequest, 2 * MAX_REQUEST_BYTES),
    FrameKind.CHUNK: (SnapshotChunk, MAX_CHUNK_BYTES),
    FrameKind.BASE_REQUEST: (BaseRequest, MAX_REQUEST_BYTES),
}


def decode_frame(kind: int, body: bytes) -> PeerMessage:
    """The message in a frame of one of the kinds that are decoded here.

    Raises ``RemoteError``: ``UNKNOWN_KIND``, or what ``primitives.codec.decode`` raises.
    """
    known = _DECODED.get(kind)
    if known is None:
        raise RemoteError("UNKNOWN_KIND", f"no frame of kind {kind} is known", penalise=True)
    message: PeerMessage = decode(known[0], body, max_bytes=known[1])
    return message


# --- batches -----------------------------------------------------------------------------------------------


def compute_batch_digest(committee: Committee, body: bytes) -> bytes:
    """The identity of a batch: bound to chain, shard and epoch, so it means nothing anywhere else."""
    return hash_tagged(_BATCH_TAG, committee.signing_prefix, body)


def sign_batch(committee: Committee, signer: Signer, batch: BatchBody) -> tuple[bytes, bytes]:
    """(digest, encoded ``SignedBatch``) of our own batch."""
    body = encode(batch)
    digest = compute_batch_digest(committee, body)
    signature = signer.sign(_BATCH_SIGNATURE_TAG + committee.signing_prefix + digest)
    return digest, encode(SignedBatch(body, signature))


def decode_signed_batch(data: bytes) -> SignedBatch:
    """An encoded ``SignedBatch``, as it lies in a payload, in the store or in the vote log."""
    batch: SignedBatch = decode(SignedBatch, data, max_bytes=MAX_BATCH_FRAME_BYTES)
    return batch


def decode_batch_body(batch: SignedBatch, committee: Committee) -> BatchBody:
    """The body, its author known to be a member; its signature and its transactions not yet looked at."""
    body: BatchBody = decode(BatchBody, batch.body, max_bytes=MAX_BATCH_FRAME_BYTES)
    if body.author >= committee.size:
        raise RemoteError("NOT_A_MEMBER", f"a batch of member {body.author}", penalise=True)
    return body


def verify_batch_signature(
    batch: SignedBatch, digest: bytes, author: int, committee: Committee, scheme: SignatureScheme
) -> None:
    """Raise ``RemoteError`` unless ``author`` signed the batch with this digest."""
    message = _BATCH_SIGNATURE_TAG + committee.signing_prefix + digest
    if not scheme.verify(committee.members[author], message, batch.signature):
        raise RemoteError("BAD_SIGNATURE", "a batch with a bad signature", penalise=True)
