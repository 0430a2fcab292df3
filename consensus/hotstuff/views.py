"""Leaving views: timeouts, timeout certificates, and entering (Jolteon Fig. 2 "Timer and timeout").

    in v ── view timer, or a complaint ──▶ timeout for the last view of v's term, to all, with our lock and vote
    any ── f + 1 members gave up views at or above ours ──▶ timeout for the highest that f + 1 of them reach
    any ── q timeouts for one view w ≥ ours ──▶ timeout certificate, view w + 1
    any ── a certificate, or timeouts, of a view w ≥ ours ──▶ view w + 1
    gave w up, q members reached w, still no certificate after T ──▶ timeout for w + 1

A timeout is frozen when logged. Only the newest of each member is kept and sent again. So members that joined one
another in a view whose first arrivals died could wait for timeouts that nobody repeats: the last line meets them,
as members that stepped up one by one reach the highest of them in the end.

With its timeout a member sends its vote of that view to all. Where the next leader is dead, everybody can then make
the certificate that it kept to itself, and no block is lost with a leader.

A leader that let its view pass without a proposal, or that made nothing of our votes, is *silent* until it is heard
again: votes that it should collect go to everybody at once, and its views get an eighth of T. So a dead member
costs T once, then T/8 in n views, and a slow one nothing, for its own timeout in the failed view is heard. Each
member judges for itself; safety does not depend on timers. What does not live here: timers (``engine``), re-sending
(``exchange``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.engine import Evidence
from consensus.hotstuff.messages import Timeout, TimeoutCertificate, sign_timeout
from consensus.hotstuff.ordering import Ordering
from consensus.hotstuff.records import TIMEOUT, TIMEOUTS
from consensus.hotstuff.state import HotStuffState
from primitives.codec import encode
from primitives.errors import RemoteError


@dataclass(slots=True)
class Views:
    """Moves one ``HotStuffState`` between views. ``newest`` are members' timeouts for views that are not over;
    ``quorum_ms`` is when q members had reached the view that we gave up."""

    state: HotStuffState
    ordering: Ordering = field(init=False)
    newest: dict[int, Timeout] = field(default_factory=dict)
    quorum_ms: int | None = None
    sent_ms: int | None = None
    accused: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ordering = Ordering(self.state, self.enter)

    # --- leaving -------------------------------------------------------------------------------------------

    def give_up(self) -> None:
        """The leader had its time, or others gave further views up already."""
        state = self.state
        own = max(state.terms.compute_last_view(state.view), state.ballot.first_view)
        joined = self._compute_view_to_join()
        view = own if joined is None else max(own, joined)
        if state.ballot.may_give_up(view):
            self._time_out(view)
            self.proceed()

    def step_up(self) -> None:
        """q members gave up our view or later ones and no certificate came of it."""
        view = self.state.ballot.gave_up + 1
        if self.state.ballot.may_give_up(view):
            self._time_out(view)
            self.proceed()

    def _time_out(self, view: int) -> None:
        """Vote nowhere up to ``view`` any more and tell everybody, with the highest certificate that we know."""
        state = self.state
        left = state.view
        if state.vote is not None and state.vote.block.view >= left:
            self._note_silence(state.terms.compute_leader(left + 1))
            self.ordering.send_vote(None)
            if state.view > left:
                return  # Our vote was the q-th.
        state.timeout = sign_timeout(state.committee, state.signer, state.index, view, state.highest)
        state.ballot.gave_up = view
        self._note_failure()
        state.outbox.log(TIMEOUT, state.timeout)
        state.outbox.transmit(None, state.timeout)
        self.sent_ms = state.now_ms
        self.quorum_ms = None
        self.newest[state.index] = state.timeout
        if view > state.view:
            self.enter(view, None)

    def _note_failure(self) -> None:
        """Patience grows with views that could have gone well: nobody expected anything of a silent leader."""
        state = self.state
        if state.terms.compute_leader(state.view) not in state.silent:
            state.pacemaker.on_view_failed()

    # --- collecting ----------------------------------------------------------------------------------------

    def needs_timeout(self, message: Timeout) -> bool:
        """Whether it is newer than all we have of its sender and not over, or contradicts its last one."""
        if message.view < self.state.view:
            return False
        known = self.newest.get(message.sender)
        if known is None or message.view > known.view:
            return True
        contradicts = message.highest.block.view != known.highest.block.view
        return message.view == known.view and contradicts and self.accused.get(message.sender, 0) < message.view

    def on_timeout(self, message: Timeout) -> None:
        """Learn its sender's lock; keep the newest of each member."""
        state = self.state
        known = self.newest.get(message.sender)
        if known is not None and known.view == message.view:
            self.accused[message.sender] = message.view
            messages = tuple(sorted((encode(known), encode(message))))
            state.outbox.evidence.append(Evidence("conflicting-timeout", message.sender, messages))
            return
        try:
            state.checker.verify_certificate(message.highest)
        except RemoteError:
            state.counts.refused += 1
            return
        self.ordering.adopt(message.highest)
        if message.view >= state.view:
            self.newest[message.sender] = message
            self.proceed()

    def proceed(self) -> None:
        """Join, form the certificate, notice a quorum: whatever the collected timeouts now allow."""
        state = self.state
        wanted = self._compute_view_to_join()
        if wanted is not None and state.ballot.may_give_up(wanted):
            self._time_out(wanted)
        for view in sorted({timeout.view for timeout in self.newest.values()}):
            supporters = [self.newest[member] for member in sorted(self.newest) if self.newest[member].view == view]
            if view >= state.view and len(supporters) >= state.committee.quorum:
                self._certify(supporters[: state.committee.quorum])
        if state.has_given_up and self.quorum_ms is None:
            reached = sum(1 for timeout in self.newest.values() if timeout.view >= state.view)
            if reached >= state.committee.quorum:
                self.quorum_ms = state.now_ms

    def _compute_view_to_join(self) -> int | None:
        """The highest view that f + 1 members gave up, if we did not: one of them is honest."""
        above = sorted(timeout.view for timeout in self.newest.values() if timeout.view > self.state.ballot.gave_up)
        needed = self.state.committee.faults + 1
        return above[-needed] if len(above) >= needed else None

    def _certify(self, supporters: list[Timeout]) -> None:
        timeouts = TimeoutCertificate(
            supporters[0].view,
            tuple(timeout.highest.block.view for timeout in supporters),
            tuple(timeout.sender for timeout in supporters),
            tuple(timeout.signature for timeout in supporters),
        )
        self.state.checker.note_verified(timeouts)
        self.enter(timeouts.view + 1, timeouts)

    def _note_silence(self, leader: int) -> None:
        """It let a view pass, and gave none up with us."""
        if leader != self.state.index and leader not in self.newest:
            self.state.silent.add(leader)

    def note_heard(self, member: int) -> None:
        """It signed what just came, or its link is up again."""
        self.state.silent.discard(member)

    def needs_timeouts(self, timeouts: TimeoutCertificate) -> bool:
        """Whether it leads us on, or says how the view that we are in already was entered."""
        state = self.state
        is_explained = state.timeouts is not None or state.tip.view == state.view - 1
        return timeouts.view >= state.view or (timeouts.view == state.view - 1 and not is_explained)

    def on_timeouts(self, timeouts: TimeoutCertificate) -> None:
        """Verified with the message."""
        state = self.state
        state.checker.note_verified(timeouts)
        if timeouts.view >= state.view:
            self.enter(timeouts.view + 1, timeouts)
        else:
            state.timeouts = timeouts
            state.outbox.log(TIMEOUTS, timeouts)

    # --- entering ------------------------------------------------------------------------------------------

    def enter(self, view: int, timeouts: TimeoutCertificate | None) -> None:
        """Be in ``view``, above ours; ``timeouts`` lead there unless a certificate, or f + 1 members, did."""
        state = self.state
        assert view > state.view, "a member only ever enters higher views"
        if timeouts is not None:
            if state.ballot.gave_up < timeouts.view:
                self._note_failure()
            if state.proposal is None:
                self._note_silence(state.terms.compute_leader(state.view))
            state.counts.failed_views += 1
            state.outbox.log(TIMEOUTS, timeouts)
        if state.terms.compute_last_view(view) != state.terms.compute_last_view(state.view):
            state.term_entered_ms = state.now_ms
        state.view = view
        state.timeouts = timeouts
        state.view_entered_ms = state.now_ms
        self.quorum_ms = None
        self.newest = {member: timeout for member, timeout in self.newest.items() if timeout.view >= view}
        self.ordering.forget_view()
