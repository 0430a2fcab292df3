"""What the transport is told and what it tells: its configuration with all limits, and its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.framing import Lane
from node.hello import Role
from node.outbound_queue import QUEUE_LIMITS, QueueLimits


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """How much one peer may send on one lane: bytes a second, and bytes at once.

    Every frame is charged ``frame_cost_bytes`` on top of its size: what a tiny frame costs us is time.
    """

    rate_bytes_per_s: int
    burst_bytes: int
    frame_cost_bytes: int = 256


INBOUND_LIMITS: Mapping[Lane, InboundLimits] = {
    # 32,000 votes a second from one peer, several times what a whole committee of 100 produces.
    Lane.VOTES: InboundLimits(rate_bytes_per_s=16 * 1024 * 1024, burst_bytes=32 * 1024 * 1024),
    # A full gigabit link; the burst holds what a peer may have queued for us.
    Lane.BULK: InboundLimits(rate_bytes_per_s=128 * 1024 * 1024, burst_bytes=256 * 1024 * 1024),
}


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """Whose links these are, where they listen, and every bound. Times in ms.

    ``incarnation`` is the shard's (see ``crosslink.header``), ``address_sequence`` orders our address
    records and must grow over restarts (the wall clock at start); 0 publishes none.
    """

    chain: bytes
    incarnation: int
    shard: int
    index: int
    listen_host: str
    listen_port: int
    role: Role = Role.VALIDATOR
    advertise_host: str = ""
    address_sequence: int = 0
    handshake_timeout_ms: int = 1_000
    handshakes: int = 32
    handshakes_per_address: int = 4
    handshakes_per_loopback_address: int = 32
    ping_interval_ms: int = 1_500
    missed_pings: int = 3
    stall_timeout_ms: int = 5_000
    """How long a write may make no progress."""
    frame_timeout_ms: int = 30_000
    """How long a frame may take to arrive whole: 8 MiB at 2.3 Mbit/s."""
    redial_base_ms: int = 50
    redial_cap_ms: int = 1_000
    """A peer that healed or came back at its old address is found again within this."""
    stable_ms: int = 5_000
    """A link that lived shorter does not reset the backoff: two processes with one key must not replace each
    other in a storm."""
    turn_ms: int = 1_000
    """How long the side that should be dialled waits before it dials itself: the other may not know where."""
    cut_poll_ms: int = 100
    queue_limits: Mapping[Lane, QueueLimits] = field(default_factory=lambda: QUEUE_LIMITS)
    inbound_limits: Mapping[Lane, InboundLimits] = field(default_factory=lambda: INBOUND_LIMITS)


@dataclass(frozen=True, slots=True)
class TransportStatistics:
    """Counters since start, and what is queued now.

    ``dropped``: our outbound frames lost, by reason. ``refused``: connections that never became links, by
    reason. ``closed``: links that ended, by reason. ``rejected``: inbound frames not delivered, by reason.
    ``queued_bytes`` is keyed by member and lane (``s0v1/votes``).
    """

    writes: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    links: int
    handshakes: int
    accepted: int
    dropped: Mapping[str, int]
    refused: Mapping[str, int]
    closed: Mapping[str, int]
    rejected: Mapping[str, int]
    queued_bytes: Mapping[str, int]
