"""Validity: what is certified was asked for by somebody, once.

For honest members, per user shard: the payload in the store is the one that the header names; every receipt is of
a transaction that a client sent, or the block's own; no command of the toy application is applied twice. What does
not live here: money (``money``), agreement about it (``agreement``).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from node.chain import Chain
from node.events import BlockCertified
from primitives.identifiers import BEACON_SHARD
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost

_PAYLOAD_TAG: Final = b"rialto/payload"
_BLOCK_RECEIPT_TAG: Final = b"rialto/block-receipt"
"""Under which a venue files what happened in a block besides its transactions."""


class ValidityChecker(Checker):
    """All user shards of a world."""

    name = "validity"

    def __init__(self, verdicts: Verdicts, is_known: Callable[[int, bytes], bool], applied: bytes | None) -> None:
        """``is_known`` says whether a client of a shard sent this transaction. ``applied`` is the receipt of what
        took effect, where the application has one that says so."""
        super().__init__(verdicts)
        self._is_known = is_known
        self._applied = applied
        self._heights: dict[int, int] = {}
        self._effective: set[tuple[int, bytes]] = set()

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None:
        shard, height = host.member.shard, block.header.height
        payload = Chain(host.disk.store).get_payload(height)
        if payload is None or _hash_tagged(_PAYLOAD_TAG, payload) != block.header.payload_digest:
            self.fail(host.name, f"has not the payload that the header of {height} names")
        if shard != BEACON_SHARD and height > self._heights.get(shard, 0):
            # All members have the same block there; the checker of agreement sees to that.
            self._heights[shard] = height
            position = (block.header.chain, shard.to_bytes(2, "big"), height.to_bytes(8, "big"))
            block_receipt = _hash_tagged(_BLOCK_RECEIPT_TAG, *position)
            for transaction, receipt in block.receipts:
                if transaction != block_receipt:
                    self.take_receipt(shard, transaction, receipt)

    def take_receipt(self, shard: int, transaction: bytes, receipt: bytes) -> None:
        """A certified receipt, seen for the first time."""
        where = f"shard {shard}"
        if not self._is_known(shard, transaction):
            self.fail(where, f"certified transaction {transaction.hex()[:16]}, which nobody sent")
        if receipt == self._applied:
            if (shard, transaction) in self._effective:
                self.fail(where, f"applied transaction {transaction.hex()[:16]} twice")
            self._effective.add((shard, transaction))


def _hash_tagged(tag: bytes, *parts: bytes) -> bytes:
    """From the definition of the format, not through its own function."""
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return sha256(bytes([len(tag)]) + tag + framed).digest()
