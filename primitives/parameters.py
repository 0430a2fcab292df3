"""The protocol parameters: numbers on which every member of a network must agree.

They are fixed by the genesis (and so by the chain id) and read by consensus, crosslink and shards alike. What
does not live here: limits that a member may choose for itself (``node.config``), and the parameters of one
market or account (``shards.genesis``). Units are in the names; *beacon blocks* are heights of the beacon chain.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from primitives.errors import LocalError

MAX_PARAMETER: Final = 2**40
"""Above any sensible value, and small enough that products of two parameters and a count stay exact."""

WINDOW_ACCOUNT_SHARE: Final = 16
"""One account may hold at most a sixteenth of a channel's window, so one sender cannot close a channel."""
WINDOW_TOPUP_SHARE: Final = 4
"""A quarter of the window is kept for margin top-ups, which must get through when everybody moves money."""

LARGEST_PAYLOAD_BYTES: Final = 3 << 20
"""A range of catch-up (4 MiB) holds at least one block."""
LARGEST_BATCH_BYTES: Final = 1 << 20
"""What a frame with one batch may hold."""


@dataclass(frozen=True, slots=True)
class ProtocolParameters:
    """Raises ``LocalError`` on construction where values are out of range or contradict each other."""

    window_slots: int = 16
    """L: slots in flight above the last certified one. Bounds pinned bodies and buffered votes."""

    max_payload_bytes: int = 1 << 20
    """Largest payload with all its bodies; 1 MiB crosses a 100 Mbit/s link in less than a view timeout."""

    max_batch_bytes: int = 64 << 10
    """Largest batch of transactions: above this the per-batch costs no longer matter."""

    batch_lifetime_blocks: int = 1_024
    """A batch expires at most this many blocks of its shard after it was made; its digest stays in state until
    then, so a repeat is skipped. Bounds that part of the state."""

    clock_drift_ms: int = 500
    """A proposal's timestamp may lie this far ahead of a voter's wall clock before the vote is deferred."""

    bucket_count: int = 4_096
    """Buckets under the state root (a power of two): 100,000 records give proofs of about 25 records."""

    stall_after_blocks: int = 600
    """K1: a shard whose registered tip trails by more beacon blocks is stalled (no new locks towards it).
    90 s at full pace: longer than a few failed views, shorter than a user's patience."""

    freeze_after_blocks: int = 6_000
    """K2: beyond this a silent shard is frozen and what is addressed to it is cancelled (15 min at full pace)."""

    transfer_deadline_min_blocks: int = 200
    """Dmin: a transfer's deadline lies at least this far ahead (30 s at full pace), so that a full backlog
    drains before it: 2W(S−1) messages at ``inbox_weight`` a block."""

    transfer_deadline_max_blocks: int = 20_000
    """Dmax: and at most this far (50 min at full pace), so that no escrow waits without end."""

    channel_window: int = 1_024
    """W: open transfers per ordered pair of shards."""

    inbox_weight: int = 4_096
    """Weight of inbox items that a block executes before user transactions, whose own limit is equal."""

    beacon_ref_step_blocks: int = 256
    """How far one shard block may advance its beacon reference: bounds what one execution consumes."""

    message_bytes: int = 512
    """Largest cross-shard message (an outbox leaf)."""

    submission_bytes: int = 1 << 20
    """Z: largest submission of headers to the beacon."""

    submission_headers: int = 256
    """H: most headers in a submission."""

    messages_per_beacon_block: int = 2_048
    """M: most outbox leaves that one beacon block registers."""

    register_gap_outbox_ms: int = 150
    """Least time between two submissions of a shard whose headers carry outbox leaves."""

    register_gap_plain_ms: int = 500
    """The same for headers without: they only keep the registered tip fresh."""

    beacon_interval_ms: int = 150
    """T_b: the beacon proposes at most this often."""

    beacon_heartbeat_ms: int = 1_000
    """And at least this often while anything is open there."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is not int or not 1 <= value <= MAX_PARAMETER:
                raise LocalError(f"{item.name}: must be an integer from 1 to {MAX_PARAMETER}, not {value!r}")
        _require(
            self.bucket_count & (self.bucket_count - 1) == 0 and self.bucket_count <= 1 << 20,
            "bucket_count: must be a power of two, at most 1,048,576",
        )
        _require(
            self.channel_window >= WINDOW_ACCOUNT_SHARE,
            f"channel_window: must be at least {WINDOW_ACCOUNT_SHARE}, or no account could send",
        )
        _require(
            self.max_batch_bytes <= self.max_payload_bytes,
            "max_batch_bytes: must not exceed max_payload_bytes, or a full batch could never be proposed",
        )
        _require(
            self.max_payload_bytes <= LARGEST_PAYLOAD_BYTES and self.max_batch_bytes <= LARGEST_BATCH_BYTES,
            f"max_payload_bytes: at most {LARGEST_PAYLOAD_BYTES}, max_batch_bytes at most {LARGEST_BATCH_BYTES}",
        )
        _require(
            self.stall_after_blocks < self.freeze_after_blocks,
            "stall_after_blocks: must be below freeze_after_blocks (a shard is stalled before it is frozen)",
        )
        _require(
            self.transfer_deadline_min_blocks < self.transfer_deadline_max_blocks,
            "transfer_deadline_min_blocks: must be below transfer_deadline_max_blocks",
        )
        _require(
            self.message_bytes <= self.submission_bytes,
            "message_bytes: must not exceed submission_bytes, or a message could never be registered",
        )
        _require(
            self.beacon_interval_ms <= self.beacon_heartbeat_ms,
            "beacon_interval_ms: must not exceed beacon_heartbeat_ms",
        )

    @property
    def window_per_account(self) -> int:
        """Open transfers that one account may have on one channel (W/16)."""
        return self.channel_window // WINDOW_ACCOUNT_SHARE

    @property
    def topup_reserve(self) -> int:
        """Places of the window that only margin top-ups may take (W/4)."""
        return self.channel_window // WINDOW_TOPUP_SHARE


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise LocalError(complaint)
