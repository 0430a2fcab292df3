"""When each of a member's timers is due: pure sums over its state.

| timer     | runs while                                               | due                                |
|-----------|----------------------------------------------------------|------------------------------------|
| view      | in a view and waiting for its leader                     | T after entry, or since we wait    |
| complaint | not given up and our work is overdue                     | T after the term was entered       |
| step      | gave up a view that q members gave up, or passed         | T after the q-th                   |
| resend    | gave up, or anything is undecided or waits               | see ``_compute_resend``            |

T is the pacemaker's. With no work and nothing undecided all are off. What does not live here: what happens when
one is due (``engine``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.engine import WorkLevel
from consensus.hotstuff.state import HotStuffState
from consensus.hotstuff.views import Views

VIEW_TIMER: Final = "view"
COMPLAINT_TIMER: Final = "complaint"
STEP_TIMER: Final = "step"
RESEND_TIMER: Final = "resend"

_STATUS_SHARE: Final = 2
"""A status goes out after at most half the view timeout, so a lost message is repaired before anyone gives up."""

SILENT_SHARE: Final = 8
"""Of T for a leader that let its last view pass unheard; time enough to be heard on a quick network, where one that
returned has said so already."""


@dataclass(slots=True)
class Deadlines:
    """Remembers since when we wait, and when we last told the others."""

    state: HotStuffState
    views: Views
    waiting_since_ms: int | None = None
    open_since_ms: int | None = None
    status_sent_ms: int | None = None

    def compute(self) -> dict[str, int | None]:
        """The deadline of every timer, ``None`` where it is off."""
        self._observe()
        return {
            VIEW_TIMER: self._compute_view(),
            COMPLAINT_TIMER: self.compute_complaint(),
            STEP_TIMER: self._compute_step(),
            RESEND_TIMER: self._compute_resend(),
        }

    def _compute_view(self) -> int | None:
        """When the leader of this view has had its time."""
        state = self.state
        if state.has_given_up or self.waiting_since_ms is None:
            return None
        timeout_ms = state.pacemaker.timeout_ms
        if state.terms.compute_leader(state.view) in state.silent:
            timeout_ms = max(1, timeout_ms // SILENT_SHARE)
        return _latest(self.waiting_since_ms, state.view_entered_ms) + timeout_ms

    def compute_complaint(self) -> int | None:
        """When we may complain: progress with other people's work does not help what is overdue. Where every
        view has its own leader, progress changes leaders, and only a view that stands still lasts so long."""
        state = self.state
        if state.has_given_up or state.work is not WorkLevel.OVERDUE:
            return None
        if state.term_entered_ms is None:
            return state.now_ms
        return state.term_entered_ms + state.pacemaker.timeout_ms

    def _compute_step(self) -> int | None:
        """When those who gave up this view or later ones have had their time to agree on one."""
        if not self.state.has_given_up or self.views.quorum_ms is None:
            return None
        return self.views.quorum_ms + self.state.pacemaker.timeout_ms

    def _compute_resend(self) -> int | None:
        """A timeout is repeated every ``resend_ms``; a status follows as long without progress."""
        state = self.state
        interval_ms = state.parameters.resend_ms
        if state.has_given_up:
            return _latest(state.now_ms - interval_ms, self.views.sent_ms, self.status_sent_ms) + interval_ms
        if self.open_since_ms is None:
            return None
        patience = min(interval_ms, max(1, state.parameters.base_timeout_ms // _STATUS_SHARE))
        moments = (state.progress_ms, self.status_sent_ms, state.view_entered_ms)
        return _latest(self.open_since_ms, *moments) + patience

    def _observe(self) -> None:
        """Note when waiting began or ended."""
        state = self.state
        is_proposed = state.proposal is not None and state.proposal.block.slot > state.decided
        is_blocked = self.views.ordering.blocked is not None
        # What is committed and lacks entries waits for answers, which are not the leader's to give.
        has_undecided = (state.is_undecided or is_proposed) and not is_blocked
        has_work = state.work is not WorkLevel.IDLE
        # What is decided waits for attestations, nor are these.
        has_uncertified = state.decided > state.tree.height
        is_waiting = has_undecided or (has_work and not has_uncertified)
        is_open = has_undecided or has_work or is_blocked
        self.waiting_since_ms = _since(self.waiting_since_ms, is_waiting, state.now_ms)
        self.open_since_ms = _since(self.open_since_ms, is_open, state.now_ms)


def _since(known_ms: int | None, holds: bool, now_ms: int) -> int | None:
    if not holds:
        return None
    return now_ms if known_ms is None else known_ms


def _latest(first: int, *others: int | None) -> int:
    latest = first
    for moment in others:
        if moment is not None and moment > latest:
            latest = moment
    return latest
