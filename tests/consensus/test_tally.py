"""The vote tally: one vote per member, quorums by value, contradictions once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.tally import Standing, Tally


def test_first_vote_stands_and_contradiction_is_told_once() -> None:
    tally: Tally[str] = Tally()
    assert tally.add(1, b"a", "first") is Standing.COUNTED
    assert tally.add(1, b"a", "again") is Standing.REPEATED
    assert tally.add(1, b"b", "other") is Standing.CONTRADICTED
    assert tally.add(1, b"c", "third") is Standing.REPEATED
    assert (tally.vote_of(1), tally.count(b"a"), tally.count(b"b")) == ("first", 1, 0)


def test_votes_come_lowest_members_first() -> None:
    tally: Tally[int] = Tally()
    for member in (5, 2, 9, 0):
        tally.add(member, b"a", member)
    assert tally.votes_for(b"a", 3) == (0, 2, 5)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"a", b"b"])), max_size=30))
def test_counts_are_those_of_the_first_votes(votes: list[tuple[int, bytes]]) -> None:
    tally: Tally[int] = Tally()
    first: dict[int, bytes] = {}
    for member, value in votes:
        tally.add(member, value, member)
        first.setdefault(member, value)
    for value in (b"a", b"b"):
        expected = sum(voted == value for voted in first.values())
        assert tally.count(value) == expected
        assert tally.has_quorum(value, 1) == (expected >= 1)
