"""What there is to do, as the engine is told of it: by the application, the mempool, what waits, others' wishes.

What does not live here: telling the engine (``node.replica``), the censorship clock (``node.censorship``).
"""

from __future__ import annotations

from consensus.engine import WorkLevel
from crosslink.block import Readiness
from node.components import Components


class WorkGauge:
    """Measures the work of one replica. What is wanted apart from transactions is looked at now and then only."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._last_block_wall_ms = parts.wall()
        self.readiness = Readiness.IDLE
        """What is wanted apart from transactions, as of the last ``update_readiness``."""
        self.is_overdue = False
        """The censorship clock's: something waits for too long."""
        self.told = WorkLevel.IDLE
        """What the engine was told last."""

    def note_block(self) -> None:
        """A block was executed."""
        self._last_block_wall_ms = self._parts.wall()

    def update_readiness(self, view: int, now_ms: int) -> None:
        """Ask the application, and look at what others wish for."""
        parts = self._parts
        if parts.executor.height == 0 and parts.peers.has_quorum:
            # The first block shows that the committee lives, before any client needs it. Wanting it before a quorum
            # can hear us would only start view changes.
            self.readiness = Readiness.PENDING
            return
        self.readiness = max(
            parts.application.readiness(parts.wall(), self._last_block_wall_ms),
            parts.recollection.compute_readiness(parts.certifier.height, view, now_ms),
        )

    def measure(self) -> WorkLevel:
        """Work is pending until it is certified, not until it is decided."""
        parts = self._parts
        executed = parts.executor.height
        is_pending = (
            len(parts.mempool) > 0
            or parts.pool.candidate_count > 0
            or executed > parts.certifier.height
            or self.readiness is not Readiness.IDLE
            or parts.obtaining.has_decided(executed)
        )
        if not is_pending:
            return WorkLevel.IDLE
        return WorkLevel.OVERDUE if self.is_overdue or self.readiness is Readiness.OVERDUE else WorkLevel.PENDING
