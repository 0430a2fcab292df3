"""Re-sending, and learning what was missed: statuses, their answers, and entries by identity.

Links lose messages, members restart, and a commit that one member alone saw must reach the others. So without
progress, and after every reconnect, members tell each other where they stand, and each answers with what the other
lacks: the last commit, the highest certificate, the timeouts of the view before, the view's proposal if it is ours
or we voted for it (then without its payload), its own vote and timeout. Nothing is signed anew. An answer goes to
that peer only, at most once per ``MIN_ANSWER_GAP_MS``.

A member that sees a commit whose entries it does not know all (it was away for some views) asks for them by
identity, one member after the other, first those that signed. What it cannot learn so is below what others have
certified: it waits for ``Certified``. What does not live here: when to send a status (``engine``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consensus.hotstuff.messages import (
    EntryRequest,
    EntryResponse,
    Propose,
    Stage,
    Status,
    compute_entry_id,
    entry_of,
    sign_entry_request,
    sign_entry_response,
    sign_status,
)
from consensus.hotstuff.ordering import Ordering
from consensus.hotstuff.reading import MAX_WINDOW_SLOTS
from consensus.hotstuff.state import HotStuffState

MIN_ANSWER_GAP_MS: Final = 100
"""A status is small and its answer may hold a payload; ten answers a second are enough to recover."""


@dataclass(slots=True)
class Exchange:
    """Speaks for one ``HotStuffState``. The dicts hold when each member was last answered, or asked."""

    state: HotStuffState
    ordering: Ordering
    answered_ms: dict[int, int] = field(default_factory=dict)
    asked_ms: dict[int, int] = field(default_factory=dict)
    served_ms: dict[int, int] = field(default_factory=dict)
    wanted: bytes | None = None
    wanted_ms: int | None = None
    turn: int = 0

    # --- statuses ------------------------------------------------------------------------------------------

    def send_status(self, to: int | None) -> None:
        """Tell one member, or all, where we stand."""
        state = self.state
        stage = Stage.WAITING if state.proposal is None else Stage.PROPOSED
        if state.has_given_up:
            stage = Stage.TIMED_OUT
        status = sign_status(
            state.committee, state.signer, state.index, state.view, state.tip.view, state.decided, stage
        )
        state.outbox.transmit(to, status)

    def send_own(self, to: int | None) -> None:
        """What we said last and somebody may have missed: our timeout, else our vote for whom it is."""
        state = self.state
        if state.has_given_up:
            state.outbox.transmit(to, state.timeout)  # type: ignore[arg-type]  # has_given_up says that it is there
        if state.vote is None or state.vote.block.view != state.view:
            return
        leader = state.terms.compute_leader(state.view + 1)
        if state.has_given_up or to == leader:
            self.ordering.send_vote(to)
        elif to is None:
            self.ordering.send_vote(leader)

    def on_status(self, status: Status) -> None:
        """Answer with what the peer lacks; ask in return where it is ahead of us."""
        state, peer = self.state, status.sender
        if self._is_due(self.answered_ms, peer) and self._answer(status):
            self.answered_ms[peer] = state.now_ms
        theirs, ours = (
            (status.view, status.certified_view, status.decided),
            (state.view, state.tip.view, state.decided),
        )
        if any(their > our for their, our in zip(theirs, ours, strict=True)) and self._is_due(self.asked_ms, peer):
            self.asked_ms[peer] = state.now_ms
            self.send_status(peer)

    def _answer(self, status: Status) -> bool:
        """Whether there was anything that the peer lacks."""
        state, peer = self.state, status.sender
        already = len(state.outbox.send)
        known_view = status.certified_view
        if state.commit is not None and (
            state.commit.parent.block.slot > status.decided or state.commit.child.block.view > known_view
        ):
            state.outbox.transmit(peer, state.commit)
            known_view = max(known_view, state.commit.child.block.view)
        if state.tip.view > known_view:
            state.outbox.transmit(peer, state.highest)
        if status.view <= state.view:
            is_waiting = status.view < state.view or status.stage == Stage.WAITING
            if state.timeouts is not None and is_waiting:
                state.outbox.transmit(peer, state.timeouts)
            self._answer_proposal(status)
            self.send_own(peer)
        return len(state.outbox.send) > already

    def _answer_proposal(self, status: Status) -> None:
        """It comes with what leads to its view."""
        state, proposal = self.state, self.state.proposal
        if proposal is None or (status.view == state.view and status.stage != Stage.WAITING):
            return
        is_ours = proposal.sender == state.index
        if not is_ours and state.ballot.voted < state.view:
            return  # What we would not vote for we do not pass on.
        repeats = proposal.block.slot == proposal.justify.block.slot
        payload = state.held.get((proposal.block.slot, proposal.block.digest)) if is_ours and not repeats else None
        state.outbox.transmit(status.sender, Propose(proposal, payload))

    def _is_due(self, last_ms: dict[int, int], peer: int) -> bool:
        last = last_ms.get(peer)
        return last is None or self.state.now_ms - last >= MIN_ANSWER_GAP_MS

    # --- entries -------------------------------------------------------------------------------------------

    def find_missing(self) -> None:
        """Ask for what the last commit, or the branch that we would extend, lacks; asked after every event."""
        state = self.state
        blocked = self.ordering.blocked
        block = state.tip if blocked is None else blocked.parent.block
        missing = state.tree.trace(entry_of(block)).missing if state.tree.reaches(block.slot) else None
        is_due = self.wanted_ms is None or state.now_ms - self.wanted_ms >= MIN_ANSWER_GAP_MS
        if missing is None:
            self.wanted = None
        elif missing != self.wanted or is_due:
            self.wanted = missing
            self._ask(missing)

    def _ask(self, missing: bytes) -> None:
        state = self.state
        blocked = self.ordering.blocked
        signers = state.highest.signers if blocked is None else blocked.parent.signers
        ranked = dict.fromkeys((*signers, *range(state.committee.size)))
        others = [member for member in ranked if member != state.index]
        if others:
            self.wanted_ms = state.now_ms
            self.turn += 1
            request = sign_entry_request(state.committee, state.signer, state.index, missing)
            state.outbox.transmit(others[self.turn % len(others)], request)

    def on_entry_request(self, request: EntryRequest) -> None:
        """The entry and those below it, as far as they are not settled here."""
        state = self.state
        top = state.tree.find(request.entry)
        if top is None or not self._is_due(self.served_ms, request.sender):
            return
        self.served_ms[request.sender] = state.now_ms
        entries = tuple(reversed(state.tree.trace(top).entries))[:MAX_WINDOW_SLOTS]
        state.outbox.transmit(
            request.sender, sign_entry_response(state.committee, state.signer, state.index, entries)
        )

    def needs_entries(self, response: EntryResponse) -> bool:
        """Whether it begins with what we lack."""
        return bool(response.entries) and compute_entry_id(response.entries[0]) == self.wanted

    def on_entries(self, response: EntryResponse) -> None:
        """Take what hangs together from the entry that we lack downwards; the rest of a liar's list is ignored."""
        expected = self.wanted
        slot: int | None = None
        for entry in response.entries:
            if compute_entry_id(entry) != expected or (slot is not None and entry.slot != slot - 1):
                break
            self.ordering.learn(entry)
            expected, slot = entry.prior, entry.slot
        self.ordering.retry_commit()
