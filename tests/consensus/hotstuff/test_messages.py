"""Reading HotStuff's messages: bytes become a message or a ``RemoteError``, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import load_engine_factory
from consensus.hotstuff.messages import (
    CommitProof,
    Entry,
    EntryResponse,
    Propose,
    QuorumCertificate,
    Stage,
    Timeout,
    entry_of,
    extend,
    extends,
    repeat,
    sign_entry_request,
    sign_entry_response,
    sign_status,
)
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.hotstuff.crafting import FACTORY, ROOT, World
from tests.consensus.tokens import TokenScheme

WORLD = World()
ONE, TWO, THREE = WORLD.chain(1, 2, 3)
LOCKS = {0: ONE, 1: ROOT, 3: TWO}


def _make_examples() -> list[Any]:
    committee, signers = WORLD.committee, WORLD.signers
    return [
        WORLD.propose(1, b"payload"),
        WORLD.propose(4, None, TWO, WORLD.certify_timeouts(3, LOCKS)),
        WORLD.vote(2, ONE.block),
        TWO,
        WORLD.time_out(3, 4, TWO),
        WORLD.certify_timeouts(3, LOCKS),
        CommitProof(ONE, TWO),
        sign_status(committee, signers[2], 2, 4, 3, 2, Stage.TIMED_OUT),
        sign_entry_request(committee, signers[1], 1, ONE.block.prior),
        sign_entry_response(committee, signers[1], 1, (entry_of(TWO.block), entry_of(ONE.block))),
    ]


EXAMPLES = _make_examples()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_what_was_signed_is_read_back(message: Any) -> None:
    signer, decoded = FACTORY.decode_message(encode(message), WORLD.committee)
    assert decoded == message
    FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())


def test_every_kind_of_message_has_an_example() -> None:
    assert len({type(message) for message in EXAMPLES}) == 9


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        FACTORY.decode_message(data, WORLD.committee)


@settings(max_examples=300)
@given(st.sampled_from(EXAMPLES), st.data())
def test_a_changed_message_is_refused_or_changes_nothing(message: Any, data: st.DataObject) -> None:
    """Certificates inside a proposal or a timeout are not under its signature: the engine verifies them."""
    valid = encode(message)
    position = data.draw(st.integers(0, len(valid) - 1))
    replacement = data.draw(
        st.binary(min_size=0, max_size=3).filter(lambda new: new != valid[position : position + 1])
    )
    changed = valid[:position] + replacement + valid[position + 1 :]
    try:
        signer, decoded = FACTORY.decode_message(changed, WORLD.committee)
        FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())
    except RemoteError:
        return
    assert isinstance(decoded, Propose | Timeout)
    subject = WORLD.subject(2)
    subject.hear(decoded)
    assert not subject.voted()
    assert subject.view == 1


@pytest.mark.parametrize(
    "message",
    [
        msgspec.structs.replace(TWO, signers=(0, 2, 1)),
        msgspec.structs.replace(TWO, signers=(0, 1, 1)),
        msgspec.structs.replace(TWO, signers=(0, 1, 4)),
        msgspec.structs.replace(TWO, signers=(0, 1), signatures=TWO.signatures[:2]),
        QuorumCertificate(TWO.block, (0, 1, 2, 3), (*TWO.signatures, bytes(64))),
        ROOT,
        CommitProof(ONE, THREE),
        CommitProof(ROOT, ONE),
        CommitProof(ONE, WORLD.certify_block(extend(ROOT.block, 2, bytes(32)))),
        WORLD.certify_timeouts(1, {0: ONE, 1: ROOT, 2: ROOT}),
        msgspec.structs.replace(WORLD.certify_timeouts(3, LOCKS), certified_views=(0, 0)),
        WORLD.time_out(0, 2, TWO),
        msgspec.structs.replace(WORLD.vote(2, ONE.block), sender=4),
        WORLD.propose(3, b"x", msgspec.structs.replace(TWO, signers=(0, 1), signatures=TWO.signatures[:2])),
        EntryResponse((Entry(1, bytes(32), bytes(32)),) * 300, 1, bytes(64)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_impossible_shapes_are_refused_before_any_signature(message: Any) -> None:
    with pytest.raises(RemoteError):
        FACTORY.decode_message(encode(message), WORLD.committee)


def test_a_payload_must_be_the_one_proposed() -> None:
    message = msgspec.structs.replace(WORLD.propose(1, b"payload"), payload=b"another")
    signer, decoded = FACTORY.decode_message(encode(message), WORLD.committee)
    with pytest.raises(RemoteError):
        FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())


def test_a_block_extends_or_repeats_its_parent_and_nothing_else() -> None:
    above, again = extend(ONE.block, 5, bytes(32)), repeat(ONE.block, 5)
    assert extends(above, ONE.block)
    assert extends(again, ONE.block)
    assert not extends(above, TWO.block)
    assert not extends(repeat(ONE.block, 1), ONE.block), "a child is of a later view"
    for name, value in (("slot", 3), ("prior", bytes(32)), ("parent", bytes(32))):
        assert not extends(msgspec.structs.replace(above, **{name: value}), ONE.block), name
    assert not extends(msgspec.structs.replace(again, digest=bytes(32)), ONE.block)


def test_real_signatures_bind_the_message() -> None:
    signers = [Ed25519Signer(derive_seed(b"test", index)) for index in range(4)]
    world = World()
    world.signers = signers  # type: ignore[assignment]
    world.committee = type(world.committee)(bytes(32), 0, 0, 0, tuple(signer.public_key for signer in signers))
    block = extend(ROOT.block, 1, bytes(32))
    signer, vote = FACTORY.decode_message(encode(world.vote(1, block)), world.committee)
    FACTORY.verify_message(signer, vote, world.committee, Ed25519())
    moved = msgspec.structs.replace(vote, block=extend(ROOT.block, 2, bytes(32)))
    with pytest.raises(RemoteError):
        FACTORY.verify_message(signer, moved, world.committee, Ed25519())


def test_the_engine_is_found_by_name() -> None:
    assert load_engine_factory("hotstuff").name == "hotstuff"
