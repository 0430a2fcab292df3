"""Engines with bugs planted: production code in which a few functions are replaced while the engine runs.

The replacements are in force inside calls of the mutant's own engines and its own factory and nowhere else, so the
replica, the checkers and other engines of the same process keep their rules. ``liar`` makes member 0 byzantine: it
runs other replacements, or a wrapped engine; honest members run the mutant all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import Engine, EngineFactory, EngineParameters, EngineStatistics, Event, Evidence, Output
from primitives.signing import SignatureScheme, Signer
from testnet.simulator.wrapped_factory import WrappedFactory

Plant = Callable[[Any], None]
"""Calls ``patch.setattr(target, name, replacement)`` of its argument, as of pytest's ``monkeypatch``."""
Shared = TypeVar("Shared")
ABSENT = object()
LIAR = 0


class Replacements:
    """What plants replace, to be put into force and out of it many thousand times."""

    def __init__(self, *plants: Plant) -> None:
        self._entries: list[tuple[Any, str, Any]] = []
        for plant in plants:
            plant(self)

    def setattr(self, target: Any, name: str, value: Any) -> None:
        """Note it; nothing is replaced yet."""
        self._entries.append((target, name, value))

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Replace everything for the length of a block."""
        before = [(target, name, vars(target).get(name, ABSENT)) for target, name, _ in self._entries]
        for target, name, value in self._entries:
            setattr(target, name, value)
        try:
            yield
        finally:
            for target, name, value in reversed(before):
                if value is ABSENT:
                    delattr(target, name)
                else:
                    setattr(target, name, value)


@dataclass(frozen=True)
class Liar:
    """Member 0 of a mutant's committee: what it replaces besides, and what becomes of its engine."""

    plant: Plant = lambda patch: None
    wrap: Callable[[Engine, Committee, Signer], Engine] = lambda engine, committee, signer: engine


class PlantedFactory(WrappedFactory):
    """``plant`` at every member; at member 0 the liar's besides."""

    def __init__(self, inner: EngineFactory, plant: Plant, liar: Liar | None = None) -> None:
        super().__init__(inner)
        self._honest = Replacements(plant)
        self._lying = self._honest if liar is None else Replacements(plant, liar.plant)
        self.liar = liar

    def _planted_in(self, committee: Committee, signer: Signer) -> Replacements:
        return self._lying if committee.index_of(signer.public_key) == LIAR else self._honest

    def _finish(self, engine: Engine, committee: Committee, signer: Signer) -> Engine:
        planted = PlantedEngine(engine, self._planted_in(committee, signer))
        if self.liar is None or committee.index_of(signer.public_key) != LIAR:
            return planted
        return self.liar.wrap(planted, committee, signer)

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> Engine:
        with self._planted_in(committee, signer).in_force():
            engine = self.inner.create(committee, signer, scheme, parameters, certificate, first_view)
        return self._finish(engine, committee, signer)

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        with self._planted_in(committee, signer).in_force():
            engine = self.inner.restore(committee, signer, scheme, parameters, certificate, records)
        return self._finish(engine, committee, signer)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        with self._honest.in_force():
            return self.inner.decode_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        with self._honest.in_force():
            self.inner.verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> Any:
        with self._honest.in_force():
            return self.inner.verify_evidence(evidence, committee, scheme, parameters)


class PlantedEngine:
    """An engine whose every call runs with the replacements in force."""

    def __init__(self, engine: Engine, replacements: Replacements) -> None:
        self.engine = engine
        self._replacements = replacements

    def handle(self, event: Event, now_ms: int) -> Output:
        with self._replacements.in_force():
            return self.engine.handle(event, now_ms)

    def needs(self, signer: int, message: Any) -> bool:
        with self._replacements.in_force():
            return self.engine.needs(signer, message)

    def statistics(self) -> EngineStatistics:
        with self._replacements.in_force():
            return self.engine.statistics()


def replace_in(target: Any, name: str, replacement: Any) -> Plant:
    """The plant of one replacement."""
    return lambda patch: patch.setattr(target, name, replacement)


def plant_all(*plants: Plant) -> Plant:
    """All of them together."""

    def plant(patch: Any) -> None:
        for one in plants:
            one(patch)

    return plant


def share(committee: Committee, name: str, make: Callable[[], Shared]) -> Shared:
    """What all processes of the liar know, whatever restarts: kept by the committee, and each run has its own."""
    known: Shared = vars(committee).setdefault(name, make())
    return known
