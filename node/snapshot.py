"""Snapshots and pruning of one replica: when they are made, offered, wanted and installed. Sans-IO.

Theory of operation. A member wants a snapshot where f + 1 peers say that they are ``snapshot_gap_blocks`` ahead (a
hint; the manifest proves it) or where nobody who is ahead gives it the next block, and some say that they have
pruned it. While one comes in, ranges are not asked for; whatever consensus delivers is executed all the same,
because a download lies in areas of its own until it is *installed*: one synced batch names those areas as the ones
in force and the snapshot's block as the tip. The vote log has been told before (persist before write) that the
chain may reach that height. Then the replica ends itself (``Effects.reopens``) and is opened anew from what is
stored, by the code that opens it after a crash: so being killed right after the installation is the usual way on,
and being killed before it changes nothing. The engine comes back from its own records above the snapshot's
certificate; what it voted for stays binding.

Everything that takes time here (copying, hashing, sweeping, pruning) is done in steps of a millisecond or two by a
timer. What does not live here: each of these things (``node.snapshot_maker``, ``…_download``, ``…_sweep``,
``node.pruning``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from consensus.engine import Record, SetTimer
from node.beacon_link import BeaconLink
from node.catch_up import CatchUp
from node.chain import Chain
from node.chain_records import Areas, build_jump_records
from node.effects_draft import EffectsDraft
from node.events import Lane, Outgoing, StoreWrite
from node.members import Member
from node.peers import Peers
from node.pruning import Pruner
from node.range_server import REQUEST_COST_BYTES, ServingBudget
from node.replica_setup import ReplicaLimits
from node.snapshot_download import JoinPhase, Request, SnapshotDownload
from node.snapshot_frames import (
    CHUNK_BYTES,
    ChunkRequest,
    ManifestRequest,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffers,
    SnapshotQuery,
)
from node.snapshot_maker import SnapshotMaker
from node.snapshot_records import SnapshotReader, build_unstaged_records
from node.snapshot_server import Answer, SnapshotServer
from node.snapshot_sweep import Sweeper
from node.vote_records import Pins, build_height_record
from node.wire import FrameKind, RangeRequest, SnapshotMessage
from primitives.codec import encode

SNAPSHOT_TIMER: Final = "snapshot"
STEP_GAP_MS: Final = 25
"""Between two steps while we take part: they take a tenth of the time at most."""
CHECK_GAP_MS: Final = 2
"""Between two steps of checking what was downloaded: until that is done we take no part."""


OFFER_PATIENCE_MS: Final = 1_500
"""Longer than it takes to ask everybody, and for a manifest."""


CHUNK_BYTES_PER_S: Final = 8 << 20
CHUNK_BURST_BYTES: Final = 8 << 20
"""What one member may take of a snapshot: 64 chunks a second cost us a quarter of a core at most."""


@dataclass(frozen=True, slots=True)
class SnapshotStatistics:
    """``phase`` is a ``JoinPhase``; ``height`` is that of the download; counts are since the start. ``offered`` is
    the newest snapshot that others can have, ``floor_height`` the lowest block that is here with its payload,
    ``first_height`` the lowest with its header."""

    phase: int
    height: int
    buckets_done: int
    buckets: int
    chunks: int
    refused: int
    timeouts: int
    given_up: int
    offered: int
    made: int
    failed: int
    pruned: int
    floor_height: int
    first_height: int


class Snapshots:
    """Joins the components."""

    def __init__(
        self,
        chain: Chain,
        reader: SnapshotReader,
        sweeper: Sweeper,
        maker: SnapshotMaker,
        download: SnapshotDownload,
        link: BeaconLink,
        peers: Peers,
        budget: ServingBudget,
        catch_up: CatchUp,
        limits: ReplicaLimits,
        areas: Areas,
        pins: Pins,
        credible_count: int,
    ) -> None:
        """``areas`` are those in force. So many members (``credible_count``) have an honest one among them."""
        self._chain = chain
        self._reader = reader
        self._sweeper = sweeper
        self._maker = maker
        self._download = download
        self._server = SnapshotServer(reader, maker)
        self._pruner = Pruner(chain, limits.keep_blocks)
        self._link = link
        self._peers = peers
        self._budget = budget
        self._chunk_budget = ServingBudget(CHUNK_BYTES_PER_S, CHUNK_BURST_BYTES)
        self._catch_up = catch_up
        self._limits = limits
        self._areas = areas
        self._pins = pins
        self._credible_count = credible_count
        self._first_height = chain.first_height()
        self._is_armed = False
        self._is_progressing = False
        self._heard_ms: int | None = None
        self._retained: int | None = None

    # --- frames ----------------------------------------------------------------------------------------

    def on_message(
        self, member: Member, message: SnapshotMessage, executed: int, draft: EffectsDraft, now_ms: int
    ) -> None:
        """From another member of our committee; raises ``RemoteError``."""
        match message:
            case SnapshotQuery(above=above):
                self._answer(member, self._server.list_offers(above), draft, now_ms)
            case ManifestRequest():
                self._answer(member, self._server.answer_manifest(message), draft, now_ms)
            case ChunkRequest():
                self._serve_chunk(member, message, draft, now_ms)
            case SnapshotOffers():
                self._download.on_offers(member.index, message, now_ms)
                self._advance(executed, draft, now_ms)
            case SnapshotManifest():
                self._download.on_manifest(member.index, message, executed, now_ms)
                self._advance(executed, draft, now_ms)
            case SnapshotChunk():
                self._send(self._download.on_chunk(member.index, message, draft, now_ms), draft)
                self._arm(draft)
            case _:
                assert_never(message)

    def _answer(self, member: Member, answer: Answer, draft: EffectsDraft, now_ms: int) -> None:
        data = encode(answer)
        self._budget.charge(member, REQUEST_COST_BYTES + len(data), now_ms)
        draft.sends.append(Outgoing(member, Lane.BULK, _kind_of(answer), data))

    def _serve_chunk(self, member: Member, request: ChunkRequest, draft: EffectsDraft, now_ms: int) -> None:
        """Who has had its share for the moment is told what we offer in place of an answer, and asks again."""
        if not self._chunk_budget.covers(member, CHUNK_BYTES, now_ms):
            self._answer(member, self._server.refuse(), draft, now_ms)
            return
        self._chunk_budget.charge(member, CHUNK_BYTES, now_ms)
        self._answer(member, self._server.answer_chunk(request), draft, now_ms)

    def _send(self, requests: Iterable[tuple[int, Request]], draft: EffectsDraft) -> None:
        for index, request in requests:
            self._peers.send(draft, index, Lane.VOTES, _kind_of(request), encode(request))

    # --- the replica's own events ----------------------------------------------------------------------

    def plan_ranges(self, executed: int, now_ms: int) -> list[tuple[int, RangeRequest]]:
        """Which ranges to ask of whom: none while a snapshot comes in, or may be about to. Who hears for the first
        time that it is far behind listens to what others offer; a single liar can have that once."""
        if not self._catch_up.may_be_behind(executed):
            return []
        if self._is_progressing or self._is_listening(executed, now_ms):
            self._catch_up.note_held()
            return []
        return self._catch_up.plan(executed, self._peers.is_connected, now_ms)

    def _is_listening(self, executed: int, now_ms: int) -> bool:
        gap = self._limits.snapshot_gap_blocks
        if not gap or self._catch_up.target <= executed + gap:
            return False
        if self._heard_ms is None:
            self._heard_ms = now_ms
        return now_ms - self._heard_ms < OFFER_PATIENCE_MS

    def on_tick(self, executed: int, draft: EffectsDraft, now_ms: int) -> None:
        """Every so often."""
        self._retire_useless(draft)
        self._advance(executed, draft, now_ms)
        offered = self._maker.offered
        self._retain(offered[0] if offered else None)
        certified = self._chain.certified_height()
        needed_above = min(offered[0] if offered else 0, self._link.compute_prune_limit(certified))
        self._pruner.set_limit(certified, needed_above)
        self._arm(draft)

    def on_timer(self, executed: int, draft: EffectsDraft, now_ms: int) -> None:
        """A step of everything that is to be done."""
        self._is_armed = False
        self._maker.step(draft)
        self._pruner.step(draft)
        self._sweeper.step(draft)
        self._download.step(draft, now_ms)
        if self._download.phase in (JoinPhase.CLEANING, JoinPhase.READY):
            self._advance(executed, draft, now_ms)
        self._arm(draft)

    def _arm(self, draft: EffectsDraft) -> None:
        """One timer is under way at most: a step relies on what the one before had written."""
        is_checking = self._download.phase is JoinPhase.CHECKING
        is_busy = is_checking or self._maker.is_busy or self._pruner.is_busy or not self._sweeper.is_idle
        if is_busy and not self._is_armed:
            self._is_armed = True
            draft.timers.append(SetTimer(SNAPSHOT_TIMER, CHECK_GAP_MS if is_checking else STEP_GAP_MS))

    # --- offering --------------------------------------------------------------------------------------

    def _retire_useless(self, draft: EffectsDraft) -> None:
        """Who took one of these from us could not go on with our blocks: we came here by a snapshot ourselves."""
        offered = self._maker.offered
        if offered and offered[0] + 1 < self._pruner.floor_height:
            self._maker.retire_oldest(draft)

    def _retain(self, height: int | None) -> None:
        if height == self._retained:
            return
        self._retained = height
        manifest = None if height is None else self._reader.get_manifest(height)
        self._link.retain(None if manifest is None else manifest.header)

    # --- joining ---------------------------------------------------------------------------------------

    def _find_wanted(self, executed: int, now_ms: int) -> int | None:
        """Above which height a snapshot would help; ``None`` where ranges will do."""
        if self._catch_up.is_starved(executed, self._peers.is_connected, now_ms):
            return executed
        gap = self._limits.snapshot_gap_blocks
        claimed = self._catch_up.claimed_height(self._credible_count)
        return executed + gap // 2 if gap and claimed > executed + gap else None

    def _advance(self, executed: int, draft: EffectsDraft, now_ms: int) -> None:
        download = self._download
        wanted = self._find_wanted(executed, now_ms)
        self._send(download.advance(executed, wanted, self._peers.is_connected, draft, now_ms), draft)
        if download.manifest is not None and download.phase > JoinPhase.CLEANING:
            base = self._link.prepare_jump(download.manifest.header, draft, now_ms)
            if base is not None and download.phase is JoinPhase.READY:
                self._install(download.manifest, base, draft)
        self._is_progressing = download.is_progressing(now_ms)
        self._arm(draft)

    def _install(self, manifest: SnapshotManifest, base: Sequence[Record], draft: EffectsDraft) -> None:
        """Change over, and end this life of the replica; see the module."""
        areas = self._areas.swap_state()
        if base:
            areas = areas.swap_follower()
        jump = build_jump_records(manifest.header, manifest.certificate, areas)
        # The log may have seen more already: the store lost its end, and nobody had those blocks any more.
        height = max(manifest.header.height, self._pins.highest_executed)
        draft.persist.append(build_height_record(height))
        draft.writes.append(StoreWrite((*base, *build_unstaged_records(), *jump), sync=True))
        draft.reopens = True

    def statistics(self) -> SnapshotStatistics:
        """A snapshot of the figures."""
        download, maker = self._download, self._maker
        done, buckets = download.buckets
        return SnapshotStatistics(
            phase=download.phase,
            height=0 if download.manifest is None else download.manifest.header.height,
            buckets_done=done,
            buckets=buckets,
            chunks=download.chunks,
            refused=download.refused,
            timeouts=download.timeouts,
            given_up=download.given_up,
            offered=max(maker.offered, default=0),
            made=maker.made,
            failed=maker.failed,
            pruned=self._pruner.pruned,
            floor_height=self._pruner.floor_height,
            first_height=self._first_height,
        )


def describe_joining(statistics: SnapshotStatistics) -> str | None:
    """What a member does that takes a snapshot, for people; ``None`` where it takes none."""
    match JoinPhase(statistics.phase):
        case JoinPhase.OFF:
            return None
        case JoinPhase.ASKING:
            return "looking for a snapshot"
        case JoinPhase.CLEANING:
            return f"making room for the snapshot of block {statistics.height}"
        case JoinPhase.FETCHING:
            parts = f"{statistics.buckets_done} of {statistics.buckets} parts"
            return f"fetching the snapshot of block {statistics.height}: {parts}"
        case JoinPhase.CHECKING:
            return f"checking the snapshot of block {statistics.height}"
        case JoinPhase.READY:
            return f"installing the snapshot of block {statistics.height}"


def _kind_of(message: Answer | Request) -> FrameKind:
    match message:
        case SnapshotQuery():
            return FrameKind.SNAPSHOT_QUERY
        case SnapshotOffers():
            return FrameKind.SNAPSHOT_OFFERS
        case ManifestRequest():
            return FrameKind.MANIFEST_REQUEST
        case SnapshotManifest():
            return FrameKind.MANIFEST
        case ChunkRequest():
            return FrameKind.CHUNK_REQUEST
        case SnapshotChunk():
            return FrameKind.CHUNK
        case _:
            assert_never(message)
