"""Batches on arrival: identified, checked against quota and signature, queued for verification.

What does not live here: our own batches (``node.dissemination``), which payload needs which (``node.obtaining``).
"""

from __future__ import annotations

from consensus.committee import Committee
from node.application import Application
from node.batches import BatchPool, HeldBatch
from node.chain import Chain
from node.verification import VerificationQueue
from node.wire import (
    SignedBatch,
    compute_batch_digest,
    decode_batch_body,
    decode_signed_batch,
    verify_batch_signature,
)
from primitives.errors import LocalError, RemoteError
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme


class BatchReceiver:
    """Takes batches into the pool."""

    def __init__(
        self,
        committee: Committee,
        scheme: SignatureScheme,
        application: Application,
        pool: BatchPool,
        chain: Chain,
        verification: VerificationQueue,
        parameters: ProtocolParameters,
    ) -> None:
        self._committee = committee
        self._scheme = scheme
        self._application = application
        self._pool = pool
        self._chain = chain
        self._verification = verification
        self._lifetime = parameters.batch_lifetime_blocks

    def identify(self, batch: SignedBatch) -> bytes:
        """The digest."""
        return compute_batch_digest(self._committee, batch.body)

    def take_offered(
        self, digest: bytes, batch: SignedBatch, frame: bytes, executed_height: int, now_ms: int
    ) -> None:
        """A batch that somebody sent on his own account; raises ``RemoteError``. Nothing is said about one that we
        know, or that a block holds already."""
        if self._pool.find(digest) is not None or self._application.remembers_batch(digest):
            return
        body = decode_batch_body(batch, self._committee)
        if not executed_height < body.expiry_height <= executed_height + self._lifetime:
            # Asked of the chain only here. Nearly every batch is new, and LevelDB compacts tables in which it was
            # often asked for what is not there.
            if self._chain.get_body(digest) is not None:
                return
            raise RemoteError("BAD_EXPIRY", f"a batch that expires at {body.expiry_height}")
        self._pool.validate_quota(body.author, len(frame))
        verify_batch_signature(batch, digest, body.author, self._committee, self._scheme)
        held = HeldBatch(digest, body, frame, now_ms)
        self._pool.hold(held)
        self._verification.add_batch(held)

    def take_wanted(self, digest: bytes, batch: SignedBatch, frame: bytes, now_ms: int) -> None:
        """A batch that a payload in flight names: no quota, no age, and wanted even where it was executed before
        and its body is pruned; raises ``RemoteError``."""
        if self._is_known(digest):
            return
        body = decode_batch_body(batch, self._committee)
        verify_batch_signature(batch, digest, body.author, self._committee, self._scheme)
        held = HeldBatch(digest, body, frame, now_ms)
        self._pool.hold(held)
        self._verification.add_urgent(held)

    def take_inline(self, digest: bytes, batch: SignedBatch, frame: bytes, now_ms: int) -> None:
        """A body inside a payload; raises ``RemoteError``, which makes the payload invalid. So its signature is
        looked at even where we hold the body under another one: the verdict must not depend on what we hold."""
        known = self._pool.find(digest)
        if known is not None and known.frame == frame:
            return
        body = decode_batch_body(batch, self._committee)
        verify_batch_signature(batch, digest, body.author, self._committee, self._scheme)
        if self._is_known(digest):
            return
        held = HeldBatch(digest, body, frame, now_ms)
        self._pool.hold(held)
        self._verification.add_urgent(held)

    def _is_known(self, digest: bytes) -> bool:
        """Held, or in a block: what was executed must not wait in the pool again, where nobody would order it."""
        return self._pool.find(digest) is not None or self._chain.get_body(digest) is not None

    def recall(self, digest: bytes, now_ms: int) -> HeldBatch | None:
        """A batch of an earlier block, from the chain store: a quorum verified it then."""
        frame = self._chain.get_body(digest)
        return None if frame is None else self.restore(digest, frame, now_ms)

    def restore(self, digest: bytes, frame: bytes, now_ms: int) -> HeldBatch:
        """A batch that we verified before, from our own store or log."""
        try:
            batch = decode_signed_batch(frame)
            if compute_batch_digest(self._committee, batch.body) != digest:
                raise LocalError("a stored batch is not the one that its key names")
            held = HeldBatch(digest, decode_batch_body(batch, self._committee), frame, now_ms)
            self._verification.accept_proven(held)
        except RemoteError as error:
            raise LocalError(f"a stored batch is damaged: {error}") from None
        return held
