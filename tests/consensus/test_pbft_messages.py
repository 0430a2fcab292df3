"""Reading PBFT's messages: bytes become a message or a ``RemoteError``, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import EngineFactory, load_engine_factory
from consensus.pbft.engine import PbftFactory
from consensus.pbft.messages import CommitCertificate, NewView, Status, sign_status
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.crafting import World
from tests.consensus.tokens import TokenScheme

FACTORY: EngineFactory = PbftFactory()
WORLD = World()
DIGEST = b"\x0a" * 32


def _make_examples() -> list[Any]:
    view_changes = [WORLD.change_view(0, 1, [WORLD.prove(0, 1, DIGEST)], None)]
    view_changes += [WORLD.change_view(1, 1), WORLD.change_view(2, 1, [], None)]
    commits = [WORLD.commit(member, 0, 1, DIGEST) for member in range(3)]
    return [
        WORLD.pre_prepare(0, 0, 1, b"payload"),
        WORLD.prepare(1, 0, 1, DIGEST),
        commits[0],
        CommitCertificate(0, 1, DIGEST, (0, 1, 2), tuple(commit.signature for commit in commits)),
        WORLD.change_view(3, 2, [WORLD.prove(1, 9, DIGEST)], WORLD.certify(8)),
        WORLD.start_view(1, view_changes, [(1, DIGEST)]),
        sign_status(WORLD.committee, WORLD.signers[2], 2, 1, 5, (3, 2, 1)),
    ]


EXAMPLES = _make_examples()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_what_was_signed_is_read_back(message: Any) -> None:
    signer, decoded = FACTORY.decode_message(encode(message), WORLD.committee)
    assert decoded == message
    FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        FACTORY.decode_message(data, WORLD.committee)


@settings(max_examples=300)
@given(st.sampled_from(EXAMPLES), st.data())
def test_a_changed_message_is_refused_or_badly_signed(message: Any, data: st.DataObject) -> None:
    valid = encode(message)
    position = data.draw(st.integers(0, len(valid) - 1))
    replacement = data.draw(
        st.binary(min_size=0, max_size=3).filter(lambda new: new != valid[position : position + 1])
    )
    changed = valid[:position] + replacement + valid[position + 1 :]
    with pytest.raises(RemoteError):
        signer, decoded = FACTORY.decode_message(changed, WORLD.committee)
        FACTORY.verify_message(signer, decoded, WORLD.committee, TokenScheme())


@settings(max_examples=100)
@given(st.sampled_from(EXAMPLES), st.data())
def test_engine_survives_fields_out_of_line(message: Any, data: st.DataObject) -> None:
    """Well-formed but senseless numbers pass the reader and must not upset the engine."""
    subject = WORLD.subject(1)
    number = data.draw(st.sampled_from([0, 1, 3, 4, 5, 100, 2**62, 2**63 - 1]))
    fields = [name for name in message.__struct_fields__ if isinstance(getattr(message, name), int)]
    if fields:
        message = msgspec.structs.replace(message, **{data.draw(st.sampled_from(fields)): number})
    try:
        signer, decoded = FACTORY.decode_message(encode(message), WORLD.committee)
    except RemoteError:
        return
    subject.engine.needs(signer, decoded)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_certificate_has_exactly_q_signers(count: int) -> None:
    certificate = CommitCertificate(0, 1, DIGEST, tuple(range(count)), (bytes(64),) * count)
    with pytest.raises(RemoteError):
        FACTORY.decode_message(encode(certificate), WORLD.committee)


def test_a_proof_that_counts_its_proposer_twice_is_refused() -> None:
    proof = WORLD.prove(0, 1, DIGEST)
    doubled = msgspec.structs.replace(proof, signers=(0, 1))
    with pytest.raises(RemoteError):
        FACTORY.decode_message(encode(WORLD.change_view(2, 1, [doubled])), WORLD.committee)


def test_a_status_of_endless_slots_is_refused() -> None:
    status = Status(0, 0, (0,) * 300, 1, bytes(64))
    with pytest.raises(RemoteError):
        FACTORY.decode_message(encode(status), WORLD.committee)


def test_a_new_view_needs_distinct_members() -> None:
    same = WORLD.change_view(0, 1)
    with pytest.raises(RemoteError):
        FACTORY.decode_message(encode(WORLD.start_view(1, [same, same, same], [])), WORLD.committee)


def test_real_signatures_bind_the_message() -> None:
    signers = [Ed25519Signer(derive_seed(b"test", index)) for index in range(4)]
    world = World()
    world.signers = signers  # type: ignore[assignment]
    world.committee = type(world.committee)(bytes(32), 0, 0, 0, tuple(signer.public_key for signer in signers))
    signer, vote = FACTORY.decode_message(encode(world.prepare(1, 0, 1, DIGEST)), world.committee)
    FACTORY.verify_message(signer, vote, world.committee, Ed25519())
    with pytest.raises(RemoteError):
        FACTORY.verify_message(signer, msgspec.structs.replace(vote, slot=2), world.committee, Ed25519())


def test_the_engine_is_found_by_name() -> None:
    assert load_engine_factory("pbft").name == "pbft"


def test_every_kind_of_message_has_an_example() -> None:
    assert len({type(message) for message in EXAMPLES}) == 7
    assert any(isinstance(message, NewView) for message in EXAMPLES)
