"""Serving our snapshots to members that join: offers, manifests, chunks. Reads the store, keeps nothing.

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
    SnapshotQuery,
)
from node.snapshot_records import SnapshotReader
from primitives.errors import RemoteError

Answer: TypeAlias = SnapshotOffers | SnapshotManifest | SnapshotChunk


class SnapshotServer:
    """Answers one request after the other."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader

    def answer_query(self, query: SnapshotQuery) -> SnapshotOffers:
        """What we offer above the height that is asked for."""
        return self._list_offers(query.above)

    def answer_manifest(self, request: ManifestRequest) -> SnapshotManifest | SnapshotOffers:
        """The proof, or what we have instead."""
        return self._reader.get_manifest(request.height) or self._list_offers(0)

    def answer_chunk(self, request: ChunkRequest) -> SnapshotChunk | SnapshotOffers:
        """Buckets, or what we have instead. Raises ``RemoteError`` for buckets that there are not."""
        manifest = self._reader.get_manifest(request.height)
        if manifest is None or compute_header_hash(manifest.header) != request.header_hash:
            return self._list_offers(0)
        if not request.first <= request.last < count_buckets(manifest):
            raise RemoteError("BAD_REQUEST", f"buckets {request.first} to {request.last}", penalise=True)
        return pack_chunk(request, self._reader.scan_records(request.height, request.first, request.after))

    def _list_offers(self, above: int) -> SnapshotOffers:
        offers = []
        for height in self._reader.list_offered():
            manifest = self._reader.get_manifest(height)
            if manifest is not None and height > above:
                offers.append(SnapshotOffer(height, compute_header_hash(manifest.header)))
        return SnapshotOffers(tuple(offers))
