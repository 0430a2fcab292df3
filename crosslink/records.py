"""What the beacon says: the leaves of its own outbox.

One ``Registration`` for each accepted submission, one ``Freeze`` for each frozen shard and one ``Offence`` for each
item of evidence that was recorded, in order. A follower needs only these and the messages addressed to it, which a
registration commits to per destination. Tags: 1 registration, 2 freeze, 3 offence. Retired: none.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from crosslink.messages import ShardNumber
from primitives.codec import Digest, Unsigned, Wire, decode

MAX_RECORD_BYTES: Final = 512 << 10
"""A registration with a delivery to each of 4,096 shards has 170 KB, a freeze with 4,096 guilty keys 140 KB."""


class Delivery(Wire, frozen=True):
    """The messages of one registration that go to ``destination``: how many, and the RFC 6962 root over them in
    the order of headers and leaves."""

    destination: ShardNumber
    count: Unsigned
    root: Digest


class Registration(Wire, frozen=True, tag=1):
    """Headers ``first_height`` to ``height`` of ``shard`` are registered; ``tip_hash`` is the last one's.

    ``beacon_ref_height`` is the tip's; ``deliveries`` ascend by destination.
    """

    shard: ShardNumber
    incarnation: Unsigned
    first_height: Unsigned
    height: Unsigned
    tip_hash: Digest
    beacon_ref_height: Unsigned
    deliveries: tuple[Delivery, ...]


class Freeze(Wire, frozen=True, tag=2):
    """Two certified header hashes at one height: nothing of this incarnation registers any more. ``guilty`` are
    the public keys that signed both."""

    shard: ShardNumber
    incarnation: Unsigned
    height: Unsigned
    first_hash: Digest
    second_hash: Digest
    guilty: tuple[Annotated[bytes, msgspec.Meta(max_length=32)], ...]


class Offence(Wire, frozen=True, tag=3):
    """Evidence against member ``culprit`` of this committee, whose public key is ``key``, is verified and recorded.
    ``slot`` and ``view`` are where; ``item_hash`` is the beacon transaction with the signed messages."""

    shard: ShardNumber
    incarnation: Unsigned
    epoch: Unsigned
    culprit: Unsigned
    key: Annotated[bytes, msgspec.Meta(max_length=32)]
    kind: Annotated[str, msgspec.Meta(max_length=64)]
    slot: Unsigned
    view: Unsigned
    item_hash: Digest


BeaconRecord: TypeAlias = Registration | Freeze | Offence


def decode_record(leaf: bytes) -> BeaconRecord:
    """The record in a leaf of the beacon's outbox; raises ``RemoteError``."""
    record: BeaconRecord = decode(BeaconRecord, leaf, max_bytes=MAX_RECORD_BYTES)
    return record
