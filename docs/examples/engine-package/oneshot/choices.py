"""A leader schedule and a pacemaker of our own. Any engine can be given them, by their names in pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.committee import Committee
from consensus.engine import EngineParameters
from consensus.leader import LeaderSchedule
from consensus.pacemaker import Pacemaker
from primitives.errors import LocalError


@dataclass(frozen=True, slots=True)
class StickySchedule:
    """Round-robin from a member that the topology names: the one nearest to the clients, for example."""

    size: int
    first: int

    def compute_view_leader(self, view: int) -> int:
        """Counted from the favourite."""
        return (self.first + view) % self.size

    def compute_proposer(self, view: int, slot: int) -> int:
        """The view's leader for all its slots."""
        return self.compute_view_leader(view)


def create_sticky(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """Reads ``leader_options = { first = 2 }``."""
    options = dict(parameters.leader_options)
    first = options.pop("first", 0)
    if options or not isinstance(first, int) or not 0 <= first < committee.size:
        raise LocalError(f"leader_options of 'sticky' are: first = 0 to {committee.size - 1}")
    return StickySchedule(committee.size, first)


class ImpatientPacemaker:
    """Grows by half per failed view, and forgets all failures at the first success."""

    def __init__(self, base_ms: int, max_ms: int) -> None:
        if not 1 <= base_ms <= max_ms:
            raise LocalError(f"timeouts must satisfy 1 ≤ base ≤ max, not {base_ms} and {max_ms}")
        self._base_ms, self._max_ms = base_ms, max_ms
        self._now_ms = base_ms

    @property
    def timeout_ms(self) -> int:
        """Milliseconds."""
        return self._now_ms

    def on_view_failed(self) -> None:
        """Half as much again, rounded up so that it grows from 1, too."""
        self._now_ms = min(self._now_ms + (self._now_ms + 1) // 2, self._max_ms)

    def on_progress(self) -> None:
        """As at the start."""
        self._now_ms = self._base_ms


def create_impatient(parameters: EngineParameters) -> Pacemaker:
    """Has no options."""
    if parameters.pacemaker_options:
        raise LocalError("the pacemaker 'impatient' has no options")
    return ImpatientPacemaker(parameters.base_timeout_ms, parameters.max_timeout_ms)
