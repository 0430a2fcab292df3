"""One live connection to one member on one lane: a reader, a writer, and the rules of when it is dead.

Theory of operation. The reader takes what the socket has and hands each frame on by a synchronous call; it
waits for nothing but the socket. The writer waits until something is queued, joins everything that is, and
writes it as one. Nobody else touches the connection. The link ends when either of them fails, when
``close`` is called, or when ``judge``, asked several times a second, finds that

    STALLED   bytes were handed to the kernel and none taken for ``stall_timeout_ms``   (a full window)
    SILENT    nothing arrived for ``missed_pings`` heartbeats                           (a black hole)
    PARTIAL   a frame began and did not end within ``frame_timeout_ms``                 (drip feed)

A write is never cancelled on its own: the writer belongs to the link, and its end is the connection's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import trio

from node.framing import MAX_FRAME_BYTES, Frame, FrameBuffer, Lane
from node.members import Member
from node.outbound_queue import OutboundQueue
from node.rate_limit import TokenBucket, Toll
from node.transport_channel import ChannelClosedError, SecureChannel
from node.transport_config import TransportConfig
from primitives.errors import RemoteError

WRITE_BYTES = 1024 * 1024
"""How much is joined into one write; more waits in the queue, where a fresher frame may still replace it."""

Deliver = Callable[["PeerLink", int, bytes], None]


class PeerLink:
    """A link to ``member``; ``dialled`` is true if we started it, ``boot`` is the peer's process."""

    def __init__(
        self,
        member: Member,
        lane: Lane,
        channel: SecureChannel,
        config: TransportConfig,
        *,
        dialled: bool,
        boot: int,
        bucket: TokenBucket,
        clock: Callable[[], int],
    ) -> None:
        self.member = member
        self.lane = lane
        self.dialled = dialled
        self.boot = boot
        self.queue = OutboundQueue(config.queue_limits[lane])
        self.frames_in = 0
        self.frames_out = 0
        self.flood_drops = 0
        self.close_reason = ""
        self.started_ms = clock()
        self._channel = channel
        self._config = config
        self._bucket = bucket
        self._frame_cost = config.inbound_limits[lane].frame_cost_bytes
        self._clock = clock
        self._frames = FrameBuffer(MAX_FRAME_BYTES[lane])
        self._sleeping_writer: trio.lowlevel.Task | None = None
        self._received_ms = self._sent_ms = self._progress_ms = self.started_ms
        self._progress_bytes = 0
        self._is_writing = False
        self._partial_since_ms: int | None = None

    @property
    def channel(self) -> SecureChannel:
        """The connection, for its counters."""
        return self._channel

    def enqueue(self, kind: int, body: bytes) -> int:
        """Queue a frame; how many frames were lost for it."""
        lost = self.queue.put(kind, body)
        if self._sleeping_writer is not None:
            trio.lowlevel.reschedule(self._sleeping_writer)
            self._sleeping_writer = None
        return lost

    def close(self, reason: str) -> None:
        """End the link now; the first reason given is the one that counts."""
        self.close_reason = self.close_reason or reason
        self._channel.abort()

    async def run(self, deliver: Deliver) -> None:
        """Read and write until the link ends. What ``deliver`` raises, except ``RemoteError``, is raised."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(deliver)
                nursery.cancel_scope.cancel()
        finally:
            self.close("shut_down")

    def is_idle(self, now_ms: int) -> bool:
        """True if a heartbeat is due: nothing was written for an interval, and nothing waits."""
        return not self._is_writing and now_ms - self._sent_ms >= self._config.ping_interval_ms

    def forgive(self, now_ms: int) -> None:
        """Start all clocks anew: our own process slept, and silence proves nothing."""
        self._received_ms = self._progress_ms = now_ms
        if self._partial_since_ms is not None:
            self._partial_since_ms = now_ms

    def judge(self, now_ms: int) -> str | None:
        """Why the link is dead, or None."""
        if self._is_writing:
            bytes_out = self._channel.raw.bytes_out
            if bytes_out != self._progress_bytes:
                self._progress_bytes, self._progress_ms = bytes_out, now_ms
            elif now_ms - self._progress_ms >= self._config.stall_timeout_ms:
                return "stalled"
        if now_ms - self._received_ms >= self._config.missed_pings * self._config.ping_interval_ms:
            return "silent"
        since_ms = self._partial_since_ms
        if since_ms is not None and now_ms - since_ms >= self._config.frame_timeout_ms:
            return "partial_frame"
        return None

    async def _read(self, deliver: Deliver) -> None:
        try:
            while True:
                data = await self._channel.receive()
                self._received_ms = now_ms = self._clock()
                frames = self._frames.feed(data)
                self._note_partial(now_ms, completed=len(frames))
                self.frames_in += len(frames)
                for kind, body in self._admit(now_ms, frames):
                    deliver(self, kind, body)
                    if self.close_reason:
                        return
        except ChannelClosedError as error:
            self.close(str(error))
        except RemoteError as error:
            self.close(error.code.lower())

    async def _write(self) -> None:
        try:
            while True:
                if not len(self.queue):
                    await self._sleep_until_queued()
                    continue
                data, count = self.queue.take(WRITE_BYTES)
                self._is_writing, self._progress_ms = True, self._clock()
                self._progress_bytes = self._channel.raw.bytes_out
                await self._channel.send(data)
                self._is_writing, self._sent_ms = False, self._clock()
                self.frames_out += count
        except ChannelClosedError as error:
            self.close(str(error))

    async def _sleep_until_queued(self) -> None:
        """What an event would do, at a third of its price: this is the path of every single vote."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeping_writer = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._sleeping_writer = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _admit(self, now_ms: int, frames: list[Frame]) -> Iterable[Frame]:
        """Those of ``frames`` that the peer's account covers. Raises ``RemoteError`` (``FLOOD``) on abuse.

        They are charged together, which is all it takes for a peer that keeps within its means.
        """
        cost = self._frame_cost * len(frames) + sum(len(body) for _, body in frames)
        if self._bucket.covers(now_ms, cost):
            self._bucket.take(now_ms, cost)
            return frames
        return self._admit_singly(now_ms, frames)

    def _admit_singly(self, now_ms: int, frames: list[Frame]) -> Iterator[Frame]:
        for frame in frames:
            match self._bucket.take(now_ms, self._frame_cost + len(frame[1])):
                case Toll.PASS:
                    yield frame
                case Toll.DROP:
                    self.flood_drops += 1
                case Toll.ABUSE:
                    self.flood_drops += 1
                    raise RemoteError("FLOOD", f"{self.member.name} sends too much", penalise=True)

    def _note_partial(self, now_ms: int, *, completed: int) -> None:
        if not self._frames.pending_bytes:
            self._partial_since_ms = None
        elif completed or self._partial_since_ms is None:
            self._partial_since_ms = now_ms
