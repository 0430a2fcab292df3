"""Committees, attestations, certificates."""

from __future__ import annotations

import msgspec
import pytest

from consensus.certificate import (
    Attestation,
    attest,
    compute_attestation_message,
    verify_attestation,
    verify_certificate,
)
from consensus.committee import Committee
from primitives.errors import LocalError, RemoteError
from tests.consensus.crafting import World
from tests.consensus.rules import QUORUMS
from tests.consensus.tokens import TokenScheme, make_committee


def test_quorums_are_those_of_the_derivation() -> None:
    for size in range(1, 60):
        committee = make_committee(size)
        quorum, faults = committee.quorum, committee.faults
        assert 2 * quorum - size >= faults + 1, "two quorums share an honest member"
        assert size - faults >= quorum, "the honest alone are a quorum"
        assert quorum == QUORUMS.get(size, quorum)


def test_an_attestation_names_no_view() -> None:
    """Members that decided in different views must sign the same bytes."""
    committee = make_committee(4)
    message = compute_attestation_message(committee, 7, b"\x01" * 32)
    assert message == b"rialto/attestation/1" + committee.signing_prefix + (7).to_bytes(8, "big") + b"\x01" * 32
    assert Attestation.__struct_fields__ == ("height", "header_hash", "signer", "signature")


@pytest.mark.parametrize(
    "change",
    [
        {"signers": (0, 1)},
        {"signers": (0, 0, 1)},
        {"signers": (2, 1, 0)},
        {"signers": (0, 1, 4)},
        {"signers": (-1, 0, 1)},
        {"signers": (0, 1, 3)},
        {"height": 2},
        {"height": -1},
        {"height": 2**64},
        {"header_hash": b"\x01" * 32},
        {"header_hash": b""},
        {"epoch": 1},
        {"incarnation": 1},
    ],
)
def test_a_changed_certificate_is_refused(change: dict[str, object]) -> None:
    world = World()
    good = world.certify(1)
    verify_certificate(good, world.committee, TokenScheme())
    with pytest.raises(RemoteError):
        verify_certificate(msgspec.structs.replace(good, **change), world.committee, TokenScheme())


def test_an_attestation_is_verified_as_signed() -> None:
    world = World()
    good = attest(world.committee, world.signers[2], 5, b"\x01" * 32)
    verify_attestation(good, world.committee, TokenScheme())
    for change in ({"height": 6}, {"signer": 1}, {"header_hash": b""}):
        with pytest.raises(RemoteError):
            verify_attestation(msgspec.structs.replace(good, **change), world.committee, TokenScheme())


def test_a_strangers_attestation_is_refused() -> None:
    committee = make_committee(4)
    for signer in (-1, 4):
        with pytest.raises(RemoteError):
            verify_attestation(Attestation(1, bytes(32), signer, bytes(64)), committee, TokenScheme())


def test_a_committee_of_nobody_or_of_twins_is_refused() -> None:
    for members in ((), (bytes(32), bytes(32)), (b"short",)):
        with pytest.raises(LocalError):
            Committee(bytes(32), 0, 0, 0, members)
