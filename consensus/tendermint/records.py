"""The vote log's entries: their keys, and what a restarted engine reads back.

Votes of the current and the previous round are kept, an even round's under one key and an odd round's under the
other: a member never votes again in a round it left, and its current round was logged when it entered.
A height's records go when it is certified.

| key                          | value                                                              |
|------------------------------|--------------------------------------------------------------------|
| ``stable``                   | the ``Certificate`` below which records were deleted               |
| ``slot/<h>/round``           | ``CurrentRound``, from round 1 on                                  |
| ``slot/<h>/proposal``        | ``Proposal`` that we sent or prevoted last                         |
| ``slot/<h>/prevote-even``    | our ``Prevote`` of the last even round, ``-odd`` of the last odd   |
| ``slot/<h>/precommit-even``  | our ``Precommit`` likewise                                         |
| ``slot/<h>/locked``          | ``Lock``: lockedRound and lockedValue                              |
| ``slot/<h>/valid``           | ``PrevoteCertificate``: validRound, validValue and their proof     |
| ``slot/<h>/decided``         | the ``DecisionCertificate``                                        |

Values are the canonical bytes of the messages themselves, so what is sent again is byte-identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.outbox import STABLE_KEY
from consensus.tendermint.messages import (
    DecisionCertificate,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Vote,
)
from consensus.tendermint.reading import compute_max_message_bytes, is_proposal_signed, is_vote_signed
from primitives.codec import Digest, Unsigned, Wire, decode
from primitives.errors import LocalError, RemoteError
from primitives.signing import SignatureScheme

ROUND: Final = b"round"
PROPOSAL: Final = b"proposal"
LOCKED: Final = b"locked"
VALID: Final = b"valid"
DECIDED: Final = b"decided"
_PARITIES: Final = (b"even", b"odd")

_SLOT_PREFIX: Final = b"slot/"
T = TypeVar("T")


class CurrentRound(Wire, frozen=True):
    """The round that we entered."""

    round: Unsigned


class Lock(Wire, frozen=True):
    """lockedRound and lockedValue."""

    round: Unsigned
    digest: Digest


_KINDS: Final[Mapping[bytes, Any]] = {
    ROUND: CurrentRound,
    PROPOSAL: Proposal,
    b"prevote-even": Prevote,
    b"prevote-odd": Prevote,
    b"precommit-even": Precommit,
    b"precommit-odd": Precommit,
    LOCKED: Lock,
    VALID: PrevoteCertificate,
    DECIDED: DecisionCertificate,
}


def compute_slot_key(height: int, kind: bytes) -> bytes:
    """``slot/<16 hexadecimal digits>/<kind>``: sorts by height."""
    return b"%s%016x/%s" % (_SLOT_PREFIX, height, kind)


def compute_vote_kind(vote: Vote) -> bytes:
    """``prevote-even`` and so on."""
    name = b"prevote" if isinstance(vote, Prevote) else b"precommit"
    return b"%s-%s" % (name, _PARITIES[vote.round % len(_PARITIES)])


@dataclass(slots=True)
class HeightRecords:
    """What the log holds of one height."""

    round: int = 0
    proposal: Proposal | None = None
    prevotes: dict[int, Prevote] = field(default_factory=dict)
    precommits: dict[int, Precommit] = field(default_factory=dict)
    locked: Lock | None = None
    valid: PrevoteCertificate | None = None
    decided: DecisionCertificate | None = None
    keys: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class RestoredLog:
    """The whole log, decoded."""

    stable: Certificate | None = None
    heights: dict[int, HeightRecords] = field(default_factory=dict)


def restore_log(
    records: Mapping[bytes, bytes], index: int, committee: Committee, scheme: SignatureScheme
) -> RestoredLog:
    """What ``records`` hold. Raises ``LocalError`` unless member ``index`` of this committee wrote them."""
    log = RestoredLog()
    limit = compute_max_message_bytes(committee)
    for key in sorted(records):
        try:
            if key == STABLE_KEY:
                log.stable = decode(Certificate, records[key], max_bytes=limit)
            else:
                _restore_slot_record(log, key, records[key], limit)
        except RemoteError as error:
            raise LocalError(f"the vote log holds no Tendermint record under {key!r}: {error}") from error
    for entry in log.heights.values():
        _require_own(entry, index, committee, scheme)
    return log


def _restore_slot_record(log: RestoredLog, key: bytes, value: bytes, limit: int) -> None:
    number, slash, kind = key.removeprefix(_SLOT_PREFIX).partition(b"/")
    if not key.startswith(_SLOT_PREFIX) or not slash or kind not in _KINDS:
        raise RemoteError("MALFORMED", "an unknown key")
    try:
        height = int(number, 16)
    except ValueError:
        raise RemoteError("MALFORMED", "a height that is no number") from None
    if compute_slot_key(height, kind) != key:
        raise RemoteError("MALFORMED", "a height in another form")
    entry = log.heights.setdefault(height, HeightRecords())
    entry.keys.add(key)
    record = decode(_KINDS[kind], value, max_bytes=limit)
    if getattr(record, "height", height) != height:
        raise RemoteError("MALFORMED", "a record of another height")
    match record:
        case CurrentRound(round=round):
            entry.round = round
        case Proposal():
            entry.proposal = record
        case Prevote():
            entry.prevotes[record.round] = record
        case Precommit():
            entry.precommits[record.round] = record
        case Lock():
            entry.locked = record
        case PrevoteCertificate():
            entry.valid = record
        case DecisionCertificate():
            entry.decided = record
        case _:
            raise AssertionError("every kind of record has its place")


def _require_own(entry: HeightRecords, index: int, committee: Committee, scheme: SignatureScheme) -> None:
    votes: list[Vote] = [*entry.prevotes.values(), *entry.precommits.values()]
    is_own = all(vote.sender == index and is_vote_signed(vote, committee, scheme) for vote in votes)
    proposal = entry.proposal
    if proposal is not None and (
        proposal.sender >= committee.size or not is_proposal_signed(proposal, committee, scheme)
    ):
        is_own = False
    if not is_own:
        raise LocalError("the vote log was written by another member or for another chain or epoch")
    if any(vote.round > entry.round for vote in votes):
        raise LocalError("the vote log holds a vote of a round that was not entered")
    if entry.locked is not None and (entry.valid is None or entry.valid.round < entry.locked.round):
        raise LocalError("the vote log holds a lock without its proof")
