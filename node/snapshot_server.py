"""Serving our snapshots to members that join: offers, manifests, chunks, read from the store.

What does not live here: budgets (``node.range_server``), making them (``node.snapshot_maker``).
"""

from __future__ import annotations

from typing import TypeAlias

from crosslink.header import compute_header_hash
from node.snapshot_format import count_buckets, pack_chunk
from node.snapshot_frames import (
    ChunkRequest,
    ManifestRequest,
    SnapshotChunk,
    SnapshotManifest,
    SnapshotOffer,
    SnapshotOffers,
)
from node.snapshot_maker import SnapshotMaker
from node.snapshot_records import SnapshotReader
from primitives.errors import RemoteError

Answer: TypeAlias = SnapshotOffers | SnapshotManifest | SnapshotChunk


class SnapshotServer:
    """Answers one request after the other."""

    def __init__(self, reader: SnapshotReader, maker: SnapshotMaker) -> None:
        """``maker`` knows what is offered."""
        self._reader = reader
        self._maker = maker
        self._known: dict[int, tuple[SnapshotOffer, int]] = {}
        """(offer, number of buckets) by height: a manifest may have megabytes, and chunks are many."""

    def list_offers(self, above: int = 0) -> SnapshotOffers:
        """What we offer above this height."""
        found = [self._find(height) for height in self._maker.offered if height > above]
        return SnapshotOffers(tuple([known[0] for known in found if known is not None]), in_place=False)

    def refuse(self) -> SnapshotOffers:
        """What we offer, in place of what was asked for."""
        return SnapshotOffers(self.list_offers().offers, in_place=True)

    def answer_manifest(self, request: ManifestRequest) -> SnapshotManifest | SnapshotOffers:
        """The proof, or what we have instead."""
        known = self._find(request.height)
        manifest = None if known is None else self._reader.get_manifest(request.height)
        return manifest or self.refuse()

    def answer_chunk(self, request: ChunkRequest) -> SnapshotChunk | SnapshotOffers:
        """Buckets, or what we have instead. Raises ``RemoteError`` for buckets that there are not."""
        known = self._find(request.height)
        if known is None or known[0].header_hash != request.header_hash:
            return self.refuse()
        if not request.first <= request.last < known[1]:
            raise RemoteError("BAD_REQUEST", f"buckets {request.first} to {request.last}", penalise=True)
        return pack_chunk(request, self._reader.scan_records(request.height, request.first, request.after))

    def _find(self, height: int) -> tuple[SnapshotOffer, int] | None:
        if height not in self._maker.offered:
            self._known.pop(height, None)
            return None
        known = self._known.get(height)
        manifest = None if known is not None else self._reader.get_manifest(height)
        if manifest is not None:
            offer = SnapshotOffer(height, compute_header_hash(manifest.header))
            known = self._known[height] = offer, count_buckets(manifest)
        return known
