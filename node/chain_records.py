"""The layout of the chain store: its keys, and the records that the replica writes (as ``StoreWrite``).

Keys are one prefix byte and a fixed-width rest; heights are 8 bytes, big endian, so scans go in order of height.

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

What does not live here: reading (``node.chain``); who writes when, and when a write is synced (``node.executor``);
the records of snapshots that are offered or downloaded (``node.snapshot_records``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from consensus.certificate import Certificate
from consensus.engine import Record
from crosslink.block import BlockResult
from crosslink.header import ShardHeader
from primitives.codec import Digest, Unsigned, Wire, encode
from primitives.identifiers import parse_address

FORMAT_VERSION: Final = 1
MAX_EVIDENCE_RECORDS: Final = 256
"""Evidence is written rarely; a peer that misbehaves all the time must not fill the disk."""

IDENTITY_KEY: Final = b"iidentity"
TIP_KEY: Final = b"itip"
CERTIFIED_KEY: Final = b"icertified"
AREAS_KEY: Final = b"iareas"
FLOOR_KEY: Final = b"ifloor"
FIRST_KEY: Final = b"ifirst"

HEADER: Final = b"h"
CERTIFICATE: Final = b"c"
PAYLOAD: Final = b"p"
BODY: Final = b"b"
RECEIPTS: Final = b"r"
OUTBOX: Final = b"o"
SUMMARY: Final = b"m"
TRANSACTION: Final = b"x"
STATE: Final = b"s"
FOLLOWER: Final = b"f"
EVIDENCE: Final = b"e"
TRANSFER: Final = b"t"
TRANSFER_OF: Final = b"y"
LAST_USE: Final = b"u"
OTHER_STATE: Final = b"q"
OTHER_FOLLOWER: Final = b"g"


class ChainIdentity(Wire, frozen=True):
    """Whose chain a database holds; one of another network, shard or format is refused."""

    format_version: Unsigned
    chain: Digest
    shard: Unsigned
    genesis_root: Digest


@dataclass(frozen=True, slots=True)
class Areas:
    """The prefixes of the state and follower records that are in force."""

    state: bytes = STATE
    follower: bytes = FOLLOWER

    def swap_state(self) -> Areas:
        """With the other area of the state."""
        return replace(self, state=OTHER_STATE if self.state == STATE else STATE)

    def swap_follower(self) -> Areas:
        """With the other area of the follower."""
        return replace(self, follower=OTHER_FOLLOWER if self.follower == FOLLOWER else FOLLOWER)


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


def build_genesis_records(identity: ChainIdentity, records: Iterable[tuple[bytes, bytes]]) -> list[Record]:
    """The first batch of a new database."""
    written = [Record(STATE + key, value) for key, value in records]
    written.append(Record(IDENTITY_KEY, encode(identity)))
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
        Record(HEADER + suffix, encode(header)),
        Record(PAYLOAD + suffix, payload),
        Record(SUMMARY + suffix, result.summary),
        Record(TIP_KEY, suffix),
    ]
    records.extend([Record(BODY + digest, body) for digest, body in bodies.items()])
    records.extend([Record(LAST_USE + digest, suffix) for digest in bodies])
    if result.receipts:
        pairs = [(receipt.transaction, receipt.encoded) for receipt in result.receipts]
        records.append(Record(RECEIPTS + suffix, encode(pairs)))
        # Backwards, so that of two places in one block the first stays.
        records.extend(
            [
                Record(TRANSACTION + pair[0] + suffix, position.to_bytes(4, "big"))
                for position, pair in reversed(list(enumerate(pairs)))
            ]
        )
    records.extend(_build_transfer_records(header.height, result))
    if result.outbox:
        records.append(Record(OUTBOX + suffix, encode(result.outbox)))
    records.extend([Record(areas.state + key, value) for key, value in result.changes.items()])
    return records


def build_tip_record(height: int) -> Record:
    """The executed height once more: something to write where only a sync is wanted."""
    return Record(TIP_KEY, height.to_bytes(8, "big"))


def _build_transfer_records(height: int, result: BlockResult) -> Iterator[Record]:
    """The last notice about each transfer, and for each account the transfers that concern it."""
    for number, notice in enumerate(result.transfers):
        xid = bytes.fromhex(notice["xid"])
        yield Record(TRANSFER + xid, msgspec.json.encode({**notice, "height": height}))
        place = height.to_bytes(8, "big") + number.to_bytes(4, "big")
        yield Record(TRANSFER_OF + parse_address(notice["account"]) + place, xid)


def build_certificate_records(certificate: Certificate) -> list[Record]:
    """``certificate`` and the new certified height."""
    suffix = certificate.height.to_bytes(8, "big")
    return [Record(CERTIFICATE + suffix, encode(certificate)), Record(CERTIFIED_KEY, suffix)]


def build_follower_records(changes: Mapping[bytes, bytes | None], areas: Areas = INITIAL_AREAS) -> list[Record]:
    """What following one beacon block changed."""
    return [Record(areas.follower + key, value) for key, value in changes.items()]


def build_jump_records(header: ShardHeader, certificate: Certificate, areas: Areas) -> list[Record]:
    """The chain goes on above ``header``, whose state is in the area that is in force from now on; one batch."""
    height = header.height
    suffix = height.to_bytes(8, "big")
    return [
        Record(height_key(HEADER, height), encode(header)),
        *build_certificate_records(certificate),
        Record(TIP_KEY, suffix),
        Record(FIRST_KEY, suffix),
        Record(FLOOR_KEY, (height + 1).to_bytes(8, "big")),
        Record(AREAS_KEY, areas.state + areas.follower),
    ]


def build_floor_record(height: int) -> Record:
    """Blocks are complete from ``height`` on."""
    return Record(FLOOR_KEY, height.to_bytes(8, "big"))


def build_evidence_record(evidence: StoredEvidence, number: int) -> Record:
    """Evidence under a number of its own."""
    return Record(height_key(EVIDENCE, number), encode(evidence))
