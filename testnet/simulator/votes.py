"""Votes: durable before they leave, and never in contradiction to an earlier one, also across restarts.

Frames are read here as plain MessagePack arrays, not through the engine's own decoder: ``[tag, view, slot, digest,
sender, signature]`` for PBFT's proposals, prepares and commits, ``[1, height, header hash, …]`` for attestations.
Votes of other engines are not known here; their attestations are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from node.events import Outgoing
from node.wire import FrameKind
from testnet.simulator.agreement import compute_identity
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost

_PROPOSAL: Final = 1
_PRE_PREPARE: Final = 2
_PREPARE: Final = 3
_COMMIT: Final = 4
_VIEW_CHANGE: Final = 6
_NEW_VIEW: Final = 7
_PHASES: Final = {_PROPOSAL: "proposal", _PREPARE: "prepare", _COMMIT: "commit"}


class VoteChecker(Checker):
    """Everything that every honest member ever signed."""

    name = "votes"

    def __init__(self, verdicts: Verdicts) -> None:
        super().__init__(verdicts)
        self._signed: dict[tuple[str, str, int, int], bytes] = {}
        self._last: dict[str, bytes] = {}

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        if outgoing.kind not in (FrameKind.ENGINE, FrameKind.ATTESTATION):
            return
        # A broadcast is one frame for each member: look once.
        if self._last.get(host.name) is outgoing.body:
            return
        self._last[host.name] = outgoing.body
        message = msgspec.msgpack.decode(outgoing.body)
        if outgoing.kind == FrameKind.ATTESTATION:
            self._check_attestation(host, message)
        elif message[0] == _PRE_PREPARE:
            self._check_vote(host, message[1], msgspec.msgpack.encode(message[1]))
        elif message[0] in (_PREPARE, _COMMIT):
            self._check_vote(host, message, outgoing.body)
        elif message[0] in (_VIEW_CHANGE, _NEW_VIEW):
            self._check_once(host, f"message {message[0]}", message[1], 0, outgoing.body)

    def _check_vote(self, host: SimulatedHost, vote: list[Any], encoded: bytes) -> None:
        tag, view, slot, digest, sender = vote[:5]
        if sender != host.member.index:
            # Somebody else's vote, passed on.
            return
        if encoded not in host.disk.vote_log.ever:
            self.fail(host.name, f"sent a {_PHASES[tag]} for slot {slot} that is not durable")
        self._check_once(host, _PHASES[tag], view, slot, digest)

    def _check_attestation(self, host: SimulatedHost, attestation: list[Any]) -> None:
        _, height, header_hash, signer = attestation[:4]
        if signer != host.member.index:
            return
        self._check_once(host, "attestation", 0, height, header_hash)

    def _check_once(self, host: SimulatedHost, kind: str, view: int, slot: int, content: bytes) -> None:
        if kind.startswith("message") and not self._is_own(host, content):
            return
        known = self._signed.setdefault((host.name, kind, view, slot), content)
        if known != content:
            self.fail(host.name, f"signed two different {kind}s for view {view}, slot {slot}")

    def _is_own(self, host: SimulatedHost, encoded: bytes) -> bool:
        return bool(msgspec.msgpack.decode(encoded)[-2] == host.member.index)


class AttestationLogChecker(Checker):
    """An attested header is in the attester's log before the attestation leaves."""

    name = "attestation-log"

    def __init__(self, verdicts: Verdicts) -> None:
        super().__init__(verdicts)
        self._logged: dict[str, set[bytes]] = {}
        self._last: dict[str, bytes] = {}

    def on_commit(self, host: SimulatedHost, records: Any) -> None:
        logged = self._logged.setdefault(host.name, set())
        for record in records:
            if record.key[:1] == b"a" and record.value is not None:
                logged.add(compute_identity(msgspec.msgpack.decode(record.value)))

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        if outgoing.kind != FrameKind.ATTESTATION or self._last.get(host.name) is outgoing.body:
            return
        self._last[host.name] = outgoing.body
        attestation = msgspec.msgpack.decode(outgoing.body)
        if attestation[3] == host.member.index and attestation[2] not in self._logged.get(host.name, ()):
            self.fail(host.name, f"attested block {attestation[1]} before it was durable")
