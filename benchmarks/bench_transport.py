"""What a frame costs on a peer link: throughput of small and large frames, round trips, handshakes.

Run as ``python -m benchmarks.bench_transport``. Two transports in two processes on loopback; CPU is that of
both processes together, so "µs of CPU per delivered frame" is the price of sending *and* receiving one.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from random import Random
from statistics import median

import trio

from node.clock import monotonic_ms, monotonic_us
from node.framing import Lane
from node.link_faults import LinkFaults
from node.members import Member
from node.outbound_queue import QueueLimits
from node.transport import Transport
from node.transport_config import InboundLimits, TransportConfig
from primitives.signing import Ed25519Signer

HOST = "127.0.0.1"
CHAIN = b"\x01" * 32
SEEDS = [bytes([number]) * 32 for number in (1, 2)]
MEMBERS = [Member(0, index, Ed25519Signer(seed).public_key) for index, seed in enumerate(SEEDS)]
ECHO, STREAM, REPORT = 1, 2, 3

UNLIMITED = InboundLimits(rate_bytes_per_s=1 << 50, burst_bytes=1 << 50)
QUEUE = QueueLimits(max_bytes=64 * 1024 * 1024, max_frames=1 << 20, keeps_newest=False)
BURST_BYTES = 8 * 1024 * 1024
"""The sender keeps its queue below this, as an application with flow control does."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A run of equal frames on one lane."""

    name: str
    lane: Lane
    body_bytes: int
    frames: int


STREAMS = (
    Stream("200-byte frames, votes lane", Lane.VOTES, 200, 400_000),
    Stream("4-KiB frames, bulk lane", Lane.BULK, 4096, 60_000),
    Stream("1-MiB frames, bulk lane", Lane.BULK, 1024 * 1024, 400),
)
ROUND_TRIPS = 2_000


def measure_cpu_us() -> int:
    """CPU time of this process, user and system, in µs."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1_000_000)


def make_transport(index: int, on_frame: Callable[[Member, Lane, int, bytes], None]) -> Transport:
    """One side, with limits that do not bite."""
    config = TransportConfig(
        chain=CHAIN,
        incarnation=0,
        shard=0,
        index=index,
        listen_host=HOST,
        listen_port=0,
        queue_limits=dict.fromkeys(Lane, QUEUE),
        inbound_limits=dict.fromkeys(Lane, UNLIMITED),
    )
    return Transport(
        config,
        SEEDS[index],
        MEMBERS,
        MEMBERS,
        on_frame=on_frame,
        on_connected=lambda _: None,
        on_disconnected=lambda _: None,
        clock=monotonic_ms,
        rng=Random(index),
        faults=LinkFaults(Random(index)),
    )


async def serve(pipe: Connection) -> None:
    """The far side: echo, count a stream and report its end, or report CPU time."""
    received = 0

    def on_frame(member: Member, lane: Lane, kind: int, body: bytes) -> None:
        nonlocal received
        if kind == ECHO:
            transport.send(member, lane, ECHO, body)
        elif kind == STREAM:
            received += 1
        else:
            report = f"{received} {measure_cpu_us()}".encode()
            received = 0
            transport.send(member, lane, REPORT, report)

    transport = make_transport(1, on_frame)
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(transport.run)
        pipe.send(port)
        near_port = await trio.to_thread.run_sync(pipe.recv)
        transport.set_address(MEMBERS[0], HOST, near_port)


def run_far_side(pipe: Connection) -> None:
    """Entry of the second process."""
    trio.run(serve, pipe)


class NearSide:
    """The measuring side."""

    def __init__(self) -> None:
        self.transport = make_transport(0, self._on_frame)
        self._answer = b""
        self._answered = trio.Event()

    def _on_frame(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        self._answer = body
        self._answered.set()

    async def ask(self, lane: Lane, kind: int, body: bytes) -> bytes:
        """Send a frame and wait for the answer."""
        self._answered = trio.Event()
        self.transport.send(MEMBERS[1], lane, kind, body)
        await self._answered.wait()
        return self._answer

    async def measure_round_trips(self) -> None:
        times: list[int] = []
        near_us = measure_cpu_us()
        far_us = int((await self.ask(Lane.VOTES, REPORT, b"")).split()[1])
        for _ in range(ROUND_TRIPS):
            began_us = monotonic_us()
            await self.ask(Lane.VOTES, ECHO, bytes(200))
            times.append(monotonic_us() - began_us)
        far_us = int((await self.ask(Lane.VOTES, REPORT, b"")).split()[1]) - far_us
        near_us = measure_cpu_us() - near_us
        times.sort()
        cpu_us = (near_us + far_us) / (2 * ROUND_TRIPS)
        report(f"round trip of 200 bytes: p50 {median(times):.0f} µs, p99 {times[len(times) * 99 // 100]} µs")
        report(f"    one frame at a time: {cpu_us:.1f} µs of CPU per delivered frame")

    async def measure_stream(self, stream: Stream) -> None:
        body = bytes(stream.body_bytes)
        far_us = int((await self.ask(stream.lane, REPORT, b"")).split()[1])
        near_us, began_us = measure_cpu_us(), monotonic_us()
        burst = max(1, BURST_BYTES // (stream.body_bytes + 5) // 8)
        sent = 0
        while sent < stream.frames:
            for _ in range(min(burst, stream.frames - sent)):
                self.transport.send(MEMBERS[1], stream.lane, STREAM, body)
                sent += 1
            await trio.lowlevel.checkpoint()
            while max(self.transport.statistics().queued_bytes.values()) > BURST_BYTES:  # noqa: ASYNC110
                await trio.sleep(0.001)
        answer = (await self.ask(stream.lane, REPORT, b"")).split()
        elapsed_us = monotonic_us() - began_us
        cpu_us = measure_cpu_us() - near_us + int(answer[1]) - far_us
        assert int(answer[0]) == stream.frames, "frames were lost"
        rate = stream.frames * 1_000_000 // elapsed_us
        megabytes = stream.frames * stream.body_bytes / elapsed_us
        report(f"{stream.name}: {rate:,} frames/s, {megabytes:.0f} MB/s")
        report(f"    coalesced: {cpu_us / stream.frames:.2f} µs of CPU per delivered frame")


def report(line: str) -> None:
    """One line of the result."""
    sys.stdout.write(line + "\n")


async def measure(pipe: Connection) -> None:
    """Connect to the far side and run everything."""
    near = NearSide()
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(near.transport.run)
        pipe.send(port)
        far_port = await trio.to_thread.run_sync(pipe.recv)
        began_us = monotonic_us()
        near.transport.set_address(MEMBERS[1], HOST, far_port)
        while not near.transport.connected():  # noqa: ASYNC110
            await trio.sleep(0.001)
        report(f"two lanes connected and greeted in {(monotonic_us() - began_us) / 1000:.1f} ms")
        await near.measure_round_trips()
        for stream in STREAMS:
            await near.measure_stream(stream)
        await near.transport.aclose()
        nursery.cancel_scope.cancel()


def main() -> None:
    """Start the far side, measure, stop it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_far_side, args=(there,), daemon=True)
    process.start()
    try:
        trio.run(measure, here)
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
