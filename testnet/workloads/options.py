"""What a load is asked to do, and what it reports; the values between the command line and the generator.

The generator is ``testnet.workloads.generator.run_load(network, options, progress) -> LoadResult``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

WORKLOADS: Final = ("agents", "market-data", "transfers", "opaque")

DEFAULT_DURATION_S: Final = 60
DEFAULT_RATE: Final = 100.0
DEFAULT_DEPTH_BPS: Final = 10
MAX_ACTIONS_PER_TRANSACTION: Final = 32
"""What an envelope holds (``shards.transactions.MAX_ACTIONS``)."""

DEFAULT_PAYLOAD_BYTES: Final = 256
DEFAULT_COMMANDS: Final = 64


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """One load. ``rate`` is transactions per second over the whole network (not of ``market-data``).

    ``speed`` (``market-data``): 1 is real time by the recorded local clock, 0 as fast as the network takes it.
    ``depth_bps``: book levels within so many basis points of the mid. ``files``: recorded streams, or one CSV.
    ``payload_bytes`` (``opaque``): of each command; ``commands_per_batch``: in each transaction, which is one
    record; ``in_flight``: a closed loop with so many transactions in flight on each shard instead of ``rate``.
    ``warm_up_s`` is cut off the measurements.
    """

    workload: str
    duration_s: float = DEFAULT_DURATION_S
    rate: float = DEFAULT_RATE
    files: tuple[Path, ...] = ()
    speed: float = 1.0
    depth_bps: int = DEFAULT_DEPTH_BPS
    actions_per_tx: int = 1
    seed: int = 0
    warm_up_s: float = 2.0
    payload_bytes: int = DEFAULT_PAYLOAD_BYTES
    commands_per_batch: int = DEFAULT_COMMANDS
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Milliseconds from the intended send time to certified."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class LoadSecond:
    """One second of a load, for plots. Latencies are those of what was certified in it; 0 where nothing was."""

    second: int
    submitted: int
    certified: int
    actions: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a load: every transaction ends as certified, failed (refused, or expired) or unknown.

    ``certified`` counts what has a receipt, also one with a failure code. ``details`` holds what one workload
    reports beside (backlog, matched trades, transfers …), JSON-ready; ``series`` is for plots.
    """

    submitted: int
    certified: int
    failed: int
    unknown: int
    tx_per_s: float
    actions_per_s: float
    latency_ms: LatencySummary
    cpu_us_per_action: float
    uss_mb_max: float
    details: Mapping[str, Any] = field(default_factory=dict)
    series: tuple[LoadSecond, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``load --json`` prints; ``series`` is kept for the report and left out here."""
        plain = asdict(self)
        del plain["series"]
        return plain
