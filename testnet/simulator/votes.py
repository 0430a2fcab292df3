"""Votes: durable before they leave, and never in contradiction to an earlier one, also across restarts.

Votes are whatever consensus signs, of any engine. What does not live here: how signatures are seen, and when they
bind (``testnet.promises``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from consensus.engine import Record
from node.events import Outgoing
from node.wire import FrameKind
from primitives.signing import Signer
from testnet.promises import Promise, PromiseLedger, RecordingSigner, read_unbinding_tags
from testnet.simulator.agreement import compute_identity
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost

VOTING_KINDS: Final = (FrameKind.ENGINE, FrameKind.ATTESTATION)
_NO_VOTES: Final = (b"rialto/batch-signature/1",)
"""What members sign that is no vote: every batch is another one."""


def record_votes(signer: Signer, factory: Any) -> RecordingSigner:
    """``signer`` with the votes of the engine that ``factory`` makes remembered until they leave."""
    return RecordingSigner(signer, ignored=(*_NO_VOTES, *read_unbinding_tags(factory)))


class VoteChecker(Checker):
    """Everything that every honest member ever said."""

    name = "votes"

    def __init__(self, verdicts: Verdicts) -> None:
        super().__init__(verdicts)
        self._ledger = PromiseLedger()

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        if outgoing.kind not in VOTING_KINDS or host.recorder is None:
            return
        for promise in host.recorder.take_leaving(outgoing.body):
            self.enter(host.name, promise)
            # What an attestation says is logged as the header itself: see below.
            if outgoing.kind == FrameKind.ENGINE and not host.disk.vote_log.has_held(promise.signature):
                self.fail(host.name, f"sent what is not durable: {promise.describe()}")

    def enter(self, name: str, promise: Promise) -> None:
        """Host ``name`` says this now; it must not have said anything else there."""
        if not self._ledger.enter(name, promise):
            self.fail(name, f"signed two different things: {promise.describe()}")


class AttestationLogChecker(Checker):
    """An attested header is in the attester's log before the attestation leaves."""

    name = "attestation-log"

    def __init__(self, verdicts: Verdicts) -> None:
        super().__init__(verdicts)
        self._logged: dict[str, set[bytes]] = {}

    def on_commit(self, host: SimulatedHost, records: Sequence[Record]) -> None:
        for record in records:
            if record.key.startswith(b"a") and record.value is not None:
                identity = compute_identity(msgspec.msgpack.decode(record.value))
                self._logged.setdefault(host.name, set()).add(identity)

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        if outgoing.kind != FrameKind.ATTESTATION:
            return
        attestation = msgspec.msgpack.decode(outgoing.body)
        if attestation[3] == host.member.index and attestation[2] not in self._logged.get(host.name, ()):
            self.fail(host.name, f"attested block {attestation[1]} before it was durable")
