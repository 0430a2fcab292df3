"""Plants that miscount, for every engine that counts with ``Tally`` and asks the committee for its quorum.

What does not live here: how an engine reads certificates that such counts make, which each table plants besides.
"""

from __future__ import annotations

from typing import Any, Final

from consensus.committee import Committee
from consensus.tally import Standing, Tally
from tests.simulation.mutants.planting import replace_in

ONE_LESS: Final = replace_in(Committee, "quorum", property(lambda self: (self.size + self.faults) // 2))
"""Everybody counts to q − 1, in certificates that come as well; the judge has a count of its own."""
TWO_F_PLUS_1: Final = replace_in(Committee, "quorum", property(lambda self: 2 * self.faults + 1))


def count_every_message(patch: Any) -> None:
    """A repeated vote counts again: what is re-sent, and what a twin says too."""

    def add(self: Tally[Any], member: int, value: bytes, vote: Any) -> Standing:
        number = len(self._votes)
        self._votes[number] = vote
        self._values[number] = value
        self._counts[value] = self._counts.get(value, 0) + 1
        return Standing.COUNTED

    def votes_for(self: Tally[Any], value: bytes, size: int) -> tuple[Any, ...]:
        votes = [self._votes[number] for number, voted in self._values.items() if voted == value]
        return tuple(sorted(votes[:size], key=lambda vote: vote.sender))

    patch.setattr(Tally, "add", add)
    patch.setattr(Tally, "votes_for", votes_for)
    patch.setattr(Tally, "has_voted", lambda self, member: False)
    patch.setattr(Tally, "contradicts", lambda self, member, value: False)


def count_whatever_they_say(patch: Any) -> None:
    """Votes are counted, not values: a quorum of votes is one for any value that somebody voted for."""

    def votes_for(self: Tally[Any], value: bytes, size: int) -> tuple[Any, ...]:
        return tuple([self._votes[member] for member in sorted(self._votes)[:size]])

    patch.setattr(Tally, "has_quorum", lambda self, value, size: self.count(value) > 0 and len(self._votes) >= size)
    patch.setattr(Tally, "votes_for", votes_for)
