"""Changing the view (PBFT §4.4): leaving one, collecting view changes, starting and entering the next.

    in view v ── view timer, or a complaint ──▶ asking for v + 1
    any ── f + 1 members ask for views above ours ──▶ asking for the highest that f + 1 of them reach
    asking for w ── q view changes for w or above ──▶ the new-view timer runs
    leading w, asking for w ── q view changes for w ──▶ sends the new view, in view w
    asking for w ── new-view timer ──▶ asking for w + 1
    any, asking for at most w ── valid new view for w ──▶ in view w

A member that asked for w never votes below w again: its view change, frozen in its log, told everything that it
had prepared, and a later vote would not be in it. Prepared proofs stay with their slots across view changes and
restarts until the slots are certified. What does not live here: verifying proofs (``proofs``), timers
(``engine``), re-sending (``status``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consensus.engine import Evidence, Send
from consensus.pbft.evidence import INVALID_NEW_VIEW
from consensus.pbft.messages import (
    NewView,
    PreparedProof,
    ViewChange,
    sign_new_view,
    sign_proposal,
    sign_view_change,
)
from consensus.pbft.ordering import Ordering
from consensus.pbft.proofs import ProofChecker, compute_carried, compute_checkpoint
from consensus.pbft.records import NEW_VIEW_KEY, VIEW_CHANGE_KEY, VIEW_KEY, CurrentView
from consensus.pbft.state import PbftState
from primitives.codec import encode
from primitives.errors import RemoteError

VIEW_CHANGES_PER_PERIOD: Final = 8
"""One sender's view changes that are verified per period: an honest one sends two or three in a bad second, and
verifying one takes up to 1 + q + L · q signatures (3 ms at n = 4)."""
BUDGET_PERIOD_MS: Final = 1_000


@dataclass(slots=True)
class ViewChangeCounts:
    """For the statistics: views that were entered, and proofs that did not hold."""

    entered: int = 0
    refused: int = 0


@dataclass(slots=True)
class ViewChanger:
    """Moves one ``PbftState`` between views. ``quorum_ms`` is when q members had reached our target."""

    state: PbftState
    ordering: Ordering
    checker: ProofChecker
    newest: dict[int, ViewChange] = field(default_factory=dict)
    quorum_ms: int | None = None
    sent_ms: int | None = None
    counts: ViewChangeCounts = field(default_factory=ViewChangeCounts)
    accused: set[int] = field(default_factory=set)
    budgets: dict[int, tuple[int, int]] = field(default_factory=dict)

    # --- leaving a view ------------------------------------------------------------------------------------

    def ask_for_next(self) -> None:
        """Give up on the view that we are in or wait for; others may have gone further already."""
        next_view = self.state.target + 1
        self.ask_for(max(next_view, self._compute_view_to_join() or next_view))
        self.proceed()

    def ask_for(self, view: int) -> None:
        """Stop voting and ask for ``view``, telling everything that we have prepared."""
        state = self.state
        assert view > state.target, "a member only ever asks for higher views"
        state.target = view
        state.pacemaker.on_view_failed()
        state.view_change = sign_view_change(
            state.committee, state.signer, state.index, view, state.certificate, self._collect_prepared()
        )
        data = encode(state.view_change)
        state.outbox.log(VIEW_KEY, encode(CurrentView(state.view, view)))
        state.outbox.log(VIEW_CHANGE_KEY, data)
        state.outbox.send.append(Send(None, data))
        self.sent_ms = state.now_ms
        self.quorum_ms = None
        self.newest[state.index] = state.view_change

    def _collect_prepared(self) -> tuple[PreparedProof, ...]:
        """P: per slot in the window the highest-view proof, which is the only one we keep."""
        return tuple(slot.prepared for slot in self.state.window if slot.prepared is not None)

    # --- collecting ----------------------------------------------------------------------------------------

    def needs_view_change(self, message: ViewChange) -> bool:
        """Whether it is newer than all we have of its sender, however far ahead, and we are not there yet."""
        if message.view <= self.state.view:
            return False
        known = self.newest.get(message.sender)
        return known is None or message.view > known.view

    def on_view_change(self, message: ViewChange) -> None:
        """Keep the newest valid one per sender."""
        if not self._is_within_budget(message.sender):
            return
        try:
            self.checker.verify_view_change(message)
        except RemoteError:
            self.counts.refused += 1
            return
        self.newest[message.sender] = message
        self.proceed()

    def _is_within_budget(self, sender: int) -> bool:
        """Higher and higher view changes are cheap to sign and dear to verify; refused ones come again."""
        started_ms, count = self.budgets.get(sender, (self.state.now_ms, 0))
        if self.state.now_ms - started_ms >= BUDGET_PERIOD_MS:
            started_ms, count = self.state.now_ms, 0
        self.budgets[sender] = (started_ms, count + 1)
        return count < VIEW_CHANGES_PER_PERIOD

    def proceed(self) -> None:
        """Join, notice a quorum, start the view: whatever the collected view changes now allow."""
        state = self.state
        wanted = self._compute_view_to_join()
        if wanted is not None:
            self.ask_for(wanted)
        if not state.is_changing_view:
            return
        quorum = state.committee.quorum
        supporters = self._collect_supporters(state.target)
        is_leader = state.schedule.compute_view_leader(state.target) == state.index
        if is_leader and len(supporters) >= quorum:
            self._start_view(supporters)
        elif self.quorum_ms is None and self._count_reaching(state.target) >= quorum:
            self.quorum_ms = state.now_ms

    def _compute_view_to_join(self) -> int | None:
        """The highest view that f + 1 members reach or pass, if it is above what we ask for.

        One of any f + 1 is honest. PBFT §4.5.2 joins the smallest view above ours in such a set; joining
        that one again and again ends here.
        """
        above = sorted(change.view for change in self.newest.values() if change.view > self.state.target)
        needed = self.state.committee.faults + 1
        return above[-needed] if len(above) >= needed else None

    def _count_reaching(self, view: int) -> int:
        """How many ask for this view or passed it. Only the newest view change of each member is kept and sent
        again; if those who passed did not count, members split over two views could wait for ever."""
        return sum(1 for change in self.newest.values() if change.view >= view)

    def _collect_supporters(self, view: int) -> tuple[ViewChange, ...]:
        """V: the view changes for exactly this view, by sender."""
        return tuple(self.newest[member] for member in sorted(self.newest) if self.newest[member].view == view)

    # --- entering a view -----------------------------------------------------------------------------------

    def _start_view(self, supporters: tuple[ViewChange, ...]) -> None:
        """We lead: send V (ours among exactly q), and O as it follows from V."""
        state = self.state
        others = [change for change in supporters if change.sender != state.index]
        chosen = [self.newest[state.index], *others[: state.committee.quorum - 1]]
        view_changes = tuple(sorted(chosen, key=lambda change: change.sender))
        proposals = tuple(
            sign_proposal(state.committee, state.signer, state.index, state.target, carried.slot, carried.digest)
            for carried in compute_carried(view_changes, state.base_height)
        )
        new_view = sign_new_view(state.committee, state.signer, state.index, state.target, view_changes, proposals)
        state.outbox.send.append(Send(None, encode(new_view)))
        self._enter(new_view)

    def needs_new_view(self, message: NewView) -> bool:
        """Whether it would take us to a view that we have not entered and did not already ask to leave."""
        return message.view > self.state.view and message.view >= self.state.target

    def on_new_view(self, message: NewView) -> None:
        """Enter the view if everything in it holds; else it is evidence, for no honest leader signs such. One
        piece per member is enough, or a faulty leader could fill the disk with them."""
        try:
            self.checker.verify_new_view(message)
        except RemoteError:
            self.counts.refused += 1
            if message.sender not in self.accused:
                self.accused.add(message.sender)
                evidence = Evidence(INVALID_NEW_VIEW, message.sender, (encode(message),))
                self.state.outbox.evidence.append(evidence)
            return
        self._enter(message)

    def _enter(self, new_view: NewView) -> None:
        state = self.state
        self.install(new_view)
        state.target = state.view
        state.view_change = None
        state.view_entered_ms = state.now_ms
        self.counts.entered += 1
        self.quorum_ms = None
        self.newest = {member: change for member, change in self.newest.items() if change.view > state.view}
        state.outbox.log(VIEW_KEY, encode(CurrentView(state.view, state.view)))
        state.outbox.log(NEW_VIEW_KEY, encode(new_view))
        for slot in state.window:
            slot.enter_view()
        self.adopt_carried()
        for slot in state.window:
            slot.forget_irrelevant()

    def install(self, new_view: NewView) -> None:
        """Make it the installed view; nothing is sent or voted."""
        state = self.state
        carried = self.checker.compute_expected(new_view)
        state.view = new_view.view
        state.new_view = new_view
        state.floor = compute_checkpoint(new_view.view_changes, state.base_height)
        state.carried_to = carried[-1].slot if carried else state.floor

    def adopt_carried(self) -> None:
        """Accept what the installed new view proposes for slots in our window; again when the window moves."""
        new_view = self.state.new_view
        if new_view is None or self.state.carried_to <= self.state.window.stable:
            return
        carried = self.checker.compute_expected(new_view)
        for proposal, origin in zip(new_view.proposals, carried, strict=True):
            if proposal.slot in self.state.window:
                self.ordering.adopt(proposal, origin.holders)
