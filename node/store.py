"""The ``Store`` and ``VoteLog`` protocols: ordered byte keys and values with atomic batches.

The replica reads synchronously and never writes: it returns records in its output, and the pump (or the
simulator) writes them in order. ``node.plyvel_store`` keeps them in LevelDB, ``node.memory_store`` in memory.
What lives in which prefix is decided in ``node.chain_records``.

A *capture* is how a replica gets to read one prefix as it is right after one batch, however much is written before
the reading begins: it lets the batch end with a record under ``CAPTURE_KEY``, and takes the iterator later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from consensus.engine import Record

CAPTURE_KEY: Final = b"icapture"
"""Last in a batch, its value (the *mark*) begins with the prefix byte that is to be captured."""


class Store(Protocol):
    """The chain store. One ``write`` is one atomic batch; unsynced batches may be lost in a crash, but only
    from the end, and never torn apart."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start ≤ key < stop in key order (or backwards)."""
        ...

    def write(self, records: Sequence[Record], *, sync: bool = False) -> None:
        """Raises ``LocalError`` where the disk refuses; the process must end then, never retry."""
        ...

    def take_captured(self, mark: bytes) -> Iterator[tuple[bytes, bytes]] | None:
        """The entries under the prefix as the batch with this mark left them, once; ``None`` where that was not
        the newest capture of this process's life."""
        ...

    def close(self) -> None: ...


class VoteLog(Protocol):
    """The log of votes and pinned bodies: every write is durable when it returns."""

    def load(self) -> Mapping[bytes, bytes]: ...

    def write(self, records: Sequence[Record]) -> None: ...

    def close(self) -> None: ...
