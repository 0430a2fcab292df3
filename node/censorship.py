"""Whether the leader leaves somebody's batches out: one clock for each author.

``CensorshipClock`` times the oldest unexecuted batch of each author. First stage: its body goes to every member,
for the leader may not have it, and again later, for a network that drops may have taken it; of our own batches all
that wait go, up to ``RELAYED_BYTES``, because after a partition nobody else may have any. Second stage: it is
overdue, which the engine takes as a complaint. An author's clock starts again when a full payload took one of its
batches (its turn came, the chain is just busy) and when the leader changes (the new one gets a chance).

Each change of leader also doubles our patience, which halves again as time passes: the machines may be slower than
was assumed, and leaders who do what they can must not be replaced one after the other for it. All members see the
same changes, and so have nearly the same patience: one that complained long before the others would only keep
itself from voting. Where leaders rotate while all is well, nobody's turn lasts so long, and the engine's own timers
judge them; they do not live here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.batches import BatchPool, HeldBatch
from node.replica_setup import ReplicaLimits

RELAYED_BYTES: Final = 128 << 10
"""Own bodies relayed at once: half a megabyte a second and peer, while nothing of ours is ordered."""
MAX_PATIENCE: Final = 8
"""Times ``overdue_after_ms``."""
HALF_LIFE_MS: Final = 120_000


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
        self._patience = 1
        self._leader_changed_ms = 0

    def on_block(self, batches: tuple[HeldBatch, ...], is_full: bool, now_ms: int) -> None:
        """A block with these batches was executed. In a full one every author's turn came that had a batch in."""
        if is_full:
            for batch in batches:
                self._restarted_ms[batch.author] = now_ms

    def on_leader_changed(self, now_ms: int) -> None:
        """The new one starts with clean clocks, and with more time."""
        self._restarted_ms = [now_ms] * len(self._restarted_ms)
        self._patience = min(MAX_PATIENCE, 2 * self._compute_patience(now_ms))
        self._leader_changed_ms = now_ms

    def check(self, now_ms: int) -> CensorshipVerdict:
        """Look at the oldest batch of each author."""
        relay: list[HeldBatch] = []
        overdue = False
        overdue_after_ms = self._compute_patience(now_ms) * self._limits.overdue_after_ms
        for author, restarted_ms in enumerate(self._restarted_ms):
            oldest = self._pool.oldest(author)
            if oldest is None:
                continue
            since_ms = oldest.received_ms if restarted_ms is None else max(restarted_ms, oldest.received_ms)
            waited_ms = now_ms - since_ms
            if waited_ms >= self._limits.relay_after_ms:
                relay += self._choose_relayed(author, oldest, now_ms)
            overdue = overdue or waited_ms >= overdue_after_ms
        return CensorshipVerdict(tuple(relay), overdue)

    def _compute_patience(self, now_ms: int) -> int:
        return max(1, self._patience >> (now_ms - self._leader_changed_ms) // HALF_LIFE_MS)

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
