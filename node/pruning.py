"""Pruning: payloads, bodies and receipts of old blocks go, a few at a time; headers and certificates stay.

Theory of operation. A block goes once it lies more than ``keep_blocks`` below the certified height, and nobody can
need it any more:

- a member that joins by a snapshot that we offer needs every block above it;
- a shard submits what is not registered yet, with its outbox (``BeaconLink.compute_prune_limit``);
- followers of the beacon take messages out of its payloads (the same).

What is pinned, uncertified or in flight lies above the certified height anyway. A body that a later block names too
stays until that one goes. With a block go its payload, its bodies, its receipts with their index and its outbox
leaves: what can be computed again from nothing but the blocks themselves. Header, certificate and summary stay, so
the chain can be verified from its first block on, and so do notices about transfers. The floor is written in the
same batch, so a crash leaves no block half pruned.

What does not live here: who is told (``node.range_server``, ``node.node_service``).
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from consensus.engine import NULL_PAYLOAD, Record
from node.chain import Chain, read_payload
from node.chain_records import BODY, LAST_USE, OUTBOX, PAYLOAD, RECEIPTS, TRANSACTION, build_floor_record
from node.effects_draft import EffectsDraft
from node.events import StoreWrite

PRUNED_BLOCKS: Final = 8
"""In one step."""
PRUNED_RECORDS: Final = 1_000
"""After so many a step ends: some 2 ms. One full block may have a few more."""


class Pruner:
    """Deletes blocks from the oldest up."""

    def __init__(self, chain: Chain, keep_blocks: int | None) -> None:
        """``keep_blocks`` of ``None`` keeps everything. From ``floor_height`` on, every block is whole."""
        self._chain = chain
        self._keep_blocks = keep_blocks
        self._next = 1
        self._target = 0
        self._has_more = True
        self.floor_height = chain.floor_height()
        self.pruned = 0

    @property
    def is_busy(self) -> bool:
        """Whether ``step`` has something to do."""
        return self._keep_blocks is not None and self._has_more and self._next <= self._target

    def set_limit(self, certified_height: int, needed_above: int) -> None:
        """How far the chain has come, and above which height it is still needed."""
        if self._keep_blocks is None:
            return
        target = min(certified_height - self._keep_blocks, needed_above)
        if target > self._target:
            self._target = target
            self._has_more = True

    def step(self, draft: EffectsDraft) -> None:
        """Delete a few blocks."""
        if not self.is_busy:
            return
        records: list[Record] = []
        count = 0
        for height, payload in islice(self._chain.scan_payloads(self._next, self._target), PRUNED_BLOCKS):
            records += _build_pruning_records(self._chain, height, payload)
            self._next = height + 1
            count += 1
            if len(records) >= PRUNED_RECORDS:
                break
        if not count:
            self._next = self._target + 1
            self._has_more = False
            return
        self.pruned += count
        self.floor_height = max(self._next, self.floor_height)
        records.append(build_floor_record(self.floor_height))
        draft.writes.append(StoreWrite(tuple(records)))


def _build_pruning_records(chain: Chain, height: int, payload: bytes) -> list[Record]:
    """What goes with the block at ``height``, whose payload is given: everything but header, certificate, summary
    and what a later block names too."""
    suffix = height.to_bytes(8, "big")
    records = [Record(PAYLOAD + suffix, None), Record(RECEIPTS + suffix, None), Record(OUTBOX + suffix, None)]
    records.extend([Record(TRANSACTION + pair[0] + suffix, None) for pair in chain.get_receipts(height)])
    if payload == NULL_PAYLOAD:
        return records
    for reference in read_payload(payload).batches:
        if chain.last_use_of(reference.digest) == height:
            records += [Record(BODY + reference.digest, None), Record(LAST_USE + reference.digest, None)]
    return records
