"""The layout of the chain store, and typed readers of it.

Used by the replica (which adds what it returns as ``StoreWrite``) and by the RPC layer (which only reads). Keys
are one prefix byte and a fixed-width rest; heights are 8 bytes, big endian, so scans go in order of height.

    i ‖ name      identity of the database, tip, certified height
    h ‖ height    header                 c ‖ height    certificate, where one formed at this very height
    p ‖ height    payload bytes          b ‖ digest    batch body (an encoded ``SignedBatch``)
    r ‖ height    receipts               o ‖ height    outbox leaves
    m ‖ height    summary                x ‖ tx id ‖ height          position among the receipts (4 bytes)
    s ‖ key       state record           f ‖ key       record of the beacon follower
    e ‖ key       evidence               t ‖ xid       last notice about a cross-shard transfer (JSON)
    y ‖ address ‖ height ‖ number (4 bytes)            xid of a transfer that concerns the account
    v, w          evidence for the beacon (``node.evidence``; ``e`` is what convinces nobody else)
    u ‖ digest    height of the last block that names the batch

State and follower records have a second area each, ``q`` and ``g``: a snapshot is put into the one that is not in
force, and one record (``Areas``) then changes over. Headers and certificates stay for good; what pruning takes away
(payloads, bodies, receipts, their index, outbox leaves) is complete from ``floor_height`` on.

What does not live here: who writes when, and when a write is synced (``node.executor``); the records of snapshots
that are offered or downloaded (``node.snapshot_records``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

import msgspec

from consensus.certificate import Certificate
from consensus.engine import NULL_PAYLOAD, Record
from crosslink.block import BlockResult
from crosslink.executed_batches import RECORD_PREFIX as EXECUTED_PREFIX
from crosslink.header import MAX_HEADER_BYTES, ShardHeader, compute_header_hash
from crosslink.transfer_notices import TOPIC as TRANSFER_TOPIC
from node.payload import Payload, decode_payload
from node.store import Store
from node.wire import (
    MAX_BATCH_FRAME_BYTES,
    MAX_PROOF_BYTES,
    BatchBody,
    decode_signed_batch,
)
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import parse_address

T = TypeVar("T")

FORMAT_VERSION: Final = 1
MAX_STORED_BYTES: Final = 64 << 20
"""Bound for decoding what we wrote ourselves; a block's receipts stay far below."""
RECENT_BLOCKS: Final = 1_000
MAX_EVIDENCE_RECORDS: Final = 256
"""Evidence is written rarely; a peer that misbehaves all the time must not fill the disk."""

_IDENTITY_KEY: Final = b"iidentity"
_TIP_KEY: Final = b"itip"
_CERTIFIED_KEY: Final = b"icertified"
_AREAS_KEY: Final = b"iareas"
_FLOOR_KEY: Final = b"ifloor"
_FIRST_KEY: Final = b"ifirst"

_HEADER: Final = b"h"
_CERTIFICATE: Final = b"c"
_PAYLOAD: Final = b"p"
_BODY: Final = b"b"
_RECEIPTS: Final = b"r"
_OUTBOX: Final = b"o"
_SUMMARY: Final = b"m"
_TRANSACTION: Final = b"x"
_STATE: Final = b"s"
_FOLLOWER: Final = b"f"
_EVIDENCE: Final = b"e"
_TRANSFER: Final = b"t"
_TRANSFER_OF: Final = b"y"
_LAST_USE: Final = b"u"
_OTHER_STATE: Final = b"q"
_OTHER_FOLLOWER: Final = b"g"


class ChainIdentity(Wire, frozen=True):
    """Whose chain a database holds; one of another network, shard or format is refused."""

    format_version: Unsigned
    chain: Digest
    shard: Unsigned
    genesis_root: Digest


@dataclass(frozen=True, slots=True)
class Areas:
    """The prefixes of the state and follower records that are in force."""

    state: bytes = _STATE
    follower: bytes = _FOLLOWER

    def swap_state(self) -> Areas:
        """With the other area of the state."""
        return replace(self, state=_OTHER_STATE if self.state == _STATE else _STATE)

    def swap_follower(self) -> Areas:
        """With the other area of the follower."""
        return replace(self, follower=_OTHER_FOLLOWER if self.follower == _FOLLOWER else _FOLLOWER)


INITIAL_AREAS: Final = Areas()
"""Of a chain that no snapshot was put into."""


class StoredEvidence(Wire, frozen=True):
    """``Evidence`` as kept: signed messages of which an honest member signs at most one."""

    kind: str
    culprit: Unsigned
    messages: tuple[bytes, ...]


def height_key(prefix: bytes, height: int) -> bytes:
    """The key of what belongs to ``height``."""
    return prefix + height.to_bytes(8, "big")


# --- what the replica writes -------------------------------------------------------------------------------


def build_genesis_records(identity: ChainIdentity, records: Iterable[tuple[bytes, bytes]]) -> list[Record]:
    """The first batch of a new database."""
    written = [Record(_STATE + key, value) for key, value in records]
    written.append(Record(_IDENTITY_KEY, encode(identity)))
    return written


def build_block_records(
    header: ShardHeader,
    payload: bytes,
    bodies: Mapping[bytes, bytes],
    result: BlockResult,
    areas: Areas = INITIAL_AREAS,
) -> list[Record]:
    """One executed block as one atomic batch. ``bodies`` maps digests to encoded ``SignedBatch``."""
    height = header.height
    suffix = height.to_bytes(8, "big")
    records = [
        Record(_HEADER + suffix, encode(header)),
        Record(_PAYLOAD + suffix, payload),
        Record(_SUMMARY + suffix, result.summary),
        Record(_TIP_KEY, suffix),
    ]
    records.extend([Record(_BODY + digest, body) for digest, body in bodies.items()])
    records.extend([Record(_LAST_USE + digest, suffix) for digest in bodies])
    if result.receipts:
        pairs = [(receipt.transaction, receipt.encoded) for receipt in result.receipts]
        records.append(Record(_RECEIPTS + suffix, encode(pairs)))
        # Backwards, so that of two places in one block the first stays.
        records.extend(
            [
                Record(_TRANSACTION + pair[0] + suffix, position.to_bytes(4, "big"))
                for position, pair in reversed(list(enumerate(pairs)))
            ]
        )
    records.extend(_build_transfer_records(header.height, result))
    if result.outbox:
        records.append(Record(_OUTBOX + suffix, encode(result.outbox)))
    records.extend([Record(areas.state + key, value) for key, value in result.changes.items()])
    return records


def build_tip_record(height: int) -> Record:
    """The executed height once more: something to write where only a sync is wanted."""
    return Record(_TIP_KEY, height.to_bytes(8, "big"))


def _build_transfer_records(height: int, result: BlockResult) -> Iterator[Record]:
    """The last notice about each transfer, and for each account the transfers that concern it."""
    number = 0
    for topic, notice in result.events:
        if topic != TRANSFER_TOPIC:
            continue
        xid = bytes.fromhex(notice["xid"])
        yield Record(_TRANSFER + xid, msgspec.json.encode({**notice, "height": height}))
        place = height.to_bytes(8, "big") + number.to_bytes(4, "big")
        yield Record(_TRANSFER_OF + parse_address(notice["account"]) + place, xid)
        number += 1


def build_certificate_records(certificate: Certificate) -> list[Record]:
    """``certificate`` and the new certified height."""
    suffix = certificate.height.to_bytes(8, "big")
    return [Record(_CERTIFICATE + suffix, encode(certificate)), Record(_CERTIFIED_KEY, suffix)]


def build_follower_records(changes: Mapping[bytes, bytes | None], areas: Areas = INITIAL_AREAS) -> list[Record]:
    """What following one beacon block changed."""
    return [Record(areas.follower + key, value) for key, value in changes.items()]


def build_jump_records(header: ShardHeader, certificate: Certificate, areas: Areas) -> list[Record]:
    """The chain goes on above ``header``, whose state is in the area that is in force from now on; one batch."""
    height = header.height
    suffix = height.to_bytes(8, "big")
    return [
        Record(height_key(_HEADER, height), encode(header)),
        *build_certificate_records(certificate),
        Record(_TIP_KEY, suffix),
        Record(_FIRST_KEY, suffix),
        Record(_FLOOR_KEY, (height + 1).to_bytes(8, "big")),
        Record(_AREAS_KEY, areas.state + areas.follower),
    ]


def build_pruning_records(chain: Chain, height: int, payload: bytes) -> list[Record]:
    """What goes with the block at ``height``, whose payload is given: everything but header, certificate, summary
    and what a later block names too."""
    suffix = height.to_bytes(8, "big")
    records = [Record(_PAYLOAD + suffix, None), Record(_RECEIPTS + suffix, None), Record(_OUTBOX + suffix, None)]
    records.extend([Record(_TRANSACTION + pair[0] + suffix, None) for pair in chain.get_receipts(height)])
    if payload == NULL_PAYLOAD:
        return records
    for reference in _read_payload(payload).batches:
        if chain.last_use_of(reference.digest) == height:
            records += [Record(_BODY + reference.digest, None), Record(_LAST_USE + reference.digest, None)]
    return records


def build_floor_record(height: int) -> Record:
    """Blocks are complete from ``height`` on."""
    return Record(_FLOOR_KEY, height.to_bytes(8, "big"))


def build_evidence_record(evidence: StoredEvidence, number: int) -> Record:
    """Evidence under a number of its own."""
    return Record(height_key(_EVIDENCE, number), encode(evidence))


# --- readers -----------------------------------------------------------------------------------------------


class Chain:
    """Reads what the records above hold. Raises ``LocalError`` where the store holds something else: it is then
    not ours, or damaged, and is never repaired silently."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._areas: Areas | None = None

    def identity(self) -> ChainIdentity | None:
        """``None`` for an empty database."""
        data = self._store.get(_IDENTITY_KEY)
        if data is None:
            for key, _ in self._store.scan(b"", b"\xff"):
                raise LocalError(f"the database holds {key[:16].hex()} but no identity: it is not a Rialto chain")
            return None
        return _read(ChainIdentity, data, 1_024, "identity")

    def tip_height(self) -> int:
        """The last executed height; 0 before the first block."""
        return _read_height(self._store.get(_TIP_KEY))

    def certified_height(self) -> int:
        """The last certified height."""
        return _read_height(self._store.get(_CERTIFIED_KEY))

    def areas(self) -> Areas:
        """Which areas are in force; they change only together with the process's replica."""
        if self._areas is None:
            self._areas = self._read_areas()
        return self._areas

    def _read_areas(self) -> Areas:
        data = self._store.get(_AREAS_KEY)
        if data is None:
            return INITIAL_AREAS
        found = Areas(data[:1], data[1:])
        if found.state not in (_STATE, _OTHER_STATE) or found.follower not in (_FOLLOWER, _OTHER_FOLLOWER):
            raise LocalError("the chain store names areas that there are not: it is damaged")
        return found

    def floor_height(self) -> int:
        """The lowest height from which on every block is here with its payload and bodies."""
        return max(1, _read_height(self._store.get(_FLOOR_KEY)))

    def first_height(self) -> int:
        """The lowest height from which on every header is here: 1, or where a snapshot was taken from a peer."""
        return max(1, _read_height(self._store.get(_FIRST_KEY)))

    def last_use_of(self, digest: bytes) -> int | None:
        """The last block that names this batch; ``None`` where that was not noted."""
        data = self._store.get(_LAST_USE + digest)
        return None if data is None else _read_height(data)

    def scan_payloads(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """(height, payload) of the blocks that are here, from ``first`` to ``last``."""
        for key, payload in self._store.scan(height_key(_PAYLOAD, first), height_key(_PAYLOAD, last + 1)):
            yield int.from_bytes(key[1:], "big"), payload

    def get_header(self, height: int) -> ShardHeader | None:
        """Executed, and certified if ``height`` ≤ ``certified_height()``."""
        data = self._store.get(height_key(_HEADER, height))
        return None if data is None else _read(ShardHeader, data, MAX_HEADER_BYTES, "header")

    def get_certificate(self, height: int) -> Certificate | None:
        """The certificate that formed at this very height."""
        data = self._store.get(height_key(_CERTIFICATE, height))
        return None if data is None else _read(Certificate, data, MAX_PROOF_BYTES, "certificate")

    def find_covering_certificate(self, height: int) -> Certificate | None:
        """The lowest certificate at or above ``height``: it certifies all ancestors. Nearly always its own."""
        start, stop = height_key(_CERTIFICATE, height), height_key(_CERTIFICATE, 2**63)
        for _, data in self._store.scan(start, stop):
            return _read(Certificate, data, MAX_PROOF_BYTES, "certificate")
        return None

    def get_payload(self, height: int) -> bytes | None:
        """The ordered payload bytes, empty for a null payload; ``node.payload.decode_payload`` reads them."""
        return self._store.get(height_key(_PAYLOAD, height))

    def get_body(self, digest: bytes) -> bytes | None:
        """An executed batch, encoded as ``SignedBatch``."""
        return self._store.get(_BODY + digest)

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
        data = self._store.get(height_key(_RECEIPTS, height))
        if data is None:
            return ()
        return _read(tuple[tuple[bytes, bytes], ...], data, MAX_STORED_BYTES, "receipts")

    def get_outbox(self, height: int) -> tuple[bytes, ...]:
        """The outbox leaves of a block in order."""
        data = self._store.get(height_key(_OUTBOX, height))
        return () if data is None else _read(tuple[bytes, ...], data, MAX_STORED_BYTES, "outbox")

    def get_summary(self, height: int) -> bytes | None:
        """The canonical summary that the header's ``summary_root`` commits to."""
        return self._store.get(height_key(_SUMMARY, height))

    def find_transaction(self, transaction: bytes) -> tuple[int, int] | None:
        """(height, position among the receipts) of an executed transaction, where it was ordered first: a repeat
        only gets a receipt that says so."""
        prefix = _TRANSACTION + transaction
        for key, position in self._store.scan(prefix, prefix + b"\xff" * 8):
            if len(key) != len(prefix) + 8 or len(position) != 4:
                raise LocalError("the chain store holds a damaged transaction index")
            return int.from_bytes(key[-8:], "big"), int.from_bytes(position, "big")
        return None

    def find_transfer(self, xid: bytes) -> Mapping[str, Any] | None:
        """The last notice about a transfer on this shard (``crosslink.transfer_notices``), and its height."""
        data = self._store.get(_TRANSFER + xid)
        return None if data is None else cast(Mapping[str, Any], msgspec.json.decode(data))

    def scan_transfers_of(self, address: bytes, before: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """(place, xid) of an account's transfers, newest first, from below the opaque ``before``; a transfer
        comes once for each of its steps."""
        prefix = _TRANSFER_OF + address
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
        found = self._store.scan(_EVIDENCE, _after(_EVIDENCE))
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
    return [(height_key(prefix, first), _after(prefix)) for prefix in (_HEADER, _CERTIFICATE, _PAYLOAD)]


def _after(prefix: bytes) -> bytes:
    return bytes([prefix[0] + 1])


def _read_height(data: bytes | None) -> int:
    if data is None:
        return 0
    if len(data) != 8:
        raise LocalError("the chain store holds a damaged height")
    return int.from_bytes(data, "big")


def _read_payload(data: bytes) -> Payload:
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
