"""What a replica says about itself, and collecting it from the components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.engine import WorkLevel
from node.batches import BatchStatistics
from node.catch_up import CatchUpStatistics
from node.components import Components
from node.mempool import MempoolStatistics
from node.snapshot import SnapshotStatistics


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
    snapshot: SnapshotStatistics
    unverified_transactions: int
    verified_transactions: int
    executed_blocks: int
    executed_transactions: int
    unneeded_messages: int
    muted_frames: int
    evidence: int
    evidence_recorded: int
    is_abstaining: bool
    abstains_until: int
    is_halted: bool
    refused: Mapping[str, Mapping[str, int]]


def collect_statistics(
    parts: Components,
    certified_wall_ms: int | None,
    work_level: WorkLevel,
    muted_frames: int,
    *,
    is_halted: bool,
) -> ReplicaStatistics:
    """The snapshot; what the components do not know is given."""
    engine = parts.driver.statistics()
    return ReplicaStatistics(
        height=parts.executor.height,
        certified_height=parts.certifier.height,
        certified_wall_ms=certified_wall_ms,
        beacon_height=parts.link.height,
        view=engine.view,
        primary=engine.primary,
        view_changes=engine.view_changes,
        slots_in_flight=engine.slots_in_flight,
        work_level=work_level,
        mempool=parts.mempool.statistics(),
        batches=parts.pool.statistics(),
        pinned_bodies=parts.pins.body_count,
        catch_up=parts.catch_up.statistics(),
        unverified_transactions=parts.verification.queued,
        verified_transactions=parts.verification.verified_total,
        executed_blocks=parts.executor.executed_blocks,
        executed_transactions=parts.executor.executed_transactions,
        unneeded_messages=parts.driver.unneeded,
        muted_frames=muted_frames,
        evidence=parts.evidence.count,
        evidence_recorded=parts.evidence.recorded_count,
        is_abstaining=not parts.abstention.has_engine,
        abstains_until=parts.abstention.until_height,
        is_halted=is_halted,
        refused=parts.peers.refused(),
        snapshot=parts.snapshots.statistics(),
    )
