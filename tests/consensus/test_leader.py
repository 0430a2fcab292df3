"""Leader schedules: the built-in ones, and how one is chosen."""

from __future__ import annotations

import pytest

from consensus import registry
from consensus.engine import EngineParameters
from consensus.leader import RoundRobinSchedule, create_leader_schedule
from primitives.errors import LocalError
from tests.consensus.tokens import make_committee

COMMITTEE = make_committee(4)


def test_without_rotation_the_view_decides() -> None:
    schedule = RoundRobinSchedule(4)
    assert [schedule.compute_proposer(view, 17) for view in range(6)] == [0, 1, 2, 3, 0, 1]


def test_rotation_moves_on_every_r_slots() -> None:
    schedule = RoundRobinSchedule(4, rotation_slots=3)
    assert [schedule.compute_proposer(1, slot) for slot in range(10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0]
    assert schedule.compute_view_leader(5) == 1


def test_senseless_schedules_are_refused() -> None:
    for size, rotation in ((0, 0), (4, -1)):
        with pytest.raises(LocalError):
            RoundRobinSchedule(size, rotation)
    with pytest.raises(LocalError, match="rotation"):
        create_leader_schedule(COMMITTEE, EngineParameters(leader_schedule="shuffled", leader_rotation_slots=-1))


@pytest.mark.parametrize("name", registry.list_registered(registry.LEADER_SCHEDULES))
@pytest.mark.parametrize("size", [1, 4, 7])
def test_every_member_leads_within_two_rounds_of_any_view(name: str, size: int) -> None:
    schedule = create_leader_schedule(make_committee(size), EngineParameters(leader_schedule=name))
    for first in range(20):
        views = range(first, first + 2 * size - 1)
        assert {schedule.compute_view_leader(view) for view in views} == set(range(size))
        assert {schedule.compute_proposer(view, 9) for view in views} == set(range(size))


def test_a_shuffle_is_the_same_at_everybody_and_another_on_another_chain() -> None:
    parameters = EngineParameters(leader_schedule="shuffled", leader_rotation_slots=1)
    one, other, abroad = (
        create_leader_schedule(make_committee(7, chain), parameters)
        for chain in (bytes(32), bytes(32), b"\x01" * 32)
    )
    positions = [(view, slot) for view in range(9) for slot in range(9)]
    orders = [[schedule.compute_proposer(*position) for position in positions] for schedule in (one, other, abroad)]
    assert orders[0] == orders[1] != orders[2]
    rounds = [orders[0][start : start + 7] for start in range(0, 9, 7)]
    assert rounds[0] != rounds[1], "every round has the same order"


def test_the_fixed_schedule_refuses_a_rotation() -> None:
    with pytest.raises(LocalError, match="does not rotate"):
        create_leader_schedule(COMMITTEE, EngineParameters(leader_schedule="fixed", leader_rotation_slots=2))


def test_an_unknown_schedule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        LocalError, match="no leader schedule 'random'; installed: fixed, round-robin, scripted, shuffled"
    ):
        create_leader_schedule(COMMITTEE, EngineParameters(leader_schedule="random"))


def test_options_that_nobody_reads_are_refused() -> None:
    with pytest.raises(LocalError, match="weights"):
        create_leader_schedule(COMMITTEE, EngineParameters(leader_options={"weights": 3}))


def test_a_schedule_that_forgets_a_member_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_forgetful(group: str, name: str) -> object:
        return lambda committee, parameters: RoundRobinSchedule(committee.size - 1)

    monkeypatch.setattr("consensus.leader.load_registered", load_forgetful)
    with pytest.raises(LocalError, match="every one of 4 members"):
        create_leader_schedule(COMMITTEE, EngineParameters(leader_schedule="forgetful"))


def scripted(**options: int | str) -> EngineParameters:
    return EngineParameters(leader_schedule="scripted", leader_options=options)


def test_a_script_names_the_leaders_of_its_views_and_then_everybody_has_a_turn() -> None:
    schedule = create_leader_schedule(COMMITTEE, scripted(script="2,2,2,2,2,2,2,0"))
    assert [schedule.compute_view_leader(view) for view in range(12)] == [2] * 7 + [0, 1, 2, 3, 0]
    from_one = create_leader_schedule(COMMITTEE, scripted(script="3,1", offset=0))
    assert [from_one.compute_proposer(view, 9) for view in range(5)] == [0, 3, 1, 3, 0]


def test_a_script_of_rounds_moves_on_with_each_slot_and_each_failed_round() -> None:
    schedule = create_leader_schedule(COMMITTEE, scripted(script="3,1,2", by_slot=1))
    assert [schedule.compute_proposer(0, slot) for slot in (1, 2, 3, 4)] == [3, 1, 2, 0]
    assert [schedule.compute_proposer(view, 1) for view in (0, 1, 2)] == [3, 1, 2]
    assert schedule.compute_proposer(1, 2) == 2


@pytest.mark.parametrize(
    "options",
    [{"script": "0,4"}, {"script": "0,,1"}, {"script": "0" * 9_000}, {"offset": 2}, {"by_slot": "1"}, {"first": 1}],
)
def test_a_senseless_script_is_refused(options: dict[str, int | str]) -> None:
    with pytest.raises(LocalError, match="script"):
        create_leader_schedule(COMMITTEE, scripted(**options))
