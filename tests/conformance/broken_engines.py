"""Engines that break one promise each: PBFT behind a wrapper that takes something away from it.

The wrappers know the engine interface and nothing of PBFT, so they show what the suite finds in any engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import (
    BuildPayload,
    Certified,
    Engine,
    EngineParameters,
    EngineStatistics,
    Event,
    Evidence,
    EvidencePosition,
    Output,
    PayloadHeld,
    PeerConnected,
    SetTimer,
    TimerFired,
    Work,
    WorkLevel,
)
from consensus.pbft.engine import PbftFactory
from primitives.signing import SignatureScheme, Signer

HEARTBEAT_MS = 1_000


class Broken:
    """Satisfies ``EngineFactory``; what a promise needs, a subclass leaves out."""

    name = "broken"
    unbinding_tags = PbftFactory.unbinding_tags

    def __init__(self) -> None:
        self._inner = PbftFactory()

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> Engine:
        inner = self._inner.create(
            self.see(committee), signer, scheme, self.read(parameters), certificate, first_view
        )
        return BrokenEngine(self, inner)

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        inner = self._inner.restore(
            self.see(committee), signer, scheme, self.read(parameters), certificate, records
        )
        return BrokenEngine(self, inner)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        return self._inner.decode_message(data, self.see(committee))

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        self._inner.verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        return self._inner.verify_evidence(evidence, committee, scheme, parameters)

    # --- what subclasses break -----------------------------------------------------------------------------

    def see(self, committee: Committee) -> Committee:
        return committee

    def read(self, parameters: EngineParameters) -> EngineParameters:
        return parameters

    def hear(self, event: Event) -> Event | None:
        return event

    def answer(self, event: Event, output: Output) -> Output:
        return output

    def needs(self, inner: Engine, signer: int, message: Any) -> bool:
        return inner.needs(signer, message)


class BrokenEngine:
    def __init__(self, factory: Broken, inner: Engine) -> None:
        self._factory = factory
        self._inner = inner

    def handle(self, event: Event, now_ms: int) -> Output:
        heard = self._factory.hear(event)
        return Output() if heard is None else self._factory.answer(event, self._inner.handle(heard, now_ms))

    def needs(self, signer: int, message: Any) -> bool:
        return self._factory.needs(self._inner, signer, message)

    def statistics(self) -> EngineStatistics:
        return self._inner.statistics()


class LaxCommittee(Committee):
    """Two of four decide."""

    @cached_property
    def quorum(self) -> int:
        return self.size // 2


class StrictCommittee(Committee):
    """Everybody is needed."""

    @cached_property
    def quorum(self) -> int:
        return self.size


def change_kind(kind: type[Committee], given: Committee) -> Committee:
    return kind(given.chain, given.shard, given.incarnation, given.epoch, given.members)


class DecidesByHalves(Broken):
    def see(self, committee: Committee) -> Committee:
        return change_kind(LaxCommittee, committee)


class NeedsEverybody(Broken):
    def see(self, committee: Committee) -> Committee:
        return change_kind(StrictCommittee, committee)


class NeverRests(Broken):
    def answer(self, event: Event, output: Output) -> Output:
        return replace(output, timers=(*output.timers, SetTimer("heartbeat", HEARTBEAT_MS)))


def overhear_complaints(event: Event) -> Event:
    return Work(WorkLevel.PENDING) if event == Work(WorkLevel.OVERDUE) else event


class NeverLeaves(Broken):
    """Sets no timers and hears no complaints, so it never gives up a leader."""

    def hear(self, event: Event) -> Event | None:
        return overhear_complaints(event)

    def answer(self, event: Event, output: Output) -> Output:
        return replace(output, timers=())


class NeverRepeats(Broken):
    """Nothing after a lost message, a reconnect or silence."""

    def hear(self, event: Event) -> Event | None:
        return None if isinstance(event, PeerConnected | TimerFired) else overhear_complaints(event)


class NeedsEverything(Broken):
    def needs(self, inner: Engine, signer: int, message: Any) -> bool:
        return True


class RunsAhead(Broken):
    def read(self, parameters: EngineParameters) -> EngineParameters:
        return replace(parameters, window_slots=3 * parameters.window_slots)


class IgnoresNames(Broken):
    def read(self, parameters: EngineParameters) -> EngineParameters:
        return replace(parameters, leader_schedule="round-robin", pacemaker="exponential")


class IgnoresOptions(Broken):
    def read(self, parameters: EngineParameters) -> EngineParameters:
        return replace(parameters, extra={})


class ForgetsAncestors(Broken):
    """A builder that is not told what is in flight takes it again."""

    def answer(self, event: Event, output: Output) -> Output:
        wishes = [replace(wish, ancestors=()) if isinstance(wish, BuildPayload) else wish for wish in output.wishes]
        return replace(output, wishes=tuple(wishes))


class PersistsNothing(Broken):
    def answer(self, event: Event, output: Output) -> Output:
        return replace(output, persist=())


class ForgetsItsLog(Broken):
    """Starts afresh after every crash, as if it had never voted."""

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        return self.create(committee, signer, scheme, parameters, certificate)


class Mute(Broken):
    """Takes no event."""

    def hear(self, event: Event) -> Event | None:
        return None


class MuteAfterRestart(Broken):
    """Its log makes it a member that has nothing more to say."""

    def restore(self, *arguments: Any) -> Engine:
        return Mute().restore(*arguments)


class MuteAfterAmnesia(Broken):
    """A first view is one that it never reaches."""

    def create(self, *arguments: Any) -> Engine:
        *_, first_view = arguments
        return Mute().create(*arguments) if first_view else super().create(*arguments)


class DependsOnChance(Broken):
    """Whatever a process did before has a say."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def answer(self, event: Event, output: Output) -> Output:
        self._count += 1
        return output if self._count % 2 else replace(output, send=output.send[::-1])


class AccusesNobody(Broken):
    def answer(self, event: Event, output: Output) -> Output:
        return replace(output, evidence=())


class AccusesLeadersOnly(Broken):
    def answer(self, event: Event, output: Output) -> Output:
        kept = tuple(evidence for evidence in output.evidence if evidence.kind == "conflicting-pre-prepare")
        return replace(output, evidence=kept)


class BelievesAnything(Broken):
    """Takes every payload for valid."""

    def hear(self, event: Event) -> Event | None:
        return replace(event, valid=True) if isinstance(event, PayloadHeld) else event


class DeafToComplaints(Broken):
    def hear(self, event: Event) -> Event | None:
        return overhear_complaints(event)


class IgnoresCertificates(Broken):
    def hear(self, event: Event) -> Event | None:
        return None if isinstance(event, Certified) else event


class HoardsMessages(Broken):
    def __init__(self) -> None:
        super().__init__()
        self._hoard: list[object] = []

    def needs(self, inner: Engine, signer: int, message: Any) -> bool:
        self._hoard.append(message)
        return inner.needs(signer, message)


class FallsOverBytes(Broken):
    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        if len(data) < 3:
            raise IndexError("short")
        return super().decode_message(data, committee)


class FallsOverTimers(Broken):
    def hear(self, event: Event) -> Event | None:
        if isinstance(event, TimerFired) and event.timer == "nobody's":
            raise KeyError(event.timer)
        return event
