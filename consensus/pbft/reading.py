"""How bytes from outside become a PBFT message, in two steps.

A signature costs more than everything else about a vote, so ``decode_message`` bounds the bytes and checks the
shape, the engine says whether it needs the message at all, and only then ``verify_message`` checks the outermost
signature. Both raise ``RemoteError`` and nothing else. What does not live here: the proofs inside view changes
and new views, which the engine verifies when it handles them (``proofs``).
"""

from __future__ import annotations

from typing import Final, assert_never

from consensus.committee import Committee
from consensus.engine import compute_payload_digest
from consensus.pbft.messages import (
    MESSAGE_KINDS,
    Commit,
    CommitCertificate,
    Message,
    NewView,
    Phase,
    Prepare,
    PreparedProof,
    PrePrepare,
    Proposal,
    Status,
    ViewChange,
    Vote,
    compute_contents_statement,
    compute_statement,
)
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.signing import SIGNATURE_BYTES, SignatureScheme

MAX_WINDOW_SLOTS: Final = 256
"""No network sets a larger window; bounds the proofs in a view change before its parameters are looked at."""
MAX_MESSAGE_PAYLOAD_BYTES: Final = 16 << 20
"""Above any sensible payload; the engine compares with the network's own limit."""
_FRAME_BYTES: Final = 1_024
"""Everything in a message that is neither a payload nor a signature list."""
_SIGNATURE_ENTRY_BYTES: Final = SIGNATURE_BYTES + 12
"""A signature in a list, its header and its signer's index."""


def compute_max_message_bytes(committee: Committee) -> int:
    """The largest message of this committee: a pre-prepare, or a new view of q full view changes."""
    proof = _FRAME_BYTES + committee.quorum * _SIGNATURE_ENTRY_BYTES
    view_change = proof * (MAX_WINDOW_SLOTS + 1)
    return max(MAX_MESSAGE_PAYLOAD_BYTES + _FRAME_BYTES, (committee.quorum + 1) * view_change)


def decode_message(data: bytes, committee: Committee) -> tuple[int, Message]:
    """(outermost signer, message) with every index and count in range; signatures not yet looked at.

    A commit certificate has no outermost signer; its first signer stands for it. Raises ``RemoteError`` only.
    """
    message: Message = decode(MESSAGE_KINDS, data, max_bytes=compute_max_message_bytes(committee))
    match message:
        case PrePrepare():
            sender = message.proposal.sender
        case Prepare() | Commit():
            sender = message.sender
        case CommitCertificate():
            _require_signers(message.signers, message.signatures, committee.quorum, committee)
            sender = message.signers[0]
        case ViewChange():
            _require_view_change_shape(message, committee)
            sender = message.sender
        case NewView():
            _require_new_view_shape(message, committee)
            sender = message.sender
        case Status():
            _require(len(message.phases) <= MAX_WINDOW_SLOTS, "a status names too many slots")
            sender = message.sender
        case _:
            assert_never(message)
    _require(sender < committee.size, f"no member {sender}")
    return sender, message


def verify_message(signer: int, message: Message, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless ``signer`` signed this; of a commit certificate, unless all signers did."""
    match message:
        case PrePrepare():
            if compute_payload_digest(message.payload) != message.proposal.digest:
                raise RemoteError("WRONG_DIGEST", "the payload is not the one proposed", penalise=True)
            verified = is_proposal_signed(message.proposal, committee, scheme)
        case Prepare():
            verified = is_vote_signed(committee, scheme, Phase.PREPARE, message, signer, message.signature)
        case Commit():
            verified = is_vote_signed(committee, scheme, Phase.COMMIT, message, signer, message.signature)
        case CommitCertificate():
            verified = all(
                is_vote_signed(committee, scheme, Phase.COMMIT, message, member, signature)
                for member, signature in zip(message.signers, message.signatures, strict=True)
            )
        case ViewChange() | NewView() | Status():
            statement = compute_contents_statement(committee, message)
            verified = scheme.verify(committee.members[signer], statement, message.signature)
        case _:
            assert_never(message)
    if not verified:
        raise RemoteError("BAD_SIGNATURE", f"a {type(message).__name__} with a bad signature", penalise=True)


def is_proposal_signed(proposal: Proposal, committee: Committee, scheme: SignatureScheme) -> bool:
    """Whether the proposal's sender, a member, signed it."""
    return is_vote_signed(committee, scheme, Phase.PRE_PREPARE, proposal, proposal.sender, proposal.signature)


def is_vote_signed(
    committee: Committee,
    scheme: SignatureScheme,
    phase: Phase,
    position: Proposal | Vote | CommitCertificate,
    member: int,
    signature: bytes,
) -> bool:
    """Whether ``member`` signed ``position``'s view, slot and digest in this phase."""
    statement = compute_statement(committee, phase, position.view, position.slot, position.digest)
    return scheme.verify(committee.members[member], statement, signature)


def require_proof_shape(proof: PreparedProof, committee: Committee) -> None:
    """Raise ``RemoteError`` unless the proof names a proposer and q − 1 other members in order."""
    _require(proof.proposal.sender < committee.size, "a proof names a stranger")
    _require_signers(proof.signers, proof.signatures, committee.quorum - 1, committee)
    _require(proof.proposal.sender not in proof.signers, "a proof counts its proposer twice")


def _require_view_change_shape(message: ViewChange, committee: Committee) -> None:
    _require(message.sender < committee.size, "a view change names a stranger")
    _require(len(message.prepared) <= MAX_WINDOW_SLOTS, "a view change proves too many slots")
    for proof in message.prepared:
        require_proof_shape(proof, committee)
    slots = [proof.proposal.slot for proof in message.prepared]
    _require(all(low < high for low, high in zip(slots, slots[1:], strict=False)), "proofs must come by slot")


def _require_new_view_shape(message: NewView, committee: Committee) -> None:
    senders = [view_change.sender for view_change in message.view_changes]
    _require(len(senders) == committee.quorum, f"a new view has exactly {committee.quorum} view changes")
    _require(
        all(low < high for low, high in zip(senders, senders[1:], strict=False)), "view changes come by sender"
    )
    _require(len(message.proposals) <= MAX_WINDOW_SLOTS, "a new view proposes too many slots")
    for view_change in message.view_changes:
        _require_view_change_shape(view_change, committee)


def _require_signers(
    signers: tuple[int, ...], signatures: tuple[bytes, ...], count: int, committee: Committee
) -> None:
    _require(len(signers) == len(signatures) == count, f"exactly {count} signers are needed")
    _require(
        all(low < high for low, high in zip(signers, signers[1:], strict=False)),
        "signers must be strictly increasing",
    )
    _require(not signers or signers[-1] < committee.size, "a stranger among the signers")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise RemoteError("MALFORMED", complaint, penalise=True)
