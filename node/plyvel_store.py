"""The chain store and the vote log: two LevelDB databases, because compaction of state must never stall votes.

Each write to the vote log grows a counter inside it. Chain batches carry the counter, so a vote log that was
deleted, cut or restored from a copy is found older than the chain (``check_vote_log``).

What does not live here: LevelDB itself (``node.leveldb``). What lies under the keys is decided in
``node.chain_records`` and by the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.engine import Record
from node.clock import monotonic_us
from node.database_identity import DatabaseIdentity, DatabaseKind, describe_remedy
from node.leveldb import FIRST_KEY, Database, StorageStatistics, compute_percentile, initialise_database
from node.store import CAPTURE_KEY
from primitives.errors import LocalError

FULL_CHECK_BYTES: Final = 1 << 30
"""A chain up to this size is read whole at start (a few seconds); a larger one where it was written last."""
PROBE_SAMPLES: Final = 100

_PROBE_KEY: Final = b"\x00probe"
_VOTE_SEQUENCE_KEY: Final = b"\x00votes"
_SEQUENCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class SyncProbe:
    """How long small synced writes take on this disk, in microseconds."""

    samples: int
    p50_us: int
    p99_us: int


class PlyvelVoteLog:
    """The log of votes and pinned bodies: every write is durable when it returns.

    ``write`` may run in a thread, one at a time. Group commit is the caller's: many records, one call.
    """

    __slots__ = ("_database", "sequence")

    def __init__(self, path: Path, identity: DatabaseIdentity) -> None:
        """Open the log at ``path``; raises ``LocalError``. Reads everything with its checksums."""
        assert identity.kind is DatabaseKind.VOTES
        self._database = Database(path, identity)
        try:
            self._database.verify([(FIRST_KEY, None)])
            self.sequence = int.from_bytes(self._database.get(_VOTE_SEQUENCE_KEY) or b"", "big")
        except BaseException:
            self._database.close()
            raise

    @staticmethod
    def initialise(path: Path, identity: DatabaseIdentity, records: Sequence[Record] = (), writes: int = 0) -> None:
        """Make a log with these first records, whole or not at all, in a new or empty directory; raises
        ``LocalError``. ``writes`` is how many came before, where it takes the place of another log."""
        assert identity.kind is DatabaseKind.VOTES
        first = [(record.key, record.value) for record in records if record.value is not None]
        initialise_database(path, identity, [(_VOTE_SEQUENCE_KEY, writes.to_bytes(_SEQUENCE_BYTES, "big")), *first])

    def load(self) -> dict[bytes, bytes]:
        """Every record."""
        return dict(self._database.scan(FIRST_KEY, None, reverse=False))

    def write(self, records: Sequence[Record]) -> None:
        """One atomic batch, durable on return; raises ``LocalError`` where the disk refuses."""
        if not records:
            return
        sequence = self.sequence + 1
        own = [(_VOTE_SEQUENCE_KEY, sequence.to_bytes(_SEQUENCE_BYTES, "big"))]
        self._database.write(records, own, sync=True)
        self.sequence = sequence

    def probe_sync(self, samples: int = PROBE_SAMPLES) -> SyncProbe:
        """Time small synced writes (of a record that nobody reads); decides between loop thread and worker."""
        durations: list[int] = []
        for number in range(samples):
            started = monotonic_us()
            self._database.write((), [(_PROBE_KEY, number.to_bytes(_SEQUENCE_BYTES, "big"))], sync=True)
            durations.append(monotonic_us() - started)
        return SyncProbe(samples, compute_percentile(durations, 50), compute_percentile(durations, 99))

    def statistics(self) -> StorageStatistics:
        """Writes and how long their syncs took."""
        return self._database.statistics()

    def close(self) -> None:
        self._database.close()


class PlyvelChainStore:
    """The chain and its state: a ``node.store.Store``."""

    __slots__ = ("_captured", "_database", "_vote_log")

    def __init__(
        self,
        path: Path,
        identity: DatabaseIdentity,
        find_recent: Callable[[PlyvelChainStore], Iterable[tuple[bytes, bytes]]],
        *,
        full_check_bytes: int = FULL_CHECK_BYTES,
    ) -> None:
        """Open the store at ``path``; raises ``LocalError``.

        Up to ``full_check_bytes`` everything is read with its checksums; above, only the key ranges that
        ``find_recent`` names (the last 1,000 blocks).
        """
        assert identity.kind is DatabaseKind.CHAIN
        self._vote_log: PlyvelVoteLog | None = None
        self._captured: tuple[bytes, Iterator[tuple[bytes, bytes]]] | None = None
        self._database = Database(path, identity)
        try:
            whole = self._database.compute_size() <= full_check_bytes
            self._database.verify([(FIRST_KEY, None)] if whole else find_recent(self))
        except BaseException:
            self._database.close()
            raise

    @staticmethod
    def initialise(path: Path, identity: DatabaseIdentity) -> None:
        """Make an empty store in a new or empty directory; raises ``LocalError``."""
        assert identity.kind is DatabaseKind.CHAIN
        initialise_database(path, identity)

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key``; raises ``LocalError`` where it is damaged."""
        return self._database.get(key)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start ≤ key < stop as they are now, in key order or backwards."""
        return self._database.scan(start, stop, reverse=reverse)

    def write(self, records: Sequence[Record], *, sync: bool = False) -> None:
        """One atomic batch; raises ``LocalError`` where the disk refuses, and the process must end."""
        own: list[tuple[bytes, bytes]] = []
        if self._vote_log is not None:
            own.append((_VOTE_SEQUENCE_KEY, self._vote_log.sequence.to_bytes(_SEQUENCE_BYTES, "big")))
        self._database.write(records, own, sync=sync)
        if records and records[-1].key == CAPTURE_KEY:
            mark = records[-1].value or b""
            # An iterator of LevelDB shows the database as it was when the iterator was made.
            self._captured = mark, self.scan(mark[:1], bytes([mark[0] + 1]))

    def take_captured(self, mark: bytes) -> Iterator[tuple[bytes, bytes]] | None:
        """The entries as the batch with this mark left them, once."""
        captured, self._captured = self._captured, None
        return captured[1] if captured is not None and captured[0] == mark else None

    def check_vote_log(self, vote_log: PlyvelVoteLog) -> None:
        """Raise ``LocalError`` where ``vote_log`` is older than a chain batch that was written after it."""
        seen = int.from_bytes(self._database.get(_VOTE_SEQUENCE_KEY) or b"", "big")
        if vote_log.sequence < seen:
            raise LocalError(
                f"the vote log is older than the chain ({vote_log.sequence} writes, the chain has seen {seen}): "
                f"{describe_remedy(DatabaseKind.VOTES, self._database.path)}"
            )

    def attach_vote_log(self, vote_log: PlyvelVoteLog) -> None:
        """From now on every batch carries how far ``vote_log`` was when it was written."""
        self._vote_log = vote_log

    def statistics(self) -> StorageStatistics:
        """Writes, and how long the synced ones took."""
        return self._database.statistics()

    def close(self) -> None:
        self._captured = None
        self._database.close()
