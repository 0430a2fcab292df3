"""The entry point ``oneshot`` of the group ``rialto.engines``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import EngineParameters, Evidence, EvidencePosition
from oneshot.engine import OneShotEngine
from oneshot.messages import Propose, Vote, check_signatures, find_statement, read_message
from oneshot.records import Log, read_log
from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES
from primitives.signing import SignatureScheme, Signer


class OneShotFactory:
    """Satisfies ``consensus.engine.EngineFactory``."""

    name = "oneshot"

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> OneShotEngine:
        """Views begin anew with each slot, and a member that forgot signed nothing above ``certificate``: so
        ``first_view`` is nothing to heed."""
        height = 0 if certificate is None else certificate.height
        return OneShotEngine(committee, signer, parameters, height, Log())

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> OneShotEngine:
        """As our own records left it; raises ``LocalError`` where they are not ours."""
        height, log = read_log(records, 0 if certificate is None else certificate.height)
        return OneShotEngine(committee, signer, parameters, height, log)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        """Shape and ranges; raises ``RemoteError`` and nothing else."""
        return read_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        """All signatures, so that the engine needs none of its own checks."""
        check_signatures(message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        """Two votes, or two proposals, of one member at one place, that differ."""
        if len(evidence.messages) != 2 or list(evidence.messages) != sorted(set(evidence.messages)):
            raise RemoteError("MALFORMED", "evidence is two messages, in order", penalise=True)
        signers, said, place = _read_contradiction(evidence, committee)
        if signers != {evidence.culprit} or said[0] == said[1]:
            raise RemoteError("MALFORMED", "no contradiction of this member", penalise=True)
        if said[0][:-DIGEST_BYTES] != said[1][:-DIGEST_BYTES]:
            raise RemoteError("MALFORMED", "messages of different places do not contradict", penalise=True)
        for data in evidence.messages:
            check_signatures(read_message(data, committee)[1], committee, scheme)
        return place


def _read_contradiction(evidence: Evidence, committee: Committee) -> tuple[set[int], list[bytes], EvidencePosition]:
    """Who sent the two messages, what they signed, and where the first was said; raises ``RemoteError``."""
    first, second = (read_message(data, committee)[1] for data in evidence.messages)
    match evidence.kind, first, second:
        case ("conflicting-votes", Vote() as one, Vote() as other):
            said = [find_statement(committee, one), find_statement(committee, other)]
            return {one.sender, other.sender}, said, EvidencePosition(one.slot, one.view)
        case ("conflicting-proposals", Propose() as one, Propose() as other):
            said = [find_statement(committee, one), find_statement(committee, other)]
            return {one.sender, other.sender}, said, EvidencePosition(one.slot, one.view)
        case _:
            raise RemoteError("UNKNOWN_EVIDENCE", f"no evidence of kind {evidence.kind[:64]!r}", penalise=True)
