"""Attestations and certificates: the one kind of proof that everybody verifies.

An attestation signs ``tag ‖ chain ‖ shard ‖ incarnation ‖ epoch ‖ height ‖ header hash`` and no view, so
members that decided in different views sign the same bytes. A quorum of them is the certificate, and PBFT's
stable checkpoint. Signer subsets differ between holders: a certificate is never part of anything that is
hashed into the chain it certifies.
"""

from __future__ import annotations

from consensus.committee import Committee
from primitives.codec import Wire
from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES
from primitives.signing import SignatureScheme, Signer

_TAG = b"rialto/attestation/1"


class Attestation(Wire, frozen=True, tag=1):
    """Member ``signer`` executed ``height`` and got the header with this hash."""

    height: int
    header_hash: bytes
    signer: int
    signature: bytes


class Certificate(Wire, frozen=True, tag=2):
    """Exactly q attestations of one header, by strictly increasing signer index."""

    incarnation: int
    epoch: int
    height: int
    header_hash: bytes
    signers: tuple[int, ...]
    signatures: tuple[bytes, ...]


def compute_attestation_message(committee: Committee, height: int, header_hash: bytes) -> bytes:
    """The bytes that an attestation signs; fixed width, so no separator is needed."""
    return _TAG + committee.signing_prefix + height.to_bytes(8, "big") + header_hash


def attest(committee: Committee, signer: Signer, height: int, header_hash: bytes) -> Attestation:
    """Our attestation. The caller has logged (height, hash) durably before this leaves the process."""
    index = committee.index_of(signer.public_key)
    assert index is not None, "only members attest"
    signature = signer.sign(compute_attestation_message(committee, height, header_hash))
    return Attestation(height, header_hash, index, signature)


def verify_attestation(attestation: Attestation, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless a member of ``committee`` signed exactly this."""
    if not 0 <= attestation.signer < committee.size:
        raise RemoteError("NOT_A_MEMBER", f"no member {attestation.signer}", penalise=True)
    if not 0 <= attestation.height < 2**63 or len(attestation.header_hash) != DIGEST_BYTES:
        raise RemoteError("MALFORMED", "an attestation with an impossible height or hash", penalise=True)
    message = compute_attestation_message(committee, attestation.height, attestation.header_hash)
    if not scheme.verify(committee.members[attestation.signer], message, attestation.signature):
        raise RemoteError("BAD_SIGNATURE", "an attestation with a bad signature", penalise=True)


def verify_certificate(certificate: Certificate, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless exactly q members of ``committee`` attested this header.

    Checked in this order, cheapest first: incarnation and epoch, shape, strictly increasing signers, exactly
    q of them, signatures.
    """
    if (certificate.incarnation, certificate.epoch) != (committee.incarnation, committee.epoch):
        raise RemoteError("WRONG_EPOCH", "a certificate of another incarnation or epoch")
    if not 0 <= certificate.height < 2**63 or len(certificate.header_hash) != DIGEST_BYTES:
        raise RemoteError("MALFORMED", "a certificate with an impossible height or hash", penalise=True)
    signers = certificate.signers
    if len(signers) != committee.quorum or len(certificate.signatures) != committee.quorum:
        raise RemoteError("BAD_QUORUM", f"a certificate has exactly {committee.quorum} signers", penalise=True)
    if any(low >= high for low, high in zip(signers, signers[1:], strict=False)):
        raise RemoteError("BAD_QUORUM", "signers must be strictly increasing", penalise=True)
    if signers[0] < 0 or signers[-1] >= committee.size:
        raise RemoteError("NOT_A_MEMBER", "a certificate names a stranger", penalise=True)
    message = compute_attestation_message(committee, certificate.height, certificate.header_hash)
    for index, signature in zip(signers, certificate.signatures, strict=True):
        if not scheme.verify(committee.members[index], message, signature):
            raise RemoteError("BAD_SIGNATURE", "a certificate with a bad signature", penalise=True)
