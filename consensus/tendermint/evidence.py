"""Evidence against a member: two signed messages of one height, round and phase that say different things.

An honest member logs what it signs before it leaves and repeats it byte for byte, so it never signs two prevotes,
two precommits or two proposals of one round. Other things that differ are no evidence: statuses, the signers of a
certificate, votes of different rounds (a proof of lock may have come between).
"""

from __future__ import annotations

from typing import Final

from consensus.committee import Committee
from consensus.engine import Evidence, EvidencePosition
from consensus.tendermint.messages import Precommit, Prevote, Proposal, Vote
from consensus.tendermint.reading import is_proposal_signed, is_vote_signed
from primitives.codec import decode, encode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

CONFLICTING_PROPOSAL: Final = "conflicting-proposal"
CONFLICTING_PREVOTE: Final = "conflicting-prevote"
CONFLICTING_PRECOMMIT: Final = "conflicting-precommit"

_KINDS: Final = {
    CONFLICTING_PROPOSAL: Proposal,
    CONFLICTING_PREVOTE: Prevote,
    CONFLICTING_PRECOMMIT: Precommit,
}
_MAX_BYTES: Final = 512
"""A proposal without its payload, or a vote."""


def accuse(kind: str, first: Proposal | Vote, second: Proposal | Vote) -> Evidence:
    """The evidence, its messages in the order of their bytes."""
    low, high = sorted((encode(first), encode(second)))
    return Evidence(kind, first.sender, (low, high))


def verify_evidence(evidence: Evidence, committee: Committee, scheme: SignatureScheme) -> EvidencePosition:
    """Where the culprit contradicted itself; raises ``RemoteError`` unless the messages prove that it did."""
    kind = _KINDS.get(evidence.kind)
    if kind is None:
        raise RemoteError("UNKNOWN_EVIDENCE", f"no evidence of kind {evidence.kind[:64]!r}")
    if len(evidence.messages) != 2 or evidence.messages[0] >= evidence.messages[1]:
        raise RemoteError("BAD_EVIDENCE", "evidence is two messages in the order of their bytes")
    messages: list[Proposal | Vote] = [decode(kind, data, max_bytes=_MAX_BYTES) for data in evidence.messages]
    first, second = messages
    if first.sender != evidence.culprit or second.sender != evidence.culprit or evidence.culprit >= committee.size:
        raise RemoteError("BAD_EVIDENCE", "the messages are not the culprit's")
    if (first.height, first.round) != (second.height, second.round):
        raise RemoteError("BAD_EVIDENCE", "the messages are of different rounds")
    if _get_contents(first) == _get_contents(second):
        raise RemoteError("BAD_EVIDENCE", "the messages say the same")
    for message in messages:
        if not _is_signed(message, committee, scheme):
            raise RemoteError("BAD_EVIDENCE", "the culprit did not sign this")
    return EvidencePosition(first.height, first.round)


def _get_contents(message: Proposal | Vote) -> tuple[bytes, int | None]:
    return message.digest, message.valid_round if isinstance(message, Proposal) else None


def _is_signed(message: Proposal | Vote, committee: Committee, scheme: SignatureScheme) -> bool:
    if isinstance(message, Proposal):
        return is_proposal_signed(message, committee, scheme)
    return is_vote_signed(message, committee, scheme)
