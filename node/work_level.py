"""What there is to do, as the engine is told of it: by the application, the mempool, what waits, others' wishes.

Pure sums over a replica's components. What does not live here: telling the engine (``node.replica``).
"""

from __future__ import annotations

from consensus.engine import WorkLevel
from crosslink.block import Readiness
from node.components import Components


def compute_readiness(parts: Components, view: int, last_block_wall_ms: int, now_ms: int) -> Readiness:
    """What is wanted apart from transactions."""
    if parts.executor.height == 0 and parts.peers.has_quorum:
        # The first block shows that the committee lives, before any client needs it. Wanting it before a quorum can
        # hear us would only start view changes.
        return Readiness.PENDING
    return max(
        parts.application.readiness(parts.wall(), last_block_wall_ms),
        parts.recollection.compute_readiness(parts.certifier.height, view, now_ms),
    )


def compute_work_level(parts: Components, readiness: Readiness, *, is_overdue: bool) -> WorkLevel:
    """Work is pending until it is certified, not until it is decided. ``is_overdue`` is the censorship clock's."""
    executed = parts.executor.height
    is_pending = (
        len(parts.mempool) > 0
        or parts.pool.candidate_count > 0
        or executed > parts.certifier.height
        or readiness is not Readiness.IDLE
        or parts.obtaining.has_decided(executed)
    )
    if not is_pending:
        return WorkLevel.IDLE
    return WorkLevel.OVERDUE if is_overdue or readiness is Readiness.OVERDUE else WorkLevel.PENDING
