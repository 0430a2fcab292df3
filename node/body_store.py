"""Vote log and chain store with large batch bodies kept apart, in ``node.body_segments``.

Both databases keep batch bodies under ``b ‖ digest`` (``node.vote_records``, ``node.chain_records``). Bodies that
are pinned together for a vote, and together have at least ``LEAST_BYTES``, are appended to a segment, and both
databases hold pointers to that one copy. Whoever reads gets the bodies themselves, so nobody above knows.

Durability is that of the databases: bodies are synced before any pointer to them is written, and the order of
synced and unsynced batches is theirs. What does not live here: the databases (``node.plyvel_store``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from consensus.engine import Record
from node.body_segments import BodySegments, Pointer, decode_pointer
from node.leveldb import StorageStatistics
from node.plyvel_store import FULL_CHECK_BYTES, PlyvelChainStore, PlyvelVoteLog, SyncProbe

BODY_PREFIX: Final = b"b"
_AFTER_BODIES: Final = b"c"
LEAST_BYTES: Final = 32 << 10
"""Of the bodies in one write. Less rides in the databases' batches: a second sync would cost more than it saves."""


class BodyVoteLog:
    """A ``node.store.VoteLog``. What is pinned is in memory too; the engine's window bounds it."""

    def __init__(self, log: PlyvelVoteLog, segments: BodySegments) -> None:
        """Raises ``LocalError`` where a pinned body is missing or damaged."""
        self._log = log
        self._segments = segments
        self._pinned: dict[bytes, tuple[Pointer, bytes]] = {}
        for key, value in log.load().items():
            pointer = _find_pointer(key, value)
            if pointer is not None:
                segments.retain(pointer)
                self._pinned[key] = pointer, segments.read(pointer)

    def load(self) -> dict[bytes, bytes]:
        """Every record."""
        return self._log.load() | {key: body for key, (_, body) in self._pinned.items()}

    def find_pinned(self, key: bytes, body: bytes) -> Pointer | None:
        """Where this very body lies already."""
        known = self._pinned.get(key)
        return known[0] if known is not None and known[1] == body else None

    def write(self, records: Sequence[Record]) -> None:
        """One atomic batch, durable on return; raises ``LocalError`` where the disk refuses."""
        written: list[Record] = []
        released: list[Pointer] = []
        go_apart = _go_apart(records)
        for record in records:
            key, value = record.key, record.value
            if key[:1] == BODY_PREFIX:
                known = self._pinned.pop(key, None)
                if known is not None:
                    released.append(known[0])
                if value is not None and go_apart:
                    pointer = self._segments.append(value)
                    self._pinned[key] = pointer, value
                    record = Record(key, pointer.encode())
            written.append(record)
        self._segments.sync()
        self._log.write(written)
        self._segments.release(released)

    def probe_sync(self) -> SyncProbe:
        """How long small synced writes take."""
        return self._log.probe_sync()

    def statistics(self) -> StorageStatistics:
        """Of the database: bodies kept apart are not in its bytes."""
        return self._log.statistics()

    def close(self) -> None:
        self._log.close()


class BodyChainStore:
    """A ``node.store.Store``. A body that is pinned is not written again."""

    def __init__(self, store: PlyvelChainStore, votes: BodyVoteLog, segments: BodySegments) -> None:
        """Counts every pointer, and reads every body where all of them are small enough to; raises
        ``LocalError``."""
        self._store = store
        self._votes = votes
        self._segments = segments
        self._deleted: list[Pointer] = []
        is_checked = segments.size_bytes <= FULL_CHECK_BYTES
        for key, value in store.scan(BODY_PREFIX, _AFTER_BODIES):
            pointer = _find_pointer(key, value)
            if pointer is not None:
                segments.retain(pointer)
                if is_checked:
                    segments.read(pointer)

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key``; raises ``LocalError`` where it is damaged."""
        value = self._store.get(key)
        return None if value is None else self._resolve(key, value)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start ≤ key < stop as they are now, in key order or backwards."""
        entries = self._store.scan(start, stop, reverse=reverse)
        if stop <= BODY_PREFIX or start >= _AFTER_BODIES:
            return entries
        return ((key, self._resolve(key, value)) for key, value in entries)

    def write(self, records: Sequence[Record], *, sync: bool = False) -> None:
        """One atomic batch; raises ``LocalError`` where the disk refuses, and the process must end."""
        go_apart = _go_apart(records)
        separated = [self._separate(record, go_apart) for record in records]
        self._segments.sync()
        self._store.write(separated, sync=sync)
        if sync:
            deleted, self._deleted = self._deleted, []
            self._segments.release(deleted)

    def take_captured(self, mark: bytes) -> Iterator[tuple[bytes, bytes]] | None:
        """Of prefixes other than the bodies'."""
        return self._store.take_captured(mark)

    def statistics(self) -> StorageStatistics:
        """Of the database: bodies kept apart are not in its bytes."""
        return self._store.statistics()

    def close(self) -> None:
        self._store.close()

    def _separate(self, record: Record, go_apart: bool) -> Record:
        key, value = record.key, record.value
        if key[:1] != BODY_PREFIX:
            return record
        if value is None:
            self._note_deleted(key)
            return record
        pointer = self._votes.find_pinned(key, value)
        if pointer is not None:
            self._segments.retain(pointer)
        elif go_apart:
            pointer = self._segments.append(value)
        else:
            return record
        return Record(key, pointer.encode())

    def _note_deleted(self, key: bytes) -> None:
        """The bytes may go once the deletion is durable, which the next synced batch sees to."""
        value = self._store.get(key)
        pointer = None if value is None else decode_pointer(value)
        if pointer is not None:
            self._deleted.append(pointer)

    def _resolve(self, key: bytes, value: bytes) -> bytes:
        pointer = _find_pointer(key, value)
        return value if pointer is None else self._segments.read(pointer)


def _find_pointer(key: bytes, value: bytes) -> Pointer | None:
    return decode_pointer(value) if key[:1] == BODY_PREFIX else None


def _go_apart(records: Sequence[Record]) -> bool:
    sizes = [len(record.value) for record in records if record.value is not None and record.key[:1] == BODY_PREFIX]
    return sum(sizes) >= LEAST_BYTES
