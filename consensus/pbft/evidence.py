"""How PBFT's own messages contradict each other: the verdict of strangers on evidence.

| kind                      | messages             | an honest member                                           |
|---------------------------|----------------------|------------------------------------------------------------|
| ``conflicting-pre-prepare`` | two ``Proposal``   | proposes one digest for a (view, slot)                     |
| ``conflicting-prepare``   | two ``Prepare``      | logs its prepare and sends that one again                  |
| ``conflicting-commit``    | two ``Commit``       | as above                                                   |
| ``invalid-new-view``      | one ``NewView``      | leads the view, verified every proof, and computed O from V |

Two view changes of one member for one view are no offence (a later one may carry more), nor are proofs that name
other signers. What does not live here: noticing (``ordering``, ``view_change``).
"""

from __future__ import annotations

from typing import Final

from consensus.committee import Committee
from consensus.engine import EngineParameters, Evidence, EvidencePosition
from consensus.leader import create_leader_schedule
from consensus.pbft.messages import Commit, NewView, Phase, Prepare, Proposal
from consensus.pbft.proofs import ProofChecker
from consensus.pbft.reading import decode_message, is_vote_signed, verify_message
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

CONFLICTING_PRE_PREPARE: Final = "conflicting-pre-prepare"
CONFLICTING_PREPARE: Final = "conflicting-prepare"
CONFLICTING_COMMIT: Final = "conflicting-commit"
INVALID_NEW_VIEW: Final = "invalid-new-view"

_VOTES: Final[dict[str, tuple[type[Proposal | Prepare | Commit], Phase]]] = {
    CONFLICTING_PRE_PREPARE: (Proposal, Phase.PRE_PREPARE),
    CONFLICTING_PREPARE: (Prepare, Phase.PREPARE),
    CONFLICTING_COMMIT: (Commit, Phase.COMMIT),
}
_MAX_VOTE_BYTES: Final = 512
_EPOCH_START: Final = 0
"""Where the first epoch begins: the stable height of a view change without a certificate."""


def verify_evidence(
    evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
) -> EvidencePosition:
    """See ``EngineFactory.verify_evidence``."""
    if evidence.kind in _VOTES:
        return _verify_votes(evidence, committee, scheme)
    if evidence.kind == INVALID_NEW_VIEW:
        return _verify_new_view(evidence, committee, scheme, parameters)
    raise RemoteError("UNKNOWN_EVIDENCE", f"PBFT knows no evidence of kind {evidence.kind[:64]!r}", penalise=True)


def _verify_votes(evidence: Evidence, committee: Committee, scheme: SignatureScheme) -> EvidencePosition:
    kind, phase = _VOTES[evidence.kind]
    votes = [_decode_vote(kind, data) for data in evidence.messages]
    if len(votes) != 2:
        raise RemoteError("MALFORMED", "a contradiction is two messages", penalise=True)
    first, second = votes
    if (first.sender, second.sender) != (evidence.culprit, evidence.culprit):
        raise RemoteError("NOT_THE_CULPRIT", "a message of somebody else", penalise=True)
    if (first.view, first.slot) != (second.view, second.slot) or first.digest == second.digest:
        raise RemoteError("NO_OFFENCE", "the two messages do not contradict each other", penalise=True)
    for vote in votes:
        if not is_vote_signed(committee, scheme, phase, vote, evidence.culprit, vote.signature):
            raise RemoteError("BAD_SIGNATURE", "the culprit did not sign this", penalise=True)
    return EvidencePosition(first.slot, first.view)


def _decode_vote(kind: type[Proposal | Prepare | Commit], data: bytes) -> Proposal | Prepare | Commit:
    vote: Proposal | Prepare | Commit = decode(kind, data, max_bytes=_MAX_VOTE_BYTES)
    return vote


def _verify_new_view(
    evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
) -> EvidencePosition:
    """The culprit signed it, and following it step by step fails where no honest leader's would."""
    if len(evidence.messages) != 1:
        raise RemoteError("MALFORMED", "an invalid new view is one message", penalise=True)
    sender, message = decode_message(evidence.messages[0], committee)
    if not isinstance(message, NewView) or sender != evidence.culprit:
        raise RemoteError("NOT_THE_CULPRIT", "no new view of the culprit", penalise=True)
    is_first_epoch = (committee.incarnation, committee.epoch) == (0, 0)
    if not is_first_epoch and any(change.certificate is None for change in message.view_changes):
        raise RemoteError("UNVERIFIABLE", "a view change that rests on where its epoch began")
    verify_message(sender, message, committee, scheme)
    schedule = create_leader_schedule(committee, parameters)
    checker = ProofChecker(committee, scheme, schedule, parameters.window_slots, _EPOCH_START)
    try:
        checker.verify_new_view(message)
    except RemoteError:
        return EvidencePosition(0, message.view)
    raise RemoteError("NO_OFFENCE", "everything in this new view holds", penalise=True)
