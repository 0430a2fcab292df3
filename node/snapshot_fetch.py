"""Fetching the buckets of one snapshot from several members at once; each answer is verified alone.

Theory of operation. The buckets that are not here are cut into ranges. Each member has at most one request open;
what its answer leaves of the range is anybody's again, so a slow member holds nothing up but itself. A bucket that
does not fit into one answer comes in parts, all from one member: only the whole can be verified, and then it is
clear who lied.

Bounds: a request for each member, ``MAX_BUCKET_BYTES`` of parts for each. What does not live here: whom to ask
(``node.snapshot_sources``), writing what came (``node.snapshot_download``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.snapshot_format import compute_size, count_buckets, is_bucket
from node.snapshot_frames import (
    CHUNK_BYTES,
    ChunkRequest,
    Entries,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffer,
)
from primitives.errors import RemoteError

RANGES: Final = 64
"""Into so many ranges all buckets are cut at first: enough for every member of a committee to have one."""
MAX_BUCKET_BYTES: Final = 64 << 20
"""Parts of one bucket. An even spread has kilobytes in each; this is for whoever makes keys that share a bucket."""
MIN_PART_BYTES: Final = CHUNK_BYTES // 2
"""An honest part is a full chunk; smaller ones would only keep us waiting."""


@dataclass(slots=True)
class _Task:
    """What one member was asked for; ``part`` is what came already of bucket ``first``."""

    first: int
    last: int
    deadline_ms: int
    part: list[tuple[bytes, bytes]] = field(default_factory=list)
    part_bytes: int = 0

    @property
    def after(self) -> bytes:
        """The key behind which the next part begins."""
        return self.part[-1][0] if self.part else b""


class BucketFetch:
    """The download of ``manifest``, of which the buckets in ``done`` are here."""

    def __init__(self, manifest: SnapshotManifest, offer: SnapshotOffer, done: bytes, timeout_ms: int) -> None:
        self._manifest = manifest
        self.offer = offer
        self._done = bytearray(done)
        self._timeout_ms = timeout_ms
        self._todo = deque(self._list_missing())
        self._tasks: dict[int, _Task] = {}
        self.bucket_count = count_buckets(manifest)
        self.done_count = sum([byte.bit_count() for byte in done])

    def _list_missing(self) -> Iterator[tuple[int, int]]:
        count = count_buckets(self._manifest)
        width = max(1, count // RANGES)
        for start in range(0, count, width):
            missing = [index for index in range(start, min(count, start + width)) if not self._is_done(index)]
            if missing:
                # What is done in between comes again and is dropped: gaps are rare, and few.
                yield missing[0], missing[-1]

    def _is_done(self, index: int) -> bool:
        return bool(self._done[index // 8] & 1 << index % 8)

    @property
    def done(self) -> bytes:
        """A bit for each bucket that is here."""
        return bytes(self._done)

    @property
    def is_complete(self) -> bool:
        """Whether all buckets are here."""
        return self.done_count == self.bucket_count

    # --- asking ----------------------------------------------------------------------------------------

    def ask(self, peers: Sequence[int], now_ms: int) -> list[tuple[int, ChunkRequest]]:
        """What to ask of those of ``peers`` that have nothing to do."""
        requests = []
        for peer in peers:
            if peer not in self._tasks and self._todo:
                first, last = self._todo.popleft()
                task = self._tasks[peer] = _Task(first, last, now_ms + self._timeout_ms)
                requests.append((peer, self._request(task)))
        return requests

    def _request(self, task: _Task) -> ChunkRequest:
        return ChunkRequest(self.offer.height, self.offer.header_hash, task.first, task.last, task.after)

    def is_asked(self, peer: int) -> bool:
        """Whether a request to ``peer`` is open."""
        return peer in self._tasks

    def lose(self, peer: int) -> None:
        """``peer`` will not answer: others are asked."""
        task = self._tasks.pop(peer, None)
        if task is not None:
            self._todo.append((task.first, task.last))

    def expire(self, now_ms: int) -> list[int]:
        """Who did not answer in time."""
        late = [peer for peer, task in self._tasks.items() if now_ms >= task.deadline_ms]
        for peer in late:
            self.lose(peer)
        return late

    # --- taking ----------------------------------------------------------------------------------------

    def take(self, peer: int, chunk: SnapshotChunk, now_ms: int) -> tuple[list[Entries], ChunkRequest | None]:
        """(verified buckets that were missing, the request for the next part).

        Raises ``RemoteError``: ``UNSOLICITED``, or ``BAD_CHUNK`` from a liar. Either way its range is free again.
        """
        task = self._tasks.get(peer)
        asked = None if task is None else (self.offer.height, task.first, task.after)
        if task is None or (chunk.height, chunk.first, chunk.after) != asked:
            raise RemoteError("UNSOLICITED", "a chunk that was not asked for, or too late")
        if chunk.is_cut:
            try:
                self._take_part(task, chunk)
            except RemoteError:
                self.lose(peer)
                raise
            task.deadline_ms = now_ms + self._timeout_ms
            return [], self._request(task)
        del self._tasks[peer]
        buckets = [(*task.part, *chunk.buckets[0]), *chunk.buckets[1:]]
        count = len(buckets)
        if count > task.last - task.first + 1 or not all(
            is_bucket(self._manifest, task.first + place, entries) for place, entries in enumerate(buckets)
        ):
            self._todo.append((task.first, task.last))
            raise RemoteError("BAD_CHUNK", "buckets that are not under the state root", penalise=True)
        if task.first + count <= task.last:
            self._todo.appendleft((task.first + count, task.last))
        return self._mark(task.first, buckets), None

    def _take_part(self, task: _Task, chunk: SnapshotChunk) -> None:
        entries = chunk.buckets[0]
        size = compute_size(entries)
        keys = [task.after, *[key for key, _ in entries]]
        is_ascending = all(low < high for low, high in zip(keys, keys[1:], strict=False))
        if len(chunk.buckets) != 1 or size < MIN_PART_BYTES or not is_ascending:
            raise RemoteError("BAD_CHUNK", "a part of a bucket that is none", penalise=True)
        if task.part_bytes + size > MAX_BUCKET_BYTES:
            raise RemoteError("BAD_CHUNK", "a bucket without end", penalise=True)
        task.part.extend(entries)
        task.part_bytes += size

    def _mark(self, first: int, buckets: Sequence[Entries]) -> list[Entries]:
        """Note that these are here; returns those that were not."""
        fresh = []
        for index, entries in enumerate(buckets, first):
            if not self._is_done(index):
                self._done[index // 8] |= 1 << index % 8
                self.done_count += 1
                fresh.append(entries)
        return fresh
