"""A shard replica's link to the beacon: feeding the follower, filling gaps, submitting headers by turn.

Beacon members push certified blocks; asking is for gaps, and once in ``QUIET_MS`` without any block, because a
push may have been lost. Members of our own shard serve each other the blocks that they hold, so a proposer serves
what it refers to. What does not live here: what a block means (``crosslink.follower``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import Record, SetTimer
from crosslink.bundle import decode_bundle
from crosslink.follower import BeaconFollower, FollowResult, block_key
from crosslink.header import ShardHeader
from node.chain import Chain
from node.chain_records import Areas, build_follower_records
from node.effects_draft import EffectsDraft
from node.events import Lane, Outgoing, StoreWrite
from node.evidence import EvidenceLocker, encode_report
from node.executor import ExecutedBlock
from node.members import Member
from node.peers import Peers
from node.range_server import ServingBudget
from node.snapshot_frames import BaseRequest
from node.submitter import Submitter
from node.wire import BeaconRequest, FrameKind, decode_frame
from primitives.codec import encode
from primitives.errors import RemoteError

QUIET_MS: Final = 1_000
ASK_GAP_MS: Final = 50
"""Least time between two requests for a gap: the first answer usually closes it."""
SERVED_BLOCKS: Final = 32
MAX_EARLY_BLOCKS: Final = 64
MAX_EARLY_BYTES: Final = 8 << 20
"""What is kept of blocks that came before the one that they follow."""
BEACON_TIMER: Final = "beacon"


def compute_consumed(header: ShardHeader) -> int:
    """A chain whose tip is ``header`` has done with the beacon up to here; of the next block it may need a part."""
    return max(0, min(header.inbox_cursor.beacon_height, header.beacon_ref.height) - 1)


class FollowingLink:
    """Satisfies ``BeaconLink`` for a member of a shard."""

    follows = True

    def __init__(
        self,
        follower: BeaconFollower,
        beacon: Committee,
        shard: int,
        chain: Chain,
        peers: Peers,
        submitter: Submitter,
        budget: ServingBudget,
        evidence: EvidenceLocker,
        areas: Areas,
    ) -> None:
        self._follower = follower
        self._areas = areas
        self._members = tuple(Member(beacon.shard, index, key) for index, key in enumerate(beacon.members))
        self._shard = shard
        self._chain = chain
        self._peers = peers
        self._submitter = submitter
        self._budget = budget
        self._evidence = evidence
        self._connected: dict[Member, None] = {}
        self._turn = peers.own_index
        self._advanced_ms: int | None = None
        self._asked_ms: int | None = None
        self._is_stopped = follower.stopped is not None
        self._timer_ms: int | None = None
        self._early: dict[int, bytes] = {}
        self._retained: int | None = None
        self._base_height = 0
        self._base: dict[bytes, bytes] | None = None
        self._base_asked_ms: int | None = None

    @property
    def height(self) -> int:
        """The newest followed beacon block."""
        return self._follower.head.height

    def hash_at(self, height: int) -> bytes:
        found = self._follower.hash_at(height)
        assert found is not None, "execution refers to retained beacon blocks only"
        return found

    # --- events ----------------------------------------------------------------------------------------

    def is_peer(self, member: Member) -> bool:
        return member.index < len(self._members) and self._members[member.index] == member

    def on_link_up(self, member: Member, draft: EffectsDraft, now_ms: int) -> None:
        if self.is_peer(member):
            self._connected[member] = None
            self._ask(member, draft, now_ms)

    def on_link_down(self, member: Member) -> None:
        self._connected.pop(member, None)

    def on_frame(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        if kind == FrameKind.BEACON_BLOCK:
            self._on_block(member, body, draft, now_ms)
        elif kind == FrameKind.BEACON_REQUEST:
            self._on_request(member, body, draft, now_ms)
        elif kind == FrameKind.BASE:
            self._on_base(body)
        else:
            raise RemoteError("UNKNOWN_KIND", "a shard takes no submissions", penalise=True)

    def on_certified(
        self, blocks: Sequence[ExecutedBlock], certificate: Certificate, draft: EffectsDraft, now_ms: int
    ) -> None:
        last = blocks[-1].header
        consumed = last.beacon_ref.height
        self._follower.prune(
            last.inbox_cursor, consumed if self._retained is None else min(consumed, self._retained)
        )
        self._store_changes(draft)
        with_leaves = [block.header.height for block in blocks if block.outbox]
        self._submitter.on_certified(last.height, max(with_leaves, default=None), now_ms)
        self._arm(draft, now_ms)

    def on_awaited(self, height: int, proposer: int, draft: EffectsDraft, now_ms: int) -> None:
        """A beacon member may have pruned what we lack; then somebody of our own committee holds it."""
        if height <= self.height or not self._may_ask(now_ms):
            return
        self._ask_next(draft, now_ms)
        if proposer == self._peers.own_index:
            others = self._peers.others
            proposer = others[self._turn % len(others)].index if others else proposer
        request = encode(BeaconRequest(self.height + 1))
        self._peers.send(draft, proposer, Lane.VOTES, FrameKind.BEACON_REQUEST, request)

    def on_tick(self, draft: EffectsDraft, now_ms: int) -> None:
        """Asks where it was quiet for long, and submits where it is our turn."""
        self._timer_ms = None
        if self._advanced_ms is None:
            self._advanced_ms = now_ms
        if now_ms - self._advanced_ms >= QUIET_MS and self._may_ask(now_ms, QUIET_MS):
            self._ask_next(draft, now_ms)
        self._note_registered(now_ms)
        self._deliver_evidence(draft, now_ms)
        submission = self._submitter.build(self.height, now_ms) if self._connected else None
        target = None if submission is None else self._next_member()
        if submission is not None and target is not None:
            draft.sends.append(Outgoing(target, Lane.BULK, FrameKind.SUBMISSION, submission))
        # What is due and not our turn waits for a beacon block, which arms again, or for the clock to pass the turn
        # on, for which the replica's own tick is precise enough: a timer of its own would fire every millisecond.
        if self._submitter.compute_delay(now_ms):
            self._arm(draft, now_ms)

    # --- blocks ----------------------------------------------------------------------------------------

    def _on_block(self, member: Member, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        match self._follower.accept(body):
            case FollowResult.ADVANCED:
                self._advanced_ms = now_ms
                self._accept_early()
                self._note_offences(draft)
                self._store_changes(draft)
                self._note_registered(now_ms)
                self._arm(draft, now_ms)
                self._alarm(draft)
            case FollowResult.GAP:
                self._keep_early(body)
                if self._may_ask(now_ms):
                    self._ask(member, draft, now_ms)
            case FollowResult.STOPPED:
                self._alarm(draft)
            case FollowResult.KNOWN:
                pass

    def _keep_early(self, body: bytes) -> None:
        """A block above the gap waits for the gap to close; it is checked only then."""
        height = decode_bundle(body).header.height
        room = sum([len(kept) for kept in self._early.values()]) + len(body) <= MAX_EARLY_BYTES
        if height <= self.height + MAX_EARLY_BLOCKS and room:
            self._early[height] = body

    def _accept_early(self) -> None:
        """What had come early and follows now; its sender is not known any more, so a bad one is just dropped."""
        while (body := self._early.pop(self.height + 1, None)) is not None:
            with contextlib.suppress(RemoteError):
                self._follower.accept(body)
        for height in [height for height in self._early if height <= self.height]:
            del self._early[height]

    def _alarm(self, draft: EffectsDraft) -> None:
        stopped = self._follower.stopped
        if self._is_stopped or stopped is None:
            return
        self._is_stopped = True
        self._store_changes(draft)
        draft.alarms.append(f"the beacon contradicts itself at height {stopped.height}: {stopped.reason}")

    def _on_request(self, member: Member, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        request = decode_frame(FrameKind.BEACON_REQUEST, body)
        assert isinstance(request, BeaconRequest), "the kind decides the type"
        for height in range(max(1, request.first), min(self.height, request.first + SERVED_BLOCKS - 1) + 1):
            bundle = self._chain.get_follower_record(block_key(height))
            if bundle is None:
                return
            self._budget.charge(member, len(bundle), now_ms)
            draft.sends.append(Outgoing(member, Lane.BULK, FrameKind.BEACON_BLOCK, bundle))

    def _store_changes(self, draft: EffectsDraft) -> None:
        changes = self._follower.take_changes()
        if changes:
            draft.writes.append(StoreWrite(tuple(build_follower_records(changes, self._areas))))

    # --- snapshots -------------------------------------------------------------------------------------

    def compute_prune_limit(self, certified_height: int) -> int:
        """What is not registered is still to be submitted, with its outbox."""
        registered = self._follower.view_at(self._follower.head.height).tip(self._shard).height
        return min(certified_height, registered)

    def retain(self, header: ShardHeader | None) -> None:
        self._retained = None if header is None else compute_consumed(header)

    def prepare_jump(self, header: ShardHeader, draft: EffectsDraft, now_ms: int) -> Sequence[Record] | None:
        consumed = compute_consumed(header)
        if not consumed or self._follower.covers(consumed):
            return ()
        if consumed != self._base_height:
            self._base_height, self._base, self._base_asked_ms = consumed, None, None
        if self._base is not None:
            return build_follower_records(self._base, self._areas.swap_follower())
        if self._base_asked_ms is None or now_ms - self._base_asked_ms >= QUIET_MS:
            member = self._next_member()
            self._base_asked_ms = now_ms
            if member is not None:
                request = encode(BaseRequest(consumed))
                draft.sends.append(Outgoing(member, Lane.VOTES, FrameKind.BASE_REQUEST, request))
        return None

    def _on_base(self, body: bytes) -> None:
        if self._base_asked_ms is None or self._base is not None:
            raise RemoteError("UNSOLICITED", "a base that was not asked for, or too late")
        self._base = self._follower.open_base(body, self._base_height)

    # --- asking ----------------------------------------------------------------------------------------

    def _may_ask(self, now_ms: int, gap_ms: int = ASK_GAP_MS) -> bool:
        return self._asked_ms is None or now_ms - self._asked_ms >= gap_ms

    def _ask_next(self, draft: EffectsDraft, now_ms: int) -> None:
        member = self._next_member()
        if member is not None:
            self._ask(member, draft, now_ms)

    def _ask(self, member: Member, draft: EffectsDraft, now_ms: int) -> None:
        self._asked_ms = now_ms
        request = encode(BeaconRequest(self.height + 1))
        draft.sends.append(Outgoing(member, Lane.VOTES, FrameKind.BEACON_REQUEST, request))

    def _next_member(self) -> Member | None:
        """The connected beacon members in turn, each of us starting at another."""
        connected = [member for member in self._members if member in self._connected]
        if not connected:
            return None
        self._turn += 1
        return connected[self._turn % len(connected)]

    # --- evidence --------------------------------------------------------------------------------------

    def _note_offences(self, draft: EffectsDraft) -> None:
        for offence in self._follower.take_offences():
            self._evidence.note_offence(offence, draft)

    def _deliver_evidence(self, draft: EffectsDraft, now_ms: int) -> None:
        """What the beacon does not know yet goes to one of its members after the other."""
        self._note_offences(draft)
        item = self._evidence.find_due(now_ms) if self._connected else None
        target = None if item is None else self._next_member()
        if item is not None and target is not None:
            draft.sends.append(Outgoing(target, Lane.BULK, FrameKind.SUBMISSION, encode_report(item)))

    # --- submitting ------------------------------------------------------------------------------------

    def _note_registered(self, now_ms: int) -> None:
        head = self._follower.head.height
        self._submitter.on_registered(self._follower.view_at(head).tip(self._shard), now_ms)

    def _arm(self, draft: EffectsDraft, now_ms: int) -> None:
        """A submission is built at the next timer: by then the store shows what was just certified."""
        delay = self._submitter.compute_delay(now_ms)
        if delay is None:
            return
        due_ms = now_ms + max(1, delay)
        if self._timer_ms is None or due_ms < self._timer_ms:
            self._timer_ms = due_ms
            draft.timers.append(SetTimer(BEACON_TIMER, due_ms - now_ms))
