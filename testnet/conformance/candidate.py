"""What is under test: an engine's factory and the parameters that it runs with in every rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consensus.engine import EngineFactory, EngineParameters
from testnet.conformance.world import Committee, choose_parameters


@dataclass(frozen=True, slots=True)
class Candidate:
    """``changes`` are fields of ``EngineParameters`` that replace the suite's own: a schedule, options."""

    factory: EngineFactory
    changes: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, **changes: Any) -> EngineParameters:
        """The suite's parameters, a rule's own changes, and the candidate's, which win."""
        return choose_parameters(**{**changes, **self.changes})

    def committee(self, size: int = 4, *, parameters: EngineParameters | None = None, **options: Any) -> Committee:
        """A fresh committee, started; ``options`` are those of ``Committee``."""
        return Committee(self.factory, size, parameters=parameters or self.parameters(), **options)

    def find_first_leader(self, size: int = 4) -> int:
        """Who proposes first."""
        return self.committee(size).find_leader()
