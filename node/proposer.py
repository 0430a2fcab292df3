"""Building payloads when the engine wishes for one: what goes in, and when.

Theory of operation. The engine's open ``BuildPayload`` is answered when there is something to order and pacing
allows it:

- with a slot in flight below (decided but not executed counts), only by a *full* payload;
- else ``gap_ms`` after the last proposal, ours or another's, or at once when the chain was idle for so long, or
  when the payload is full.

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
        gap_ms: int,
        wall: Callable[[], int],
    ) -> None:
        self._committee = committee
        self._maker = maker
        self._pool = pool
        self._beacon = beacon
        self._parameters = parameters
        self._gap_ms = gap_ms
        self._wall = wall
        self._wish: BuildPayload | None = None
        self._last_proposal_ms: int | None = None
        self._looked_ms: int | None = None

    @property
    def wish(self) -> BuildPayload | None:
        """The open wish."""
        return self._wish

    def open(self, wish: BuildPayload) -> None:
        """The engine wants a payload; replaces an older wish."""
        self._wish = wish
        self._looked_ms = None

    def cancel(self, ticket: int) -> None:
        """It does not want this one any more."""
        if self._wish is not None and self._wish.ticket == ticket:
            self._wish = None

    def note_proposal(self, now_ms: int) -> None:
        """Somebody proposed; pacing counts from it."""
        self._last_proposal_ms = now_ms
        self._maker.note_proposal(now_ms)

    def compute_delay(self, executed_height: int, now_ms: int) -> int | None:
        """Milliseconds until ``build`` may have an answer because of time alone; ``None`` while it cannot."""
        if self._wish is None:
            return None
        if self._wish.slot - 1 > executed_height:
            return RETRY_FULL_MS if self._pool.may_fill(self._parameters.max_payload_bytes) else None
        if self._last_proposal_ms is None:
            return 0
        return max(0, self._last_proposal_ms + self._gap_ms - now_ms)

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
        wish = self._wish
        if wish is None or wish.slot <= executed_height:
            return None
        max_bytes = self._parameters.max_payload_bytes
        in_flight = wish.slot - 1 > executed_height
        is_due = not in_flight and self.compute_delay(executed_height, now_ms) == 0
        if not is_due:
            if not self._pool.may_fill(max_bytes) or self._looked_ms == now_ms // RETRY_FULL_MS:
                return None
            self._looked_ms = now_ms // RETRY_FULL_MS
        excluded = find_excluded(wish.ancestors)
        fresh = self._maker.make(executed_height, now_ms) if is_due else None
        first = wish.slot % self._committee.size
        selection = self._pool.select(first, excluded.keys(), max_bytes, wish.slot)
        if not is_due and not selection.is_full:
            return None
        if not selection.batches and not application_wants:
            if not wish.allow_null:
                return None
            return self._answer(wish, NULL_PAYLOAD, (), None, now_ms)
        inline = [fresh] if fresh in selection.batches and len(fresh.frame) <= MAX_INLINE_BYTES else []
        beacon_height = self._beacon.height if self._beacon.follows else 0
        data = build_payload(self._wall(), beacon_height, selection.batches, inline)
        return self._answer(wish, data, selection.batches, None if inline else fresh, now_ms)

    def _answer(
        self,
        wish: BuildPayload,
        data: bytes,
        batches: tuple[HeldBatch, ...],
        unsent: HeldBatch | None,
        now_ms: int,
    ) -> BuiltPayload:
        self._wish = None
        self.note_proposal(now_ms)
        return BuiltPayload(wish, data, batches, unsent)
