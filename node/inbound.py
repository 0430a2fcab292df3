"""Frames from other members: read, bounded, answered or handed to the component that they concern.

Whatever a peer can do wrong ends here as a counted ``RemoteError``; a muted peer's frames are dropped unread.
What does not live here: what follows from a message (``node.replica``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consensus.certificate import Attestation, Certificate
from consensus.engine import Event as EngineEvent
from node.batches import BatchState
from node.components import Components
from node.effects_draft import EffectsDraft
from node.events import Lane, Outgoing, SubmissionReply
from node.members import Member
from node.mempool import ACCEPTED
from node.obtaining import FetchRequest
from node.range_server import REQUEST_COST_BYTES, read_range
from node.recall_frames import RecallRequest, RecallResponse
from node.snapshot_frames import BaseRequest
from node.verification import BatchChecked
from node.wire import (
    BeaconRequest,
    BodyRequest,
    FrameKind,
    PayloadRequest,
    PayloadResponse,
    RangeRequest,
    RangeResponse,
    SignedBatch,
    Status,
    decode_frame,
)
from primitives.codec import encode
from primitives.errors import RemoteError

RESENT_BATCHES: Final = 32
"""Own unexecuted batches that a reconnected member gets again; more would be fetched when proposed."""
_BEACON_KINDS: Final = frozenset(
    {
        FrameKind.BEACON_BLOCK,
        FrameKind.BEACON_REQUEST,
        FrameKind.SUBMISSION,
        FrameKind.BASE_REQUEST,
        FrameKind.BASE,
    }
)


class Inbound:
    """Reads frames for one replica."""

    def __init__(self, parts: Components, feed_engine: Callable[[EngineEvent, EffectsDraft, int], None]) -> None:
        self._parts = parts
        self._feed_engine = feed_engine
        self.muted_frames = 0

    def on_frame(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> bool:
        """One frame from an authenticated member; never raises ``RemoteError``. False where nothing can follow from
        it, unless the engine that was fed says otherwise: most frames are votes that only add to a count."""
        peers = self._parts.peers
        if peers.is_muted(member, now_ms):
            self.muted_frames += 1
            return False
        try:
            if kind in _BEACON_KINDS:
                self._parts.link.on_frame(member, kind, body, draft, now_ms)
            elif not peers.is_own_committee(member) or member.index == peers.own_index:
                raise RemoteError("NOT_A_MEMBER", "a frame for members of our committee", penalise=True)
            elif kind == FrameKind.ENGINE:
                if self._parts.driver.keep_early(member, body):
                    return False
                event = self._parts.driver.read(body)
                if event is not None:
                    if event.signer == member.index:
                        self._parts.recollection.note_message(member.index, body)
                    self._feed_engine(event, draft, now_ms)
                return False
            else:
                return self._on_message(member, kind, body, draft, now_ms)
        except RemoteError as error:
            peers.refuse(member, error, now_ms)
        return True

    def _on_message(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> bool:
        """False where nothing can follow from it."""
        parts = self._parts
        match decode_frame(kind, body):
            case Attestation() as attestation:
                if attestation.signer == member.index:
                    parts.recollection.note_attestation(attestation)
                evidence = parts.certifier.on_attestation(attestation)
                if evidence is not None:
                    parts.evidence.keep(evidence, draft)
                return bool(parts.attestations.certificates)
            case SignedBatch() as batch:
                digest = parts.receiver.identify(batch)
                if parts.obtaining.wants_body(digest):
                    parts.receiver.take_wanted(digest, batch, body, now_ms)
                else:
                    parts.receiver.take_offered(digest, batch, body, parts.executor.height, now_ms)
                    return False  # It is to be verified first.
            case Status(certified_height=height):
                parts.catch_up.on_status(member.index, height)
                parts.certifier.answer_status(member.index, height, draft, now_ms)
                return parts.catch_up.may_be_behind(parts.executor.height)
            case Certificate() as certificate:
                parts.certifier.on_certificate(certificate)
                parts.catch_up.on_status(member.index, certificate.height)
            case BodyRequest(digests=digests):
                self._serve_bodies(member, digests, draft, now_ms)
            case PayloadRequest(digest=digest):
                self._serve_payload(member, digest, draft, now_ms)
            case PayloadResponse(payload=payload):
                if not parts.obtaining.supply(payload, now_ms):
                    raise RemoteError("UNSOLICITED", "a payload that nobody asked for, or too late")
            case RangeRequest() as request:
                self._serve_range(member, request, draft, now_ms)
            case RangeResponse() as response:
                parts.catch_up.on_range(member.index, response, now_ms)
            case RecallRequest() as recall:
                self._answer_recall(member, recall, draft, now_ms)
            case RecallResponse() as recalled:
                parts.abstention.on_response(member.index, recalled, draft)
            case BeaconRequest() | BaseRequest():
                raise AssertionError("beacon kinds go to the link")
            case snapshot_message:
                parts.snapshots.on_message(member, snapshot_message, parts.executor.height, draft, now_ms)
        return True

    # --- serving ---------------------------------------------------------------------------------------

    def _serve_bodies(self, member: Member, digests: Sequence[bytes], draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        for digest in digests:
            held = parts.pool.find(digest)
            frame = held.frame if held is not None else parts.pins.find_body(digest)
            if frame is None:
                frame = parts.chain.get_body(digest)
            parts.budget.charge(member, REQUEST_COST_BYTES + len(frame or b""), now_ms)
            if frame is not None and (held is None or held.state is not BatchState.REFUSED):
                draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.BATCH, frame))

    def _serve_payload(self, member: Member, digest: bytes, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        payload = parts.obtaining.find_payload(digest)
        if payload is None:
            payload = parts.pins.find_payload(digest)
        parts.budget.charge(member, REQUEST_COST_BYTES + len(payload or b""), now_ms)
        if payload is not None:
            response = encode(PayloadResponse(payload))
            draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.PAYLOAD, response))

    def _serve_range(self, member: Member, request: RangeRequest, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        parts.budget.charge(member, REQUEST_COST_BYTES, now_ms)
        response = encode(read_range(parts.chain, request, parts.certifier.height))
        parts.budget.charge(member, len(response), now_ms)
        draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.RANGE, response))

    def _answer_recall(self, member: Member, request: RecallRequest, draft: EffectsDraft, now_ms: int) -> None:
        """Tell a member what it signed, and where we are; what it has to see counts as work for a while."""
        parts = self._parts
        engine = parts.driver.statistics()
        response = parts.recollection.answer(
            member.index,
            request,
            max(engine.view, engine.asked_view),
            parts.certifier.certificate,
            is_abstaining=not parts.abstention.has_engine,
        )
        parts.recollection.note_wishes(member.index, request, parts.certifier.height, engine.view, now_ms)
        data = encode(response)
        parts.budget.charge(member, REQUEST_COST_BYTES + len(data), now_ms)
        draft.sends.append(Outgoing(member, Lane.VOTES, FrameKind.RECALL_RESPONSE, data))

    # --- asking and sending ----------------------------------------------------------------------------

    def send_fetches(self, requests: Sequence[FetchRequest], draft: EffectsDraft) -> None:
        """Ask members for payloads and bodies."""
        peers = self._parts.peers
        for request in requests:
            if request.payload is not None:
                body = encode(PayloadRequest(request.payload))
                peers.send(draft, request.target, Lane.VOTES, FrameKind.PAYLOAD_REQUEST, body)
            if request.bodies:
                body = encode(BodyRequest(request.bodies))
                peers.send(draft, request.target, Lane.VOTES, FrameKind.BODY_REQUEST, body)

    def send_range_request(self, index: int, request: RangeRequest, draft: EffectsDraft) -> None:
        """Ask a member for certified blocks."""
        self._parts.peers.send(draft, index, Lane.VOTES, FrameKind.RANGE_REQUEST, encode(request))

    def resend_own_batches(self, member: Member, draft: EffectsDraft) -> None:
        """A member is connected again: it gets our oldest unexecuted batches."""
        parts = self._parts
        for batch in parts.pool.of_author(parts.peers.own_index)[:RESENT_BATCHES]:
            draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.BATCH, batch.frame))

    # --- what verification finished --------------------------------------------------------------------

    def on_batch_checked(self, outcome: BatchChecked, now_ms: int) -> None:
        """A batch is verified, or invalid for good; its author signed it either way."""
        parts = self._parts
        if outcome.error is None:
            parts.pool.mark_verified(outcome.batch)
            return
        author = outcome.batch.author
        if author != parts.peers.own_index:
            parts.peers.refuse(parts.peers.members[author], outcome.error, now_ms)

    def on_reply(self, reply: SubmissionReply, draft: EffectsDraft, now_ms: int) -> None:
        """To a client; or the end of a submission that a shard's member sent to the beacon."""
        submitter = self._parts.submissions.finish(reply.ticket)
        if submitter is None:
            draft.replies.append(reply)
            return
        for result in reply.results:
            if result.code != ACCEPTED:
                self._parts.peers.refuse(submitter, RemoteError(result.code, result.message), now_ms)
