"""How bytes from outside become a HotStuff message, in two steps.

A signature costs more than everything else about a vote, so ``decode_message`` bounds the bytes and checks the
shape, the engine says whether it needs the message at all, and only then ``verify_message`` checks the outermost
signature. Both raise ``RemoteError`` and nothing else. Certificates that are messages themselves have no outermost
signer: their first signer stands for them, and all their signatures are checked. What does not live here: the
certificates inside proposals and timeouts, which the engine verifies when it handles them (``proofs``).
"""

from __future__ import annotations

from typing import Final, assert_never

from consensus.committee import Committee
from consensus.engine import compute_payload_digest
from consensus.hotstuff.messages import (
    MESSAGE_KINDS,
    ROOT_VIEW,
    Block,
    CommitProof,
    EntryRequest,
    EntryResponse,
    Message,
    Phase,
    Proposal,
    Propose,
    QuorumCertificate,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
    compute_block_statement,
    compute_contents_statement,
    compute_timeout_statement,
)
from consensus.hotstuff.safety import commits
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.signing import SIGNATURE_BYTES, SignatureScheme

MAX_WINDOW_SLOTS: Final = 256
"""No network sets a larger window; bounds the entries of an answer before its parameters are looked at."""
MAX_MESSAGE_PAYLOAD_BYTES: Final = 16 << 20
"""Above any sensible payload; the engine compares with the network's own limit."""
_FRAME_BYTES: Final = 1_024
"""Everything in a message that is neither a payload nor a list."""
_SIGNATURE_ENTRY_BYTES: Final = SIGNATURE_BYTES + 24
"""A signature in a list, its header, its signer's index and the view that it reports."""
_ENTRY_BYTES: Final = 96
"""An entry in a list."""


def compute_max_message_bytes(committee: Committee) -> int:
    """The largest message of this committee: a proposal with its two certificates and its payload."""
    certificates = 2 * (_FRAME_BYTES + committee.quorum * _SIGNATURE_ENTRY_BYTES)
    return certificates + _FRAME_BYTES + max(MAX_MESSAGE_PAYLOAD_BYTES, MAX_WINDOW_SLOTS * _ENTRY_BYTES)


def decode_message(data: bytes, committee: Committee) -> tuple[int, Message]:
    """(outermost signer, message) with every index and count in range; signatures not yet looked at. Raises
    ``RemoteError`` only."""
    message: Message = decode(MESSAGE_KINDS, data, max_bytes=compute_max_message_bytes(committee))
    match message:
        case Propose(proposal=proposal):
            require_proposal_shape(proposal, committee)
            sender = proposal.sender
        case Vote() | Status() | EntryRequest():
            sender = message.sender
        case Timeout():
            require_timeout_shape(message, committee)
            sender = message.sender
        case EntryResponse():
            _require(len(message.entries) <= MAX_WINDOW_SLOTS, "an answer of too many entries")
            sender = message.sender
        case QuorumCertificate():
            _require_certificate_shape(message, committee)
            sender = message.signers[0]
        case TimeoutCertificate():
            _require_timeouts_shape(message, committee)
            sender = message.signers[0]
        case CommitProof():
            _require_commit_shape(message, committee)
            sender = message.child.signers[0]
        case _:
            assert_never(message)
    _require(sender < committee.size, f"no member {sender}")
    return sender, message


def verify_message(signer: int, message: Message, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless ``signer`` signed this; of a certificate, unless all its signers did."""
    match message:
        case Propose(proposal=proposal, payload=payload):
            if payload is not None and compute_payload_digest(payload) != proposal.block.digest:
                raise RemoteError("WRONG_DIGEST", "the payload is not the one proposed", penalise=True)
            verified = is_proposal_signed(proposal, committee, scheme)
        case Vote():
            verified = is_vote_signed(message, committee, scheme)
        case Timeout():
            verified = is_timeout_signed(message, committee, scheme)
        case Status() | EntryRequest() | EntryResponse():
            statement = compute_contents_statement(committee, message)
            verified = scheme.verify(committee.members[signer], statement, message.signature)
        case QuorumCertificate():
            verified = is_certificate_signed(message, committee, scheme)
        case TimeoutCertificate():
            verified = are_timeouts_signed(message, committee, scheme)
        case CommitProof():
            verified = all(
                is_certificate_signed(item, committee, scheme) for item in (message.parent, message.child)
            )
        case _:
            assert_never(message)
    if not verified:
        raise RemoteError("BAD_SIGNATURE", f"a {type(message).__name__} with a bad signature", penalise=True)


# --- signatures --------------------------------------------------------------------------------------------


def is_proposal_signed(proposal: Proposal, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether its sender, a member, signed the block."""
    return _is_block_signed(committee, scheme, Phase.PROPOSAL, proposal.block, proposal.sender, proposal.signature)


def is_vote_signed(vote: Vote, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether its sender, a member, signed the block."""
    return _is_block_signed(committee, scheme, Phase.VOTE, vote.block, vote.sender, vote.signature)


def is_timeout_signed(timeout: Timeout, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether its sender, a member, signed both views."""
    statement = compute_timeout_statement(committee, timeout.view, timeout.highest.block.view)
    return scheme.verify(committee.members[timeout.sender], statement, timeout.signature)


def is_certificate_signed(certificate: QuorumCertificate, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether all its signers, members, signed votes for the block."""
    return all(
        _is_block_signed(committee, scheme, Phase.VOTE, certificate.block, member, signature)
        for member, signature in zip(certificate.signers, certificate.signatures, strict=True)
    )


def are_timeouts_signed(timeouts: TimeoutCertificate, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether each signer, a member, gave the view up with the certified view that stands beside it."""
    return all(
        scheme.verify(
            committee.members[member],
            compute_timeout_statement(committee, timeouts.view, certified_view),
            signature,
        )
        for member, certified_view, signature in zip(
            timeouts.signers, timeouts.certified_views, timeouts.signatures, strict=True
        )
    )


def _is_block_signed(
    committee: Committee, scheme: SignatureScheme, phase: Phase, block: Block, member: int, signature: bytes
) -> bool:
    return scheme.verify(committee.members[member], compute_block_statement(committee, phase, block), signature)


# --- shapes ------------------------------------------------------------------------------------------------


def require_proposal_shape(proposal: Proposal, committee: Committee) -> None:
    """Raise ``RemoteError`` unless signers and counts in it are in range."""
    _require(proposal.sender < committee.size, "a stranger's proposal")
    _require_highest_shape(proposal.justify, committee)
    if proposal.timeouts is not None:
        _require_timeouts_shape(proposal.timeouts, committee)


def require_timeout_shape(timeout: Timeout, committee: Committee) -> None:
    """Raise ``RemoteError`` unless signers and counts in it are in range."""
    _require(timeout.sender < committee.size, "a stranger's timeout")
    _require_highest_shape(timeout.highest, committee)
    _require(timeout.highest.block.view < timeout.view, "a timeout for a view that was certified")


def _require_highest_shape(certificate: QuorumCertificate, committee: Committee) -> None:
    """The root has no votes; which root it is, the engine knows."""
    if certificate.block.view == ROOT_VIEW:
        _require(not certificate.signers and not certificate.signatures, "votes for the root")
    else:
        _require_certificate_shape(certificate, committee)


def _require_certificate_shape(certificate: QuorumCertificate, committee: Committee) -> None:
    _require(certificate.block.view > ROOT_VIEW, "a certificate of no view")
    _require_signers(certificate.signers, certificate.signatures, committee)


def _require_timeouts_shape(timeouts: TimeoutCertificate, committee: Committee) -> None:
    _require_signers(timeouts.signers, timeouts.signatures, committee)
    _require(len(timeouts.certified_views) == len(timeouts.signers), "each signer reports one view")
    _require(
        all(view < timeouts.view for view in timeouts.certified_views), "a timeout for a view that was certified"
    )


def _require_commit_shape(proof: CommitProof, committee: Committee) -> None:
    _require_certificate_shape(proof.parent, committee)
    _require_certificate_shape(proof.child, committee)
    _require(commits(proof.parent.block, proof.child.block), "no child in the very next view")


def _require_signers(signers: tuple[int, ...], signatures: tuple[bytes, ...], committee: Committee) -> None:
    _require(len(signers) == len(signatures) == committee.quorum, f"exactly {committee.quorum} signers are needed")
    _require(
        all(low < high for low, high in zip(signers, signers[1:], strict=False)),
        "signers must be strictly increasing",
    )
    _require(signers[-1] < committee.size, "a stranger among the signers")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise RemoteError("MALFORMED", complaint, penalise=True)
