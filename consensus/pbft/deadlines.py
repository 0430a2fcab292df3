"""When each of a member's timers is due: pure sums over its state.

| timer     | runs while                                               | due                         |
|-----------|----------------------------------------------------------|-----------------------------|
| view      | in a view and waiting for its leader                     | T after progress or entry   |
| complaint | in a view and our work is overdue                        | T after entry               |
| new-view  | asking for a view that q members ask for, or passed      | T after the q-th            |
| resend    | asking for a view, or anything is uncertified or waits   | see ``_compute_resend``     |

T is the pacemaker's. With no work and nothing in flight all are off. What does not live here: what happens when
one is due (``engine``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.engine import WorkLevel
from consensus.pbft.state import PbftState
from consensus.pbft.view_change import ViewChanger

VIEW_TIMER: Final = "view"
NEW_VIEW_TIMER: Final = "new-view"
COMPLAINT_TIMER: Final = "complaint"
RESEND_TIMER: Final = "resend"

_STATUS_SHARE: Final = 2
"""A status goes out after at most half the view timeout, so a lost message is repaired before anyone complains."""


@dataclass(slots=True)
class Deadlines:
    """Remembers since when we wait, and when we last told the others."""

    state: PbftState
    views: ViewChanger
    waiting_since_ms: int | None = None
    open_since_ms: int | None = None
    status_sent_ms: int | None = None

    def compute(self) -> dict[str, int | None]:
        """The deadline of every timer, ``None`` where it is off."""
        self._observe()
        return {
            VIEW_TIMER: self.compute_view_deadline(),
            COMPLAINT_TIMER: self.compute_complaint_deadline(),
            NEW_VIEW_TIMER: self.compute_new_view_deadline(),
            RESEND_TIMER: self._compute_resend(),
        }

    def compute_view_deadline(self) -> int | None:
        """When the leader of the installed view has had its time."""
        state = self.state
        if state.is_changing_view or self.waiting_since_ms is None:
            return None
        start = _latest(self.waiting_since_ms, state.progress_ms, state.view_entered_ms)
        return start + state.pacemaker.timeout_ms

    def compute_complaint_deadline(self) -> int | None:
        """When we may complain: progress with other people's work does not help what is overdue."""
        state = self.state
        if state.is_changing_view or state.work is not WorkLevel.OVERDUE:
            return None
        if state.view_entered_ms is None:
            return state.now_ms
        return state.view_entered_ms + state.pacemaker.timeout_ms

    def compute_new_view_deadline(self) -> int | None:
        """When the next leader has had its time since q members asked for its view."""
        if not self.state.is_changing_view or self.views.quorum_ms is None:
            return None
        return self.views.quorum_ms + self.state.pacemaker.timeout_ms

    def _compute_resend(self) -> int | None:
        """A view change is repeated every ``resend_ms``; a status follows as long without progress."""
        state = self.state
        if state.is_changing_view:
            return (
                _latest(self.views.sent_ms, state.now_ms - state.parameters.resend_ms) + state.parameters.resend_ms
            )
        if self.open_since_ms is None:
            return None
        patience = min(state.parameters.resend_ms, max(1, state.parameters.base_timeout_ms // _STATUS_SHARE))
        moments = (state.progress_ms, self.status_sent_ms, state.view_entered_ms)
        return _latest(self.open_since_ms, *moments) + patience

    def _observe(self) -> None:
        """Note when waiting began or ended."""
        state = self.state
        is_open = has_undecided = has_uncertified = False
        # One vote may be a faulty member's invention; of f + 1 one is honest and answers a real proposal.
        credible = state.committee.faults + 1
        for slot in state.window:
            if slot.decided is not None:
                is_open = has_uncertified = True
            elif slot.proposal is not None:
                is_open = has_undecided = True
            else:
                votes = max(len(slot.prepares), len(slot.commits))
                is_open = is_open or votes > 0
                has_undecided = has_undecided or votes >= credible
        has_work = state.work is not WorkLevel.IDLE
        # What is decided waits for attestations, which are not the leader's to give.
        is_waiting = has_undecided or (has_work and not has_uncertified)
        self.waiting_since_ms = _since(self.waiting_since_ms, is_waiting, state.now_ms)
        self.open_since_ms = _since(self.open_since_ms, is_open or has_work, state.now_ms)


def _since(known_ms: int | None, holds: bool, now_ms: int) -> int | None:
    if not holds:
        return None
    return now_ms if known_ms is None else known_ms


def _latest(first: int | None, *others: int | None) -> int:
    latest = first
    for moment in others:
        if moment is not None and (latest is None or moment > latest):
            latest = moment
    assert latest is not None, "there is at least one moment to count from"
    return latest
