"""Serving what others lack: ranges of certified blocks, bodies, payloads. Bounded in size and rate per peer.

What does not live here: asking (``node.catch_up``, ``node.obtaining``).
"""

from __future__ import annotations

from typing import Final

from consensus.engine import NULL_PAYLOAD
from node.chain import Chain
from node.members import Member
from node.payload import decode_payload
from node.rate_limit import TokenBucket, Toll
from node.wire import MAX_RANGE_BLOCKS, RangeBlock, RangeRequest, RangeResponse
from primitives.errors import RemoteError

RANGE_BYTES: Final = 1 << 20
"""A response stops after the block that exceeds this: about 100 ms of a 100 Mbit/s link."""
REQUEST_COST_BYTES: Final = 1 << 10
"""What a request costs even if nothing is found."""
SERVED_BYTES_PER_S: Final = 16 << 20
SERVED_BURST_BYTES: Final = 16 << 20
"""What one peer may take from us; a member far behind still gets over a thousand blocks a second."""


class ServingBudget:
    """How much each peer may still take."""

    def __init__(self, bytes_per_s: int = SERVED_BYTES_PER_S, burst_bytes: int = SERVED_BURST_BYTES) -> None:
        self._bytes_per_s = bytes_per_s
        self._burst_bytes = burst_bytes
        self._buckets: dict[Member, TokenBucket] = {}

    def covers(self, member: Member, size_bytes: int, now_ms: int) -> bool:
        """Whether ``charge`` would pass; charges nothing."""
        return self._find(member, now_ms).covers(now_ms, size_bytes)

    def charge(self, member: Member, size_bytes: int, now_ms: int) -> None:
        """Raise ``RemoteError`` (``TOO_MANY_REQUESTS``) where ``member`` took too much."""
        if self._find(member, now_ms).take(now_ms, size_bytes) is not Toll.PASS:
            raise RemoteError("TOO_MANY_REQUESTS", "asks for more than its share")

    def _find(self, member: Member, now_ms: int) -> TokenBucket:
        bucket = self._buckets.get(member)
        if bucket is None:
            bucket = self._buckets[member] = TokenBucket(
                rate_per_s=self._bytes_per_s, burst=self._burst_bytes, now_ms=now_ms
            )
        return bucket


def read_range(chain: Chain, request: RangeRequest, certified_height: int) -> RangeResponse:
    """As many blocks as fit, the last one with its own certificate; none where we have none, and where that is
    because they are pruned, the floor in the answer says so."""
    blocks: list[RangeBlock] = []
    size = 0
    stop = min(certified_height, request.first + MAX_RANGE_BLOCKS - 1)
    certified_count = 0
    for height in range(max(1, request.first), stop + 1):
        block = _read_block(chain, height)
        if block is None:
            break
        blocks.append(block)
        size += len(block.payload) + sum([len(body) for body in block.bodies])
        if block.certificate is not None:
            certified_count = len(blocks)
            if size > RANGE_BYTES or height >= request.last:
                break
    return RangeResponse(request.first, certified_height, tuple(blocks[:certified_count]), chain.floor_height())


def _read_block(chain: Chain, height: int) -> RangeBlock | None:
    """``None`` where the store does not show it (yet: writes follow the effects that they are part of)."""
    header, data = chain.get_header(height), chain.get_payload(height)
    if header is None or data is None:
        return None
    references = () if data == NULL_PAYLOAD else decode_payload(data).batches
    bodies = []
    for reference in references:
        body = chain.get_body(reference.digest)
        if body is None:
            return None
        bodies.append(body)
    return RangeBlock(header, chain.get_certificate(height), data, tuple(bodies))
