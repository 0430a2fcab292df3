"""The layout of snapshots in the chain store, and its reader.

    k ‖ height                          manifest of a snapshot that is offered to others
    n ‖ height ‖ bucket (2) ‖ key       its records, bucket by bucket
    j ‖ "manifest", j ‖ "done"          a download: its manifest, and a bit for each bucket that is here

The buckets of a download lie in the state area that is not in force (``node.chain_records.Areas``), each with its
bit in one batch, so a crash leaves every bucket whole or absent. A snapshot is offered once its manifest is
written, which is last. What lies in an area without belonging to anything is swept (``node.snapshot_sweep``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from consensus.engine import Record
from node.chain import Chain
from node.chain_records import Areas, height_key
from node.snapshot_format import count_buckets
from node.snapshot_frames import MAX_MANIFEST_BYTES, Entries, SnapshotManifest
from node.store import Store
from primitives.codec import decode, encode
from primitives.errors import LocalError, RemoteError

_MANIFEST: Final = b"k"
_RECORD: Final = b"n"
_STAGED_KEY: Final = b"jmanifest"
_DONE_KEY: Final = b"jdone"
_HEIGHT_BYTES: Final = 8
_BUCKET_BYTES: Final = 2
_KEY_START: Final = len(_RECORD) + _HEIGHT_BYTES + _BUCKET_BYTES

KeyRange = tuple[bytes, bytes]
"""Keys from the first up to, and without, the second."""


@dataclass(frozen=True, slots=True)
class StagedSnapshot:
    """A download as the store has it. Bit ``i`` of byte ``i // 8`` of ``done`` stands for bucket i."""

    manifest: SnapshotManifest
    done: bytes


# --- what is written ---------------------------------------------------------------------------------------


def build_copied_record(height: int, bucket: int, key: bytes, value: bytes) -> Record:
    """One state record of a snapshot that is being made."""
    return Record(height_key(_RECORD, height) + bucket.to_bytes(_BUCKET_BYTES, "big") + key, value)


def build_offer_record(manifest: SnapshotManifest) -> Record:
    """The snapshot is whole and offered from now on."""
    return Record(height_key(_MANIFEST, manifest.header.height), encode(manifest))


def build_retired_record(height: int) -> Record:
    """The snapshot is not offered any more; its records are to be swept."""
    return Record(height_key(_MANIFEST, height), None)


def build_staged_records(manifest: SnapshotManifest) -> list[Record]:
    """A download begins."""
    return [Record(_STAGED_KEY, encode(manifest)), Record(_DONE_KEY, bytes((count_buckets(manifest) + 7) // 8))]


def build_bucket_records(areas: Areas, buckets: Iterable[Entries], done: bytes) -> list[Record]:
    """Verified buckets, and that they are here."""
    area = areas.swap_state().state
    records = [Record(area + key, value) for entries in buckets for key, value in entries]
    return [*records, Record(_DONE_KEY, done)]


def build_unstaged_records() -> list[Record]:
    """The download is over, one way or the other."""
    return [Record(_STAGED_KEY, None), Record(_DONE_KEY, None)]


# --- what is read ------------------------------------------------------------------------------------------


class SnapshotReader:
    """Reads the records above; raises ``LocalError`` where they are damaged."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_offered(self) -> list[int]:
        """Heights of the snapshots that may be served, ascending."""
        return [int.from_bytes(key[1:], "big") for key, _ in self._store.scan(_MANIFEST, _after(_MANIFEST))]

    def get_manifest(self, height: int) -> SnapshotManifest | None:
        """The manifest of an offered snapshot."""
        data = self._store.get(height_key(_MANIFEST, height))
        return None if data is None else _read_manifest(data)

    def scan_records(self, height: int, bucket: int, after: bytes = b"") -> Iterator[tuple[int, bytes, bytes]]:
        """(bucket, key, value) of a snapshot from ``bucket`` on, of that one what comes behind key ``after``."""
        start = height_key(_RECORD, height) + bucket.to_bytes(_BUCKET_BYTES, "big")
        start += after + b"\x00" if after else b""
        for key, value in self._store.scan(start, height_key(_RECORD, height + 1)):
            yield int.from_bytes(key[_KEY_START - _BUCKET_BYTES : _KEY_START], "big"), key[_KEY_START:], value

    def take_captured(self, mark: bytes) -> Iterator[tuple[bytes, bytes]] | None:
        """(key, value) of the state as the batch with this mark left it."""
        captured = self._store.take_captured(mark)
        return None if captured is None else ((key[1:], value) for key, value in captured)

    def read_staged(self) -> StagedSnapshot | None:
        """The download that was going on."""
        data, done = self._store.get(_STAGED_KEY), self._store.get(_DONE_KEY)
        if data is None or done is None:
            return None
        manifest = _read_manifest(data)
        if len(done) != (count_buckets(manifest) + 7) // 8:
            raise LocalError("the chain store holds a damaged snapshot")
        return StagedSnapshot(manifest, done)

    def scan_staged(self, areas: Areas, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of what is downloaded, behind key ``after``."""
        area = areas.swap_state().state
        start = area + after + b"\x00" if after else area
        for key, value in self._store.scan(start, _after(area)):
            yield key[1:], value

    def scan_keys(self, keys: KeyRange) -> Iterator[bytes]:
        """Whatever lies there."""
        for key, _ in self._store.scan(*keys):
            yield key

    def list_litter(self) -> list[KeyRange]:
        """What belongs to nothing: the areas that are not in force, but for a download, and the records of
        snapshots that are not offered. Only at the start is that all there is."""
        areas = Chain(self._store).areas()
        litter = [find_follower_area(areas)]
        if self.read_staged() is None:
            litter.append(find_staging_area(areas))
        return litter + [find_records(height) for height in self._list_unoffered()]

    def _list_unoffered(self) -> list[int]:
        offered, unoffered = self.list_offered(), []
        start = _RECORD
        while (found := next(iter(self._store.scan(start, _after(_RECORD))), None)) is not None:
            height = int.from_bytes(found[0][1 : 1 + _HEIGHT_BYTES], "big")
            if height not in offered:
                unoffered.append(height)
            start = height_key(_RECORD, height + 1)
        return unoffered


def find_staging_area(areas: Areas) -> KeyRange:
    """The state area that is not in force."""
    area = areas.swap_state().state
    return area, _after(area)


def find_follower_area(areas: Areas) -> KeyRange:
    """The follower's area that is not in force."""
    area = areas.swap_follower().follower
    return area, _after(area)


def find_records(height: int) -> KeyRange:
    """The records of the snapshot at ``height``."""
    return height_key(_RECORD, height), height_key(_RECORD, height + 1)


def _read_manifest(data: bytes) -> SnapshotManifest:
    try:
        return decode(SnapshotManifest, data, max_bytes=MAX_MANIFEST_BYTES)
    except RemoteError as error:
        raise LocalError(f"the chain store holds a damaged snapshot: {error}") from None


def _after(prefix: bytes) -> bytes:
    return bytes([prefix[0] + 1])
