"""From mempool to pool: when our own batches are made, and what leaves both once it is ordered.

``BatchMaker`` packs what the mempool holds: at once while nothing is proposed, so that a lone transaction waits for
nobody; else shortly before the next proposal is due, because an earlier batch would only cost every member another
message and another signature; and whenever a batch is full. It stops while half of what peers hold for one author
is unexecuted, so that an honest author is never over quota; the mempool then fills and clients are told.

What does not live here: when a leader is asked to hurry (``node.censorship``).
"""

from __future__ import annotations

from typing import Final

from consensus.committee import Committee
from node.batches import MAX_AUTHOR_BATCHES, MAX_AUTHOR_BYTES, BatchPool, BatchState, HeldBatch
from node.mempool import Mempool
from node.pacing import Pacing
from node.replica_setup import ReplicaLimits
from node.wire import MAX_BATCH_TRANSACTIONS, BatchBody, sign_batch
from primitives.parameters import ProtocolParameters
from primitives.signing import Signer

LEAD_MS: Final = 30
"""How long before the next proposal a batch leaves: time to travel and to be verified on busy cores."""
LIFETIME_SHARE: Final = 2
"""Our batches live half of what is allowed: a member some blocks behind us must not find them too long-lived."""


class BatchMaker:
    """Makes the batches of one author."""

    def __init__(
        self,
        committee: Committee,
        signer: Signer,
        index: int,
        mempool: Mempool,
        pool: BatchPool,
        parameters: ProtocolParameters,
        limits: ReplicaLimits,
        pacing: Pacing,
        first_sequence: int,
    ) -> None:
        """``first_sequence`` is above everything used before a restart (a wall-clock time will do)."""
        self._committee = committee
        self._signer = signer
        self._index = index
        self._mempool = mempool
        self._pool = pool
        self._max_batch_bytes = parameters.max_batch_bytes
        self._lifetime = max(1, parameters.batch_lifetime_blocks // LIFETIME_SHARE)
        self._flush_ms = limits.flush_ms
        self._pacing = pacing
        self._sequence = first_sequence
        self._not_before_ms = 0

    @property
    def is_blocked(self) -> bool:
        """Whether so much of ours is unexecuted that nothing more may leave."""
        batches, size = self._pool.author_load(self._index)
        return batches >= MAX_AUTHOR_BATCHES // 2 or size >= MAX_AUTHOR_BYTES // 2

    def compute_delay(self, now_ms: int) -> int | None:
        """Milliseconds until a batch should leave, 0 for now, ``None`` while there is nothing to send or we are
        blocked (executing a block unblocks)."""
        if not self._mempool.pending_count or self.is_blocked:
            return None
        if self._mempool.pending_bytes >= self._max_batch_bytes:
            return 0
        return max(0, self._not_before_ms - now_ms)

    def note_proposal(self, now_ms: int) -> None:
        """Somebody proposed: the next chance is a gap away."""
        self._not_before_ms = max(self._not_before_ms, now_ms + self._pacing.gap_ms - LEAD_MS)

    def make(self, height: int, now_ms: int) -> HeldBatch | None:
        """The next batch, held in the pool; ``height`` is the last executed. ``None`` with nothing to pack."""
        if self.is_blocked:
            return None
        taken = self._mempool.take(self._max_batch_bytes, MAX_BATCH_TRANSACTIONS)
        if not taken:
            return None
        self._not_before_ms = max(self._not_before_ms, now_ms + self._flush_ms)
        self._sequence += 1
        body = BatchBody(self._index, self._sequence, height + self._lifetime, tuple([data for _, data in taken]))
        digest, frame = sign_batch(self._committee, self._signer, body)
        batch = HeldBatch(digest, body, frame, now_ms)
        batch.transactions = [transaction for transaction, _ in taken]
        batch.state = BatchState.VERIFIED
        self._pool.hold(batch)
        return batch


def settle_block(pool: BatchPool, mempool: Mempool, batches: tuple[HeldBatch, ...], height: int) -> None:
    """The block at ``height`` was executed: its batches and the expired ones leave pool and mempool."""
    for batch in batches:
        pool.mark_executed(batch, height)
        mempool.settle([transaction.id for transaction in batch.transactions])
    for batch in pool.expire(height):
        mempool.expire([transaction.id for transaction in batch.transactions])
