"""Keeping evidence: what no honest member signs, stored once each, bounded.

What does not live here: finding it (the engines, ``node.attestations``) and acting on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.engine import Evidence
from node.chain import MAX_EVIDENCE_RECORDS, StoredEvidence, build_evidence_record
from node.effects_draft import EffectsDraft
from node.events import StoreWrite


class EvidenceLocker:
    """What is kept against members."""

    def __init__(self, stored: Sequence[StoredEvidence]) -> None:
        self._known = dict.fromkeys(stored)
        self._count = len(stored)

    @property
    def count(self) -> int:
        return self._count

    def keep(self, evidence: Evidence, draft: EffectsDraft) -> None:
        """Store it, synced, and raise an alarm; what is known already, or too much, is dropped."""
        record = StoredEvidence(evidence.kind, evidence.culprit, evidence.messages)
        if record in self._known or self._count >= MAX_EVIDENCE_RECORDS:
            return
        self._known[record] = None
        self._count += 1
        draft.writes.append(StoreWrite((build_evidence_record(record, self._count),), sync=True))
        draft.alarms.append(f"evidence against member {evidence.culprit}: {evidence.kind}")
