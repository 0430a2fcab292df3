"""A key-value store as an application: the smallest thing that satisfies ``node.application.Application``.

A transaction is a signed (sender, nonce, key, value); executing it sets ``key``. Everything that a real application
may refuse is here in one form each: bad bytes, a bad signature, a nonce that was used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crosslink.block import BlockInput, BlockResult, Readiness, TransactionReceipt
from crosslink.executed_batches import RECORD_PREFIX, ExecutedBatches
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.merkle import compute_root
from primitives.signing import SignatureScheme, Signer
from primitives.state_tree import StateTree

MAX_TRANSACTION_BYTES = 64 << 10


class ToyBody(Wire, frozen=True):
    sender: Digest
    nonce: Unsigned
    key: bytes
    value: bytes


class ToyEnvelope(Wire, frozen=True):
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ToyTransaction:
    id: bytes
    sender: bytes
    size_bytes: int
    nonce: int
    key: bytes
    value: bytes
    signed: bytes
    signature: bytes
    priority: bool = False


def make_transaction(signer: Signer, nonce: int, key: bytes = b"k", value: bytes = b"v") -> bytes:
    body = encode(ToyBody(signer.public_key, nonce, key, value))
    return encode(ToyEnvelope(body, signer.sign(b"toy" + body)))


def find_id(data: bytes) -> bytes:
    return hash_tagged(b"toy", data)


class ToyApplication:
    """State: the values by key, the highest nonce by sender, and the executed batches."""

    bucket_count = 256

    def __init__(self, scheme: SignatureScheme, lifetime_blocks: int = 1_024, salt: bytes = b"") -> None:
        self._scheme = scheme
        self._salt = salt
        self.values: dict[bytes, bytes] = {}
        self._nonces: dict[bytes, int] = {}
        self._executed = ExecutedBatches(lifetime_blocks)
        self._tree = StateTree(self.bucket_count)
        self.wants = Readiness.IDLE
        self.verified = 0

    def decode(self, data: bytes) -> ToyTransaction:
        envelope: ToyEnvelope = decode(ToyEnvelope, data, max_bytes=MAX_TRANSACTION_BYTES)
        body: ToyBody = decode(ToyBody, envelope.body, max_bytes=MAX_TRANSACTION_BYTES)
        return ToyTransaction(
            find_id(data),
            body.sender,
            len(data),
            body.nonce,
            body.key,
            body.value,
            b"toy" + envelope.body,
            envelope.signature,
        )

    def verify(self, transaction: ToyTransaction) -> None:
        self.verified += 1
        if not self._scheme.verify(transaction.sender, transaction.signed, transaction.signature):
            raise RemoteError("BAD_SIGNATURE", "sign it with the sender's key", penalise=True)

    def admit(self, transaction: ToyTransaction, now_ms: int) -> None:
        if transaction.nonce <= self._nonces.get(transaction.sender, 0):
            raise RemoteError("BAD_NONCE", "use a higher nonce")

    def execute(self, block: BlockInput) -> BlockResult:
        changes: dict[bytes, bytes | None] = {}
        receipts = []
        for batch in self._executed.filter(block.height, block.batches):
            for transaction in batch.transactions:
                code = self._execute_one(transaction, changes)
                encoded = encode((transaction.id, block.height, code))
                receipts.append(TransactionReceipt(transaction.id, encoded))
        changes.update(self._executed.take_changes())
        if self._salt:
            changes[b"salt"] = self._salt
        return BlockResult(
            state_root=self._tree.update(changes),
            receipts_root=compute_root([receipt.encoded for receipt in receipts]),
            outbox_root=compute_root([]),
            summary_root=ZERO_DIGEST,
            changes=changes,
            receipts=tuple(receipts),
        )

    def _execute_one(self, transaction: ToyTransaction, changes: dict[bytes, bytes | None]) -> str:
        if transaction.nonce <= self._nonces.get(transaction.sender, 0):
            return "BAD_NONCE"
        self._nonces[transaction.sender] = transaction.nonce
        self.values[transaction.key] = transaction.value
        changes[b"n" + transaction.sender] = transaction.nonce.to_bytes(8, "big")
        changes[b"v" + transaction.key] = transaction.value
        return "OK"

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        return self.wants

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        everything = dict(records)
        self._tree = StateTree(self.bucket_count)
        self._nonces = {
            key[1:]: int.from_bytes(value, "big") for key, value in everything.items() if key[:1] == b"n"
        }
        self.values = {key[1:]: value for key, value in everything.items() if key[:1] == b"v"}
        batches = [(key, value) for key, value in everything.items() if key.startswith(RECORD_PREFIX)]
        self._executed.load(batches)
        return self._tree.update(everything)

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether a batch is known as executed, which it is until it expires."""
        return digest in self._executed

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        return ((b"vgenesis", b"1"),)
