"""Making snapshots of our own state at certified heights, a few records at a time.

Theory of operation. Which heights get one follows from the headers alone, so members with the same interval make
the same ones, and a member that joins can mix what they send.

    WAITING --a block is due, executed--> COPYING    the batch of the block captures the state right behind it
    COPYING --all records read----------> HASHING    written again under the snapshot, so that they sort by bucket
    HASHING --all buckets hashed--------> PROVING    the root must be the header's, else our store is damaged
    PROVING --the block is certified----> WAITING    the manifest is written: the snapshot is offered; of more than
                                                     ``KEPT_SNAPSHOTS`` the oldest is retired

A step costs a millisecond or two; steps are a timer's, so nothing waits for them. A crash gives up what was being
made. A block that is due while another snapshot is made gets none here. What does not live here: serving
(``node.snapshot_server``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Final, assert_never

from consensus.engine import Record
from crosslink.header import ShardHeader
from node.chain import Chain
from node.chain_records import Areas
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.snapshot_frames import SnapshotManifest
from node.snapshot_records import (
    SnapshotReader,
    build_copied_record,
    build_offer_record,
    build_retired_record,
    find_records,
)
from node.snapshot_sweep import Sweeper
from node.store import CAPTURE_KEY
from primitives.state_tree import compute_bucket_hash, compute_bucket_index, compute_root_of_buckets

COPIED_RECORDS: Final = 256
"""Copied or hashed in one step."""
BEACON_INTERVAL_BLOCKS: Final = 4_096
"""A block that passes a multiple of this with its beacon reference gets a snapshot too: an idle shard makes few
blocks, and who joins it must not need every beacon block since its last snapshot."""
KEPT_SNAPSHOTS: Final = 2
"""Who downloads the older one has until the next is made to finish."""


class MakerPhase(Enum):
    """See the module."""

    WAITING = 0
    COPYING = 1
    HASHING = 2
    PROVING = 3


@dataclass(slots=True)
class _Job:
    """The snapshot that is being made. ``entries`` are those of bucket ``len(hashes)`` so far."""

    header: ShardHeader
    mark: bytes
    phase: MakerPhase = MakerPhase.COPYING
    captured: Iterator[tuple[bytes, bytes]] | None = None
    hashes: list[bytes] = field(default_factory=list)
    entries: list[tuple[bytes, bytes]] = field(default_factory=list)


def is_due(header: ShardHeader, parent_beacon_height: int, interval_blocks: int) -> bool:
    """Whether this block gets a snapshot; never with an interval of 0."""
    if not interval_blocks:
        return False
    passed = header.beacon_ref.height // BEACON_INTERVAL_BLOCKS > parent_beacon_height // BEACON_INTERVAL_BLOCKS
    return passed or header.height % interval_blocks == 0


class SnapshotMaker:
    """Makes the snapshots of one member."""

    def __init__(
        self,
        reader: SnapshotReader,
        chain: Chain,
        sweeper: Sweeper,
        areas: Areas,
        bucket_count: int,
        interval_blocks: int,
        tip: ShardHeader | None,
    ) -> None:
        """``tip`` is the last executed header; ``interval_blocks`` 0 makes none."""
        self._reader = reader
        self._chain = chain
        self._sweeper = sweeper
        self._areas = areas
        self._bucket_count = bucket_count
        self._interval_blocks = interval_blocks
        self._beacon_height = 0 if tip is None else tip.beacon_ref.height
        self._job: _Job | None = None
        self._offered = reader.list_offered()
        self.made = self.failed = 0

    @property
    def is_busy(self) -> bool:
        """Whether ``step`` has something to do."""
        return self._job is not None

    @property
    def offered(self) -> tuple[int, ...]:
        """The heights that are offered, ascending."""
        return tuple(self._offered)

    def on_executed(self, header: ShardHeader, draft: EffectsDraft) -> None:
        """A block was executed, and its batch is the last in the draft: capture the state where it is due."""
        parent, self._beacon_height = self._beacon_height, header.beacon_ref.height
        if self._job is not None or not is_due(header, parent, self._interval_blocks):
            return
        mark = self._areas.state + header.height.to_bytes(8, "big")
        draft.writes.append(StoreWrite((Record(CAPTURE_KEY, mark),)))
        self._job = _Job(header, mark)

    def step(self, draft: EffectsDraft) -> None:
        """A little more of the snapshot that is being made."""
        job = self._job
        if job is None:
            return
        match job.phase:
            case MakerPhase.COPYING:
                self._copy(job, draft)
            case MakerPhase.HASHING:
                self._hash(job, draft)
            case MakerPhase.PROVING:
                self._prove(job, draft)
            case MakerPhase.WAITING:
                raise AssertionError("nothing is made while waiting")
            case _:
                assert_never(job.phase)

    def _copy(self, job: _Job, draft: EffectsDraft) -> None:
        if job.captured is None:
            if self._chain.tip_height() < job.header.height:
                return  # Its batch is in effects that are not honoured yet.
            job.captured = self._reader.take_captured(job.mark)
        if job.captured is None:
            self._give_up(job)
            return
        taken = list(islice(job.captured, COPIED_RECORDS))
        height = job.header.height
        records = [
            build_copied_record(height, compute_bucket_index(key, self._bucket_count), key, value)
            for key, value in taken
        ]
        if records:
            draft.writes.append(StoreWrite(tuple(records)))
        if len(taken) < COPIED_RECORDS:
            job.captured = None
            job.phase = MakerPhase.HASHING

    def _hash(self, job: _Job, draft: EffectsDraft) -> None:
        after = job.entries[-1][0] if job.entries else b""
        scan = self._reader.scan_records(job.header.height, len(job.hashes), after)
        count = 0
        for bucket, key, value in islice(scan, COPIED_RECORDS):
            self._close_buckets(job, bucket)
            job.entries.append((key, value))
            count += 1
        if count == COPIED_RECORDS:
            return
        self._close_buckets(job, self._bucket_count)
        if compute_root_of_buckets(job.hashes) == job.header.state_root:
            job.phase = MakerPhase.PROVING
            return
        draft.alarms.append(f"the stored state of block {job.header.height} is not the one that was executed")
        self._give_up(job)

    def _close_buckets(self, job: _Job, bucket: int) -> None:
        """Hash the buckets below ``bucket``, the empty ones among them."""
        while len(job.hashes) < bucket:
            job.hashes.append(compute_bucket_hash(job.entries))
            job.entries = []

    def _prove(self, job: _Job, draft: EffectsDraft) -> None:
        height = job.header.height
        if self._chain.certified_height() < height:
            return
        certificate = self._chain.get_certificate(height)
        if certificate is None:
            # Only a block above it was certified here. Others have this one's certificate, or the next will do.
            self._give_up(job)
            return
        draft.writes.append(
            StoreWrite((build_offer_record(SnapshotManifest(job.header, certificate, b"".join(job.hashes))),))
        )
        self._job = None
        self._offered.append(height)
        self.made += 1
        while len(self._offered) > KEPT_SNAPSHOTS:
            self.retire_oldest(draft)

    def retire_oldest(self, draft: EffectsDraft) -> None:
        """Offer it no more."""
        retired = self._offered.pop(0)
        draft.writes.append(StoreWrite((build_retired_record(retired),)))
        self._sweeper.add(find_records(retired))

    def _give_up(self, job: _Job) -> None:
        self._job = None
        self.failed += 1
        self._sweeper.add(find_records(job.header.height))
