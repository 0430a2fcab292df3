"""Payload validity: a pure function of the bytes, the bodies, the slot and the genesis."""

from __future__ import annotations

import pytest

from node.batches import BatchState, HeldBatch
from node.payload import (
    MAX_INLINE_BYTES,
    BatchRef,
    Payload,
    build_payload,
    decode_payload,
    has_valid_bodies,
    is_full,
    open_inline,
    validate_payload,
)
from node.wire import BatchBody, sign_batch
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.parameters import ProtocolParameters
from tests.consensus.tokens import make_committee, make_signers

COMMITTEE = make_committee(4)
SIGNERS = make_signers(4)
PARAMETERS = ProtocolParameters(max_payload_bytes=100_000, max_batch_bytes=10_000, batch_lifetime_blocks=50)


def _batch(author: int, sequence: int = 1, *, expiry: int = 40, size: int = 100) -> HeldBatch:
    body = BatchBody(author, sequence, expiry, (bytes(size), bytes(size)))
    digest, frame = sign_batch(COMMITTEE, SIGNERS[author], body)
    batch = HeldBatch(digest, body, frame, 0)
    batch.state = BatchState.VERIFIED
    return batch


def _reference(batch: HeldBatch, **changes: object) -> BatchRef:
    fields = {
        "author": batch.author,
        "digest": batch.digest,
        "size_bytes": len(batch.frame),
        "transactions": batch.count,
    }
    return BatchRef(**{**fields, **changes})  # type: ignore[arg-type]


def _validate(payload: Payload, *, follows_beacon: bool = True) -> None:
    validate_payload(payload, COMMITTEE, PARAMETERS, follows_beacon=follows_beacon)


def test_what_a_proposer_builds_is_valid() -> None:
    batches = [_batch(0), _batch(1), _batch(1, 2)]
    payload = decode_payload(build_payload(5, 7, batches, batches[:1]))
    _validate(payload)
    assert [digest for digest, _, _ in open_inline(payload, COMMITTEE)] == [batches[0].digest]
    assert has_valid_bodies(payload, {batch.digest: batch for batch in batches}, 10, PARAMETERS)
    assert not is_full(payload, PARAMETERS)


@pytest.mark.parametrize(
    "payload",
    [
        Payload(2**60, 0, (), ()),
        Payload(1, 2**50, (), ()),
        Payload(1, 0, (_reference(_batch(0)), _reference(_batch(0))), ()),
        Payload(1, 0, (_reference(_batch(0), author=4),), ()),
        Payload(1, 0, (_reference(_batch(0), size_bytes=99_999), _reference(_batch(1))), ()),
        Payload(1, 0, (_reference(_batch(0)),), (bytes(MAX_INLINE_BYTES + 1),)),
    ],
    ids=["timestamp", "beacon height", "named twice", "stranger", "too large", "too much inside"],
)
def test_an_impossible_payload_is_refused(payload: Payload) -> None:
    with pytest.raises(RemoteError, match="BAD_PAYLOAD"):
        _validate(payload)


def test_a_chain_without_beacon_refers_to_none() -> None:
    with pytest.raises(RemoteError, match="BAD_PAYLOAD"):
        _validate(Payload(1, 1, (), ()), follows_beacon=False)


def test_a_body_inside_is_named_and_only_once() -> None:
    batch, other = _batch(0), _batch(1)
    for inline in ((other.frame,), (batch.frame, batch.frame)):
        with pytest.raises(RemoteError, match="BAD_PAYLOAD"):
            open_inline(Payload(1, 0, (_reference(batch),), inline), COMMITTEE)


@pytest.mark.parametrize("changes", [{"author": 1}, {"size_bytes": 1}, {"transactions": 1}])
def test_what_a_reference_says_must_be_true_of_the_body(changes: dict[str, int]) -> None:
    batch = _batch(0)
    payload = Payload(1, 0, (_reference(batch, **changes),), ())
    assert not has_valid_bodies(payload, {batch.digest: batch}, 10, PARAMETERS)


def test_a_batch_may_be_expired_but_not_live_too_long() -> None:
    batch = _batch(0, expiry=60)
    payload = Payload(1, 0, (_reference(batch),), ())
    assert has_valid_bodies(payload, {batch.digest: batch}, 100, PARAMETERS)
    assert has_valid_bodies(payload, {batch.digest: batch}, 10, PARAMETERS)
    assert not has_valid_bodies(payload, {batch.digest: batch}, 9, PARAMETERS)


def test_a_payload_is_full_where_another_batch_might_not_fit() -> None:
    batch = _batch(0)
    assert is_full(Payload(1, 0, (_reference(batch, size_bytes=90_001),), ()), PARAMETERS)
    assert not is_full(Payload(1, 0, (_reference(batch, size_bytes=90_000),), ()), PARAMETERS)


def test_garbage_is_no_payload() -> None:
    for data in (b"\xc1", encode((1, 2)), encode((1, 0, (), (), 5))):
        with pytest.raises(RemoteError):
            decode_payload(data)
