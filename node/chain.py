"""Typed readers of the chain store, for the replica and for the RPC layer.

What does not live here: the layout, and what is written (``node.chain_records``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec

from consensus.certificate import Certificate
from crosslink.executed_batches import RECORD_PREFIX as EXECUTED_PREFIX
from crosslink.header import MAX_HEADER_BYTES, ShardHeader, compute_header_hash
from node.chain_records import (
    AREAS_KEY,
    BODY,
    CERTIFICATE,
    CERTIFIED_KEY,
    EVIDENCE,
    FIRST_KEY,
    FLOOR_KEY,
    FOLLOWER,
    HEADER,
    IDENTITY_KEY,
    INITIAL_AREAS,
    LAST_USE,
    OTHER_FOLLOWER,
    OTHER_STATE,
    OUTBOX,
    PAYLOAD,
    RECEIPTS,
    STATE,
    SUMMARY,
    TIP_KEY,
    TRANSACTION,
    TRANSFER,
    TRANSFER_OF,
    Areas,
    ChainIdentity,
    StoredEvidence,
    height_key,
)
from node.payload import Payload, decode_payload
from node.store import Store
from node.wire import (
    MAX_BATCH_FRAME_BYTES,
    MAX_PROOF_BYTES,
    BatchBody,
    decode_signed_batch,
)
from primitives.codec import decode
from primitives.errors import LocalError, RemoteError

T = TypeVar("T")

MAX_STORED_BYTES: Final = 64 << 20
"""Bound for decoding what we wrote ourselves; a block's receipts stay far below."""
RECENT_BLOCKS: Final = 1_000


class Chain:
    """Reads what ``node.chain_records`` lays down. Raises ``LocalError`` where the store holds something else: it
    is then not ours, or damaged, and is never repaired silently."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._areas: Areas | None = None

    def identity(self) -> ChainIdentity | None:
        """``None`` for an empty database."""
        data = self._store.get(IDENTITY_KEY)
        if data is None:
            for key, _ in self._store.scan(b"", b"\xff"):
                raise LocalError(f"the database holds {key[:16].hex()} but no identity: it is not a Rialto chain")
            return None
        return _read(ChainIdentity, data, 1_024, "identity")

    def tip_height(self) -> int:
        """The last executed height; 0 before the first block."""
        return _read_height(self._store.get(TIP_KEY))

    def certified_height(self) -> int:
        """The last certified height."""
        return _read_height(self._store.get(CERTIFIED_KEY))

    def areas(self) -> Areas:
        """Which areas are in force; they change only together with the process's replica."""
        if self._areas is None:
            self._areas = self._read_areas()
        return self._areas

    def _read_areas(self) -> Areas:
        data = self._store.get(AREAS_KEY)
        if data is None:
            return INITIAL_AREAS
        found = Areas(data[:1], data[1:])
        if found.state not in (STATE, OTHER_STATE) or found.follower not in (FOLLOWER, OTHER_FOLLOWER):
            raise LocalError("the chain store names areas that there are not: it is damaged")
        return found

    def floor_height(self) -> int:
        """The lowest height from which on every block is here with its payload and bodies."""
        return max(1, _read_height(self._store.get(FLOOR_KEY)))

    def first_height(self) -> int:
        """The lowest height from which on every header is here: 1, or where a snapshot was taken from a peer."""
        return max(1, _read_height(self._store.get(FIRST_KEY)))

    def last_use_of(self, digest: bytes) -> int | None:
        """The last block that names this batch; ``None`` where that was not noted."""
        data = self._store.get(LAST_USE + digest)
        return None if data is None else _read_height(data)

    def scan_payloads(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """(height, payload) of the blocks that are here, from ``first`` to ``last``."""
        for key, payload in self._store.scan(height_key(PAYLOAD, first), height_key(PAYLOAD, last + 1)):
            yield int.from_bytes(key[1:], "big"), payload

    def get_header(self, height: int) -> ShardHeader | None:
        """Executed, and certified if ``height`` ≤ ``certified_height()``."""
        data = self._store.get(height_key(HEADER, height))
        return None if data is None else _read(ShardHeader, data, MAX_HEADER_BYTES, "header")

    def get_certificate(self, height: int) -> Certificate | None:
        """The certificate that formed at this very height."""
        data = self._store.get(height_key(CERTIFICATE, height))
        return None if data is None else _read(Certificate, data, MAX_PROOF_BYTES, "certificate")

    def find_covering_certificate(self, height: int) -> Certificate | None:
        """The lowest certificate at or above ``height``: it certifies all ancestors. Nearly always its own."""
        start, stop = height_key(CERTIFICATE, height), height_key(CERTIFICATE, 2**63)
        for _, data in self._store.scan(start, stop):
            return _read(Certificate, data, MAX_PROOF_BYTES, "certificate")
        return None

    def get_payload(self, height: int) -> bytes | None:
        """The ordered payload bytes, empty for a null payload; ``node.payload.decode_payload`` reads them."""
        return self._store.get(height_key(PAYLOAD, height))

    def get_body(self, digest: bytes) -> bytes | None:
        """An executed batch, encoded as ``SignedBatch``."""
        return self._store.get(BODY + digest)

    def is_executed(self, digest: bytes) -> bool:
        """Whether the state remembers this batch, which it does until the batch expires, whatever became of the
        body: pruned, or never here because we joined by snapshot."""
        return self._store.get(self.areas().state + EXECUTED_PREFIX + digest) is not None

    def get_batch(self, digest: bytes) -> BatchBody | None:
        """An executed batch's body, decoded: its transactions are the bytes that clients signed."""
        data = self.get_body(digest)
        if data is None:
            return None
        return _read(BatchBody, _read_signed(data), MAX_BATCH_FRAME_BYTES, "batch")

    def get_receipts(self, height: int) -> tuple[tuple[bytes, bytes], ...]:
        """(transaction id, encoded receipt) by position; empty where the block has none."""
        data = self._store.get(height_key(RECEIPTS, height))
        if data is None:
            return ()
        return _read(tuple[tuple[bytes, bytes], ...], data, MAX_STORED_BYTES, "receipts")

    def get_outbox(self, height: int) -> tuple[bytes, ...]:
        """The outbox leaves of a block in order."""
        data = self._store.get(height_key(OUTBOX, height))
        return () if data is None else _read(tuple[bytes, ...], data, MAX_STORED_BYTES, "outbox")

    def get_summary(self, height: int) -> bytes | None:
        """The canonical summary that the header's ``summary_root`` commits to."""
        return self._store.get(height_key(SUMMARY, height))

    def find_transaction(self, transaction: bytes) -> tuple[int, int] | None:
        """(height, position among the receipts) of an executed transaction, where it was ordered first: a repeat
        only gets a receipt that says so."""
        prefix = TRANSACTION + transaction
        for key, position in self._store.scan(prefix, prefix + b"\xff" * 8):
            if len(key) != len(prefix) + 8 or len(position) != 4:
                raise LocalError("the chain store holds a damaged transaction index")
            return int.from_bytes(key[-8:], "big"), int.from_bytes(position, "big")
        return None

    def find_transfer(self, xid: bytes) -> Mapping[str, Any] | None:
        """The last notice about a transfer on this shard (``crosslink.transfer_notices``), and its height."""
        data = self._store.get(TRANSFER + xid)
        return None if data is None else cast(Mapping[str, Any], msgspec.json.decode(data))

    def scan_transfers_of(self, address: bytes, before: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """(place, xid) of an account's transfers, newest first, from below the opaque ``before``; a transfer
        comes once for each of its steps."""
        prefix = TRANSFER_OF + address
        stop = prefix + (b"\xff" * 12 if before is None else before)
        for key, xid in self._store.scan(prefix, stop, reverse=True):
            yield key[len(prefix) :], xid

    def state_records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every state record at ``tip_height()``, in key order."""
        return self._scan_stripped(self.areas().state)

    def follower_records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record of the beacon follower, in key order."""
        return self._scan_stripped(self.areas().follower)

    def get_follower_record(self, key: bytes) -> bytes | None:
        """One record of the beacon follower, such as a followed block's bundle."""
        return self._store.get(self.areas().follower + key)

    def evidence(self) -> Sequence[StoredEvidence]:
        """Everything kept against members, oldest first."""
        found = self._store.scan(EVIDENCE, _after(EVIDENCE))
        return [_read(StoredEvidence, data, MAX_STORED_BYTES, "evidence") for _, data in found]

    def find_transactions_of(self, height: int, payload_batches: Sequence[bytes]) -> Sequence[bytes]:
        """The signed bytes of all transactions in these batches, in order; batches that were skipped as
        repeats are found under their first block."""
        transactions: list[bytes] = []
        for digest in payload_batches:
            batch = self.get_batch(digest)
            if batch is None:
                raise LocalError(f"the chain store lacks a batch of block {height}")
            transactions.extend(batch.transactions)
        return transactions

    def _scan_stripped(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._store.scan(prefix, _after(prefix)):
            yield key[1:], value


def validate_tip(chain: Chain, height: int) -> ShardHeader:
    """The stored header at ``height``; raises ``LocalError`` where it is missing or of another height."""
    header = chain.get_header(height)
    if header is None or header.height != height:
        raise LocalError(f"the chain store says that it ends at {height} but has no such header: it is damaged")
    return header


def header_hash_at(chain: Chain, height: int, genesis_hash: bytes) -> bytes:
    """The identity of the stored block at ``height``; ``genesis_hash`` for height 0."""
    return genesis_hash if height == 0 else compute_header_hash(validate_tip(chain, height))


def list_recent_ranges(store: Store) -> list[tuple[bytes, bytes]]:
    """The key ranges of the last ``RECENT_BLOCKS`` headers, certificates and payloads: what a start-up check
    reads of a store that is too large to read whole."""
    first = max(0, Chain(store).tip_height() - RECENT_BLOCKS)
    return [(height_key(prefix, first), _after(prefix)) for prefix in (HEADER, CERTIFICATE, PAYLOAD)]


def _after(prefix: bytes) -> bytes:
    return bytes([prefix[0] + 1])


def _read_height(data: bytes | None) -> int:
    if data is None:
        return 0
    if len(data) != 8:
        raise LocalError("the chain store holds a damaged height")
    return int.from_bytes(data, "big")


def read_payload(data: bytes) -> Payload:
    try:
        return decode_payload(data)
    except RemoteError as error:
        raise LocalError(f"the chain store holds a damaged payload: {error}") from None


def _read_signed(data: bytes) -> bytes:
    try:
        return decode_signed_batch(data).body
    except RemoteError as error:
        raise LocalError(f"the chain store holds a damaged batch: {error}") from None


def _read(kind: type[T], data: bytes, max_bytes: int, name: str) -> T:
    try:
        return decode(kind, data, max_bytes=max_bytes)
    except RemoteError as error:
        raise LocalError(f"the chain store holds a damaged {name}: {error}") from None
