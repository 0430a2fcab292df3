"""Frames between replicas: whatever arrives is a message or a ``RemoteError``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.certificate import Attestation, Certificate
from node.wire import (
    MAX_PROOF_BYTES,
    BatchBody,
    BodyRequest,
    FrameKind,
    PayloadRequest,
    RangeRequest,
    RangeResponse,
    SignedBatch,
    Status,
    compute_batch_digest,
    decode_batch_body,
    decode_frame,
    decode_signed_batch,
    sign_batch,
    verify_batch_signature,
)
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

COMMITTEE = make_committee(4)
SIGNERS = make_signers(4)
SAMPLES = [
    (FrameKind.ATTESTATION, Attestation(5, bytes(32), 1, bytes(64))),
    (FrameKind.CERTIFICATE, Certificate(0, 0, 5, bytes(32), (0, 1, 2), (bytes(64),) * 3)),
    (FrameKind.STATUS, Status(7, bytes(32))),
    (FrameKind.BATCH, SignedBatch(b"body", bytes(64))),
    (FrameKind.BODY_REQUEST, BodyRequest((bytes(32),))),
    (FrameKind.PAYLOAD_REQUEST, PayloadRequest(bytes(32))),
    (FrameKind.RANGE_REQUEST, RangeRequest(1, 5)),
    (FrameKind.RANGE, RangeResponse(1, 5, ())),
]


@pytest.mark.parametrize(("kind", "message"), SAMPLES)
def test_a_message_survives_the_wire(kind: FrameKind, message: object) -> None:
    assert decode_frame(kind, encode(message)) == message


@settings(max_examples=150, deadline=None)
@given(kind=st.integers(0, 255), body=st.binary(max_size=200))
def test_garbage_is_refused(kind: int, body: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_frame(kind, body)


@settings(max_examples=150, deadline=None)
@given(sample=st.sampled_from(SAMPLES), position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_another_message(
    sample: tuple[FrameKind, object], position: int, value: int
) -> None:
    kind, message = sample
    body = bytearray(encode(message))
    body[position % len(body)] = value
    try:
        decoded = decode_frame(kind, bytes(body))
    except RemoteError:
        return
    assert encode(decoded) == bytes(body)


def test_oversized_and_unknown_frames_are_penalised() -> None:
    with pytest.raises(RemoteError) as refused:
        decode_frame(FrameKind.STATUS, bytes(MAX_PROOF_BYTES + 1))
    assert refused.value.penalise
    with pytest.raises(RemoteError) as refused:
        decode_frame(FrameKind.ENGINE, b"")
    assert refused.value.code == "UNKNOWN_KIND"


def test_a_batch_is_bound_to_author_chain_and_epoch() -> None:
    body = BatchBody(2, 1, 100, (b"transaction",))
    digest, frame = sign_batch(COMMITTEE, SIGNERS[2], body)
    batch = decode_signed_batch(frame)
    assert decode_batch_body(batch, COMMITTEE) == body
    verify_batch_signature(batch, digest, 2, COMMITTEE, TokenScheme())
    with pytest.raises(RemoteError, match="BAD_SIGNATURE"):
        verify_batch_signature(batch, digest, 1, COMMITTEE, TokenScheme())
    other = make_committee(4, chain=b"\x01" * 32)
    assert compute_batch_digest(other, batch.body) != digest


def test_a_batch_of_a_stranger_is_refused() -> None:
    _, frame = sign_batch(COMMITTEE, SIGNERS[0], BatchBody(9, 1, 100, (b"transaction",)))
    with pytest.raises(RemoteError, match="NOT_A_MEMBER"):
        decode_batch_body(decode_signed_batch(frame), COMMITTEE)
