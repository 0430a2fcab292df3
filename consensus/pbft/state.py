"""What the parts of the engine share: one member's protocol state.

``ordering`` moves slots through their phases, ``view_change`` moves between views, ``status`` re-sends; all
three act on one ``PbftState`` and never on each other's internals. No rule lives here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import EngineParameters, WorkLevel
from consensus.leader import LeaderSchedule
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.pbft.backlog import Backlog
from consensus.pbft.messages import NewView, ViewChange
from consensus.pbft.records import compute_slot_key
from consensus.pbft.window import Slot, Window
from primitives.signing import Signer


class SlotOutbox(Outbox):
    """Also logs records that go with their slot."""

    __slots__ = ()

    def log_slot(self, slot: Slot, kind: bytes, value: bytes) -> None:
        """Make ``value`` durable before anything else of this output happens."""
        key = compute_slot_key(slot.number, kind)
        slot.logged.add(key)
        self.log(key, value)


@dataclass(slots=True)
class PbftState:
    """``view`` is installed; ``target`` is above it while our view change waits for a new view.

    ``floor`` is the highest height that the installed new view proved stable: nothing at or below it is proposed
    in this view. ``carried_to`` is the last slot that it re-proposed: up to there its leader is the proposer.
    """

    committee: Committee
    signer: Signer
    index: int
    parameters: EngineParameters
    schedule: LeaderSchedule
    pacemaker: Pacemaker
    base_height: int
    certificate: Certificate | None
    window: Window
    backlog: Backlog
    outbox: SlotOutbox = field(default_factory=SlotOutbox)
    view: int = 0
    target: int = 0
    floor: int = 0
    carried_to: int = 0
    new_view: NewView | None = None
    view_change: ViewChange | None = None
    work: WorkLevel = WorkLevel.IDLE
    now_ms: int = 0
    progress_ms: int | None = None
    view_entered_ms: int | None = None

    @property
    def is_changing_view(self) -> bool:
        """Between our view change and the new view that answers it: no votes."""
        return self.target > self.view

    def compute_proposer(self, slot: int) -> int:
        """Who proposes ``slot`` in the installed view: its leader where the new view re-proposed it."""
        if slot <= self.carried_to:
            return self.schedule.compute_view_leader(self.view)
        return self.schedule.compute_proposer(self.view, slot)

    def note_progress(self) -> None:
        """Something was decided or certified."""
        self.progress_ms = self.now_ms
        self.pacemaker.on_progress()
