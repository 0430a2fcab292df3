"""Tendermint's messages: their shapes, and what each signature covers.

Every signature covers ``tag ‖ chain ‖ shard ‖ incarnation ‖ epoch ‖ round ‖ height ‖ phase ‖ digest``, all of fixed
width, with a tag per phase; the round is what other engines call a view, the height is the slot. A proposal is
signed without its payload, so the ``Proposal`` alone is evidence; its digest covers the valid round as well. A
status has contents of its own, and its digest is that of the contents.

What does not live here: how bytes from outside become a message (``reading``), and what any message means.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.committee import Committee
from consensus.tendermint.steps import NO_ROUND
from primitives.codec import Digest, Unsigned, Wire, encode
from primitives.hashing import hash_tagged
from primitives.signing import SIGNATURE_BYTES, Signer

Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
MaybeRound = Annotated[int, msgspec.Meta(ge=NO_ROUND, le=2**63 - 1)]
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)


class Phase(IntEnum):
    """The last byte before the digest in everything that is signed."""

    PROPOSAL = 1
    PREVOTE = 2
    PRECOMMIT = 3
    STATUS = 4


STATUS_TAG: Final = b"rialto/tendermint/status/1"
_TAGS: Final = {
    Phase.PROPOSAL: b"rialto/tendermint/proposal/1",
    Phase.PREVOTE: b"rialto/tendermint/prevote/1",
    Phase.PRECOMMIT: b"rialto/tendermint/precommit/1",
    Phase.STATUS: STATUS_TAG,
}


class Proposal(Wire, frozen=True, tag=21):
    """⟨PROPOSAL, height, round, digest, valid_round⟩ without the payload."""

    round: Unsigned
    height: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature
    valid_round: MaybeRound


class PrevoteCertificate(Wire, frozen=True, tag=26):
    """A proof of lock: exactly q prevotes for ``digest`` in ``round``, by increasing signer."""

    round: Unsigned
    height: Unsigned
    digest: Digest
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class Propose(Wire, frozen=True, tag=22):
    """A proposal, its payload, and the proof of lock of its valid round where it has one."""

    proposal: Proposal
    payload: bytes
    proof: PrevoteCertificate | None


class Prevote(Wire, frozen=True, tag=23):
    """⟨PREVOTE, height, round, digest⟩; ``NIL`` where nothing was acceptable. Whoever prevotes a digest holds its
    payload and bodies."""

    round: Unsigned
    height: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class Precommit(Wire, frozen=True, tag=24):
    """⟨PRECOMMIT, height, round, digest⟩. Whoever precommits a digest is locked on it and has logged so."""

    round: Unsigned
    height: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class DecisionCertificate(Wire, frozen=True, tag=25):
    """Exactly q precommits, by increasing signer: the height is decided, whatever round the reader is in."""

    round: Unsigned
    height: Unsigned
    digest: Digest
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class Status(Wire, frozen=True, tag=27):
    """Where ``sender`` stands: its lowest undecided height, its round there, whether it has that round's proposal,
    and its certified height."""

    round: Unsigned
    height: Unsigned
    stable: Unsigned
    has_proposal: bool
    sender: Unsigned
    signature: Signature


Vote: TypeAlias = Prevote | Precommit
QuorumCertificate: TypeAlias = PrevoteCertificate | DecisionCertificate
Message: TypeAlias = Propose | Prevote | Precommit | DecisionCertificate | Status
MESSAGE_KINDS: Final = Propose | Prevote | Precommit | DecisionCertificate | Status


# --- what is signed ----------------------------------------------------------------------------------------


def compute_statement(committee: Committee, phase: Phase, round: int, height: int, digest: bytes) -> bytes:
    """The bytes under a signature; see the head of this file."""
    position = round.to_bytes(8, "big") + height.to_bytes(8, "big") + phase.to_bytes(1, "big")
    return _TAGS[phase] + committee.signing_prefix + position + digest


def compute_proposal_statement(
    committee: Committee, round: int, height: int, digest: bytes, valid_round: int
) -> bytes:
    """The digest in it covers the value and the valid round: an honest proposer names one pair per round."""
    contents = hash_tagged(b"rialto/tendermint/proposed", (valid_round - NO_ROUND).to_bytes(8, "big"), digest)
    return compute_statement(committee, Phase.PROPOSAL, round, height, contents)


def compute_status_statement(committee: Committee, status: Status) -> bytes:
    """The digest in it is that of everything in the status but its own signature."""
    contents = encode(msgspec.structs.replace(status, signature=_NO_SIGNATURE))
    digest = hash_tagged(b"rialto/tendermint/contents", contents)
    return compute_statement(committee, Phase.STATUS, status.round, status.height, digest)


def sign_proposal(
    committee: Committee, signer: Signer, sender: int, round: int, height: int, digest: bytes, valid_round: int
) -> Proposal:
    """Our proposal, signed."""
    statement = compute_proposal_statement(committee, round, height, digest, valid_round)
    return Proposal(round, height, digest, sender, signer.sign(statement), valid_round)


def sign_prevote(
    committee: Committee, signer: Signer, sender: int, round: int, height: int, digest: bytes
) -> Prevote:
    """Our prevote, signed."""
    statement = compute_statement(committee, Phase.PREVOTE, round, height, digest)
    return Prevote(round, height, digest, sender, signer.sign(statement))


def sign_precommit(
    committee: Committee, signer: Signer, sender: int, round: int, height: int, digest: bytes
) -> Precommit:
    """Our precommit, signed."""
    statement = compute_statement(committee, Phase.PRECOMMIT, round, height, digest)
    return Precommit(round, height, digest, sender, signer.sign(statement))


def sign_status(
    committee: Committee, signer: Signer, sender: int, round: int, height: int, stable: int, has_proposal: bool
) -> Status:
    """Our status, signed."""
    status = Status(round, height, stable, has_proposal, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(status, signature=signer.sign(compute_status_statement(committee, status)))
