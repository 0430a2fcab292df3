"""Reading Tendermint's messages: exact round trips, and nothing but RemoteError for everything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import compute_payload_digest
from consensus.tendermint.messages import Message, sign_status
from consensus.tendermint.steps import NIL
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.tendermint.crafting import FACTORY, World
from tests.consensus.tokens import TokenScheme

WORLD = World()
DIGEST = compute_payload_digest(b"a")
MESSAGES: list[Message] = [
    WORLD.propose(0, b"a"),
    WORLD.propose(3, b"a", WORLD.prove(2, DIGEST)),
    WORLD.prevote(1, 0, DIGEST),
    WORLD.prevote(1, 4, NIL),
    WORLD.precommit(2, 1, DIGEST),
    WORLD.decide(2, DIGEST),
    sign_status(WORLD.committee, WORLD.signers[3], 3, 1, 5, 4, True),
]


def _decode(data: bytes) -> Message:
    return FACTORY.decode_message(data, WORLD.committee)[1]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_were_and_verify(message: Message) -> None:
    signer, decoded = FACTORY.decode_message(encode(message), WORLD.committee)
    assert decoded == message
    FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused(message: Message, data: st.DataObject) -> None:
    """Except in the proof of lock, which the proposer's signature does not cover and the engine verifies."""
    encoded = bytearray(encode(message))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        signer, decoded = FACTORY.decode_message(bytes(encoded), WORLD.committee)
        if getattr(decoded, "proof", None) is None:
            FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())
    except RemoteError:
        return
    assert getattr(decoded, "proof", None) is not None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(RemoteError):
        FACTORY.decode_message(noise, WORLD.committee)


@pytest.mark.parametrize(
    "message",
    [
        WORLD.prevote(1, 0, DIGEST).__class__(0, 1, DIGEST, 4, bytes(64)),
        msgspec.structs.replace(WORLD.decide(0, DIGEST), signers=(0, 1), signatures=(bytes(64),) * 2),
        msgspec.structs.replace(WORLD.decide(0, DIGEST), signers=(0, 0, 1)),
        msgspec.structs.replace(WORLD.decide(0, DIGEST), signers=(0, 1, 4)),
        WORLD.decide(0, NIL),
        msgspec.structs.replace(WORLD.propose(3, b"a", WORLD.prove(2, DIGEST)), proof=None),
        msgspec.structs.replace(WORLD.propose(3, b"a"), proof=WORLD.prove(2, DIGEST)),
        WORLD.propose(2, b"a", WORLD.prove(2, DIGEST)),
        msgspec.structs.replace(WORLD.propose(3, b"a", WORLD.prove(1, DIGEST)), proof=WORLD.prove(2, DIGEST)),
        msgspec.structs.replace(WORLD.propose(3, b"a", WORLD.prove(1, DIGEST)), proof=WORLD.prove(1, NIL)),
    ],
    ids=[
        "stranger",
        "too few signers",
        "repeated signer",
        "strange signer",
        "decision for nil",
        "valid round without proof",
        "proof without valid round",
        "valid round that is not past",
        "proof of another round",
        "proof of another value",
    ],
)
def test_impossible_shapes_are_refused_before_any_signature(message: Message) -> None:
    with pytest.raises(RemoteError):
        _decode(encode(message))


def test_nil_cannot_be_proposed() -> None:
    proposal = WORLD.proposal(0, NIL)
    with pytest.raises(RemoteError):
        _decode(encode(msgspec.structs.replace(WORLD.propose(0, b"a"), proposal=proposal)))


def test_a_payload_must_be_the_one_proposed() -> None:
    message = msgspec.structs.replace(WORLD.propose(0, b"a"), payload=b"b")
    with pytest.raises(RemoteError):
        FACTORY.verify_message(1, message, WORLD.committee, TokenScheme())


def test_the_valid_round_is_signed() -> None:
    """A relay cannot turn a fresh proposal into a re-proposal."""
    proposal = msgspec.structs.replace(WORLD.proposal(3, DIGEST), valid_round=2)
    message = msgspec.structs.replace(WORLD.propose(3, b"a", WORLD.prove(2, DIGEST)), proposal=proposal)
    with pytest.raises(RemoteError):
        FACTORY.verify_message(0, message, WORLD.committee, TokenScheme())
