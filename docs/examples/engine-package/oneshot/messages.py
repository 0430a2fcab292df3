"""What members send, what each signature covers, and how bytes from outside become a message.

Every signature covers ``tag ‖ committee's prefix ‖ view ‖ slot ‖ phase ‖ digest``: the last 32 bytes are what is
said, everything before is where, and at one place a member says one thing. All of these messages bind their
senders, so the factory needs no ``unbinding_tags``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.committee import Committee
from consensus.engine import compute_payload_digest
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SIGNATURE_BYTES, SignatureScheme, Signer

MAX_MESSAGE_BYTES: Final = 256 << 10
"""The largest frame that a replica lets an engine send."""
_TAG: Final = b"rialto-oneshot/1"
_NO_DIGEST: Final = bytes(32)
_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)

Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class Phase(IntEnum):
    """Part of everything that is signed."""

    PROPOSE = 0
    PREPARE = 1
    COMMIT = 2
    TIMEOUT = 3


VotePhase = Annotated[int, msgspec.Meta(ge=1, le=2)]
"""PREPARE or COMMIT."""


class Quorum(Wire, frozen=True):
    """Exactly q votes of one phase for one digest, by increasing signer."""

    phase: VotePhase
    view: Unsigned
    slot: Unsigned
    digest: Digest
    signers: tuple[Unsigned, ...]
    signatures: tuple[Signature, ...]


class Vote(Wire, frozen=True, tag=1):
    """``sender`` votes for the payload with this digest: PREPARE where it holds it, COMMIT where q prepared it."""

    phase: VotePhase
    view: Unsigned
    slot: Unsigned
    digest: Digest
    sender: Unsigned
    signature: Signature


class Timeout(Wire, frozen=True, tag=2):
    """``sender`` votes no more in ``view`` or below; ``prepared`` is the newest prepared quorum that it has."""

    view: Unsigned
    slot: Unsigned
    prepared: Quorum | None
    sender: Unsigned
    signature: Signature


class Propose(Wire, frozen=True, tag=3):
    """The leader's payload. In a view above 0, ``timeouts`` are exactly q of the view before, by increasing sender;
    where one of them shows a prepared digest, the payload is that of the newest."""

    view: Unsigned
    slot: Unsigned
    payload: bytes
    timeouts: tuple[Timeout, ...]
    sender: Unsigned
    signature: Signature


class Decision(Wire, frozen=True, tag=4):
    """A quorum of commits: the slot is decided, whatever view the reader is in."""

    quorum: Quorum


Message: TypeAlias = Vote | Timeout | Propose | Decision


def view_of(message: Message) -> int:
    """A decision's is that of its votes."""
    return message.quorum.view if isinstance(message, Decision) else message.view


def slot_of(message: Message) -> int:
    """What it is about."""
    return message.quorum.slot if isinstance(message, Decision) else message.slot


def sender_of(message: Message) -> int:
    """Who is named as its signer; of a decision, the first of them."""
    return message.quorum.signers[0] if isinstance(message, Decision) else message.sender


def phase_of(message: Message) -> int:
    """A vote's; every other kind of message has one phase."""
    return message.phase if isinstance(message, Vote) else 0


# --- signing -----------------------------------------------------------------------------------------------


def compute_statement(committee: Committee, phase: int, view: int, slot: int, digest: bytes) -> bytes:
    """The bytes under a signature."""
    place = view.to_bytes(8, "big") + slot.to_bytes(8, "big") + bytes([phase])
    return _TAG + committee.signing_prefix + place + digest


def find_statement(committee: Committee, message: Vote | Timeout | Propose) -> bytes:
    """What the sender of a message signed."""
    match message:
        case Vote():
            phase, digest = message.phase, message.digest
        case Timeout():
            phase, digest = Phase.TIMEOUT, hash_tagged(b"rialto-oneshot/prepared", encode(message.prepared))
        case Propose():
            phase, digest = Phase.PROPOSE, compute_payload_digest(message.payload)
    return compute_statement(committee, phase, message.view, message.slot, digest)


def sign_vote(committee: Committee, signer: Signer, vote: Vote) -> Vote:
    """The same, signed."""
    return msgspec.structs.replace(vote, signature=signer.sign(find_statement(committee, vote)))


def sign_timeout(committee: Committee, signer: Signer, timeout: Timeout) -> Timeout:
    """The same, signed."""
    return msgspec.structs.replace(timeout, signature=signer.sign(find_statement(committee, timeout)))


def sign_propose(committee: Committee, signer: Signer, propose: Propose) -> Propose:
    """The same, signed."""
    return msgspec.structs.replace(propose, signature=signer.sign(find_statement(committee, propose)))


def make_vote(phase: Phase, view: int, slot: int, digest: bytes, sender: int) -> Vote:
    """Not signed yet."""
    return Vote(int(phase), view, slot, digest, sender, _NO_SIGNATURE)


def make_timeout(view: int, slot: int, prepared: Quorum | None, sender: int) -> Timeout:
    """Not signed yet."""
    return Timeout(view, slot, prepared, sender, _NO_SIGNATURE)


def make_propose(view: int, slot: int, payload: bytes, timeouts: tuple[Timeout, ...], sender: int) -> Propose:
    """Not signed yet."""
    return Propose(view, slot, payload, timeouts, sender, _NO_SIGNATURE)


# --- reading -----------------------------------------------------------------------------------------------


def read_message(data: bytes, committee: Committee) -> tuple[int, Message]:
    """(signer, message) with everything checked that costs no signature; raises ``RemoteError``."""
    message: Message = decode(Message, data, max_bytes=MAX_MESSAGE_BYTES)
    if isinstance(message, Decision):
        _check_quorum(message.quorum, Phase.COMMIT, committee)
        return sender_of(message), message
    if message.sender >= committee.size:
        raise RemoteError("NOT_A_MEMBER", f"no member {message.sender}", penalise=True)
    if isinstance(message, Timeout):
        _check_timeout(message, committee)
    if isinstance(message, Propose):
        _check_justification(message, committee)
    return message.sender, message


def _check_quorum(quorum: Quorum, phase: Phase, committee: Committee) -> None:
    signers = quorum.signers
    is_sorted = all(low < high for low, high in zip(signers, signers[1:], strict=False))
    sizes = {len(signers), len(quorum.signatures)}
    if quorum.phase != phase or sizes != {committee.quorum} or not is_sorted or signers[-1] >= committee.size:
        raise RemoteError("MALFORMED", "not a quorum of distinct members' votes", penalise=True)


def _check_timeout(timeout: Timeout, committee: Committee) -> None:
    prepared = timeout.prepared
    if prepared is None:
        return
    _check_quorum(prepared, Phase.PREPARE, committee)
    if prepared.slot != timeout.slot or prepared.view > timeout.view:
        raise RemoteError("MALFORMED", "a timeout with a quorum of another time", penalise=True)


def _check_justification(propose: Propose, committee: Committee) -> None:
    senders = [timeout.sender for timeout in propose.timeouts]
    expected = 0 if propose.view == 0 else committee.quorum
    if len(senders) != expected or senders != sorted(set(senders)) or any(s >= committee.size for s in senders):
        raise RemoteError("MALFORMED", "a proposal without its quorum of timeouts", penalise=True)
    for timeout in propose.timeouts:
        if (timeout.view, timeout.slot) != (propose.view - 1, propose.slot):
            raise RemoteError("MALFORMED", "a proposal with timeouts of another view", penalise=True)
        _check_timeout(timeout, committee)
    required = find_newest_prepared(propose.timeouts)
    if required is not None and compute_payload_digest(propose.payload) != required.digest:
        raise RemoteError("UNJUSTIFIED", "a proposal against a prepared quorum", penalise=True)


def find_newest_prepared(timeouts: tuple[Timeout, ...]) -> Quorum | None:
    """What the next proposal must repeat. Two quorums of one view agree, so ties do not matter."""
    prepared = [timeout.prepared for timeout in timeouts if timeout.prepared is not None]
    return max(prepared, key=lambda quorum: quorum.view, default=None)


def check_signatures(message: Message, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless every signature in the message is good, nested ones too."""
    match message:
        case Decision():
            _check_quorum_signatures(message.quorum, committee, scheme)
            return
        case Timeout() if message.prepared is not None:
            _check_quorum_signatures(message.prepared, committee, scheme)
        case Propose():
            for timeout in message.timeouts:
                check_signatures(timeout, committee, scheme)
        case _:
            pass
    key = committee.members[message.sender]
    if not scheme.verify(key, find_statement(committee, message), message.signature):
        raise RemoteError("BAD_SIGNATURE", f"not signed by member {message.sender}", penalise=True)


def _check_quorum_signatures(quorum: Quorum, committee: Committee, scheme: SignatureScheme) -> None:
    statement = compute_statement(committee, quorum.phase, quorum.view, quorum.slot, quorum.digest)
    for signer, signature in zip(quorum.signers, quorum.signatures, strict=True):
        if not scheme.verify(committee.members[signer], statement, signature):
            raise RemoteError("BAD_SIGNATURE", "a quorum with a bad vote", penalise=True)
