"""The leader schedule."""

from __future__ import annotations

import pytest

from consensus.leader import LeaderSchedule
from primitives.errors import LocalError


def test_without_rotation_the_view_decides() -> None:
    schedule = LeaderSchedule(4)
    assert [schedule.compute_proposer(view, 17) for view in range(6)] == [0, 1, 2, 3, 0, 1]


def test_rotation_moves_on_every_r_slots() -> None:
    schedule = LeaderSchedule(4, rotation_slots=3)
    assert [schedule.compute_proposer(1, slot) for slot in range(10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0]
    assert schedule.compute_view_leader(5) == 1


def test_senseless_schedules_are_refused() -> None:
    for size, rotation in ((0, 0), (4, -1)):
        with pytest.raises(LocalError):
            LeaderSchedule(size, rotation)
