"""Evidence that convinces strangers: two blocks that one member proposed, or voted for, in one view; two timeouts
of one view that report different locks.

All three are frozen in the log before they leave, so an honest member signs at most one of each. Proposals of one
block under different certificates are one proposal: the signature covers the block alone. What does not live here:
finding it (``ordering``, ``views``).
"""

from __future__ import annotations

from typing import Final, TypeVar

from consensus.committee import Committee
from consensus.engine import Evidence, EvidencePosition
from consensus.hotstuff.messages import Proposal, Timeout, Vote
from consensus.hotstuff.reading import (
    compute_max_message_bytes,
    is_proposal_signed,
    is_timeout_signed,
    is_vote_signed,
    require_proposal_shape,
    require_timeout_shape,
)
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

_PAIR: Final = 2
T = TypeVar("T", Proposal, Vote, Timeout)


def verify_evidence(evidence: Evidence, committee: Committee, scheme: SignatureScheme) -> EvidencePosition:
    """Where the culprit contradicted itself; raises ``RemoteError`` unless the two messages prove it."""
    match evidence.kind:
        case "conflicting-proposal":
            proposals = _read_pair(Proposal, evidence, committee)
            for proposal in proposals:
                require_proposal_shape(proposal, committee)
            _require(proposals[0].block != proposals[1].block, "the two propose the same block")
            _require(all(is_proposal_signed(item, committee, scheme) for item in proposals), "a bad signature")
            return _locate(proposals[0].block.view, proposals[1].block.view, proposals[0].block.slot)
        case "conflicting-vote":
            votes = _read_pair(Vote, evidence, committee)
            _require(votes[0].block != votes[1].block, "the two vote for the same block")
            _require(all(is_vote_signed(item, committee, scheme) for item in votes), "a bad signature")
            return _locate(votes[0].block.view, votes[1].block.view, votes[0].block.slot)
        case "conflicting-timeout":
            timeouts = _read_pair(Timeout, evidence, committee)
            for timeout in timeouts:
                require_timeout_shape(timeout, committee)
            views = {timeout.highest.block.view for timeout in timeouts}
            _require(len(views) == _PAIR, "the two report the same lock")
            _require(all(is_timeout_signed(item, committee, scheme) for item in timeouts), "a bad signature")
            return _locate(timeouts[0].view, timeouts[1].view, 0)
        case _:
            raise RemoteError("UNKNOWN_EVIDENCE", f"HotStuff knows no evidence of kind {evidence.kind[:64]!r}")


def _read_pair(kind: type[T], evidence: Evidence, committee: Committee) -> tuple[T, T]:
    """Both messages, distinct, in the order of their bytes, and of the culprit, who is a member."""
    _require(len(evidence.messages) == _PAIR, "two messages contradict each other")
    first, second = evidence.messages
    _require(first < second, "the messages are not distinct and in order")
    limit = compute_max_message_bytes(committee)
    one: T = decode(kind, first, max_bytes=limit)
    other: T = decode(kind, second, max_bytes=limit)
    _require(0 <= evidence.culprit < committee.size, "the culprit is no member")
    _require(one.sender == other.sender == evidence.culprit, "a message of somebody else")
    return one, other


def _locate(view: int, other_view: int, slot: int) -> EvidencePosition:
    _require(view == other_view, "messages of two views do not contradict each other")
    return EvidencePosition(slot=slot, view=view)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise RemoteError("BAD_EVIDENCE", complaint, penalise=True)
