"""Building payloads when the engine wishes for one: what goes in, and when.

Theory of operation. The engine's open ``BuildPayload`` is answered when there is something to order and pacing
allows it:

- with a slot in flight below (decided but not executed counts), only by a *full* payload;
- else a gap after the last proposal (``node.pacing``), ours or another's, or at once when the chain was idle for so
  long, or when the payload is full;
- where null is allowed, at once: the engine proposes something in any case, to commit what is below. What waits
  goes in once the gap has passed, with slots in flight as well, for it costs nobody another view.

What our mempool holds at that moment rides inside the proposal where it fits 32 KiB, and so needs no message of its
own. What does not live here: pinning and answering (``node.replica``), validity (``node.payload``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.committee import Committee
from consensus.engine import NULL_PAYLOAD, BuildPayload
from node.batches import BatchPool, HeldBatch
from node.dissemination import BatchMaker
from node.executor import BeaconView
from node.pacing import Pacing
from node.payload import MAX_INLINE_BYTES, build_payload
from primitives.parameters import ProtocolParameters

RETRY_FULL_MS: Final = 10
"""With a slot in flight, how often it is looked whether a full payload came together."""


@dataclass(frozen=True, slots=True)
class BuiltPayload:
    """The answer to a wish. ``unsent`` is the batch made for it, if that is not inside."""

    wish: BuildPayload
    data: bytes
    batches: tuple[HeldBatch, ...]
    unsent: HeldBatch | None


class Proposer:
    """Holds the engine's one open wish."""

    def __init__(
        self,
        committee: Committee,
        maker: BatchMaker,
        pool: BatchPool,
        beacon: BeaconView,
        parameters: ProtocolParameters,
        pacing: Pacing,
        wall: Callable[[], int],
    ) -> None:
        self._committee = committee
        self._maker = maker
        self._pool = pool
        self._beacon = beacon
        self._parameters = parameters
        self._pacing = pacing
        self._wall = wall
        self.wish: BuildPayload | None = None
        """The open wish."""
        self._last_proposal_ms: int | None = None
        self._looked_ms: int | None = None

    def open(self, wish: BuildPayload) -> None:
        """The engine wants a payload; replaces an older wish."""
        self.wish = wish
        self._looked_ms = None

    def cancel(self, ticket: int) -> None:
        """It does not want this one any more."""
        if self.wish is not None and self.wish.ticket == ticket:
            self.wish = None

    def note_proposal(self, now_ms: int) -> None:
        """Somebody proposed; pacing counts from it."""
        self._last_proposal_ms = now_ms
        self._maker.note_proposal(now_ms)

    def compute_delay(self, executed_height: int, now_ms: int) -> int | None:
        """Milliseconds until ``build`` may have an answer because of time alone; ``None`` while it cannot."""
        if self.wish is None:
            return None
        if self.wish.slot - 1 > executed_height:
            return RETRY_FULL_MS if self._pool.may_fill(self._parameters.max_payload_bytes) else None
        return self._compute_gap(now_ms)

    def build(
        self,
        executed_height: int,
        find_excluded: Callable[[tuple[bytes, ...]], dict[bytes, None]],
        application_wants: bool,
        now_ms: int,
    ) -> BuiltPayload | None:
        """The answer to the open wish, if its time has come; closes the wish.

        ``find_excluded`` names the batches of the payloads in flight; ``application_wants`` a block even where
        there is no batch.
        """
        wish = self.wish
        if wish is None or wish.slot <= executed_height:
            return None
        max_bytes = self._parameters.max_payload_bytes
        in_flight = wish.slot - 1 > executed_height
        is_due = (wish.allow_null or not in_flight) and self._compute_gap(now_ms) == 0
        if not is_due:
            may_fill = self._pool.may_fill(max_bytes) and self._looked_ms != now_ms // RETRY_FULL_MS
            if not may_fill:
                return self._answer_null(wish)
            self._looked_ms = now_ms // RETRY_FULL_MS
        excluded = find_excluded(wish.ancestors)
        fresh = self._maker.make(executed_height, now_ms) if is_due else None
        first = wish.slot % self._committee.size
        selection = self._pool.select(first, excluded.keys(), max_bytes, wish.slot)
        # The block that the application wants may be in flight already.
        is_wanted = bool(selection.batches) or (application_wants and not in_flight)
        if not is_wanted or not (is_due or selection.is_full):
            return self._answer_null(wish)
        inline = [fresh] if fresh in selection.batches and len(fresh.frame) <= MAX_INLINE_BYTES else []
        beacon_height = self._beacon.height if self._beacon.follows else 0
        data = build_payload(self._wall(), beacon_height, selection.batches, inline)
        return self._answer(wish, data, selection.batches, None if inline else fresh, now_ms)

    def _compute_gap(self, now_ms: int) -> int:
        if self._last_proposal_ms is None:
            return 0
        return self._pacing.compute_wait(now_ms - self._last_proposal_ms)

    def _answer_null(self, wish: BuildPayload) -> BuiltPayload | None:
        """No pacing counts from it: it orders nothing."""
        if not wish.allow_null:
            return None
        self.wish = None
        return BuiltPayload(wish, NULL_PAYLOAD, (), None)

    def _answer(
        self,
        wish: BuildPayload,
        data: bytes,
        batches: tuple[HeldBatch, ...],
        unsent: HeldBatch | None,
        now_ms: int,
    ) -> BuiltPayload:
        self.wish = None
        self.note_proposal(now_ms)
        return BuiltPayload(wish, data, batches, unsent)
