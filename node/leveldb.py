"""One LevelDB database, opened, written and closed with care; the only file that imports plyvel.

Opening uses ``paranoid_checks``: without it LevelDB drops synced records silently after a flipped byte. It never
creates and never repairs: a directory is made by ``initialise_database``, and whatever is missing, damaged, foreign
or newer is refused with what to do about it.

Durability:

- A batch is atomic. A synced batch is durable with everything before it.
- LevelDB syncs a new write-ahead log, but not its entry in the directory, and starts it without syncing the old
  one. After each write that started one, both are synced here, so an unsynced batch can only be lost together with
  all later ones, and a synced one never.
- After a failed write nobody knows what is on the disk. The database refuses every further write, and the
  ``LocalError`` ends the process.

Keys that start with a zero byte are this file's and its callers' own. What does not live here: what is kept
(``node.plyvel_store``).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import plyvel

from consensus.engine import Record
from node.clock import monotonic_us
from node.database_identity import (
    DatabaseIdentity,
    DatabaseKind,
    check_identity,
    describe_remedy,
    encode_identity,
)
from node.durable_files import DirectoryWatch, create_directory, sync_directory
from node.leveldb_log import check_logs
from primitives.errors import LocalError

SYNC_SAMPLES: Final = 1_024
"""Syncs over which the percentiles are taken: about ten seconds of a busy validator."""
FIRST_KEY: Final = b"\x01"
_IDENTITY_KEY: Final = b"\x00identity"

# LevelDB holds up to two write buffers of each, and a machine runs many validators. Nothing is compressed: hashes
# and signatures hardly shrink, and every compaction would compress them again.
_COMMON: Final = {"write_buffer_size": 1 << 20, "lru_cache_size": 1 << 19, "compression": None}
_OPTIONS: Final[dict[DatabaseKind, dict[str, Any]]] = {
    DatabaseKind.VOTES: _COMMON,
    # The filter keeps a question for what is not there from reading tables. It counts as a seek all the same, and
    # after a hundred LevelDB compacts the table; so no such question belongs on a path that every message takes.
    DatabaseKind.CHAIN: {**_COMMON, "bloom_filter_bits": 10},
}

_SYSTEM_TROUBLES: Final = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
    )
)
"""What the system says where it refuses and nothing is damaged; LevelDB passes on its words and not the number."""
_SYSTEM_REMEDY: Final = "nothing is lost: make room, or give the process what it needs, then start again"

_open_directories: set[Path] = set()
"""Of this process. POSIX locks do not keep a process from itself, and closing any descriptor drops them."""


@dataclass(frozen=True, slots=True)
class StorageStatistics:
    """Since the database was opened; the percentiles over the last ``SYNC_SAMPLES`` syncs, in microseconds."""

    writes: int
    records: int
    written_bytes: int
    syncs: int
    sync_p50_us: int
    sync_p99_us: int


def compute_percentile(samples: Sequence[int], per_cent: int) -> int:
    """The nearest-rank percentile of ``samples`` in any order; 0 where there are none."""
    if not samples:
        return 0
    return sorted(samples)[(len(samples) * per_cent + 99) // 100 - 1]


class Database:
    """One LevelDB directory that is ours. Not for use by two threads at once, except for reading."""

    __slots__ = (
        "_database",
        "_directory",
        "_failed",
        "_files",
        "_records",
        "_sync_us",
        "_syncs",
        "_writes",
        "_written_bytes",
        "identity",
        "path",
    )

    def __init__(self, path: Path, identity: DatabaseIdentity) -> None:
        """Open it; raises ``LocalError``."""
        self.path = path.resolve()
        self.identity = identity
        self._failed = False
        self._sync_us: deque[int] = deque(maxlen=SYNC_SAMPLES)
        self._writes = self._records = self._written_bytes = self._syncs = 0
        self._directory = DirectoryWatch(self.path)
        self._database = _open(self.path, identity)
        try:
            check_identity(path, self.get(_IDENTITY_KEY), identity)
            self._files = frozenset(os.listdir(self.path))
        except BaseException:
            self.close()
            raise

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key``; raises ``LocalError`` where it is damaged."""
        try:
            value: bytes | None = self._database.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise self._explain_reading(error) from error
        return value

    def scan(self, start: bytes, stop: bytes | None, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Entries as they are now, whatever is written while the iterator is read."""
        try:
            iterator = self._database.iterator(
                start=max(start, FIRST_KEY), stop=stop, reverse=reverse, verify_checksums=True, fill_cache=False
            )
        except plyvel.Error as error:
            raise self._explain_reading(error) from error
        return self._read(iterator)

    def _read(self, iterator: Any) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from iterator
        except plyvel.Error as error:
            raise self._explain_reading(error) from error
        finally:
            iterator.close()

    def _explain_reading(self, error: plyvel.Error) -> LocalError:
        remedy = _choose_remedy(error, self.identity.kind, self.path)
        return LocalError(f"{self.path}: cannot be read ({_quote(error)}): {remedy}")

    def write(self, records: Sequence[Record], own: Sequence[tuple[bytes, bytes]], *, sync: bool) -> None:
        """One atomic batch of the caller's records and our ``own``; raises ``LocalError``, then and ever after."""
        if self._failed:
            raise LocalError(f"{self.path}: a write failed before; the process must end")
        started = monotonic_us()
        written_bytes = 0
        try:
            with self._database.write_batch(transaction=True, sync=sync) as batch:
                for record in records:
                    key, value = record.key, record.value
                    assert key >= FIRST_KEY, "keys from 0x01 on are the caller's"
                    written_bytes += len(key)
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
                        written_bytes += len(value)
                for key, value in own:
                    batch.put(key, value)
            self._settle_new_files()
        except (plyvel.Error, OSError) as error:
            self._failed = True
            what = f"{self.path}: the disk refused a write ({_quote(error)})"
            raise LocalError(f"{what}: make room or replace it, then start again") from error
        self._writes += 1
        self._records += len(records)
        self._written_bytes += written_bytes
        if sync:
            self._syncs += 1
            self._sync_us.append(monotonic_us() - started)

    def _settle_new_files(self) -> None:
        """Make a log that LevelDB has just started durable in its directory, and the ones before it in whole."""
        if self._directory.is_unchanged():
            return
        files = frozenset(os.listdir(self.path))
        if files <= self._files:
            return
        self._files = files
        for name in sorted(files):
            if name.endswith(".log"):
                _sync_file(self.path / name)
        sync_directory(self.path)

    def verify(self, ranges: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Read everything in ``ranges`` with its checksums; the number of entries. Raises ``LocalError``."""
        return sum(1 for start, stop in ranges for _ in self.scan(start, stop, reverse=False))

    def compute_size(self) -> int:
        """Bytes of its files."""
        return sum(entry.stat().st_size for entry in os.scandir(self.path) if entry.is_file())

    def statistics(self) -> StorageStatistics:
        """Writes, and how long the synced ones took."""
        samples = tuple(self._sync_us)
        return StorageStatistics(
            writes=self._writes,
            records=self._records,
            written_bytes=self._written_bytes,
            syncs=self._syncs,
            sync_p50_us=compute_percentile(samples, 50),
            sync_p99_us=compute_percentile(samples, 99),
        )

    def close(self) -> None:
        """Also when closed already."""
        self._database.close()
        _open_directories.discard(self.path)


# --- directories -------------------------------------------------------------------------------------------


def require_unused(path: Path) -> None:
    """Raise ``LocalError`` where a process has the database at ``path`` open, whatever state that is in."""
    if not path.is_dir():
        return
    if path.resolve() in _open_directories:
        raise LocalError(f"{path}: is open in this process already")
    os.close(_lock(path))


def _lock(path: Path) -> int:
    """A descriptor that holds LevelDB's own lock; raises ``LocalError``."""
    try:
        descriptor = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LocalError(f"{path}: cannot be locked ({error.strerror})") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LocalError(f"{path}: another process uses it: stop that first") from None
    return descriptor


def initialise_database(path: Path, identity: DatabaseIdentity, first: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Make a database with these first entries, whole or not at all; raises ``LocalError``."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise LocalError(f"{path}: exists already and is never overwritten: move it away first")
    create_directory(path)
    try:
        database = plyvel.DB(
            str(path),
            create_if_missing=True,
            error_if_exists=True,
            paranoid_checks=True,
            **_OPTIONS[identity.kind],
        )
        try:
            with database.write_batch(transaction=True, sync=True) as batch:
                for key, value in first:
                    batch.put(key, value)
                batch.put(_IDENTITY_KEY, encode_identity(identity))
        finally:
            database.close()
        sync_directory(path)
        sync_directory(path.resolve().parent)
    except (plyvel.Error, OSError) as error:
        raise LocalError(f"{path}: cannot be initialised ({_quote(error)})") from error


def _open(path: Path, identity: DatabaseIdentity) -> Any:
    if not path.is_dir() or not any(path.iterdir()):
        remedy = describe_remedy(identity.kind, path)
        raise LocalError(f"{path}: there is no database (a new home gets one from rialto node init): {remedy}")
    if path in _open_directories:
        raise LocalError(f"{path}: is open in this process already")
    _check_closed_logs(path, identity.kind)
    try:
        database = plyvel.DB(str(path), create_if_missing=False, paranoid_checks=True, **_OPTIONS[identity.kind])
    except (plyvel.Error, OSError) as error:
        remedy = _choose_remedy(error, identity.kind, path)
        raise LocalError(f"{path}: cannot be opened ({_quote(error)}): {remedy}") from error
    _open_directories.add(path)
    return database


def _check_closed_logs(path: Path, kind: DatabaseKind) -> None:
    """Look at the logs under LevelDB's own lock, so that a running node is never mistaken for a damaged one."""
    descriptor = _lock(path)
    try:
        check_logs(path)
    except LocalError as error:
        raise LocalError(f"{error}: {_choose_remedy(error, kind, path)}") from None
    finally:
        os.close(descriptor)


def _choose_remedy(error: Exception, kind: DatabaseKind, path: Path) -> str:
    """Whoever only lacks room must not be told what to do about damage: to give up what is there."""
    text = _quote(error)
    is_refused = any(trouble in text for trouble in _SYSTEM_TROUBLES)
    return _SYSTEM_REMEDY if is_refused else describe_remedy(kind, path)


def _quote(error: Exception) -> str:
    """LevelDB's words are bytes."""
    words = error.args[0] if error.args else ""
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)


def _sync_file(path: Path) -> None:
    """Sync the file's contents; one that LevelDB has deleted meanwhile is in a synced table."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
