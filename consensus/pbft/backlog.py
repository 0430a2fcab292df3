"""Messages that came early: for a view we have not entered, or a slot our window has not reached.

Without it, votes that overtake a new view (lanes reorder, peers are faster) would be lost until the next
exchange of statuses. Bounded three ways: a few views and one further window ahead, one message per (sender,
view, slot, phase), and bytes per sender; so a faulty member can only fill its own share. What is refused comes
again with a status.
"""

from __future__ import annotations

from typing import Final

from consensus.pbft.messages import Commit, Phase, Prepare, PrePrepare

FUTURE_VIEWS: Final = 4
"""Views ahead of the installed one whose messages are kept; a member further behind waits for a new view."""
_VOTE_BYTES: Final = 512
"""What a decoded vote occupies in memory, about."""
_PAYLOADS_PER_SENDER: Final = 2
"""Early proposals with payloads of full size that one sender may leave with us."""

EarlyMessage = PrePrepare | Prepare | Commit
_Key = tuple[int, int, int, int]  # slot, phase, view, sender: the order in which they are replayed


class Backlog:
    """Early messages by (slot, phase, view, sender)."""

    __slots__ = ("_bytes_by_sender", "_limit_bytes", "_messages")

    def __init__(self, window_slots: int, max_payload_bytes: int) -> None:
        votes = 3 * 2 * window_slots * (FUTURE_VIEWS + 1)
        self._limit_bytes = votes * _VOTE_BYTES + _PAYLOADS_PER_SENDER * max_payload_bytes
        self._messages: dict[_Key, EarlyMessage] = {}
        self._bytes_by_sender: dict[int, int] = {}

    @property
    def buffered_bytes(self) -> int:
        """What all senders together left here."""
        return sum(self._bytes_by_sender.values())

    def admits(self, message: EarlyMessage) -> bool:
        """Whether there is neither one like it nor too much of its sender already."""
        key = _key_of(message)
        return key not in self._messages and (
            self._bytes_by_sender.get(key[3], 0) + _size_of(message) <= self._limit_bytes
        )

    def add(self, message: EarlyMessage) -> None:
        """Keep it, if it is admitted."""
        if self.admits(message):
            key = _key_of(message)
            self._messages[key] = message
            self._bytes_by_sender[key[3]] = self._bytes_by_sender.get(key[3], 0) + _size_of(message)

    def take(self, view: int, stable: int, last_slot: int) -> tuple[tuple[int, EarlyMessage], ...]:
        """Remove and return, with its sender, what belongs to ``view`` and a slot in (stable, last_slot], in
        order; forget what is for an earlier view or a settled slot."""
        taken: list[tuple[int, EarlyMessage]] = []
        for key in sorted(self._messages):
            slot, _, of_view, sender = key
            is_early = of_view > view or (of_view == view and slot > last_slot)
            if is_early and slot > stable:
                continue
            message = self._messages.pop(key)
            self._bytes_by_sender[sender] -= _size_of(message)
            if of_view == view and slot > stable:
                taken.append((sender, message))
        return tuple(taken)


def _key_of(message: EarlyMessage) -> _Key:
    match message:
        case PrePrepare(proposal=proposal):
            return proposal.slot, Phase.PRE_PREPARE, proposal.view, proposal.sender
        case Prepare():
            return message.slot, Phase.PREPARE, message.view, message.sender
        case Commit():
            return message.slot, Phase.COMMIT, message.view, message.sender


def _size_of(message: EarlyMessage) -> int:
    return _VOTE_BYTES + (len(message.payload) if isinstance(message, PrePrepare) else 0)
