"""Evidence in the form in which it convinces strangers: bound to a committee, bounded, verified by anybody.

An engine says what a member did (``consensus.engine.Evidence``); an ``EvidenceItem`` adds whose member it is
(chain, shard, incarnation, epoch) and where it happened, and puts the messages in the order of their bytes, so one
pair has one form. Verifying is pure: ``Jurisdiction`` holds what it needs of a committee, a ``SignatureMeter``
bounds what it may cost. Two attestations of one height are the same offence under every engine and are verified
here; everything else by the engine's own ``verify_evidence``.

What does not live here: finding evidence (the engines, ``node.attestations``), keeping it (``node.evidence``), and
what the beacon does with it (``crosslink.offences``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from consensus.certificate import Attestation, verify_attestation
from consensus.committee import Committee
from consensus.engine import EngineFactory, EngineParameters, Evidence, EvidencePosition
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

DOUBLE_ATTESTATION: Final = "double-attestation"
MAX_KIND_CHARACTERS: Final = 64
MAX_EVIDENCE_MESSAGE_BYTES: Final = 256 << 10
"""The largest vote frame of a node; more could not have come in."""
MAX_EVIDENCE_BYTES: Final = 320 << 10
"""One invalid new view of full size, or two votes, and what names them."""
MAX_ITEM_SIGNATURES: Final = 2_048
"""Signature checks that one item may cost, about 120 ms. An invalid new view of 13 members with 16 slots in flight
needs 1,400 at worst; of much larger committees it stays known to those who saw it."""
MAX_ATTESTATION_BYTES: Final = 256


class EvidenceItem(Wire, frozen=True):
    """Member ``culprit`` of this committee signed ``messages``; ``slot`` and ``view`` are the place that they prove
    (``EvidencePosition``)."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KIND_CHARACTERS)]
    chain: Digest
    shard: Unsigned
    incarnation: Unsigned
    epoch: Unsigned
    culprit: Unsigned
    slot: Unsigned
    view: Unsigned
    messages: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=MAX_EVIDENCE_MESSAGE_BYTES)], ...],
        msgspec.Meta(min_length=1, max_length=2),
    ]

    @property
    def evidence(self) -> Evidence:
        """What the engine is asked about."""
        return Evidence(self.kind, self.culprit, self.messages)


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """One committee, and the engine that knows what its members may sign."""

    committee: Committee
    engine: EngineFactory
    parameters: EngineParameters


class SignatureMeterSpent(Exception):
    """The budget of a ``SignatureMeter`` is used up. Not a ``RemoteError``: an engine that takes a bad signature
    for proof of an offence must not take an empty purse for one."""


class SignatureMeter:
    """A ``SignatureScheme`` with a budget."""

    def __init__(self, scheme: SignatureScheme, limit: int) -> None:
        self._scheme = scheme
        self._limit = limit
        self.spent = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """As the scheme decides; raises ``SignatureMeterSpent`` instead of one check too many."""
        if self.spent >= self._limit:
            raise SignatureMeterSpent
        self.spent += 1
        return self._scheme.verify(public_key, message, signature)


def prove_evidence(evidence: Evidence, jurisdiction: Jurisdiction, scheme: SignatureScheme) -> EvidenceItem:
    """The item for evidence that one of our own components found, verified as strangers will verify it. Raises
    ``RemoteError`` where it would not convince them."""
    messages = tuple(sorted(evidence.messages))
    if not 1 <= len(messages) <= 2 or max(map(len, messages)) > MAX_EVIDENCE_MESSAGE_BYTES:
        raise RemoteError("MALFORMED", "evidence is one or two messages of at most 256 KiB")
    if not 1 <= len(evidence.kind) <= MAX_KIND_CHARACTERS:
        raise RemoteError("MALFORMED", "the name of a kind of evidence has 1 to 64 characters")
    committee = jurisdiction.committee
    _validate_messages(evidence.culprit, messages, committee)
    meter = SignatureMeter(scheme, MAX_ITEM_SIGNATURES)
    position = _judge(Evidence(evidence.kind, evidence.culprit, messages), jurisdiction, meter)
    return EvidenceItem(
        evidence.kind,
        committee.chain,
        committee.shard,
        committee.incarnation,
        committee.epoch,
        evidence.culprit,
        position.slot,
        position.view,
        messages,
    )


def validate_item(item: EvidenceItem, committee: Committee) -> None:
    """Everything about an item that costs no signature check: whose member, and that its messages are distinct and
    in order. Raises ``RemoteError``."""
    if item.chain != committee.chain:
        raise RemoteError("WRONG_CHAIN", "evidence from another chain", penalise=True)
    if (item.shard, item.incarnation, item.epoch) != (committee.shard, committee.incarnation, committee.epoch):
        raise RemoteError("WRONG_EPOCH", "evidence against another committee", penalise=True)
    _validate_messages(item.culprit, item.messages, committee)


def verify_item(item: EvidenceItem, jurisdiction: Jurisdiction, meter: SignatureMeter) -> None:
    """Raise ``RemoteError`` unless the item proves what it says. Costs at most what ``meter`` has left."""
    validate_item(item, jurisdiction.committee)
    if _judge(item.evidence, jurisdiction, meter) != EvidencePosition(item.slot, item.view):
        raise RemoteError("WRONG_POSITION", "the messages are of another slot or view", penalise=True)


def _validate_messages(culprit: int, messages: tuple[bytes, ...], committee: Committee) -> None:
    if culprit >= committee.size:
        raise RemoteError("NOT_A_MEMBER", f"the committee has no member {culprit}", penalise=True)
    if len(messages) == 2 and messages[0] >= messages[1]:
        raise RemoteError(
            "MALFORMED", "the two messages must differ, and come in the order of bytes", penalise=True
        )


def _judge(evidence: Evidence, jurisdiction: Jurisdiction, meter: SignatureMeter) -> EvidencePosition:
    try:
        if evidence.kind == DOUBLE_ATTESTATION:
            return verify_double_attestation(evidence, jurisdiction.committee, meter)
        return jurisdiction.engine.verify_evidence(evidence, jurisdiction.committee, meter, jurisdiction.parameters)
    except SignatureMeterSpent:
        raise RemoteError("TOO_COSTLY", "evidence that needs too many signature checks") from None


def verify_double_attestation(
    evidence: Evidence, committee: Committee, scheme: SignatureScheme
) -> EvidencePosition:
    """Two attestations of one member at one height; raises ``RemoteError``."""
    attestations = [_decode_attestation(data) for data in evidence.messages]
    if len(attestations) != 2:
        raise RemoteError("MALFORMED", "a double attestation is two attestations", penalise=True)
    first, second = attestations
    if (first.signer, second.signer) != (evidence.culprit, evidence.culprit):
        raise RemoteError("NOT_THE_CULPRIT", "an attestation of somebody else", penalise=True)
    if first.height != second.height or first.header_hash == second.header_hash:
        raise RemoteError("NO_OFFENCE", "the two attestations do not contradict each other", penalise=True)
    for attestation in attestations:
        verify_attestation(attestation, committee, scheme)
    return EvidencePosition(first.height, 0)


def _decode_attestation(data: bytes) -> Attestation:
    attestation: Attestation = decode(Attestation, data, max_bytes=MAX_ATTESTATION_BYTES)
    return attestation


def encode_item(item: EvidenceItem) -> bytes:
    """The bytes in which an item is kept and travels."""
    return encode(item)


def decode_item(data: bytes) -> EvidenceItem:
    """The item in ``data``; raises ``RemoteError``."""
    item: EvidenceItem = decode(EvidenceItem, data, max_bytes=MAX_EVIDENCE_BYTES)
    return item
