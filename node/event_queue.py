"""What waits for the replica: events in three bounded queues, and its timers. Sans-IO.

The pump of a process and the simulator's hosts share it, so both lose the same frames under the same flood. Order
of service: control (timers, links, submissions), votes, bulk. Times are integers of whatever unit the caller
counts in.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Final

from node.events import FrameReceived, Lane, ReplicaEvent, TimerFired, TransactionsSubmitted
from node.members import Member

MAX_QUEUED_BYTES_PER_PEER: Final = {Lane.VOTES: 4 << 20, Lane.BULK: 24 << 20}
"""What one peer may have waiting here; beyond it that peer's own frames are dropped and counted."""
MAX_QUEUED_SUBMISSIONS: Final = 256
"""Requests, each of bounded size; beyond it clients are told to come back."""
FRAME_OVERHEAD_BYTES: Final = 128
"""Charged for each frame, so that empty frames cost something too."""


class _LaneQueue:
    """The frames of one lane, in order, and what each peer has among them."""

    __slots__ = ("bytes_by_peer", "frames", "max_peer_bytes")

    def __init__(self, max_peer_bytes: int) -> None:
        self.max_peer_bytes = max_peer_bytes
        self.frames: deque[FrameReceived] = deque()
        self.bytes_by_peer: dict[Member, int] = {}

    def take(self) -> FrameReceived:
        """The oldest."""
        frame = self.frames.popleft()
        self.bytes_by_peer[frame.member] -= len(frame.body) + FRAME_OVERHEAD_BYTES
        return frame


class EventQueue:
    """Posting never blocks and never raises."""

    def __init__(self) -> None:
        self._control: deque[ReplicaEvent] = deque()
        self._lanes = {lane: _LaneQueue(MAX_QUEUED_BYTES_PER_PEER[lane]) for lane in Lane}
        self._votes, self._bulk = self._lanes[Lane.VOTES], self._lanes[Lane.BULK]
        self._submissions = 0
        self._timers: dict[str, int] = {}
        self._timer_heap: list[tuple[int, str]] = []
        self.dropped_frames = 0

    def __len__(self) -> int:
        return len(self._control) + len(self._votes.frames) + len(self._bulk.frames)

    def __bool__(self) -> bool:
        return bool(self._control or self._votes.frames or self._bulk.frames)

    # --- events --------------------------------------------------------------------------------------------

    def post(self, event: ReplicaEvent) -> None:
        """A start or a link; there are few of them."""
        self._control.append(event)

    def post_frame(self, member: Member, lane: Lane, kind: int, body: bytes) -> bool:
        """False where that peer has too much waiting: the frame is dropped and counted."""
        queue = self._lanes[lane]
        queued = queue.bytes_by_peer.get(member, 0) + len(body) + FRAME_OVERHEAD_BYTES
        if queued > queue.max_peer_bytes:
            self.dropped_frames += 1
            return False
        queue.bytes_by_peer[member] = queued
        queue.frames.append(FrameReceived(member, kind, body))
        return True

    def post_submission(self, event: TransactionsSubmitted) -> bool:
        """False where too many requests wait already."""
        if self._submissions >= MAX_QUEUED_SUBMISSIONS:
            return False
        self._submissions += 1
        self._control.append(event)
        return True

    def take(self) -> ReplicaEvent | None:
        """The next event, or none."""
        if self._control:
            event = self._control.popleft()
            if isinstance(event, TransactionsSubmitted):
                self._submissions -= 1
            return event
        if self._votes.frames:
            return self._votes.take()
        return self._bulk.take() if self._bulk.frames else None

    # --- timers --------------------------------------------------------------------------------------------

    def set_timer(self, timer: str, due: int | None) -> None:
        """Replace the pending timer of this name; ``None`` cancels it."""
        if due is None:
            self._timers.pop(timer, None)
            return
        self._timers[timer] = due
        heapq.heappush(self._timer_heap, (due, timer))

    def next_due(self) -> int | None:
        """When the next timer fires."""
        while self._timer_heap:
            due, timer = self._timer_heap[0]
            if self._timers.get(timer) == due:
                return due
            heapq.heappop(self._timer_heap)
        return None

    def post_due_timers(self, now: int) -> None:
        """Turn every timer whose time has come into an event, in order of time and name."""
        if not self._timer_heap or self._timer_heap[0][0] > now:
            return
        while (due := self.next_due()) is not None and due <= now:
            _, timer = heapq.heappop(self._timer_heap)
            del self._timers[timer]
            self._control.append(TimerFired(timer))
