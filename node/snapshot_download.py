"""Joining by snapshot: from the wish for one to a whole, checked copy of the state in the store.

Theory of operation.

    OFF       --wanted-----------------------------> ASKING     everybody is asked what it offers
    ASKING    --a manifest is verified-------------> CLEANING   the highest on offer, from one of those who offer it
    CLEANING  --the staging area is empty----------> FETCHING   manifest and progress are in the store from now on
    FETCHING  --all buckets verified---------------> CHECKING   written as they come, each with its mark
    CHECKING  --the root of what is stored fits----> READY      ``node.snapshot_install`` changes over
    FETCHING, CHECKING, READY --it is not ahead of us any more, or nobody has it but a newer one--> given up

A restart resumes in FETCHING. Whoever lies is not asked for ``DISTRUST_MS``, who does not answer for ``DOUBT_MS``.
Nothing here touches the state that is in force. What does not live here: whether one is wanted (``node.snapshot``).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from itertools import islice
from typing import Final, TypeAlias

from consensus.committee import Committee
from crosslink.header import compute_header_hash
from node.catch_up import DISTRUST_MS, DOUBT_MS
from node.chain_records import Areas
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.snapshot_fetch import BucketFetch
from node.snapshot_format import count_buckets, verify_manifest
from node.snapshot_frames import (
    ChunkRequest,
    ManifestRequest,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffer,
    SnapshotOffers,
    SnapshotQuery,
)
from node.snapshot_records import (
    SnapshotReader,
    build_bucket_records,
    build_staged_records,
    build_unstaged_records,
    find_staging_area,
)
from node.snapshot_sources import SnapshotSources
from node.snapshot_sweep import Sweeper
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme
from primitives.state_tree import StateTree

Request: TypeAlias = SnapshotQuery | ManifestRequest | ChunkRequest

QUERY_GAP_MS: Final = 1_000
BUSY_MS: Final = 200
"""Whoever says that we had our share for the moment is asked again after this."""
CHECKED_RECORDS: Final = 1_024
"""Hashed in one step: some 15 ms, of a member that is too far behind to vote."""
STUCK_MS: Final = 10_000
"""Without a chunk for so long, ranges are asked for again meanwhile, and a newer snapshot is taken instead."""


class JoinPhase(IntEnum):
    """See the module."""

    OFF = 0
    ASKING = 1
    CLEANING = 2
    FETCHING = 3
    CHECKING = 4
    READY = 5


class SnapshotDownload:
    """One member's way to a snapshot."""

    def __init__(
        self,
        committee: Committee,
        own_index: int,
        scheme: SignatureScheme,
        reader: SnapshotReader,
        sweeper: Sweeper,
        areas: Areas,
        timeout_ms: int,
    ) -> None:
        self._committee = committee
        self._scheme = scheme
        self._reader = reader
        self._sweeper = sweeper
        self._areas = areas
        self._timeout_ms = timeout_ms
        self._sources = SnapshotSources([index for index in range(committee.size) if index != own_index])
        self._manifest: SnapshotManifest | None = None
        self._fetch: BucketFetch | None = None
        self._asked: tuple[int, SnapshotOffer, int] | None = None
        """(member, which manifest, until when)"""
        self._tree: StateTree | None = None
        self._checked = b""
        self._queried_ms: int | None = None
        self._progress_ms: int | None = None
        self.phase = JoinPhase.OFF
        self.chunks = self.refused = self.timeouts = self.given_up = 0
        staged = reader.read_staged()
        if staged is not None:
            self._manifest = staged.manifest
            self._begin(staged.done)

    def _begin(self, done: bytes) -> None:
        assert self._manifest is not None, "there is a manifest"
        self.phase = JoinPhase.FETCHING
        offer = SnapshotOffer(self._manifest.header.height, compute_header_hash(self._manifest.header))
        self._fetch = BucketFetch(self._manifest, offer, done, self._timeout_ms)

    # --- what it is doing ------------------------------------------------------------------------------

    @property
    def manifest(self) -> SnapshotManifest | None:
        """What is downloaded, verified."""
        return self._manifest

    @property
    def buckets(self) -> tuple[int, int]:
        """(here, in all)"""
        return (0, 0) if self._fetch is None else (self._fetch.done_count, self._fetch.bucket_count)

    def is_progressing(self, now_ms: int) -> bool:
        """Whether a snapshot comes in: then ranges need not."""
        if self.phase in (JoinPhase.CLEANING, JoinPhase.CHECKING):
            return True
        is_recent = self._progress_ms is None or now_ms - self._progress_ms < STUCK_MS
        return self.phase in (JoinPhase.FETCHING, JoinPhase.READY) and is_recent

    # --- what peers say --------------------------------------------------------------------------------

    def on_offers(self, peer: int, offers: SnapshotOffers, now_ms: int) -> None:
        """Asked for, or in place of an answer: ``peer`` has not got what we want, or not now. A chunk that comes
        after all is refused then, and its range asked for again."""
        self._sources.on_offers(peer, offers.offers)
        if self._asked is not None and self._asked[0] == peer and self._asked[1] not in offers.offers:
            self._asked = None
        if self._fetch is None or not self._fetch.is_asked(peer):
            return
        if self._fetch.offer not in offers.offers:
            self._fetch.lose(peer)
        elif offers.in_place:
            self._fetch.lose(peer)
            self._sources.avoid(peer, now_ms, BUSY_MS)

    def on_manifest(self, peer: int, manifest: SnapshotManifest, above: int, now_ms: int) -> None:
        """Raises ``RemoteError``: ``UNSOLICITED``, or what is wrong with it; its sender is avoided then."""
        if self._asked is None or self._asked[0] != peer or self._asked[1].height != manifest.header.height:
            raise RemoteError("UNSOLICITED", "a manifest that was not asked for, or too late")
        self._asked = None
        try:
            verify_manifest(manifest, self._committee, self._scheme, above)
        except RemoteError as error:
            self._refuse(
                peer, now_ms, DISTRUST_MS if error.penalise or error.code != "STALE_SNAPSHOT" else DOUBT_MS
            )
            raise
        self._manifest = manifest
        self._progress_ms = now_ms
        self.phase = JoinPhase.CLEANING

    def on_chunk(
        self, peer: int, chunk: SnapshotChunk, draft: EffectsDraft, now_ms: int
    ) -> list[tuple[int, Request]]:
        """Raises ``RemoteError``: ``UNSOLICITED``, or ``BAD_CHUNK``; its sender is avoided then."""
        if self._fetch is None or self.phase is not JoinPhase.FETCHING:
            raise RemoteError("UNSOLICITED", "a chunk that was not asked for, or too late")
        try:
            buckets, more = self._fetch.take(peer, chunk, now_ms)
        except RemoteError as error:
            if error.penalise:
                self._refuse(peer, now_ms, DISTRUST_MS)
            raise
        self.chunks += 1
        self._progress_ms = now_ms
        if more is not None:
            return [(peer, more)]
        draft.writes.append(StoreWrite(tuple(build_bucket_records(self._areas, buckets, self._fetch.done))))
        if self._fetch.is_complete:
            self._start_checking()
            return []
        return list(self._fetch.ask([peer], now_ms))

    def on_lost(self, peer: int) -> None:
        """The link went down."""
        self._sources.forget(peer)
        if self._asked is not None and self._asked[0] == peer:
            self._asked = None
        if self._fetch is not None:
            self._fetch.lose(peer)

    def _refuse(self, peer: int, now_ms: int, for_ms: int) -> None:
        self.refused += 1
        self._sources.avoid(peer, now_ms, for_ms)
        if self._fetch is not None:
            self._fetch.lose(peer)

    # --- forward ---------------------------------------------------------------------------------------

    def advance(
        self,
        executed: int,
        above: int | None,
        is_connected: Callable[[int], bool],
        draft: EffectsDraft,
        now_ms: int,
    ) -> list[tuple[int, Request]]:
        """What to ask of whom now; call it every so often. A snapshot is wanted that lies ``above`` this height
        (``None``: none)."""
        if self._manifest is not None and self._is_pointless(executed, is_connected, now_ms):
            self.give_up(draft)
        if self.phase <= JoinPhase.ASKING:
            self.phase = JoinPhase.OFF if above is None else JoinPhase.ASKING
        if self.phase is JoinPhase.CLEANING and self._sweeper.is_idle:
            assert self._manifest is not None, "only a manifest is staged"
            records = build_staged_records(self._manifest)
            draft.writes.append(StoreWrite(tuple(records)))
            self._begin(bytes((count_buckets(self._manifest) + 7) // 8))
        self._expire(now_ms)
        peers = self._sources.list_usable(is_connected, now_ms)
        requests = self._query(peers, executed, now_ms)
        if self.phase is JoinPhase.ASKING and above is not None:
            requests += self._ask_manifest(peers, above, now_ms)
        if self.phase is JoinPhase.FETCHING and self._fetch is not None:
            if self._fetch.is_complete:
                self._start_checking()
            requests += self._fetch.ask(self._sources.list_holders(peers, self._fetch.offer), now_ms)
        return requests

    def _is_pointless(self, executed: int, is_connected: Callable[[int], bool], now_ms: int) -> bool:
        """Whether we came past it ourselves, or it leads nowhere and a newer one can be had."""
        assert self._manifest is not None, "there is a manifest"
        height = self._manifest.header.height
        if executed >= height:
            return True
        if self.is_progressing(now_ms):
            return False
        peers = self._sources.list_usable(is_connected, now_ms)
        fetch = self._fetch if self.phase is JoinPhase.FETCHING else None
        if fetch is not None and self._sources.list_holders(peers, fetch.offer):
            return False
        return self._sources.find_best(peers, height) is not None

    def _expire(self, now_ms: int) -> None:
        late = [] if self._fetch is None else self._fetch.expire(now_ms)
        if self._asked is not None and now_ms >= self._asked[2]:
            late.append(self._asked[0])
            self._asked = None
        for peer in late:
            self.timeouts += 1
            self._sources.avoid(peer, now_ms, DOUBT_MS)

    def _query(self, peers: list[int], executed: int, now_ms: int) -> list[tuple[int, Request]]:
        if self.phase not in (JoinPhase.ASKING, JoinPhase.FETCHING, JoinPhase.READY):
            return []
        if self._queried_ms is not None and now_ms - self._queried_ms < QUERY_GAP_MS:
            return []
        self._queried_ms = now_ms
        if self._progress_ms is None:
            self._progress_ms = now_ms
        return [(peer, SnapshotQuery(executed)) for peer in peers]

    def _ask_manifest(self, peers: list[int], above: int, now_ms: int) -> list[tuple[int, Request]]:
        best = self._sources.find_best(peers, above)
        if best is None or self._asked is not None:
            return []
        peer = self._sources.list_holders(peers, best)[0]
        self._asked = peer, best, now_ms + self._timeout_ms
        return [(peer, ManifestRequest(best.height))]

    def give_up(self, draft: EffectsDraft) -> None:
        """Forget the download; what is stored of it goes."""
        if self._fetch is not None:
            draft.writes.append(StoreWrite(tuple(build_unstaged_records())))
            self._sweeper.add(find_staging_area(self._areas))
        self._manifest = self._fetch = self._tree = None
        self.phase = JoinPhase.ASKING
        self.given_up += 1

    # --- checking --------------------------------------------------------------------------------------

    def _start_checking(self) -> None:
        assert self._fetch is not None, "there is a download"
        self._tree = StateTree(self._fetch.bucket_count)
        self._checked = b""
        self.phase = JoinPhase.CHECKING

    def step(self, draft: EffectsDraft, now_ms: int) -> None:
        """Hash a little more of what lies in the staging area."""
        if self.phase is not JoinPhase.CHECKING:
            return
        assert self._tree is not None, "it is being checked"
        assert self._manifest is not None, "and against this"
        found = dict(islice(self._reader.scan_staged(self._areas, self._checked), CHECKED_RECORDS))
        self._tree.update(found)
        if len(found) == CHECKED_RECORDS:
            self._checked = next(reversed(found))
            return
        is_whole = self._tree.root == self._manifest.header.state_root
        self._tree = None
        if is_whole:
            self._progress_ms = now_ms
            self.phase = JoinPhase.READY
            return
        draft.alarms.append("what was stored of a snapshot is not what was verified: is the disk sound?")
        self.give_up(draft)
