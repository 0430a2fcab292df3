"""The effects of one event while the replica's components still add to them.

Every component is given the draft of the event at hand and appends what it wants done; ``finish`` freezes it into
the ``Effects`` whose field order the pump honours. No behaviour beyond that lives here.
"""

from __future__ import annotations

from consensus.engine import Record, SetTimer
from node.events import NO_EFFECTS, BlockCertified, Effects, Outgoing, StoreWrite, SubmissionReply


class EffectsDraft:
    """Same fields as ``Effects``, still growing."""

    __slots__ = ("alarms", "certified", "halt", "persist", "reopens", "replies", "sends", "timers", "writes")

    def __init__(self) -> None:
        self.persist: list[Record] = []
        self.writes: list[StoreWrite] = []
        self.sends: list[Outgoing] = []
        self.timers: list[SetTimer] = []
        self.replies: list[SubmissionReply] = []
        self.certified: list[BlockCertified] = []
        self.alarms: list[str] = []
        self.halt: str | None = None
        self.reopens = False

    def finish(self) -> Effects:
        """What must happen."""
        if not (
            self.persist
            or self.sends
            or self.timers
            or self.writes
            or self.replies
            or self.certified
            or self.alarms
            or self.reopens
            or self.halt is not None
        ):
            return NO_EFFECTS
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
