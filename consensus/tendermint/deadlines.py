"""When each of a member's timers is due: sums over its state.

| timer       | runs while                                              | due                        |
|-------------|---------------------------------------------------------|----------------------------|
| propose     | scheduled (line 21), and somebody is at this height     | timeoutPropose(round)      |
| prevote     | scheduled (line 35)                                     | timeoutPrevote(round)      |
| precommit   | scheduled (line 48)                                     | timeoutPrecommit(round)    |
| resend      | anything is open, uncertified, or waits to be ordered   | after a while of no progress |

timeoutPropose is the pacemaker's: it grows per failed round of a height, is capped, and is the base again with the
next height. The other two wait for votes, which are small and built at once: a quarter of it, and grow with it.

Idle members stay in their round: timeoutPropose runs while there is work, or while this height is *open*: its
proposal was seen, a value is known valid, or f + 1 others vote in this round. Else the committee would vote nil for
ever where there is nothing to propose. What is decided below and not certified yet is work, too, but not the
proposer's to do. What does not live here: what happens when one is due (``engine``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.engine import WorkLevel
from consensus.tendermint.state import Height, TendermintState
from consensus.tendermint.steps import Step, TimeoutKind

PROPOSE_TIMER: Final = "propose"
PREVOTE_TIMER: Final = "prevote"
PRECOMMIT_TIMER: Final = "precommit"
RESEND_TIMER: Final = "resend"
TIMEOUTS: Final = {
    PROPOSE_TIMER: TimeoutKind.PROPOSE,
    PREVOTE_TIMER: TimeoutKind.PREVOTE,
    PRECOMMIT_TIMER: TimeoutKind.PRECOMMIT,
}

_VOTE_SHARE: Final = 4
"""How much less patience votes need than a proposal, which is built, carried with its bodies, and checked."""
_STATUS_SHARE: Final = 2
"""A status goes out after at most half of timeoutPropose, so a lost message is repaired before a round fails."""


@dataclass(slots=True)
class Deadlines:
    """Remembers since when we wait, and when we last told the others."""

    state: TendermintState
    open_since_ms: int | None = None
    status_sent_ms: int | None = None

    def compute(self) -> dict[str, int | None]:
        """The deadline of every timer, ``None`` where it is off."""
        deadlines = {timer: self._compute_timeout(kind) for timer, kind in TIMEOUTS.items()}
        deadlines[RESEND_TIMER] = self._compute_resend()
        return deadlines

    def _compute_timeout(self, kind: TimeoutKind) -> int | None:
        """When a scheduled timeout runs out. It counts from the first moment at which it may run."""
        height = self.state.height
        if height is None or kind not in height.scheduled:
            return None
        if kind is TimeoutKind.PROPOSE and not self._may_give_up(height):
            height.scheduled[kind] = None
            return None
        since_ms = height.scheduled[kind]
        if since_ms is None:
            since_ms = height.scheduled[kind] = self.state.now_ms
        return since_ms + compute_timeout_ms(self.state, kind)

    def _may_give_up(self, height: Height) -> bool:
        """Whether this round's proposer is waited for."""
        if height.core.step is not Step.PROPOSE:
            return False
        has_work = self.state.work is not WorkLevel.IDLE and not self.state.decided
        return has_work or self._is_open(height)

    def _is_open(self, height: Height) -> bool:
        """Whether somebody honest is at it, work or not."""
        if height.has_proposal or height.core.valid_value is not None:
            return True
        voters = height.book.count_voters(height.round, without=self.state.index)
        return voters > self.state.committee.faults

    def _compute_resend(self) -> int | None:
        """After ``resend_ms`` without progress, and as often from then on."""
        state, height = self.state, self.state.height
        is_open = height is not None and (self._is_open(height) or height.is_awaiting_votes)
        if not is_open and not state.decided and state.work is WorkLevel.IDLE:
            self.open_since_ms = None
            return None
        if self.open_since_ms is None:
            self.open_since_ms = state.now_ms
        patience = min(state.parameters.resend_ms, max(1, state.parameters.base_timeout_ms // _STATUS_SHARE))
        entered_ms = None if height is None else height.entered_ms
        moments = (state.progress_ms, self.status_sent_ms, entered_ms)
        return max([self.open_since_ms, *(moment for moment in moments if moment is not None)]) + patience


def compute_timeout_ms(state: TendermintState, kind: TimeoutKind) -> int:
    """timeoutPropose, timeoutPrevote or timeoutPrecommit of the current round."""
    patience = state.pacemaker.timeout_ms
    return patience if kind is TimeoutKind.PROPOSE else max(1, patience // _VOTE_SHARE)
