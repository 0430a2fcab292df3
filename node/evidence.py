"""Keeping evidence, and bringing it to the beacon: the first of each kind against each member.

Theory of operation

    found ──proven as strangers will prove it──▶ PENDING ──the beacon says so──▶ RECORDED
      └────convinces nobody (a halt's two headers, a kind without a verifier)──▶ kept for people

Of one member's offences of one kind the first counts and the rest is dropped before it costs anything; everything
together is bounded. What is pending is submitted at once, then ever more rarely until the beacon's own chain shows
that it, or as good a proof by somebody else, is recorded. Both states are in the chain store, so a restart goes on:

    v ‖ number(4)             an ``EvidenceItem``
    w ‖ culprit(4) ‖ kind     the beacon recorded an offence of this kind by this member of our committee

What does not live here: finding evidence (the engines, ``node.attestations``), links (``node.beacon_follow``,
``node.beacon_serve``), recording (``crosslink.offences``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.engine import Evidence, Record
from consensus.evidence import EvidenceItem, Jurisdiction, decode_item, encode_item, prove_evidence
from crosslink.offences import ReportEvidence
from crosslink.records import Offence
from node.chain_records import MAX_EVIDENCE_RECORDS, StoredEvidence, build_evidence_record
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.store import Store
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from primitives.signing import SignatureScheme

DIVERGENCE: Final = "divergence"
FIRST_RETRY_MS: Final = 2_000
"""A few beacon blocks: by then a report that arrived is recorded."""
MAX_RETRY_MS: Final = 60_000
_ITEM: Final = b"v"
_RECORDED: Final = b"w"

_Offence = tuple[int, str]  # (culprit, kind)


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """One item for the API."""

    number: int
    item: EvidenceItem
    is_recorded: bool


@dataclass(slots=True)
class _Delivery:
    """When an item is submitted next; ``due_ms`` is ``None`` before the first look at the clock."""

    due_ms: int | None = None
    gap_ms: int = FIRST_RETRY_MS


class EvidenceLocker:
    """What is kept against members of our committee."""

    def __init__(
        self,
        store: Store,
        unproven: Sequence[StoredEvidence],
        jurisdiction: Jurisdiction,
        scheme: SignatureScheme,
    ) -> None:
        """``unproven`` is what the store keeps for people. Raises ``LocalError`` where the rest is damaged."""
        self._jurisdiction = jurisdiction
        self._scheme = scheme
        self._unproven = dict.fromkeys((item.culprit, item.kind) for item in unproven)
        self._unproven_count = len(unproven)
        self._items: dict[_Offence, EvidenceItem] = {}
        self._recorded: dict[_Offence, None] = {}
        self._deliveries: dict[_Offence, _Delivery] = {}
        self._load(store)

    def _load(self, store: Store) -> None:
        try:
            for _, value in store.scan(_ITEM, bytes([_ITEM[0] + 1])):
                item = decode_item(value)
                self._items[item.culprit, item.kind] = item
            for key, _ in store.scan(_RECORDED, bytes([_RECORDED[0] + 1])):
                self._recorded[int.from_bytes(key[1:5], "big"), key[5:].decode()] = None
        except (RemoteError, UnicodeDecodeError) as error:
            raise LocalError(f"the chain store holds damaged evidence: {error}") from None
        self._deliveries = {offence: _Delivery() for offence in self._items if offence not in self._recorded}

    # --- reads -----------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Everything kept."""
        return len(self._items) + self._unproven_count

    @property
    def recorded_count(self) -> int:
        """Items whose offence the beacon has recorded."""
        return sum(1 for offence in self._items if offence in self._recorded)

    def list_items(self) -> tuple[KeptEvidence, ...]:
        """Everything that convinces strangers, oldest first."""
        return tuple(
            KeptEvidence(number, item, offence in self._recorded)
            for number, (offence, item) in enumerate(self._items.items(), 1)
        )

    # --- keeping ---------------------------------------------------------------------------------------

    def keep(self, evidence: Evidence, draft: EffectsDraft) -> None:
        """Store it, synced, and raise an alarm; what is known of this member already, or too much, is dropped."""
        offence = evidence.culprit, evidence.kind
        if offence in self._items or offence in self._unproven or self.count >= MAX_EVIDENCE_RECORDS:
            return
        try:
            item = prove_evidence(evidence, self._jurisdiction, self._scheme)
        except RemoteError as error:
            self._keep_unproven(evidence, draft)
            accusation = f"evidence against member {evidence.culprit}: {evidence.kind}"
            draft.alarms.append(f"{accusation}, which convinces nobody else ({error})")
            return
        self._items[offence] = item
        if offence not in self._recorded:
            self._deliveries[offence] = _Delivery()
        key = _ITEM + len(self._items).to_bytes(4, "big")
        draft.writes.append(StoreWrite((Record(key, encode_item(item)),), sync=True))
        draft.alarms.append(f"evidence against member {evidence.culprit}: {evidence.kind}")

    def keep_divergence(self, own_index: int, messages: tuple[bytes, ...], draft: EffectsDraft) -> None:
        """The two headers over which this member halts: for people to compare."""
        if self.count < MAX_EVIDENCE_RECORDS:
            self._keep_unproven(Evidence(DIVERGENCE, own_index, messages), draft)
            draft.alarms.append("divergence: both headers are kept")

    def _keep_unproven(self, evidence: Evidence, draft: EffectsDraft) -> None:
        self._unproven[evidence.culprit, evidence.kind] = None
        self._unproven_count += 1
        record = StoredEvidence(evidence.kind, evidence.culprit, evidence.messages)
        draft.writes.append(StoreWrite((build_evidence_record(record, self._unproven_count),), sync=True))

    # --- delivering ------------------------------------------------------------------------------------

    def find_due(self, now_ms: int) -> EvidenceItem | None:
        """The item that is to be submitted now, if any; each one then waits twice as long as before."""
        for offence, delivery in self._deliveries.items():
            if delivery.due_ms is None or now_ms >= delivery.due_ms:
                delivery.due_ms = now_ms + delivery.gap_ms
                delivery.gap_ms = min(MAX_RETRY_MS, 2 * delivery.gap_ms)
                return self._items[offence]
        return None

    def note_offence(self, offence: Offence, draft: EffectsDraft) -> None:
        """The beacon recorded this; where it is about a member of ours, nothing more is to be delivered."""
        committee = self._jurisdiction.committee
        place = (offence.shard, offence.incarnation, offence.epoch)
        if place == (committee.shard, committee.incarnation, committee.epoch):
            self.settle(offence.culprit, offence.kind, draft)

    def settle(self, culprit: int, kind: str, draft: EffectsDraft) -> None:
        """The beacon knows enough about this member and kind."""
        if (culprit, kind) in self._recorded:
            return
        self._recorded[culprit, kind] = None
        self._deliveries.pop((culprit, kind), None)
        key = _RECORDED + culprit.to_bytes(4, "big") + kind.encode()
        draft.writes.append(StoreWrite((Record(key, b""),)))


def encode_report(item: EvidenceItem) -> bytes:
    """The beacon transaction that brings ``item``."""
    return encode(ReportEvidence(item))
