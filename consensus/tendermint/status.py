"""Re-sending: statuses, and what a member answers to one.

The paper's gossip brings every message to everybody in the end. Here links lose messages, members restart, and a
decision that one member alone reached must reach the others. So without progress, and after every reconnect,
members say where they stand and repeat their own votes, and each answers with what *it* said that the other lacks:
decision certificates, its votes, its proposal; and to who is a round behind, with the precommits of others that end
that round. Nothing is signed anew. An answer is bounded by two windows and one committee, and goes to that peer
only, at most once per ``MIN_ANSWER_GAP_MS``. What does not live here: when to send a status (``deadlines``), and
catching up with certified heights, which is the replica's.
"""

from __future__ import annotations

from typing import Final

from consensus.engine import Send
from consensus.tendermint.messages import Status, sign_status
from consensus.tendermint.state import Height, TendermintState
from consensus.tendermint.voice import Voice
from primitives.codec import encode

MIN_ANSWER_GAP_MS: Final = 100
"""A status is small and its answer may hold 2L certificates and a payload; ten answers a second are enough."""


class StatusExchange:
    """Speaks for one ``TendermintState``."""

    def __init__(self, state: TendermintState, voice: Voice) -> None:
        self._state = state
        self._voice = voice
        self._answered_ms: dict[int, int] = {}
        self._asked_ms: dict[int, int] = {}

    def send_status(self, to: int | None) -> None:
        """Tell one member, or all, where we stand, and repeat what we voted there."""
        state, height = self._state, self._state.height
        status = sign_status(
            state.committee,
            state.signer,
            state.index,
            0 if height is None else height.round,
            state.open_height,
            state.stable,
            height is not None and height.has_proposal,
        )
        state.outbox.send.append(Send(to, encode(status)))
        if height is not None:
            self._voice.repeat_votes(height, to, 0)

    def on_status(self, status: Status) -> None:
        """Answer with what the peer lacks; ask in return where it is ahead of us."""
        peer = status.sender
        if self._is_due(self._answered_ms, peer) and self._answer(status):
            self._answered_ms[peer] = self._state.now_ms
        if self._is_ahead(status) and self._is_due(self._asked_ms, peer):
            self._asked_ms[peer] = self._state.now_ms
            self.send_status(peer)

    def _answer(self, status: Status) -> bool:
        """Whether there was anything that the peer lacks."""
        state, height = self._state, self._state.height
        already = len(state.outbox.send)
        decisions = {**state.settled, **{number: entry.certificate for number, entry in state.decided.items()}}
        for number in sorted(decisions):
            if number >= status.height:
                state.outbox.send.append(Send(status.sender, encode(decisions[number])))
        if height is not None and height.number == status.height and height.round >= status.round:
            propose = self._voice.build_propose(height)
            if propose is not None and (height.round > status.round or not status.has_proposal):
                state.outbox.send.append(Send(status.sender, encode(propose)))
            self._voice.repeat_votes(height, status.sender, status.round)
            if height.round > status.round:
                self._show_way_out(height, status)
        return len(state.outbox.send) > already

    def _show_way_out(self, height: Height, status: Status) -> None:
        """The votes of others that end the peer's round. They are theirs to repeat, but a faulty member may have
        told its vote to us and to nobody else, and we alone are too few to pull the peer along (line 55)."""
        for vote in height.book.list_precommits(status.round):
            if vote.sender not in (status.sender, self._state.index):
                self._state.outbox.send.append(Send(status.sender, encode(vote)))

    def _is_ahead(self, status: Status) -> bool:
        """Whether the peer has seen something that we have not and could give us."""
        ours = 0 if self._state.height is None else self._state.height.round
        return (status.height, status.round) > (self._state.open_height, ours)

    def _is_due(self, last_ms: dict[int, int], peer: int) -> bool:
        last = last_ms.get(peer)
        return last is None or self._state.now_ms - last >= MIN_ANSWER_GAP_MS
