"""The effects of one event while the replica's components still add to them.

Every component is given the draft of the event at hand and appends what it wants done; ``finish`` freezes it into
the ``Effects`` whose field order the pump honours. No behaviour beyond that lives here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.engine import Record, SetTimer
from node.events import BlockCertified, Effects, Outgoing, StoreWrite, SubmissionReply


@dataclass(slots=True)
class EffectsDraft:
    """Same fields as ``Effects``, still growing."""

    persist: list[Record] = field(default_factory=list)
    writes: list[StoreWrite] = field(default_factory=list)
    sends: list[Outgoing] = field(default_factory=list)
    timers: list[SetTimer] = field(default_factory=list)
    replies: list[SubmissionReply] = field(default_factory=list)
    certified: list[BlockCertified] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    halt: str | None = None
    reopens: bool = False

    def finish(self) -> Effects:
        """What must happen."""
        return Effects(
            persist=tuple(self.persist),
            writes=tuple(self.writes),
            sends=tuple(self.sends),
            timers=tuple(self.timers),
            replies=tuple(self.replies),
            certified=tuple(self.certified),
            halt=self.halt,
            alarms=tuple(self.alarms),
            reopens=self.reopens,
        )
