"""Beacon blocks as followers get them: header, proof, all records, and the messages for one shard.

Made by a beacon member for every certified block and shard, and pushed. The header commits to the records
(``outbox_root``), the records to the messages (``Delivery``), so a follower needs no trust in who made it. What
does not live here: checking and keeping them (``crosslink.follower``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from consensus.certificate import Certificate
from crosslink.forks import ReportFork
from crosslink.header import ShardHeader
from crosslink.messages import decode_message
from crosslink.offences import ReportEvidence
from crosslink.records import Registration, decode_record
from crosslink.submission import SubmitHeaders
from primitives.codec import Wire, decode, encode
from primitives.errors import LocalError

MAX_BUNDLE_BYTES: Final = 4 << 20
"""Every message of a full beacon block is 1 MiB; records for many shards are the rest."""
MAX_DESCENDANTS: Final = 64
"""Headers up to the next certificate, where none formed at the block's own height: a few windows of slots."""

BlockDeliveries: TypeAlias = tuple[Mapping[int, tuple[bytes, ...]], ...]
"""For each registration of a beacon block, in order: its messages by destination."""


class BeaconBlock(Wire, frozen=True):
    """One certified beacon block for the followers of one shard.

    ``certificate`` is of ``header``, or of the last of ``descendants``, which chain onto it. ``deliveries`` has one
    entry for each registration that sends to this shard, in the order of the records.
    """

    header: ShardHeader
    certificate: Certificate
    descendants: Annotated[tuple[ShardHeader, ...], msgspec.Meta(max_length=MAX_DESCENDANTS)]
    records: tuple[bytes, ...]
    deliveries: tuple[tuple[bytes, ...], ...]


def collect_deliveries(outbox: Sequence[bytes], transactions: Iterable[bytes], max_bytes: int) -> BlockDeliveries:
    """The deliveries of a stored beacon block, from its outbox and its transactions (each at most ``max_bytes``).

    Raises ``LocalError`` where they do not belong together: they are our own store's.
    """
    submitted: dict[tuple[bytes, int], SubmitHeaders] = {}
    for data in transactions:
        message: SubmitHeaders | ReportFork | ReportEvidence = decode(
            SubmitHeaders | ReportFork | ReportEvidence, data, max_bytes=max_bytes
        )
        if isinstance(message, SubmitHeaders):
            key = message.certificate.header_hash, message.headers[0].header.height
            submitted.setdefault(key, message)
    deliveries: list[Mapping[int, tuple[bytes, ...]]] = []
    for leaf in outbox:
        record = decode_record(leaf)
        if not isinstance(record, Registration):
            continue
        found = submitted.get((record.tip_hash, record.first_height))
        if found is None:
            raise LocalError(f"the store lacks the submission of header {record.tip_hash.hex()}")
        deliveries.append(_group(found, max_bytes))
    return tuple(deliveries)


def _group(message: SubmitHeaders, max_bytes: int) -> Mapping[int, tuple[bytes, ...]]:
    grouped: dict[int, list[bytes]] = {}
    for submitted in message.headers:
        for leaf in submitted.leaves:
            grouped.setdefault(decode_message(leaf, max_bytes).destination, []).append(leaf)
    return {destination: tuple(leaves) for destination, leaves in grouped.items()}


def encode_bundle(
    header: ShardHeader,
    certificate: Certificate,
    descendants: Sequence[ShardHeader],
    outbox: Sequence[bytes],
    deliveries: BlockDeliveries,
    shard: int,
) -> bytes:
    """The bytes to push to the members of ``shard``. ``deliveries`` are the whole block's, made once."""
    own = tuple(by_destination[shard] for by_destination in deliveries if by_destination.get(shard))
    return encode(BeaconBlock(header, certificate, tuple(descendants), tuple(outbox), own))


def decode_bundle(data: bytes) -> BeaconBlock:
    """The bundle in ``data``, unchecked but well formed; raises ``RemoteError``."""
    block: BeaconBlock = decode(BeaconBlock, data, max_bytes=MAX_BUNDLE_BYTES)
    return block
