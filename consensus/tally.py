"""Counting votes: one per member and key, quorums by matching value, contradictions kept as evidence.

A ``Tally`` counts the votes of one key (one view, slot and phase). It never counts messages, only members that
voted for the *same* value. The first vote of a member stands; a different one is a contradiction, reported once
per member, so that a flood of contradictions costs nothing. What does not live here: signatures (checked before)
and what a quorum means.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Generic, TypeVar

V = TypeVar("V")


class Standing(Enum):
    """What became of a vote that was added."""

    COUNTED = auto()
    REPEATED = auto()
    CONTRADICTED = auto()


class Tally(Generic[V]):
    """Votes of type ``V`` for byte-string values under one key."""

    __slots__ = ("_accused", "_counts", "_values", "_votes")

    def __init__(self) -> None:
        self._votes: dict[int, V] = {}
        self._values: dict[int, bytes] = {}
        self._counts: dict[bytes, int] = {}
        self._accused: set[int] = set()

    def __len__(self) -> int:
        """How many members voted, for whatever value."""
        return len(self._votes)

    def add(self, member: int, value: bytes, vote: V) -> Standing:
        """Count ``member``'s vote unless it voted before; ``CONTRADICTED`` comes at most once per member."""
        if self.contradicts(member, value):
            self._accused.add(member)
            return Standing.CONTRADICTED
        if member in self._votes:
            return Standing.REPEATED
        self._votes[member] = vote
        self._values[member] = value
        self._counts[value] = self._counts.get(value, 0) + 1
        return Standing.COUNTED

    def remove(self, member: int) -> None:
        """Forget the member's vote; that it was accused is remembered."""
        value = self._values.pop(member, None)
        if value is None:
            return
        del self._votes[member]
        self._counts[value] -= 1
        if self._counts[value] == 0:
            del self._counts[value]

    @property
    def members(self) -> Iterable[int]:
        """Who voted, in the order in which the votes came."""
        return self._votes.keys()

    def has_any_quorum(self, size: int) -> bool:
        """Whether at least ``size`` members voted for one and the same value."""
        return max(self._counts.values(), default=0) >= size

    def contradicts(self, member: int, value: bytes) -> bool:
        """Whether a vote for ``value`` would be the first contradiction that we see of this member."""
        voted = self._values.get(member)
        return voted is not None and voted != value and member not in self._accused

    def has_voted(self, member: int) -> bool:
        """Whether the member's vote is counted."""
        return member in self._votes

    def vote_of(self, member: int) -> V | None:
        """The vote that stands for ``member``."""
        return self._votes.get(member)

    def list_votes(self) -> tuple[V, ...]:
        """Every member's, by increasing member."""
        return tuple([self._votes[member] for member in sorted(self._votes)])

    def count(self, value: bytes) -> int:
        """How many members voted for exactly this value."""
        return self._counts.get(value, 0)

    def has_quorum(self, value: bytes, size: int) -> bool:
        """Whether at least ``size`` members voted for exactly this value."""
        return self._counts.get(value, 0) >= size

    def votes_for(self, value: bytes, size: int) -> tuple[V, ...]:
        """``size`` votes for the value, by increasing member, the lowest members first.

        The caller has asked ``has_quorum``.
        """
        members = sorted(member for member, voted in self._values.items() if voted == value)
        assert len(members) >= size, "ask has_quorum first"
        return tuple(self._votes[member] for member in members[:size])
