"""Our own batches: when they are made, and when another member's leader is asked to hurry.

``BatchMaker`` packs what the mempool holds: at once while nothing is proposed, so that a lone transaction waits for
nobody; else shortly before the next proposal is due, because an earlier batch would only cost every member another
message and another signature; and whenever a batch is full. It stops while half of what peers hold for one author
is unexecuted, so that an honest author is never over quota; the mempool then fills and clients are told.

``CensorshipClock`` times the oldest unexecuted batch of each author. First stage: its body goes to every member,
for the leader may not have it, and again later, for a network that drops may have taken it; of our own batches all
that wait go, up to ``RELAYED_BYTES``, because after a partition nobody else may have any. Second stage: it is
overdue, which the engine takes as a complaint. An author's clock starts again when a full payload took one of its
batches (its turn came, the chain is just busy) and when the view changes (the new leader gets a chance). What does
not live here: the engine's own timers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.committee import Committee
from node.batches import MAX_AUTHOR_BATCHES, MAX_AUTHOR_BYTES, BatchPool, BatchState, HeldBatch
from node.mempool import Mempool
from node.replica_setup import ReplicaLimits
from node.wire import MAX_BATCH_TRANSACTIONS, BatchBody, sign_batch
from primitives.parameters import ProtocolParameters
from primitives.signing import Signer

LEAD_MS: Final = 30
"""How long before the next proposal a batch leaves: time to travel and to be verified on busy cores."""
RELAYED_BYTES: Final = 128 << 10
"""Own bodies relayed at once: half a megabyte a second and peer, while nothing of ours is ordered."""
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
        gap_ms: int,
        first_sequence: int,
    ) -> None:
        """``gap_ms`` lies between two proposals. ``first_sequence`` is above everything used before a restart (a
        wall-clock time will do)."""
        self._committee = committee
        self._signer = signer
        self._index = index
        self._mempool = mempool
        self._pool = pool
        self._max_batch_bytes = parameters.max_batch_bytes
        self._lifetime = max(1, parameters.batch_lifetime_blocks // LIFETIME_SHARE)
        self._flush_ms = limits.flush_ms
        self._gap_ms = gap_ms
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
        self._not_before_ms = max(self._not_before_ms, now_ms + self._gap_ms - LEAD_MS)

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


@dataclass(frozen=True, slots=True)
class CensorshipVerdict:
    """Bodies that everybody should get now, and whether some author has waited through both stages."""

    relay: tuple[HeldBatch, ...]
    overdue: bool


class CensorshipClock:
    """One clock per author."""

    def __init__(self, pool: BatchPool, authors: int, own_index: int, limits: ReplicaLimits) -> None:
        self._pool = pool
        self._own_index = own_index
        self._limits = limits
        self._restarted_ms: list[int | None] = [None] * authors

    def on_block(self, batches: tuple[HeldBatch, ...], is_full: bool, now_ms: int) -> None:
        """A block with these batches was executed. In a full one every author's turn came that had a batch in."""
        if is_full:
            for batch in batches:
                self._restarted_ms[batch.author] = now_ms

    def on_view_changed(self, now_ms: int) -> None:
        """A new leader starts with clean clocks."""
        self._restarted_ms = [now_ms] * len(self._restarted_ms)

    def check(self, now_ms: int) -> CensorshipVerdict:
        """Look at the oldest batch of each author."""
        relay: list[HeldBatch] = []
        overdue = False
        for author, restarted_ms in enumerate(self._restarted_ms):
            oldest = self._pool.oldest(author)
            if oldest is None:
                continue
            since_ms = oldest.received_ms if restarted_ms is None else max(restarted_ms, oldest.received_ms)
            waited_ms = now_ms - since_ms
            if waited_ms >= self._limits.relay_after_ms:
                relay += self._choose_relayed(author, oldest, now_ms)
            overdue = overdue or waited_ms >= self._limits.overdue_after_ms
        return CensorshipVerdict(tuple(relay), overdue)

    def _choose_relayed(self, author: int, oldest: HeldBatch, now_ms: int) -> list[HeldBatch]:
        """The batches of an author that waited long enough and did not go out a moment ago."""
        chosen: list[HeldBatch] = []
        room = RELAYED_BYTES
        for batch in self._pool.of_author(author) if author == self._own_index else (oldest,):
            if now_ms - batch.received_ms < self._limits.relay_after_ms or (chosen and len(batch.frame) > room):
                break
            if batch.relayed_ms is None or now_ms - batch.relayed_ms >= self._limits.overdue_after_ms:
                batch.relayed_ms = now_ms
                room -= len(batch.frame)
                chosen.append(batch)
        return chosen
