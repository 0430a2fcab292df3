"""The leader schedule: who starts a view and who proposes for a slot.

View v is started by member v mod n. The proposer of a slot is (v + ⌊slot / R⌋) mod n, so that with R > 0 a
healthy view passes the privilege of proposing round the committee; R = 0 keeps the view's own leader.
"""

from __future__ import annotations

from dataclasses import dataclass

from primitives.errors import LocalError


@dataclass(frozen=True, slots=True)
class LeaderSchedule:
    """``size`` is n; ``rotation_slots`` is R."""

    size: int
    rotation_slots: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.rotation_slots < 0:
            raise LocalError("a leader schedule needs a member and a rotation of at least 0 slots")

    def compute_view_leader(self, view: int) -> int:
        """The member that sends the new-view message of ``view``."""
        return view % self.size

    def compute_proposer(self, view: int, slot: int) -> int:
        """The member that proposes for ``slot`` while ``view`` lasts."""
        if self.rotation_slots == 0:
            return view % self.size
        return (view + slot // self.rotation_slots) % self.size
