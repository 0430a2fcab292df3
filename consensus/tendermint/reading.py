"""How bytes from outside become a Tendermint message, in two steps.

``decode_message`` bounds the bytes and checks the shape, the engine says whether it needs the message at all, and
only then ``verify_message`` checks the outermost signature. Both raise ``RemoteError`` and nothing else. The proof
of lock inside a proposal is verified by the engine when it handles the proposal, with ``verify_certificate``.
"""

from __future__ import annotations

from typing import Final, assert_never

from consensus.committee import Committee
from consensus.engine import compute_payload_digest
from consensus.tendermint.messages import (
    MESSAGE_KINDS,
    DecisionCertificate,
    Message,
    Phase,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Propose,
    QuorumCertificate,
    Status,
    Vote,
    compute_proposal_statement,
    compute_statement,
    compute_status_statement,
)
from consensus.tendermint.steps import NIL, NO_ROUND
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.signing import SIGNATURE_BYTES, SignatureScheme

MAX_MESSAGE_PAYLOAD_BYTES: Final = 16 << 20
"""Above any sensible payload; the engine compares with the network's own limit."""
_FRAME_BYTES: Final = 1_024
"""Everything in a message that is neither a payload nor a signature list."""
_SIGNATURE_ENTRY_BYTES: Final = SIGNATURE_BYTES + 12
"""A signature in a list, its header and its signer's index."""


def compute_max_message_bytes(committee: Committee) -> int:
    """The largest message of this committee: a proposal with a proof of lock."""
    return MAX_MESSAGE_PAYLOAD_BYTES + 2 * _FRAME_BYTES + committee.quorum * _SIGNATURE_ENTRY_BYTES


def decode_message(data: bytes, committee: Committee) -> tuple[int, Message]:
    """(outermost signer, message) with every index and count in range; signatures not yet looked at.

    A decision certificate has no outermost signer; its first signer stands for it. Raises ``RemoteError`` only.
    """
    message: Message = decode(MESSAGE_KINDS, data, max_bytes=compute_max_message_bytes(committee))
    match message:
        case Propose(proposal=proposal):
            _require_proposal_shape(message, committee)
            sender = proposal.sender
        case Prevote() | Precommit() | Status():
            sender = message.sender
        case DecisionCertificate():
            require_certificate_shape(message, committee)
            sender = message.signers[0]
        case _:
            assert_never(message)
    _require(sender < committee.size, f"no member {sender}")
    return sender, message


def verify_message(signer: int, message: Message, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless ``signer`` signed this; of a decision certificate, unless all signers did."""
    match message:
        case Propose():
            if compute_payload_digest(message.payload) != message.proposal.digest:
                raise RemoteError("WRONG_DIGEST", "the payload is not the one proposed", penalise=True)
            verified = is_proposal_signed(message.proposal, committee, scheme)
        case Prevote() | Precommit():
            verified = is_vote_signed(message, committee, scheme)
        case DecisionCertificate():
            verified = is_certificate_signed(message, committee, scheme)
        case Status():
            statement = compute_status_statement(committee, message)
            verified = scheme.verify(committee.members[signer], statement, message.signature)
        case _:
            assert_never(message)
    if not verified:
        raise RemoteError("BAD_SIGNATURE", f"a {type(message).__name__} with a bad signature", penalise=True)


def is_proposal_signed(proposal: Proposal, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether the proposal's sender, a member, signed it."""
    statement = compute_proposal_statement(
        committee, proposal.round, proposal.height, proposal.digest, proposal.valid_round
    )
    return scheme.verify(committee.members[proposal.sender], statement, proposal.signature)


def is_vote_signed(vote: Vote, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether the vote's sender, a member, signed it."""
    phase = Phase.PREVOTE if isinstance(vote, Prevote) else Phase.PRECOMMIT
    statement = compute_statement(committee, phase, vote.round, vote.height, vote.digest)
    return scheme.verify(committee.members[vote.sender], statement, vote.signature)


def is_certificate_signed(certificate: QuorumCertificate, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether every signer, all of them members, signed the vote that the certificate collects."""
    phase = Phase.PREVOTE if isinstance(certificate, PrevoteCertificate) else Phase.PRECOMMIT
    statement = compute_statement(committee, phase, certificate.round, certificate.height, certificate.digest)
    return all(
        scheme.verify(committee.members[member], statement, signature)
        for member, signature in zip(certificate.signers, certificate.signatures, strict=True)
    )


def require_certificate_shape(certificate: QuorumCertificate, committee: Committee) -> None:
    """Raise ``RemoteError`` unless it is for a value, by exactly q members in order."""
    signers = certificate.signers
    _require(certificate.digest != NIL, "a certificate for nil proves nothing")
    _require(
        len(signers) == len(certificate.signatures) == committee.quorum,
        f"a certificate has exactly {committee.quorum} signers",
    )
    _require(
        all(low < high for low, high in zip(signers, signers[1:], strict=False)),
        "signers must be strictly increasing",
    )
    _require(signers[-1] < committee.size, "a stranger among the signers")


def _require_proposal_shape(message: Propose, committee: Committee) -> None:
    proposal, proof = message.proposal, message.proof
    _require(proposal.digest != NIL, "nil cannot be proposed")
    _require(proposal.valid_round < proposal.round, "a valid round lies before the proposal's own (line 28)")
    if proposal.valid_round == NO_ROUND:
        _require(proof is None, "a proof of lock for no valid round")
        return
    if proof is None:
        raise RemoteError("MALFORMED", "a valid round without its proof of lock", penalise=True)
    require_certificate_shape(proof, committee)
    _require(
        (proof.round, proof.height, proof.digest) == (proposal.valid_round, proposal.height, proposal.digest),
        "the proof of lock is for something else",
    )


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise RemoteError("MALFORMED", complaint, penalise=True)
