"""Messages for heights that we have not reached.

A member that decides a moment before us goes on to the next height at once, and its votes for that would be lost
until the next exchange of statuses. Bounded three ways: the heights of the window, per height one message of each
type from each sender (the newest round's), and bytes per sender. What is refused comes again with a status.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from consensus.tendermint.messages import Phase, Precommit, Prevote, Propose

_VOTE_BYTES: Final = 512
"""What a decoded vote occupies in memory, about."""
_PAYLOADS_PER_SENDER: Final = 2
"""Early proposals with payloads of full size that one sender may leave with us."""

EarlyMessage: TypeAlias = Propose | Prevote | Precommit
_Key: TypeAlias = tuple[int, int, int]  # height, phase, sender: the order in which they are replayed


class Backlog:
    """Early messages by (height, phase, sender)."""

    __slots__ = ("_bytes_by_sender", "_limit_bytes", "_messages")

    def __init__(self, window_slots: int, max_payload_bytes: int) -> None:
        self._limit_bytes = 3 * window_slots * _VOTE_BYTES + _PAYLOADS_PER_SENDER * max_payload_bytes
        self._messages: dict[_Key, EarlyMessage] = {}
        self._bytes_by_sender: dict[int, int] = {}

    @property
    def buffered_bytes(self) -> int:
        """What all senders together left here."""
        return sum(self._bytes_by_sender.values())

    def admits(self, message: EarlyMessage) -> bool:
        """Whether it is newer than what is here in its place, and its sender has not left too much already."""
        height, phase, sender, round = _describe(message)
        known = self._messages.get((height, phase, sender))
        if known is not None and _describe(known)[3] >= round:
            return False
        freed = 0 if known is None else _size_of(known)
        return self._bytes_by_sender.get(sender, 0) - freed + _size_of(message) <= self._limit_bytes

    def add(self, message: EarlyMessage) -> None:
        """Keep it, in place of an older round's, if it is admitted."""
        if self.admits(message):
            height, phase, sender, _ = _describe(message)
            self._remove((height, phase, sender))
            self._messages[height, phase, sender] = message
            self._bytes_by_sender[sender] = self._bytes_by_sender.get(sender, 0) + _size_of(message)

    def take(self, height: int) -> tuple[tuple[int, EarlyMessage], ...]:
        """Remove and return, with its sender, what belongs to ``height``, in order; forget what lies below."""
        taken: list[tuple[int, EarlyMessage]] = []
        for key in sorted(self._messages):
            if key[0] > height:
                break
            message = self._messages[key]
            self._remove(key)
            if key[0] == height:
                taken.append((key[2], message))
        return tuple(taken)

    def _remove(self, key: _Key) -> None:
        message = self._messages.pop(key, None)
        if message is not None:
            self._bytes_by_sender[key[2]] -= _size_of(message)


def _describe(message: EarlyMessage) -> tuple[int, int, int, int]:
    """(height, phase, sender, round)."""
    match message:
        case Propose(proposal=proposal):
            return proposal.height, Phase.PROPOSAL, proposal.sender, proposal.round
        case Prevote():
            return message.height, Phase.PREVOTE, message.sender, message.round
        case Precommit():
            return message.height, Phase.PRECOMMIT, message.sender, message.round


def _size_of(message: EarlyMessage) -> int:
    return _VOTE_BYTES + (len(message.payload) if isinstance(message, Propose) else 0)
