"""Who leads a view, and how long a leader keeps leading.

HotStuff changes the leader with every view. With R = ``leader_rotation_slots`` above 1 it keeps each leader for a
*term* of R views, and gives a failed leader's whole term up at once: a dead member then costs two timeouts in
R · n views instead of two in n. The schedule is asked for the leader of the term. What does not live here:
schedules (``consensus.leader``).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.leader import LeaderSchedule


@dataclass(frozen=True, slots=True)
class Terms:
    """``length`` is R, at least 1."""

    schedule: LeaderSchedule
    length: int

    def compute_leader(self, view: int) -> int:
        """The member that proposes in ``view`` and collects the votes of view − 1."""
        return self.schedule.compute_view_leader(view // self.length)

    def compute_last_view(self, view: int) -> int:
        """The last view of the term that ``view`` is in: what is given up together."""
        return (view // self.length + 1) * self.length - 1
