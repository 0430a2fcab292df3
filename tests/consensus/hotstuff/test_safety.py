"""The pure rules: justification, commits, ballots, terms."""

from __future__ import annotations

import pytest

from consensus.engine import EngineParameters
from consensus.hotstuff.messages import compute_block_id, extend, repeat
from consensus.hotstuff.safety import Ballot, commits, is_justified, names_its_parent
from consensus.hotstuff.terms import Terms
from consensus.leader import create_leader_schedule
from tests.consensus.hotstuff.crafting import ROOT, World

WORLD = World()
ONE, TWO = WORLD.chain(1, 2)


@pytest.mark.parametrize(
    ("view", "timed_out", "reported", "justified"),
    [
        (3, None, (), True),
        (4, None, (), False),
        (4, 3, (0, 1, 2), True),
        (4, 3, (0, 0, 3), False),
        (4, 2, (0, 0, 0), False),
        (4, 4, (0, 0, 0), False),
        (2, 1, (0, 0, 0), False),
    ],
)
def test_a_proposal_is_justified_by_the_view_before(
    view: int, timed_out: int | None, reported: tuple[int, ...], justified: bool
) -> None:
    timeouts = WORLD.certify_timeouts(9)
    given = None if timed_out is None else type(timeouts)(timed_out, reported, (0, 1, 2), timeouts.signatures)
    assert is_justified(view, TWO, given) is justified


def test_the_justification_is_the_parents() -> None:
    assert names_its_parent(WORLD.propose(2, b"x", ONE).proposal)
    assert not names_its_parent(WORLD.propose_block(extend(ROOT.block, 2, bytes(32)), b"x", ONE, None, 2).proposal)


def test_only_a_child_in_the_very_next_view_commits() -> None:
    assert commits(ONE.block, TWO.block)
    assert commits(ONE.block, repeat(ONE.block, 2))
    assert not commits(ONE.block, repeat(ONE.block, 3))
    assert not commits(ONE.block, extend(ROOT.block, 2, bytes(32)))
    assert compute_block_id(repeat(ONE.block, 2)) != compute_block_id(repeat(ONE.block, 3))


def test_a_ballot_is_cast_once_per_view_in_rising_views() -> None:
    ballot = Ballot(voted=4, gave_up=6)
    assert [view for view in range(10) if ballot.may_vote(view)] == [7, 8, 9]
    assert [view for view in range(10) if ballot.may_give_up(view)] == [7, 8, 9]
    voted = Ballot(voted=8, gave_up=6)
    assert voted.may_give_up(8), "who voted may give up the view all the same"
    assert not voted.may_vote(8)
    forgetful = Ballot(first_view=9)
    assert not forgetful.may_vote(8)
    assert not forgetful.may_give_up(8)
    assert forgetful.may_vote(9)


def test_a_term_is_led_and_given_up_as_a_whole() -> None:
    schedule = create_leader_schedule(WORLD.committee, EngineParameters())
    each, terms = Terms(schedule, 1), Terms(schedule, 3)
    assert [each.compute_leader(view) for view in range(1, 6)] == [1, 2, 3, 0, 1]
    assert [each.compute_last_view(view) for view in range(1, 4)] == [1, 2, 3]
    assert [terms.compute_leader(view) for view in range(1, 9)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [terms.compute_last_view(view) for view in range(1, 7)] == [2, 2, 5, 5, 5, 8]
