"""Verifying the certificates inside other messages, each once.

The same certificate comes in a proposal, in every timeout of the view after and in statuses' answers. What was
verified, or made here from verified votes, is remembered under a hash of all its bytes. What does not live here:
which certificates are needed (``safety``).
"""

from __future__ import annotations

from typing import Final

from consensus.committee import Committee
from consensus.hotstuff.messages import ROOT_VIEW, QuorumCertificate, TimeoutCertificate
from consensus.hotstuff.reading import are_timeouts_signed, is_certificate_signed
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SignatureScheme

_REMEMBERED_PER_MEMBER: Final = 4
"""Certificates that are remembered, per member: in a bad minute each reports another one, or two."""


class ProofChecker:
    """Verifies for one committee, whose first block extends ``root``."""

    def __init__(self, committee: Committee, scheme: SignatureScheme, root: QuorumCertificate) -> None:
        self._committee = committee
        self._scheme = scheme
        self._root = root
        self._verified: dict[bytes, None] = {}

    def verify_certificate(self, certificate: QuorumCertificate) -> None:
        """Raise ``RemoteError`` unless it is our root's or its q signatures are good. Its shape was checked."""
        if certificate.block.view == ROOT_VIEW:
            if certificate != self._root:
                raise RemoteError("WRONG_ROOT", "a certificate of another root", penalise=True)
            return
        identity = _identify(certificate)
        if identity in self._verified:
            return
        if not is_certificate_signed(certificate, self._committee, self._scheme):
            raise RemoteError("BAD_SIGNATURE", "a quorum certificate with a bad vote", penalise=True)
        self._remember(identity)

    def verify_timeouts(self, timeouts: TimeoutCertificate) -> None:
        """Raise ``RemoteError`` unless its q signatures are good. Its shape was checked."""
        identity = _identify(timeouts)
        if identity in self._verified:
            return
        if not are_timeouts_signed(timeouts, self._committee, self._scheme):
            raise RemoteError("BAD_SIGNATURE", "a timeout certificate with a bad timeout", penalise=True)
        self._remember(identity)

    def note_verified(self, certificate: QuorumCertificate | TimeoutCertificate) -> None:
        """It was verified as a message of its own, or made here."""
        self._remember(_identify(certificate))

    def _remember(self, identity: bytes) -> None:
        if len(self._verified) >= _REMEMBERED_PER_MEMBER * self._committee.size:
            self._verified.pop(next(iter(self._verified)))  # insertion order: the oldest
        self._verified[identity] = None


def _identify(certificate: QuorumCertificate | TimeoutCertificate) -> bytes:
    return hash_tagged(b"rialto/hotstuff/verified", encode(certificate))
