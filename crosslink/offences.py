"""Offences: evidence against members of any committee, as the beacon takes, verifies and records it.

Theory of operation. Anybody may report an ``EvidenceItem``. What its bytes and the genesis decide cheaply is
checked when it is decoded; its signatures when a beacon member admits it, and again when the block is executed, by
the engine of the accused committee. They are no part of a batch's validity: a faulty beacon member could fill
batches with evidence that costs thousands of checks, and execution has a budget per block where validity has none.

Recorded once per (committee, culprit, kind, slot, view), and at most ``MAX_RECORDED_PER_MEMBER`` times against one
member: more proves nothing new. What is known or enough is refused before any signature is looked at.

Records of the beacon's state: ``offence/ ‖ shard(4) ‖ incarnation(4) ‖ epoch(8) ‖ culprit(4) ‖ slot(8) ‖ view(8) ‖
kind`` → ``OffenceRecord``. The messages themselves stay in the block that recorded them. What does not live here:
what follows for the culprit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from consensus.evidence import (
    MAX_EVIDENCE_BYTES,
    MAX_ITEM_SIGNATURES,
    EvidenceItem,
    Jurisdiction,
    SignatureMeter,
    validate_item,
    verify_item,
)
from crosslink.records import Offence
from primitives.codec import Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SignatureScheme

RECORD_PREFIX: Final = b"offence/"
MAX_RECORDED_PER_MEMBER: Final = 8
MAX_ITEMS_PER_BLOCK: Final = 16
BLOCK_SIGNATURES: Final = MAX_ITEM_SIGNATURES
"""Signature checks of one block's evidence: what the costliest item needs."""
OK: Final = "OK"
BLOCK_FULL: Final = "BLOCK_FULL"
_MAX_RECORD_BYTES: Final = 512


class ReportEvidence(Wire, frozen=True, tag=3):
    """A beacon transaction: evidence that convinces by itself, whoever sends it."""

    item: EvidenceItem


class OffenceRecord(Wire, frozen=True):
    """An offence, and the beacon height that recorded it."""

    offence: Offence
    recorded_at: Unsigned


class BlockBudget:
    """What one block may still spend on evidence."""

    def __init__(self, scheme: SignatureScheme) -> None:
        self.items_left = MAX_ITEMS_PER_BLOCK
        self.meter = SignatureMeter(scheme, BLOCK_SIGNATURES)


class OffenceBook:
    """Everything recorded. ``jurisdictions`` are the committees of the genesis, the beacon's among them, by shard
    number."""

    def __init__(self, jurisdictions: Mapping[int, Jurisdiction]) -> None:
        self._jurisdictions = dict(jurisdictions)
        self._records: dict[bytes, OffenceRecord] = {}
        self._counts: dict[bytes, int] = {}
        self._changes: dict[bytes, bytes | None] = {}

    # --- before ordering -----------------------------------------------------------------------------------

    def validate(self, item: EvidenceItem, size_bytes: int) -> None:
        """What bytes and genesis decide without a signature check; raises ``RemoteError``."""
        if size_bytes > MAX_EVIDENCE_BYTES:
            raise RemoteError("TOO_LARGE", f"evidence has at most {MAX_EVIDENCE_BYTES} bytes", penalise=True)
        jurisdiction = self._jurisdictions.get(item.shard)
        if jurisdiction is None:
            raise RemoteError("UNKNOWN_SHARD", f"the genesis has no committee {item.shard}", penalise=True)
        validate_item(item, jurisdiction.committee)

    def assess(self, item: EvidenceItem) -> str:
        """``OK``, ``KNOWN`` or ``ENOUGH``; reads only, and costs nothing."""
        key = compute_key(item)
        if key in self._records:
            return "KNOWN"
        if self._counts.get(_member_of(key), 0) >= MAX_RECORDED_PER_MEMBER:
            return "ENOUGH"
        return OK

    def verify(self, item: EvidenceItem, meter: SignatureMeter) -> None:
        """Raise ``RemoteError`` unless the item, which is valid, proves its offence."""
        verify_item(item, self._jurisdictions[item.shard], meter)

    # --- execution -----------------------------------------------------------------------------------------

    def judge(self, item: EvidenceItem, budget: BlockBudget) -> str:
        """``OK`` where it is to be recorded, else the code that says why not."""
        code = self.assess(item)
        if code != OK:
            return code
        if not budget.items_left:
            return BLOCK_FULL
        budget.items_left -= 1
        already_spent = budget.meter.spent
        try:
            self.verify(item, budget.meter)
        except RemoteError as error:
            # Others spent what this one needs; alone in a block it shows what it is worth.
            return BLOCK_FULL if error.code == "TOO_COSTLY" and already_spent else error.code
        return OK

    def apply(self, item: EvidenceItem, height: int) -> Offence:
        """Record it at beacon ``height``; ``judge`` has just answered ``OK``."""
        committee = self._jurisdictions[item.shard].committee
        offence = Offence(
            shard=item.shard,
            incarnation=item.incarnation,
            epoch=item.epoch,
            culprit=item.culprit,
            key=committee.members[item.culprit],
            kind=item.kind,
            slot=item.slot,
            view=item.view,
            item_hash=compute_item_hash(item),
        )
        key, record = compute_key(item), OffenceRecord(offence, height)
        self._put(key, record)
        self._changes[key] = encode(record)
        return offence

    def _put(self, key: bytes, record: OffenceRecord) -> None:
        self._records[key] = record
        member = _member_of(key)
        self._counts[member] = self._counts.get(member, 0) + 1

    # --- reads and records ---------------------------------------------------------------------------------

    def list_records(self) -> tuple[OffenceRecord, ...]:
        """Everything recorded, by beacon height, then by place."""
        ordered = sorted(self._records.items(), key=lambda entry: (entry[1].recorded_at, entry[0]))
        return tuple(record for _, record in ordered)

    def take_changes(self) -> dict[bytes, bytes | None]:
        """The records that changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Replace everything by ``records``; raises ``LocalError`` where they are not ours."""
        self._records, self._counts, self._changes = {}, {}, {}
        try:
            for key, value in sorted(records):
                record: OffenceRecord = decode(OffenceRecord, value, max_bytes=_MAX_RECORD_BYTES)
                self._put(key, record)
        except RemoteError as error:
            raise LocalError(f"the stored offences are damaged: {error}") from error


def compute_item_hash(item: EvidenceItem) -> bytes:
    """The identity of the transaction that reports ``item``."""
    return hash_tagged(b"rialto/evidence", encode(item))


def compute_key(item: EvidenceItem) -> bytes:
    """The key under which the offence is recorded: the same for every proof of it."""
    place = item.slot.to_bytes(8, "big") + item.view.to_bytes(8, "big") + item.kind.encode()
    member = item.shard.to_bytes(4, "big") + item.incarnation.to_bytes(4, "big") + item.epoch.to_bytes(8, "big")
    return RECORD_PREFIX + member + item.culprit.to_bytes(4, "big") + place


def _member_of(key: bytes) -> bytes:
    """The part of a key that names committee and culprit."""
    return key[: len(RECORD_PREFIX) + 20]
