"""A toy state machine under real replicas: commands of numbered clients, applied once each.

It costs microseconds, so a run spends its time in consensus. Its rule is one that a mistake below would break: a
client's command number is applied at most once, in whatever batches it is ordered. What does not live here: a
venue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from crosslink.block import BlockInput, BlockResult, Readiness, TransactionReceipt
from crosslink.executed_batches import RECORD_PREFIX as BATCH_PREFIX
from crosslink.executed_batches import ExecutedBatches
from primitives.codec import Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.merkle import EMPTY_ROOT, compute_root
from primitives.state_tree import StateTree

MAX_COMMAND_BYTES: Final = 4_096
LIFETIME_BLOCKS: Final = 1_024
MAX_REMEMBERED: Final = 2_048
BUCKETS: Final = 64
PAGE_NUMBERS: Final = 256
"""Commands of a client whose marks share a record, one bit each: a command then costs no record of its own."""
PAGE_BYTES: Final = PAGE_NUMBERS // 8
APPLIED: Final = b"\x01"
"""The receipt of a command that took effect."""
REPEATED: Final = b"\x00"


class Command(Wire, frozen=True):
    """Number ``number`` of ``client``; ``padding`` makes it as large as a load wants."""

    client: Unsigned
    number: Unsigned
    padding: bytes


@dataclass(frozen=True, slots=True)
class ToyTransaction:
    """A decoded command."""

    id: bytes
    sender: bytes
    size_bytes: int
    page: bytes
    """The record that holds its mark."""
    mark: int
    priority: bool = False


def encode_command(client: int, number: int, padding: bytes = b"") -> bytes:
    """What a client submits."""
    return encode(Command(client, number, padding))


def compute_command_id(data: bytes) -> bytes:
    """The transaction's identity."""
    return hash_tagged(b"rialto/toy-command", data)


@lru_cache(maxsize=MAX_REMEMBERED)
def _decode_command(data: bytes) -> ToyTransaction:
    """Every member decodes every command, several times: what it says follows from its bytes alone."""
    command: Command = decode(Command, data, max_bytes=MAX_COMMAND_BYTES)
    sender = command.client.to_bytes(8, "big")
    page, place = divmod(command.number, PAGE_NUMBERS)
    return ToyTransaction(
        compute_command_id(data), sender, len(data), b"c" + sender + page.to_bytes(8, "big"), 1 << place
    )


class ToyApplication:
    """Satisfies ``node.application.Application``. Its receipts are ``APPLIED`` or ``REPEATED``."""

    def __init__(self) -> None:
        self.load(())

    def decode(self, data: bytes) -> ToyTransaction:
        """The command in ``data``; raises ``RemoteError``."""
        return _decode_command(data)

    def verify(self, transaction: ToyTransaction) -> None:
        """Commands are not signed."""

    def admit(self, transaction: ToyTransaction, now_ms: int) -> None:
        """Refuse what was applied already."""
        if self._applied.get(transaction.page, 0) & transaction.mark:
            raise RemoteError("APPLIED", "this command was applied already")

    def execute(self, block: BlockInput) -> BlockResult:
        """Apply every command that is new."""
        changes: dict[bytes, bytes | None] = {}
        receipts = []
        for batch in self._executed.filter(block.height, block.batches):
            for transaction in batch.transactions:
                applied = self._applied.get(transaction.page, 0)
                is_new = not applied & transaction.mark
                if is_new:
                    applied |= transaction.mark
                    self._applied[transaction.page] = applied
                    changes[transaction.page] = applied.to_bytes(PAGE_BYTES, "big")
                receipts.append(TransactionReceipt(transaction.id, APPLIED if is_new else REPEATED))
        changes.update(self._executed.take_changes())
        return BlockResult(
            state_root=self._tree.update(changes),
            receipts_root=compute_root([receipt.encoded for receipt in receipts]),
            outbox_root=EMPTY_ROOT,
            summary_root=ZERO_DIGEST,
            changes=changes,
            receipts=tuple(receipts),
        )

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        """It never wants a block for itself."""
        return Readiness.IDLE

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Replace the state."""
        everything = dict(records)
        self._applied = {
            key: int.from_bytes(value, "big")
            for key, value in everything.items()
            if not key.startswith(BATCH_PREFIX)
        }
        self._executed = ExecutedBatches(LIFETIME_BLOCKS)
        self._executed.load([item for item in everything.items() if item[0].startswith(BATCH_PREFIX)])
        self._tree = StateTree(BUCKETS)
        return self._tree.update(everything)

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether a batch is known as executed, which it is until it expires."""
        return digest in self._executed

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        """Nothing is applied at height 0."""
        return ()
