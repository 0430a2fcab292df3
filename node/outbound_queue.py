"""What waits to be written to one peer on one lane: bounded in bytes and in frames, and what gives way.

Sans-IO. A slow peer fills its own queue and loses its own frames; nobody waits for it.

Votes drop the oldest: the protocols resend what still matters, and the newest view is what a peer that
falls behind needs. Bulk drops the newest: it is answers in order (blocks, chunks), whose beginning is
useful without the end and not the other way round, and the asker asks again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from node.framing import Lane, encode_header


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of one queue. ``keeps_newest`` says which end gives way when it is full."""

    max_bytes: int
    max_frames: int
    keeps_newest: bool


QUEUE_LIMITS: Final[dict[Lane, QueueLimits]] = {
    # Some seconds of votes of a large committee; more would be stale when it arrives.
    Lane.VOTES: QueueLimits(max_bytes=4 * 1024 * 1024, max_frames=16_384, keeps_newest=True),
    # Four of the largest frames: what a peer may have asked for and not yet read.
    Lane.BULK: QueueLimits(max_bytes=32 * 1024 * 1024, max_frames=8_192, keeps_newest=False),
}


class OutboundQueue:
    """Frames in order; ``put`` says how many were lost, ``take`` joins everything up to a size."""

    __slots__ = ("_frames", "_limits", "size_bytes")

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, kind: int, body: bytes) -> int:
        """Append a frame. Returns how many frames were lost for it: itself, or older ones."""
        header = encode_header(kind, len(body))
        size = len(header) + len(body)
        limits = self._limits
        lost = 0
        while self.size_bytes + size > limits.max_bytes or len(self._frames) >= limits.max_frames:
            if not limits.keeps_newest or not self._frames:
                return lost + 1
            self._drop_oldest()
            lost += 1
        self._frames.append((header, body))
        self.size_bytes += size
        return lost

    def take(self, limit_bytes: int) -> tuple[bytes, int]:
        """Whole frames joined, at least one if there is any, and how many; stops after ``limit_bytes``."""
        parts: list[bytes] = []
        frames, taken = self._frames, 0
        count = 0
        while frames and taken < limit_bytes:
            header, body = frames.popleft()
            parts.append(header)
            parts.append(body)
            taken += len(header) + len(body)
            count += 1
        self.size_bytes -= taken
        return b"".join(parts), count

    def _drop_oldest(self) -> None:
        header, body = self._frames.popleft()
        self.size_bytes -= len(header) + len(body)
