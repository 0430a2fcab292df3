"""What the parts of the engine share: one member's protocol state, and the output under construction.

``ordering`` moves slots through their phases, ``view_change`` moves between views, ``status`` re-sends; all
three act on one ``PbftState`` and never on each other's internals. No rule lives here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import (
    Decided,
    EngineParameters,
    Evidence,
    Output,
    Record,
    Send,
    SetTimer,
    Wish,
    WorkLevel,
)
from consensus.leader import LeaderSchedule
from consensus.pacemaker import Pacemaker
from consensus.pbft.backlog import Backlog
from consensus.pbft.messages import NewView, ViewChange
from consensus.pbft.records import STABLE_KEY, compute_slot_key
from consensus.pbft.window import Slot, Window
from primitives.codec import encode
from primitives.signing import Signer


class Outbox:
    """Collects what one event causes. Deletions wait for the next record that has to be written anyway."""

    __slots__ = ("_deletions", "_stable", "decided", "evidence", "persist", "send", "wishes")

    def __init__(self) -> None:
        self._deletions: dict[bytes, None] = {}
        self._stable: Certificate | None = None
        self.persist: list[Record] = []
        self.send: list[Send] = []
        self.wishes: list[Wish] = []
        self.decided: list[Decided] = []
        self.evidence: list[Evidence] = []

    def log(self, key: bytes, value: bytes) -> None:
        """Make ``value`` durable under ``key`` before anything else of this output happens."""
        self._deletions.pop(key, None)
        self.persist.append(Record(key, value))

    def log_slot(self, slot: Slot, kind: bytes, value: bytes) -> None:
        """The same for a record that goes with its slot."""
        key = compute_slot_key(slot.number, kind)
        slot.logged.add(key)
        self.log(key, value)

    def settle(self, keys: Iterable[bytes], certificate: Certificate | None) -> None:
        """Delete the records of slots that ``certificate`` settles, some time: a stale record is harmless, so it
        never costs a sync of its own. The certificate goes into the log in their place. The chain's store may
        lose its last blocks in a power cut, and without any trace we would vote anew for their slots."""
        for key in sorted(keys):
            self._deletions[key] = None
        self._stable = certificate or self._stable

    def flush(self, timers: tuple[SetTimer, ...]) -> Output:
        """The output, and empty again."""
        if self.persist and self._deletions:
            if self._stable is not None:
                self.persist.append(Record(STABLE_KEY, encode(self._stable)))
            self.persist.extend(Record(key, None) for key in self._deletions)
            self._deletions.clear()
        output = Output(
            persist=tuple(self.persist),
            send=tuple(self.send),
            timers=timers,
            wishes=tuple(self.wishes),
            decided=tuple(self.decided),
            evidence=tuple(self.evidence),
        )
        for collected in (self.persist, self.send, self.wishes, self.decided, self.evidence):
            collected.clear()
        return output


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
    outbox: Outbox = field(default_factory=Outbox)
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
