"""PBFT's messages: their shapes, and what each signature covers.

Every signature covers ``tag ‖ chain ‖ shard ‖ incarnation ‖ epoch ‖ view ‖ slot ‖ phase ‖ digest``, all of fixed
width, with a tag per phase. For messages with contents of their own (view change, new view, status) the slot is
0 and the digest is that of the contents. A pre-prepare is signed without its payload, so its ``Proposal`` alone
is half of a proof.

What does not live here: how bytes from outside become a message (``reading``), the proofs inside view changes
(``proofs``), and what any message means.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.certificate import Certificate
from consensus.committee import Committee
from primitives.codec import Digest, Unsigned, Wire, encode
from primitives.hashing import hash_tagged
from primitives.signing import SIGNATURE_BYTES, Signer

Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)


class Phase(IntEnum):
    """The last byte before the digest in everything that is signed."""

    PRE_PREPARE = 1
    PREPARE = 2
    COMMIT = 3
    VIEW_CHANGE = 4
    NEW_VIEW = 5
    STATUS = 6


STATUS_TAG: Final = b"rialto/pbft/status/1"
_TAGS: Final = {
    Phase.PRE_PREPARE: b"rialto/pbft/pre-prepare/1",
    Phase.PREPARE: b"rialto/pbft/prepare/1",
    Phase.COMMIT: b"rialto/pbft/commit/1",
    Phase.VIEW_CHANGE: b"rialto/pbft/view-change/1",
    Phase.NEW_VIEW: b"rialto/pbft/new-view/1",
    Phase.STATUS: STATUS_TAG,
}


class Proposal(Wire, frozen=True, tag=1):
    """A pre-prepare without its payload: ``sender`` proposes this digest for the slot in the view."""

    view: Unsigned
    slot: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class PrePrepare(Wire, frozen=True, tag=2):
    """The proposal and its payload, whose digest it names."""

    proposal: Proposal
    payload: bytes


class Prepare(Wire, frozen=True, tag=3):
    """``sender`` accepted the proposal and holds its payload and bodies."""

    view: Unsigned
    slot: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class Commit(Wire, frozen=True, tag=4):
    """``sender`` has logged a prepared proof for this digest."""

    view: Unsigned
    slot: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class CommitCertificate(Wire, frozen=True, tag=5):
    """Exactly q commits, by increasing signer: the slot is decided, whatever view the reader is in."""

    view: Unsigned
    slot: Unsigned
    digest: Digest
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class PreparedProof(Wire, frozen=True):
    """A proposal and exactly q − 1 matching prepares of others, by increasing signer."""

    proposal: Proposal
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class ViewChange(Wire, frozen=True, tag=6):
    """``sender`` leaves all views below ``view``. ``certificate`` proves its stable height (``None``: where the
    epoch began); ``prepared`` holds, per slot in the window above it, its highest-view proof, by slot."""

    view: Unsigned
    certificate: Certificate | None
    prepared: tuple[PreparedProof, ...]
    sender: Unsigned
    signature: Signature


class NewView(Wire, frozen=True, tag=7):
    """Exactly q view changes for ``view`` by increasing sender, and the proposals that follow from them."""

    view: Unsigned
    view_changes: tuple[ViewChange, ...]
    proposals: tuple[Proposal, ...]
    sender: Unsigned
    signature: Signature


class SlotPhase(IntEnum):
    """How far a slot has come at the sender of a status."""

    EMPTY = 0
    PROPOSED = 1
    PREPARED = 2
    DECIDED = 3


class Status(Wire, frozen=True, tag=8):
    """Where ``sender`` stands: installed view, certified height, and a ``SlotPhase`` per slot from stable + 1."""

    view: Unsigned
    stable: Unsigned
    phases: tuple[Annotated[int, msgspec.Meta(ge=0, le=3)], ...]
    sender: Unsigned
    signature: Signature


Vote: TypeAlias = Prepare | Commit
Message: TypeAlias = PrePrepare | Prepare | Commit | CommitCertificate | ViewChange | NewView | Status
MESSAGE_KINDS: Final = PrePrepare | Prepare | Commit | CommitCertificate | ViewChange | NewView | Status


# --- what is signed ----------------------------------------------------------------------------------------


def compute_statement(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
    """The bytes under a signature; see the head of this file."""
    position = view.to_bytes(8, "big") + slot.to_bytes(8, "big") + phase.to_bytes(1, "big")
    return _TAGS[phase] + committee.signing_prefix + position + digest


def compute_contents_digest(message: ViewChange | NewView | Status) -> bytes:
    """The digest of everything in the message but its own signature."""
    return hash_tagged(b"rialto/pbft/contents", encode(msgspec.structs.replace(message, signature=_NO_SIGNATURE)))


def sign_proposal(
    committee: Committee, signer: Signer, sender: int, view: int, slot: int, digest: bytes
) -> Proposal:
    """Our proposal, signed."""
    statement = compute_statement(committee, Phase.PRE_PREPARE, view, slot, digest)
    return Proposal(view, slot, digest, sender, signer.sign(statement))


def sign_prepare(committee: Committee, signer: Signer, sender: int, view: int, slot: int, digest: bytes) -> Prepare:
    """Our prepare, signed."""
    statement = compute_statement(committee, Phase.PREPARE, view, slot, digest)
    return Prepare(view, slot, digest, sender, signer.sign(statement))


def sign_commit(committee: Committee, signer: Signer, sender: int, view: int, slot: int, digest: bytes) -> Commit:
    """Our commit, signed."""
    statement = compute_statement(committee, Phase.COMMIT, view, slot, digest)
    return Commit(view, slot, digest, sender, signer.sign(statement))


def sign_view_change(
    committee: Committee,
    signer: Signer,
    sender: int,
    view: int,
    certificate: Certificate | None,
    prepared: tuple[PreparedProof, ...],
) -> ViewChange:
    """Our view change, signed."""
    message = ViewChange(view, certificate, prepared, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def sign_new_view(
    committee: Committee,
    signer: Signer,
    sender: int,
    view: int,
    view_changes: tuple[ViewChange, ...],
    proposals: tuple[Proposal, ...],
) -> NewView:
    """Our new view, signed."""
    message = NewView(view, view_changes, proposals, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def sign_status(
    committee: Committee, signer: Signer, sender: int, view: int, stable: int, phases: tuple[int, ...]
) -> Status:
    """Our status, signed."""
    message = Status(view, stable, phases, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def compute_contents_statement(committee: Committee, message: ViewChange | NewView | Status) -> bytes:
    phase = {ViewChange: Phase.VIEW_CHANGE, NewView: Phase.NEW_VIEW, Status: Phase.STATUS}[type(message)]
    return compute_statement(committee, phase, message.view, 0, compute_contents_digest(message))
