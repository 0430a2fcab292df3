"""Catching up: certified blocks in ranges from several peers, verified here, executed by the one path.

Theory of operation. Peers say how far they are (``Status``); that is a hint and never counted as a proof. When we
are more than a window behind, or behind at all without having executed anything for ``PATIENCE_MS``, we ask several
peers for consecutive segments, until we are level or consensus itself delivers again. A segment is verified when
its turn comes: headers chain, the last one has a certificate of our committee, payloads and bodies hash to what the
headers say. A certificate at h certifies all ancestors, so one lying block spoils the whole segment: it is dropped
and counted, its sender is not asked again for a while, and another peer is. A peer that promised more than it
delivers is treated alike, more mildly.

Bounds: ``ranges_in_flight`` segments of at most ``SEGMENT_BLOCKS``, one answer each. What does not live here:
executing (``node.executor``) and serving (``node.range_server``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.certificate import Certificate, verify_certificate
from consensus.committee import Committee
from consensus.engine import NULL_PAYLOAD, compute_payload_digest
from crosslink.header import ShardHeader, compute_header_hash
from node.batches import HeldBatch
from node.executor import Diverged
from node.payload import Payload, decode_payload
from node.replica_setup import ReplicaLimits
from node.wire import (
    RangeBlock,
    RangeRequest,
    RangeResponse,
    compute_batch_digest,
    decode_batch_body,
    decode_signed_batch,
    verify_batch_signature,
)
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

SEGMENT_BLOCKS: Final = 32
PATIENCE_MS: Final = 500
"""Behind by less than a window, consensus itself usually delivers sooner than a range would."""
DISTRUST_MS: Final = 60_000
"""A peer that lied is not asked again for so long."""
DOUBT_MS: Final = 2_000
"""A peer that did not answer, or had nothing."""


@dataclass(slots=True)
class _Segment:
    first: int
    last: int
    peer: int
    deadline_ms: int
    blocks: tuple[RangeBlock, ...] | None = None


@dataclass(frozen=True, slots=True)
class VerifiedBlock:
    """A block that a certificate covers. ``certificate`` is of this very height, and not verified itself except the
    last one's. Bodies are decoded, their transactions are not."""

    header: ShardHeader
    hash: bytes
    certificate: Certificate | None
    data: bytes
    payload: Payload | None
    batches: tuple[HeldBatch, ...]


@dataclass(frozen=True, slots=True)
class CatchUpStatistics:
    """``target`` is what peers say; counts are since the start."""

    is_active: bool
    target: int
    ranges_received: int
    ranges_refused: int
    timeouts: int


class CatchUp:
    """Which ranges are asked of whom, and what is ready to be executed."""

    def __init__(
        self,
        committee: Committee,
        own_index: int,
        scheme: SignatureScheme,
        window_slots: int,
        limits: ReplicaLimits,
    ) -> None:
        self._committee = committee
        self._scheme = scheme
        self._window_slots = window_slots
        self._limits = limits
        self._others = tuple(index for index in range(committee.size) if index != own_index)
        self._tips: dict[int, int] = {}
        self.target = 0
        """The highest certified height that any peer claims."""
        self._avoid_until_ms: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        """From which height on a peer has every block, where it said so."""
        self._segments: list[_Segment] = []
        self._ready: deque[VerifiedBlock] = deque()
        self._covering: Certificate | None = None
        self._is_active = False
        self._turn = own_index
        self._progress_ms: int | None = None
        self._received = self._refused = self._timeouts = 0

    # --- what peers say --------------------------------------------------------------------------------

    def on_status(self, peer: int, certified_height: int) -> None:
        """``peer`` says that it is so far; a lie costs us one request."""
        self._tips[peer] = certified_height
        self.target = max(self._tips.values())

    def on_lost(self, peer: int) -> None:
        """The link went down: what was asked of it is asked of others."""
        self._segments = [segment for segment in self._segments if segment.peer != peer or segment.blocks]
        self._floors.pop(peer, None)

    def on_range(self, peer: int, response: RangeResponse, now_ms: int) -> None:
        """An answer; raises ``RemoteError`` (``UNSOLICITED``) where it answers nothing that we asked."""
        for segment in self._segments:
            if segment.first == response.first and segment.peer == peer and segment.blocks is None:
                break
        else:
            raise RemoteError("UNSOLICITED", "a range that was not asked for, or too late")
        self._tips[peer] = response.tip
        self.target = max(self._tips.values())
        self._floors[peer] = response.floor
        count = len(response.blocks)
        if not count and response.floor > response.first:
            # It says that it has pruned them. That is no fault: others are asked.
            self._segments.remove(segment)
            return
        if not count or count > segment.last - segment.first + 1 + self._window_slots:
            self._segments.remove(segment)
            self._avoid(peer, now_ms, DOUBT_MS)
            return
        self._received += 1
        segment.blocks = response.blocks

    # --- asking ----------------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether we are behind and asking for ranges."""
        return self._is_active

    def claimed_height(self, count: int) -> int:
        """The highest certified height that ``count`` peers claim to have reached."""
        claims = sorted(self._tips.values(), reverse=True)
        return claims[count - 1] if len(claims) >= count else 0

    def is_starved(self, executed: int, is_connected: Callable[[int], bool], now_ms: int) -> bool:
        """Whether nobody who is ahead of us will give us the next block: some say that they have it no more, and
        all others have just left us without an answer, or lied."""
        ahead = [index for index in self._others if is_connected(index) and self._tips.get(index, 0) > executed]
        pruned = [index for index in ahead if self._floors.get(index, 0) > executed + 1]
        silent = [index for index in ahead if now_ms < self._avoid_until_ms.get(index, 0)]
        return bool(pruned) and all(index in pruned or index in silent for index in ahead)

    def note_executed(self, height: int, now_ms: int) -> None:
        """The block at ``height`` was executed, whoever brought it; it is not kept here any longer."""
        self._progress_ms = now_ms
        while self._ready and self._ready[0].header.height <= height:
            self._ready.popleft()

    def note_held(self) -> None:
        """We are behind and ask for no ranges, because a snapshot comes in."""
        self._is_active = True

    def note_decided(self) -> None:
        """A block was executed because our own engine decided it. Under load some peer is always a block ahead of
        us; that alone must not keep us asking for what the engine is about to decide."""
        self._is_active = False

    def may_be_behind(self, executed: int) -> bool:
        """Whether ``plan`` could have anything to say; cheap."""
        return self._is_active or bool(self._segments) or self.target > executed

    def plan(
        self, executed: int, is_connected: Callable[[int], bool], now_ms: int
    ) -> list[tuple[int, RangeRequest]]:
        """What to ask of whom now. Call after statuses, ranges, executions, and every so often."""
        self._expire(executed, now_ms)
        peers = [
            index
            for index in self._others
            if is_connected(index)
            and self._tips.get(index, 0) > executed
            and now_ms >= self._avoid_until_ms.get(index, 0)
        ]
        target = max([self._tips[index] for index in peers], default=0)
        if self._progress_ms is None:
            self._progress_ms = now_ms
        waited = now_ms - self._progress_ms >= PATIENCE_MS
        is_behind = target > executed + self._window_slots or (target > executed and waited)
        self._is_active = (
            self._end_of_ready(executed) > executed or is_behind or (self._is_active and target > executed)
        )
        if not self._is_active or not peers:
            return []
        return self._ask(executed, peers, now_ms)

    def _ask(self, executed: int, peers: list[int], now_ms: int) -> list[tuple[int, RangeRequest]]:
        requests = []
        start = self._end_of_ready(executed) + 1
        while len(self._segments) < self._limits.ranges_in_flight:
            taken = sorted(self._segments, key=lambda segment: segment.first)
            for segment in taken:
                if segment.first <= start:
                    start = max(start, _end_of(segment) + 1)
            stop = min([segment.first - 1 for segment in taken if segment.first > start], default=2**62)
            able = [index for index in peers if self._floors.get(index, 0) <= start <= self._tips[index]]
            if not able:
                break
            self._turn += 1
            peer = able[self._turn % len(able)]
            last = min(start + SEGMENT_BLOCKS - 1, stop, self._tips[peer])
            self._segments.append(_Segment(start, last, peer, now_ms + self._limits.range_timeout_ms))
            requests.append((peer, RangeRequest(start, last)))
        return requests

    def _expire(self, executed: int, now_ms: int) -> None:
        kept = []
        for segment in self._segments:
            if segment.blocks is None and now_ms >= segment.deadline_ms:
                self._timeouts += 1
                self._avoid(segment.peer, now_ms, DOUBT_MS)
            elif _end_of(segment) > executed:
                kept.append(segment)
        self._segments = kept

    def _avoid(self, peer: int, now_ms: int, for_ms: int) -> None:
        self._avoid_until_ms[peer] = max(self._avoid_until_ms.get(peer, 0), now_ms + for_ms)

    def _end_of_ready(self, executed: int) -> int:
        """The last height that is verified here or executed."""
        return self._ready[-1].header.height if self._ready else executed

    # --- using -----------------------------------------------------------------------------------------

    def has_next(self, executed: int) -> bool:
        """Whether ``take_next`` has work to do."""
        if self._ready:
            return True
        return bool(self._segments) and any(
            segment.first <= executed + 1 and segment.blocks for segment in self._segments
        )

    def take_next(self, executed: int, tip_hash: bytes, now_ms: int) -> tuple[VerifiedBlock | None, int | None]:
        """(the next block to execute, or ``None``; a peer that lied, or ``None``). Verifies one segment at most.

        Raises ``Diverged`` where a certificate covers another block than the one that we executed.
        """
        if self._ready:
            return self._ready[0], None
        for segment in self._segments:
            if segment.first <= executed + 1 and segment.blocks:
                self._segments.remove(segment)
                try:
                    run = verify_range(segment.first, segment.blocks, self._committee, self._scheme)
                except RemoteError:
                    self._refused += 1
                    self._avoid(segment.peer, now_ms, DISTRUST_MS)
                    self._tips.pop(segment.peer, None)
                    self.target = max(self._tips.values(), default=0)
                    return None, segment.peer
                _check_junction(run, executed, tip_hash)
                self._covering = run[-1].certificate
                self._ready = deque([block for block in run if block.header.height > executed])
                return (self._ready[0] if self._ready else None), None
        return None, None

    @property
    def covering(self) -> Certificate | None:
        """The verified certificate that covers what ``take_next`` gave last."""
        return self._covering

    def statistics(self) -> CatchUpStatistics:
        """A snapshot."""
        return CatchUpStatistics(self._is_active, self.target, self._received, self._refused, self._timeouts)


def _end_of(segment: _Segment) -> int:
    """The last height that the segment brings, as far as known."""
    return segment.last if segment.blocks is None else segment.first + len(segment.blocks) - 1


def _check_junction(run: tuple[VerifiedBlock, ...], executed: int, tip_hash: bytes) -> None:
    """The certified run must lead through our own tip."""
    for block in run:
        own = block.hash if block.header.height == executed else None
        parent = block.header.parent if block.header.height == executed + 1 else None
        for found in (own, parent):
            if found is not None and found != tip_hash:
                raise Diverged(
                    f"a certificate of our committee covers another block {executed} than ours",
                    (encode(block.header), encode(run[-1].certificate)),
                )


def verify_range(
    first: int, blocks: tuple[RangeBlock, ...], committee: Committee, scheme: SignatureScheme
) -> tuple[VerifiedBlock, ...]:
    """The blocks of a segment, each covered by the certificate of the last; raises ``RemoteError``."""
    hashes = _verify_headers(first, blocks, committee)
    last = blocks[-1].certificate
    if last is None or (last.height, last.header_hash) != (blocks[-1].header.height, hashes[-1]):
        raise RemoteError("BAD_RANGE", "a range whose last block is not certified", penalise=True)
    verify_certificate(last, committee, scheme)
    verified = []
    for block, header_hash in zip(blocks, hashes, strict=True):
        verified.append(_open_block(block, header_hash, committee, scheme))
    return tuple(verified)


def _verify_headers(first: int, blocks: tuple[RangeBlock, ...], committee: Committee) -> list[bytes]:
    hashes: list[bytes] = []
    for position, block in enumerate(blocks):
        header = block.header
        ours = (committee.chain, committee.shard, committee.incarnation, committee.epoch, first + position)
        if (header.chain, header.shard, header.incarnation, header.epoch, header.height) != ours:
            raise RemoteError("BAD_RANGE", "a block of another chain or height", penalise=True)
        if hashes and header.parent != hashes[-1]:
            raise RemoteError("BAD_RANGE", "headers that do not chain", penalise=True)
        hashes.append(compute_header_hash(header))
    return hashes


def _open_block(
    block: RangeBlock, header_hash: bytes, committee: Committee, scheme: SignatureScheme
) -> VerifiedBlock:
    """Payload and bodies against the header that is known to be certified. No header commits to the authors'
    signatures, but we shall serve them, so they are checked too."""
    header = block.header
    if compute_payload_digest(block.payload) != header.payload_digest:
        raise RemoteError("BAD_RANGE", "a payload that the header does not name", penalise=True)
    payload = None if block.payload == NULL_PAYLOAD else decode_payload(block.payload)
    references = () if payload is None else payload.batches
    if len(references) != len(block.bodies):
        raise RemoteError("BAD_RANGE", "bodies are missing", penalise=True)
    batches = []
    for reference, data in zip(references, block.bodies, strict=True):
        signed = decode_signed_batch(data)
        if compute_batch_digest(committee, signed.body) != reference.digest:
            raise RemoteError("BAD_RANGE", "a body that the payload does not name", penalise=True)
        body = decode_batch_body(signed, committee)
        verify_batch_signature(signed, reference.digest, body.author, committee, scheme)
        batches.append(HeldBatch(reference.digest, body, data, 0))
    certificate = block.certificate
    if certificate is not None and (certificate.height, certificate.header_hash) != (header.height, header_hash):
        raise RemoteError("BAD_RANGE", "a certificate of another block", penalise=True)
    return VerifiedBlock(header, header_hash, certificate, block.payload, payload, tuple(batches))
