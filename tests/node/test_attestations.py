"""Certificates from attestations: quorums of matching ones, evidence, splits, bounds."""

from __future__ import annotations

import pytest

from consensus.certificate import Attestation, attest, verify_certificate
from node.attestations import WINDOWS, AttestationPool
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

COMMITTEE = make_committee(4)
SIGNERS = make_signers(4)
GOOD, BAD = b"\x01" * 32, b"\x02" * 32
WINDOW = 16


def _pool(scheme: TokenScheme | None = None) -> AttestationPool:
    return AttestationPool(COMMITTEE, scheme or TokenScheme(), WINDOW, 0)


def _vote(member: int, height: int = 1, header_hash: bytes = GOOD) -> Attestation:
    return attest(COMMITTEE, SIGNERS[member], height, header_hash)


def test_a_quorum_of_matching_attestations_is_a_certificate() -> None:
    pool = _pool()
    assert pool.add(_vote(3)).certificate is None
    assert pool.add(_vote(1, header_hash=BAD)).certificate is None
    assert pool.add(_vote(0)).certificate is None
    certificate = pool.add(_vote(2)).certificate
    assert certificate is not None
    assert certificate.signers == (0, 2, 3)
    verify_certificate(certificate, COMMITTEE, TokenScheme())


def test_attestations_of_different_headers_are_not_added_up() -> None:
    """Pitfall 12: messages are not counted, matching values are."""
    pool = _pool()
    pool.add(_vote(0))
    pool.add(_vote(1, header_hash=BAD))
    assert pool.add(_vote(2)).certificate is None


def test_one_member_counts_once() -> None:
    pool = _pool()
    for _ in range(5):
        assert pool.add(_vote(1)).certificate is None


def test_two_attestations_of_one_member_are_evidence_also_after_the_certificate() -> None:
    pool = _pool()
    for member in range(3):
        pool.add(_vote(member))
    pool.settle(1)
    evidence = pool.add(_vote(1, header_hash=BAD)).evidence
    assert evidence is not None
    assert (evidence.culprit, len(evidence.messages)) == (1, 2)


def test_a_late_vote_is_remembered_and_a_forged_one_does_not_shield_a_second() -> None:
    pool = _pool()
    for member in range(3):
        pool.add(_vote(member))
    pool.settle(1)
    assert pool.add(Attestation(1, b"\x03" * 32, 3, bytes(64))).evidence is None
    assert pool.add(_vote(3)).evidence is None
    evidence = pool.add(_vote(3, header_hash=BAD)).evidence
    assert evidence is not None
    assert evidence.culprit == 3


def test_a_height_that_can_get_no_quorum_any_more_is_a_split() -> None:
    pool = _pool()
    for member, header_hash in ((0, GOOD), (1, GOOD), (2, BAD)):
        assert pool.add(_vote(member, header_hash=header_hash)).split is None
    assert pool.add(_vote(3, header_hash=BAD)).split == 1


def test_forged_and_far_attestations_are_refused() -> None:
    pool = _pool()
    forged = Attestation(1, GOOD, 2, SIGNERS[1].sign(b"something"))
    with pytest.raises(RemoteError, match="BAD_SIGNATURE"):
        pool.add(forged)
    with pytest.raises(RemoteError, match="TOO_FAR_AHEAD"):
        pool.add(_vote(1, height=WINDOWS * WINDOW + 1))


def test_duplicates_cost_no_signature_check() -> None:
    scheme = TokenScheme()
    pool = _pool(scheme)
    pool.add(_vote(1))
    verified = scheme.verifications
    pool.add(_vote(1))
    assert scheme.verifications == verified


def test_of_far_certificates_only_the_highest_is_kept() -> None:
    maker = AttestationPool(COMMITTEE, TokenScheme(), WINDOW, 10_000)
    pool = _pool()
    certificates = []
    for height in (10_001, 10_002):
        for member in range(3):
            certificate = maker.add(_vote(member, height)).certificate
            if certificate is not None:
                certificates.append(certificate)
    low, high = certificates
    assert pool.add_certificate(high)
    assert not pool.add_certificate(low)
    assert pool.highest == 10_002
    assert pool.certificate_at(10_001) is None


def test_only_what_is_executed_is_certified() -> None:
    pool = _pool()
    for member in range(3):
        pool.add(_vote(member, 5))
    assert pool.best_certificate(4) is None
    assert pool.best_certificate(5) is not None
