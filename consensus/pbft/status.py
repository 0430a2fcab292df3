"""Re-sending: statuses, and what a member answers to one.

Links lose messages, members restart, and a decision that one member alone reached must reach the others. So
without progress, and after every reconnect, members tell each other where they stand, and each answers with what
*it* said that the other lacks: its stored votes, its view change, the new view it is in, and a commit
certificate for what it knows decided. Nothing is signed anew. An answer is bounded by the window and goes to
that peer only, at most once per ``MIN_ANSWER_GAP_MS``. What does not live here: when to send a status
(``engine``), and catching up with certified heights, which is the replica's.
"""

from __future__ import annotations

from typing import Final

from consensus.engine import Send
from consensus.pbft.messages import CommitCertificate, PrePrepare, SlotPhase, Status, sign_status
from consensus.pbft.state import PbftState
from consensus.pbft.window import Slot
from primitives.codec import encode

MIN_ANSWER_GAP_MS: Final = 100
"""A status is small and its answer may hold L payloads; ten answers a second are enough to recover."""


class StatusExchange:
    """Speaks for one ``PbftState``."""

    def __init__(self, state: PbftState) -> None:
        self._state = state
        self._answered_ms: dict[int, int] = {}
        self._asked_ms: dict[int, int] = {}

    def send_status(self, to: int | None) -> None:
        """Tell one member, or all, where we stand."""
        state = self._state
        slots = [state.window.peek(number) for number in range(state.window.stable + 1, state.window.last + 1)]
        phases = [SlotPhase.EMPTY if slot is None else slot.phase for slot in slots]
        while phases and phases[-1] is SlotPhase.EMPTY:
            phases.pop()
        status = sign_status(
            state.committee,
            state.signer,
            state.index,
            state.view,
            state.window.stable,
            tuple(int(phase) for phase in phases),
        )
        state.outbox.send.append(Send(to, encode(status)))

    def send_view_change(self, to: int | None) -> None:
        """Our view change, byte-identical each time, while we wait for a new view."""
        if self._state.view_change is not None:
            self._state.outbox.send.append(Send(to, encode(self._state.view_change)))

    def send_own_votes(self) -> None:
        """After a restart: what was logged may never have left."""
        for slot in self._state.window:
            for vote in (slot.prepare, slot.commit):
                if vote is not None:
                    self._state.outbox.send.append(Send(None, encode(vote)))

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
        state = self._state
        already = len(state.outbox.send)
        if status.view < state.view and state.new_view is not None:
            state.outbox.send.append(Send(status.sender, encode(state.new_view)))
        self.send_view_change(status.sender)
        for slot in state.window:
            if slot.number > status.stable:
                self._answer_slot(status, slot)
        return len(state.outbox.send) > already

    def _answer_slot(self, status: Status, slot: Slot) -> None:
        state = self._state
        theirs = _phase_of(status, slot.number)
        if slot.decided is not None and theirs < SlotPhase.DECIDED:
            self._send_certificate(status.sender, slot.decided)
        if status.view != state.view:
            return
        proposal = slot.proposal
        if proposal is not None and theirs < SlotPhase.PROPOSED:
            payload = slot.held.get(proposal.digest)
            # Carried proposals are in the new view; other payloads come from their proposer, once.
            if proposal.sender == state.index and slot.number > state.carried_to and payload is not None:
                state.outbox.send.append(Send(status.sender, encode(PrePrepare(proposal, payload))))
        if slot.prepare is not None and theirs < SlotPhase.PREPARED:
            state.outbox.send.append(Send(status.sender, encode(slot.prepare)))
        if slot.commit is not None and theirs < SlotPhase.DECIDED and slot.decided is None:
            state.outbox.send.append(Send(status.sender, encode(slot.commit)))

    def _send_certificate(self, to: int, certificate: CommitCertificate) -> None:
        self._state.outbox.send.append(Send(to, encode(certificate)))

    def _is_ahead(self, status: Status) -> bool:
        """Whether the peer has seen something that we have not and could give us."""
        state = self._state
        if status.view > state.view:
            return True
        for offset, phase in enumerate(status.phases):
            number = status.stable + 1 + offset
            slot = state.window.peek(number)
            ours = SlotPhase.EMPTY if slot is None else slot.phase
            if number in state.window and phase > ours:
                return True
        return False

    def _is_due(self, last_ms: dict[int, int], peer: int) -> bool:
        last = last_ms.get(peer)
        return last is None or self._state.now_ms - last >= MIN_ANSWER_GAP_MS


def _phase_of(status: Status, slot: int) -> int:
    offset = slot - status.stable - 1
    return status.phases[offset] if 0 <= offset < len(status.phases) else SlotPhase.EMPTY
