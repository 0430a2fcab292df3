"""HotStuff's blocks, certificates and messages: their shapes, and what each signature covers.

A **block** is what one view votes on. It either gives the next slot a payload, or *repeats* its parent: same slot,
same payload, later view. A repetition carries a certificate on without using up a height, so it is never executed,
and a full window can always be committed.

The payloads below a block form a chain of **entries**, one per slot, whose identities name no view: members that
know a payload chain from different views know it under one name, and however many blocks repeat a slot, at most one
window of entries lies between a block and what is certified.

Every signature covers ``tag ‖ chain ‖ shard ‖ incarnation ‖ epoch ‖ view ‖ slot ‖ phase ‖ digest``, all of fixed
width, with a tag per phase. Proposals and votes sign the block's identity. A timeout signs the view that it gives
up and the view of its highest certificate (slot 0); for messages with contents of their own the digest is that of
the contents. What does not live here: how bytes become a message (``reading``), certificates' proofs (``proofs``).
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.committee import Committee
from primitives.codec import Digest, Unsigned, Wire, encode
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.signing import SIGNATURE_BYTES, Signer

Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)
ROOT_VIEW: Final = 0
"""The view of the block that everything extends; nobody votes in it."""
_REMEMBERED_NAMES: Final = 256
"""Identities of blocks in use: a proposal's is asked for at every vote for it."""


class Phase(IntEnum):
    """The last byte before the digest in everything that is signed."""

    PROPOSAL = 1
    VOTE = 2
    TIMEOUT = 3
    STATUS = 4
    ENTRY_REQUEST = 5
    ENTRY_RESPONSE = 6


_TAGS: Final = {
    Phase.PROPOSAL: b"rialto/hotstuff/proposal/1",
    Phase.VOTE: b"rialto/hotstuff/vote/1",
    Phase.TIMEOUT: b"rialto/hotstuff/timeout/1",
    Phase.STATUS: b"rialto/hotstuff/status/1",
    Phase.ENTRY_REQUEST: b"rialto/hotstuff/entry-request/1",
    Phase.ENTRY_RESPONSE: b"rialto/hotstuff/entry-response/1",
}
UNBINDING_TAGS: Final = (_TAGS[Phase.STATUS], _TAGS[Phase.ENTRY_REQUEST], _TAGS[Phase.ENTRY_RESPONSE])
"""What a member says again differently at the same place: where it stands, what it lacks, what it knows."""


class Block(Wire, frozen=True):
    """``view`` proposes that ``slot`` holds the payload ``digest``, above the entry ``prior`` of slot − 1.
    ``parent`` is the identity of the block that it extends."""

    view: Unsigned
    slot: Unsigned
    digest: Digest
    prior: Digest
    parent: Digest


class Entry(Wire, frozen=True):
    """``slot`` holds the payload ``digest`` above the entry ``prior``; no view."""

    slot: Unsigned
    digest: Digest
    prior: Digest


class QuorumCertificate(Wire, frozen=True, tag=1):
    """Exactly q votes for a block, by increasing signer. The root's has none."""

    block: Block
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class TimeoutCertificate(Wire, frozen=True, tag=2):
    """Exactly q members gave ``view`` up, by increasing signer; ``certified_views`` are the views of the highest
    certificates that they reported, in the same order."""

    view: Unsigned
    certified_views: tuple[Unsigned, ...]
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class Proposal(Wire, frozen=True, tag=3):
    """``sender`` leads the block's view. ``justify`` certifies the parent; ``timeouts`` says why that is not of
    the view before, where it is not. The signature covers the block: certificates prove themselves."""

    block: Block
    justify: QuorumCertificate
    timeouts: TimeoutCertificate | None
    sender: Unsigned
    signature: Signature


class Propose(Wire, frozen=True, tag=4):
    """A proposal and its payload; none in a repetition, nor where a member passes it on."""

    proposal: Proposal
    payload: bytes | None


class Vote(Wire, frozen=True, tag=5):
    """``sender`` holds the block's payload and votes for the block, its only one in that view."""

    block: Block
    sender: Unsigned
    signature: Signature


class Timeout(Wire, frozen=True, tag=6):
    """``sender`` votes in no view up to ``view`` any more, and knows no higher certificate than ``highest``."""

    view: Unsigned
    highest: QuorumCertificate
    sender: Unsigned
    signature: Signature


class CommitProof(Wire, frozen=True, tag=7):
    """Certificates of a block and of its child in the very next view: the block and its ancestors are committed,
    whatever view the reader is in."""

    parent: QuorumCertificate
    child: QuorumCertificate


class Stage(IntEnum):
    """What the sender of a status lacks in its view."""

    WAITING = 0
    PROPOSED = 1
    TIMED_OUT = 2


class Status(Wire, frozen=True, tag=8):
    """Where ``sender`` stands: its view, the view of its highest certificate, its last decided slot."""

    view: Unsigned
    certified_view: Unsigned
    decided: Unsigned
    stage: Annotated[int, msgspec.Meta(ge=0, le=2)]
    sender: Unsigned
    signature: Signature


class EntryRequest(Wire, frozen=True, tag=9):
    """``sender`` lacks this entry, and perhaps those below it."""

    entry: Digest
    sender: Unsigned
    signature: Signature


class EntryResponse(Wire, frozen=True, tag=10):
    """Entries from the one asked for downwards; each names the next as its prior, so they prove themselves."""

    entries: tuple[Entry, ...]
    sender: Unsigned
    signature: Signature


Message: TypeAlias = (
    QuorumCertificate
    | TimeoutCertificate
    | Propose
    | Vote
    | Timeout
    | CommitProof
    | Status
    | EntryRequest
    | EntryResponse
)
MESSAGE_KINDS: Final = Message
Contents: TypeAlias = Status | EntryRequest | EntryResponse
_CONTENTS_PHASES: Final[dict[type[Contents], Phase]] = {
    Status: Phase.STATUS,
    EntryRequest: Phase.ENTRY_REQUEST,
    EntryResponse: Phase.ENTRY_RESPONSE,
}


# --- names -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=_REMEMBERED_NAMES)
def compute_block_id(block: Block) -> bytes:
    """The identity of a block: everything in it."""
    return hash_tagged(
        b"rialto/hotstuff/block", _number(block.view), _number(block.slot), block.digest, block.prior, block.parent
    )


@lru_cache(maxsize=_REMEMBERED_NAMES)
def compute_entry_id(entry: Entry) -> bytes:
    """The identity of an entry: its slot, its payload, and through ``prior`` all those below."""
    return hash_tagged(b"rialto/hotstuff/entry", _number(entry.slot), entry.digest, entry.prior)


def entry_of(block: Block) -> Entry:
    """The entry that a block proposes, or repeats."""
    return Entry(block.slot, block.digest, block.prior)


def make_root(height: int) -> QuorumCertificate:
    """The certificate that the first proposal of an epoch extends: ``height`` is settled, by other means."""
    return QuorumCertificate(Block(ROOT_VIEW, height, ZERO_DIGEST, ZERO_DIGEST, ZERO_DIGEST), (), ())


def extend(parent: Block, view: int, digest: bytes) -> Block:
    """The block that gives the slot above ``parent`` a payload."""
    return Block(view, parent.slot + 1, digest, compute_entry_id(entry_of(parent)), compute_block_id(parent))


def repeat(parent: Block, view: int) -> Block:
    """The block that repeats ``parent`` in a later view."""
    return Block(view, parent.slot, parent.digest, parent.prior, compute_block_id(parent))


def extends(block: Block, parent: Block) -> bool:
    """Whether ``block`` is either of the two above ``parent``, in whatever later view."""
    if block.view <= parent.view:
        return False
    return block in (repeat(parent, block.view), extend(parent, block.view, block.digest))


# --- what is signed ----------------------------------------------------------------------------------------


def compute_statement(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
    """The bytes under a signature; see the head of this file."""
    position = _number(view) + _number(slot) + phase.to_bytes(1, "big")
    return _TAGS[phase] + committee.signing_prefix + position + digest


def compute_block_statement(committee: Committee, phase: Phase, block: Block) -> bytes:
    """What a proposal or a vote signs."""
    return compute_statement(committee, phase, block.view, block.slot, compute_block_id(block))


def compute_timeout_statement(committee: Committee, view: int, certified_view: int) -> bytes:
    """What a timeout signs: not the certificate, or q timeouts would not fit a small certificate (Jolteon §3)."""
    digest = hash_tagged(b"rialto/hotstuff/certified-view", _number(certified_view))
    return compute_statement(committee, Phase.TIMEOUT, view, 0, digest)


def compute_contents_statement(committee: Committee, message: Contents) -> bytes:
    """What a message signs whose contents are covered as a whole."""
    view, slot = (message.view, message.decided) if isinstance(message, Status) else (0, 0)
    contents = hash_tagged(
        b"rialto/hotstuff/contents", encode(msgspec.structs.replace(message, signature=_NO_SIGNATURE))
    )
    return compute_statement(committee, _CONTENTS_PHASES[type(message)], view, slot, contents)


def sign_proposal(
    committee: Committee,
    signer: Signer,
    sender: int,
    block: Block,
    justify: QuorumCertificate,
    timeouts: TimeoutCertificate | None,
) -> Proposal:
    """Our proposal, signed."""
    statement = compute_block_statement(committee, Phase.PROPOSAL, block)
    return Proposal(block, justify, timeouts, sender, signer.sign(statement))


def sign_vote(committee: Committee, signer: Signer, sender: int, block: Block) -> Vote:
    """Our vote, signed."""
    return Vote(block, sender, signer.sign(compute_block_statement(committee, Phase.VOTE, block)))


def sign_timeout(
    committee: Committee, signer: Signer, sender: int, view: int, highest: QuorumCertificate
) -> Timeout:
    """Our timeout, signed."""
    statement = compute_timeout_statement(committee, view, highest.block.view)
    return Timeout(view, highest, sender, signer.sign(statement))


def sign_status(
    committee: Committee, signer: Signer, sender: int, view: int, certified_view: int, decided: int, stage: Stage
) -> Status:
    """Our status, signed."""
    message = Status(view, certified_view, decided, int(stage), sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def sign_entry_request(committee: Committee, signer: Signer, sender: int, entry: bytes) -> EntryRequest:
    """Our request, signed."""
    message = EntryRequest(entry, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def sign_entry_response(
    committee: Committee, signer: Signer, sender: int, entries: tuple[Entry, ...]
) -> EntryResponse:
    """Our answer, signed."""
    message = EntryResponse(entries, sender, _NO_SIGNATURE)
    return msgspec.structs.replace(message, signature=signer.sign(compute_contents_statement(committee, message)))


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")
