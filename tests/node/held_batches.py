"""Verified batches out of thin air, for what only counts and orders them."""

from __future__ import annotations

from node.batches import BatchState, HeldBatch
from node.wire import BatchBody


def make_batch(author: int, number: int, *, size: int = 100, expiry: int = 100, received_ms: int = 0) -> HeldBatch:
    body = BatchBody(author, number, expiry, (bytes(size),))
    digest = author.to_bytes(1, "big") + number.to_bytes(31, "big")
    batch = HeldBatch(digest, body, bytes(size), received_ms)
    batch.state = BatchState.VERIFIED
    return batch
