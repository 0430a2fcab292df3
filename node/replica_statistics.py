"""What a replica says about itself. Values only; ``Replica.statistics`` fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.engine import WorkLevel
from node.batches import BatchStatistics
from node.catch_up import CatchUpStatistics
from node.mempool import MempoolStatistics


@dataclass(frozen=True, slots=True)
class ReplicaStatistics:
    """A snapshot for the API, the metrics and tests. Counts are since the process started."""

    height: int
    certified_height: int
    certified_wall_ms: int | None
    beacon_height: int
    view: int
    primary: int
    view_changes: int
    slots_in_flight: int
    work_level: WorkLevel
    mempool: MempoolStatistics
    batches: BatchStatistics
    pinned_bodies: int
    catch_up: CatchUpStatistics
    unverified_transactions: int
    verified_transactions: int
    executed_blocks: int
    executed_transactions: int
    unneeded_messages: int
    muted_frames: int
    evidence: int
    evidence_recorded: int
    is_halted: bool
    refused: Mapping[str, Mapping[str, int]]
