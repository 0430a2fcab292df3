"""Timers that only make a replica look again: each at most once, at the soonest time that anybody wants.

What does not live here: timers that mean something by themselves, and what is looked at (``node.replica``).
"""

from __future__ import annotations

from consensus.engine import SetTimer
from node.effects_draft import EffectsDraft


class WakeUps:
    """Which of them are set, by name."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}

    def plan(self, timer: str, delay_ms: int | None, draft: EffectsDraft, now_ms: int) -> None:
        """Look again after ``delay_ms``, unless that is sooner anyway."""
        if not delay_ms:
            return
        due_ms = now_ms + delay_ms
        known_ms = self._due.get(timer)
        if known_ms is None or due_ms < known_ms or known_ms < now_ms:
            self._due[timer] = due_ms
            draft.timers.append(SetTimer(timer, delay_ms))

    def note_fired(self, timer: str) -> None:
        """It has come; planning sets it anew."""
        self._due.pop(timer, None)
