"""A beacon replica's link to the shards: pushing certified blocks, serving gaps, taking submissions.

Each certified block is pushed to every shard member by two beacon members, so one may be down; who lacks more asks.
Submissions are transactions of the beacon: they go through the mempool like any other, after a limit per member
(signatures are looked at later). What does not live here: what a submission means (``crosslink.beacon``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import NULL_PAYLOAD, Record
from crosslink.bundle import MAX_DESCENDANTS, collect_deliveries, encode_bundle
from crosslink.follower import RETAINED_BLOCKS
from crosslink.follower_base import BeaconBase
from crosslink.header import ShardHeader
from node.chain import Chain
from node.effects_draft import EffectsDraft
from node.events import Lane, Outgoing
from node.evidence import EvidenceLocker, encode_report
from node.executor import ExecutedBlock
from node.members import Member
from node.payload import decode_payload
from node.range_server import REQUEST_COST_BYTES, ServingBudget
from node.rate_limit import TokenBucket, Toll
from node.replica_setup import DeliverySource
from node.snapshot_frames import BaseRequest
from node.wire import MAX_BATCH_FRAME_BYTES, BeaconRequest, FrameKind, decode_frame
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST
from primitives.parameters import ProtocolParameters

PUSHERS: Final = 2
"""Beacon members that push one block to one shard member."""
SERVED_BLOCKS: Final = 32
SUBMISSIONS_PER_S: Final = 10
SUBMISSION_BURST: Final = 20
"""A member's turn comes a few times a second at most; above this it floods."""


class ServingLink:
    """Satisfies ``BeaconLink`` for a member of the beacon."""

    follows = False
    height = 0

    def __init__(
        self,
        shards: Sequence[Committee],
        deliveries: DeliverySource,
        chain: Chain,
        own_index: int,
        beacon_size: int,
        parameters: ProtocolParameters,
        budget: ServingBudget,
        submit: Callable[[Member, bytes], None],
        own: Member,
        evidence: EvidenceLocker,
    ) -> None:
        """``submit`` queues a submission for verification and admission; ``own`` is who we are."""
        self._members = {
            Member(committee.shard, index, key): None
            for committee in shards
            for index, key in enumerate(committee.members)
        }
        self._shards = tuple(committee.shard for committee in shards)
        self._deliveries = deliveries
        self._chain = chain
        self._own_index = own_index
        self._beacon_size = beacon_size
        self._parameters = parameters
        self._budget = budget
        self._submit = submit
        self._own = own
        self._evidence = evidence
        self._connected: dict[Member, None] = {}
        self._buckets: dict[Member, TokenBucket] = {}

    def hash_at(self, height: int) -> bytes:
        return ZERO_DIGEST

    # --- events ----------------------------------------------------------------------------------------

    def is_peer(self, member: Member) -> bool:
        return member in self._members

    def on_link_up(self, member: Member, draft: EffectsDraft, now_ms: int) -> None:
        if member in self._members:
            self._connected[member] = None

    def on_link_down(self, member: Member) -> None:
        self._connected.pop(member, None)

    def on_frame(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        if member not in self._members:
            raise RemoteError("NOT_A_MEMBER", "beacon traffic is for members of shards", penalise=True)
        if kind == FrameKind.SUBMISSION:
            self._on_submission(member, body, now_ms)
        elif kind == FrameKind.BEACON_REQUEST:
            self._on_request(member, body, draft, now_ms)
        elif kind == FrameKind.BASE_REQUEST:
            self._on_base_request(member, body, draft, now_ms)
        else:
            raise RemoteError("UNKNOWN_KIND", "the beacon follows nobody", penalise=True)

    def on_certified(
        self, blocks: Sequence[ExecutedBlock], certificate: Certificate, draft: EffectsDraft, now_ms: int
    ) -> None:
        for position, block in enumerate(blocks):
            height = block.header.height
            deliveries = self._deliveries.recent_deliveries(height)
            if deliveries is None or len(blocks) - position > MAX_DESCENDANTS:
                continue
            descendants = [later.header for later in blocks[position + 1 :]]
            for shard in self._shards:
                targets = [
                    member
                    for member in self._connected
                    if member.shard == shard and self._pushes_to(member.index, height)
                ]
                if not targets:
                    continue
                bundle = encode_bundle(block.header, certificate, descendants, block.outbox, deliveries, shard)
                draft.sends.extend(
                    [Outgoing(member, Lane.BULK, FrameKind.BEACON_BLOCK, bundle) for member in targets]
                )

    def on_awaited(self, height: int, proposer: int, draft: EffectsDraft, now_ms: int) -> None:
        return

    def on_tick(self, draft: EffectsDraft, now_ms: int) -> None:
        """Evidence against our own committee goes to our own chain."""
        item = self._evidence.find_due(now_ms)
        if item is None:
            return
        if self._deliveries.is_settled(item):
            self._evidence.settle(item.culprit, item.kind, draft)
            return
        with contextlib.suppress(RemoteError):  # Busy: it is due again later.
            self._submit(self._own, encode_report(item))

    def compute_prune_limit(self, certified_height: int) -> int:
        """Followers that are behind take the messages out of our payloads."""
        return min(certified_height, self._deliveries.lowest_followed() - RETAINED_BLOCKS)

    def retain(self, header: ShardHeader | None) -> None:
        return

    def prepare_jump(self, header: ShardHeader, draft: EffectsDraft, now_ms: int) -> Sequence[Record] | None:
        return ()

    def _pushes_to(self, index: int, height: int) -> bool:
        return (self._own_index - index - height) % self._beacon_size < PUSHERS

    # --- submissions and requests ----------------------------------------------------------------------

    def _on_submission(self, member: Member, body: bytes, now_ms: int) -> None:
        if len(body) > self._parameters.submission_bytes:
            raise RemoteError("TOO_LARGE", f"a submission of {len(body)} bytes", penalise=True)
        bucket = self._buckets.get(member)
        if bucket is None:
            bucket = self._buckets[member] = TokenBucket(
                rate_per_s=SUBMISSIONS_PER_S, burst=SUBMISSION_BURST, now_ms=now_ms
            )
        if bucket.take(now_ms, 1) is not Toll.PASS:
            raise RemoteError("TOO_MANY_SUBMISSIONS", "more submissions than a member has turns")
        self._submit(member, body)

    def _on_request(self, member: Member, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        request = decode_frame(FrameKind.BEACON_REQUEST, body)
        assert isinstance(request, BeaconRequest), "the kind decides the type"
        first = max(1, request.first)
        last = min(self._chain.certified_height(), first + SERVED_BLOCKS - 1)
        for height in range(first, last + 1):
            bundle = self._rebuild(height, member.shard)
            if bundle is None:
                return
            self._budget.charge(member, len(bundle), now_ms)
            draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.BEACON_BLOCK, bundle))

    def _rebuild(self, height: int, shard: int) -> bytes | None:
        """A bundle from the store; ``None`` where the store does not show the block (yet, or any more)."""
        proof, payload = self._find_proof(height), self._chain.get_payload(height)
        if proof is None or payload is None:
            return None
        header, certificate, descendants = proof
        outbox = self._chain.get_outbox(height)
        deliveries = self._deliveries.recent_deliveries(height)
        if deliveries is None:
            references = () if payload == NULL_PAYLOAD else decode_payload(payload).batches
            transactions = self._chain.find_transactions_of(height, [item.digest for item in references])
            deliveries = collect_deliveries(outbox, transactions, MAX_BATCH_FRAME_BYTES)
        return encode_bundle(header, certificate, descendants, outbox, deliveries, shard)

    def _find_proof(self, height: int) -> tuple[ShardHeader, Certificate, tuple[ShardHeader, ...]] | None:
        """(header, certificate, the headers between them)"""
        header = self._chain.get_header(height)
        certificate = self._chain.find_covering_certificate(height)
        if header is None or certificate is None or certificate.height - height > MAX_DESCENDANTS:
            return None
        found = [self._chain.get_header(later) for later in range(height + 1, certificate.height + 1)]
        descendants = tuple([descendant for descendant in found if descendant is not None])
        return (header, certificate, descendants) if len(descendants) == len(found) else None

    def _on_base_request(self, member: Member, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        """A member that joins its shard by snapshot wants to follow us from somewhere. Headers and summaries are
        never pruned; one that joined the beacon by snapshot itself has none from before, and says nothing."""
        request = decode_frame(FrameKind.BASE_REQUEST, body)
        assert isinstance(request, BaseRequest), "the kind decides the type"
        self._budget.charge(member, REQUEST_COST_BYTES, now_ms)
        proof = self._find_proof(request.height) if request.height <= self._chain.certified_height() else None
        summary = None if proof is None else self._chain.get_summary(request.height)
        if proof is None or summary is None:
            return
        data = encode(BeaconBase(*proof, summary))
        self._budget.charge(member, len(data), now_ms)
        draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.BASE, data))
