"""Executing what catch-up verified: one block at a time, through the same ``apply`` as decided payloads.

What does not live here: asking and verifying (``node.catch_up``), applying (``node.executor``, ``node.replica``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from consensus.certificate import Certificate
from node.batches import BatchState, HeldBatch
from node.catch_up import VerifiedBlock
from node.components import Components
from node.effects_draft import EffectsDraft
from node.executor import Diverged, ResolvedPayload
from primitives.codec import encode
from primitives.errors import RemoteError


class RangeExecutor:
    """Takes verified blocks from ``CatchUp`` in order."""

    def __init__(self, parts: Components, apply: Callable[[ResolvedPayload, EffectsDraft, int], None]) -> None:
        """``apply`` executes the next height."""
        self._parts = parts
        self._apply = apply
        self._awaited_beacon_height = 0

    @property
    def busy(self) -> bool:
        """Whether ``execute_next`` has something to do now."""
        parts = self._parts
        if not parts.catch_up.has_next(parts.executor.height):
            return False
        return not parts.link.follows or parts.link.height >= self._awaited_beacon_height

    def execute_next(self, draft: EffectsDraft, now_ms: int) -> None:
        """Verify a segment, or execute one block of it. Raises ``Diverged``."""
        parts = self._parts
        executed = parts.executor.height
        if not self.busy:
            return
        block, liar = parts.catch_up.take_next(executed, parts.executor.tip_hash, now_ms)
        if liar is not None:
            error = RemoteError("BAD_RANGE", "blocks that no certificate covers", penalise=True)
            parts.peers.refuse(parts.peers.members[liar], error, now_ms)
        if block is None:
            return
        if not parts.executor.can_apply(block.payload):
            self._awaited_beacon_height = parts.executor.compute_beacon_height(block.payload)
            parts.link.on_awaited(self._awaited_beacon_height, parts.peers.own_index, draft, now_ms)
            return
        self._execute(block, draft, now_ms)

    def _execute(self, block: VerifiedBlock, draft: EffectsDraft, now_ms: int) -> None:
        """A certificate proves the block, so signatures of clients are not looked at again."""
        parts = self._parts
        self._take_certificates(block.certificate, parts.catch_up.covering)
        try:
            batches = tuple([self._open_batch(batch) for batch in block.batches])
        except RemoteError as error:
            raise Diverged(
                f"certified block {block.header.height} is invalid here: {error}", (encode(block.header),)
            ) from None
        resolved = ResolvedPayload(block.header.payload_digest, block.data, block.payload, batches)
        self._apply(resolved, draft, now_ms)
        if parts.executor.tip_hash != block.hash:
            raise Diverged(
                f"executing certified block {block.header.height} gave another header",
                (encode(block.header), encode(parts.executor.tip)),
            )

    def _take_certificates(self, own: Certificate | None, covering: Certificate | None) -> None:
        """The one that covers the block, verified before, and its own, which is welcome but need not be good."""
        assert covering is not None, "a block of catch-up is covered by a certificate"
        certifier = self._parts.certifier
        certifier.on_certificate(covering)
        if own is not None:
            with contextlib.suppress(RemoteError):
                certifier.on_certificate(own)

    def _open_batch(self, batch: HeldBatch) -> HeldBatch:
        """The pool's own object where it has this batch, so that it leaves pool and verification when executed."""
        known = self._parts.pool.find(batch.digest) or batch
        if known.state is not BatchState.VERIFIED:
            self._parts.verification.accept_proven(known)
        return known
