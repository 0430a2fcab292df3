"""The ``Application`` protocol: what the replica needs of a state machine.

Satisfied structurally by ``shards.application.ShardApplication`` and ``crosslink.beacon.BeaconApplication``.
Everything here is synchronous and deterministic. ``execute`` depends on the block, the state and the followed
beacon alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from crosslink.block import BlockInput, BlockResult, Readiness


class Transaction(Protocol):
    """A decoded transaction. ``sender`` groups what one client sent (for fairness); ``id`` is its hash;
    ``size_bytes`` that of its encoding; ``priority`` true where it may use capacity kept free for cancels."""

    @property
    def id(self) -> bytes: ...
    @property
    def sender(self) -> bytes: ...
    @property
    def size_bytes(self) -> int: ...


class Application(Protocol):
    """A replicated state machine under a replica. ``verify`` and ``admit`` take what ``decode`` gave."""

    def decode(self, data: bytes) -> Transaction:
        """The transaction in ``data``; bounded; raises ``RemoteError``. A pure function of the bytes and genesis:
        everything that makes a batch invalid is found here or in ``verify``."""
        ...

    def verify(self, transaction: Any) -> None:
        """Check its signature (about 60 µs); raises ``RemoteError``. Pure."""
        ...

    def admit(self, transaction: Any, now_ms: int) -> None:
        """Whether to take it into our mempool: reads state and wall clock, raises ``RemoteError`` with the code
        that execution would probably give (bad nonce, no funds, expired). Decides nothing else."""
        ...

    def execute(self, block: BlockInput) -> BlockResult:
        """Apply one block to the state, in memory; an exception is our own bug and halts the replica."""
        ...

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        """Whether the application itself wants a block (inbox items, a trailing beacon reference, open beacon
        transfers). Times are wall-clock ms: now, and when we executed our last block."""
        ...

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether the state holds this batch as executed: until it expires, whatever becomes of its body."""
        ...

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Replace the state by these records (from the store); returns the state root, which the caller
        compares. Raises ``LocalError`` where they are not a state."""
        ...

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        """The state at height 0, from the genesis alone."""
        ...
