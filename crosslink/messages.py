"""Cross-shard messages: the leaves of a shard's outbox.

A leaf is the canonical encoding of one message and binds its kind (the tag), chain, source, destination and
sequence, so no leaf can pass for one of another chain, channel or place. What does not live here: who may send
what when (``crosslink.transfers``) and what the beacon says about headers (``crosslink.records``).

Tags: 1 lock, 2 verdict. Retired: none.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

import msgspec

from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import ADDRESS_BYTES

ShardNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
"""A user shard, or ``BEACON_SHARD``."""
Address = Annotated[bytes, msgspec.Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
Subaccount = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Money that moves, in the asset's own quantums; a message about nothing does not exist."""


class Purpose(IntEnum):
    """Why money moves; decides which part of the window it may use."""

    TRANSFER = 1
    TOP_UP = 2
    """Margin for the recipient's positions: may use the quarter of the window that is kept for it."""


class Verdict(IntEnum):
    """What the destination decided about a lock: one per lock, always."""

    ACCEPTED = 1
    REJECTED = 2
    EXPIRED = 3


class RejectReason(IntEnum):
    """Why a lock was rejected; ``NONE`` with every other verdict."""

    NONE = 0
    UNKNOWN_ASSET = 1
    UNKNOWN_ACCOUNT = 2
    BAD_SUBACCOUNT = 3
    ACCOUNT_LIMIT = 4
    OVERFLOW = 5
    BLOCKED = 6


class TransferLock(Wire, frozen=True, tag=1):
    """``source`` holds ``amount`` in escrow until ``destination`` has given its verdict.

    ``sequence`` counts the locks of this ordered pair of shards from 0; ``deadline`` is a beacon height.
    """

    chain: Digest
    source: ShardNumber
    destination: ShardNumber
    sequence: Unsigned
    owner: Address
    owner_subaccount: Subaccount
    recipient: Address
    recipient_subaccount: Subaccount
    asset: Unsigned
    amount: Amount
    deadline: Unsigned
    purpose: Purpose


class TransferVerdict(Wire, frozen=True, tag=2):
    """The answer to the lock ``sequence`` of the channel ``destination`` → ``source``.

    ``asset`` and ``amount`` repeat the lock's, so that the beacon can add up both directions of every channel
    without keeping open locks.
    """

    chain: Digest
    source: ShardNumber
    destination: ShardNumber
    sequence: Unsigned
    xid: Digest
    verdict: Verdict
    reason: RejectReason
    asset: Unsigned
    amount: Amount


Message: TypeAlias = TransferLock | TransferVerdict


def compute_xid(chain: bytes, source: int, destination: int, sequence: int) -> bytes:
    """The identity of the transfer that is lock ``sequence`` from ``source`` to ``destination``: 32 bytes."""
    return hash_tagged(
        b"transfer", chain, source.to_bytes(4, "big"), destination.to_bytes(4, "big"), sequence.to_bytes(8, "big")
    )


def encode_message(message: Message) -> bytes:
    """The outbox leaf."""
    return encode(message)


def decode_message(leaf: bytes, max_bytes: int) -> Message:
    """The message in ``leaf``; raises ``RemoteError``.

    Checks what the types cannot: a channel joins two different shards, a verdict names the transfer it is
    about, and only a rejection has a reason.
    """
    message: Message = decode(Message, leaf, max_bytes=max_bytes)
    if message.source == message.destination:
        raise RemoteError("MALFORMED", "a message from a shard to itself", penalise=True)
    if isinstance(message, TransferVerdict):
        _validate_verdict(message)
    return message


def _validate_verdict(message: TransferVerdict) -> None:
    if message.xid != compute_xid(message.chain, message.destination, message.source, message.sequence):
        raise RemoteError("MALFORMED", "a verdict about another transfer than its sequence says", penalise=True)
    if (message.verdict is Verdict.REJECTED) != (message.reason is not RejectReason.NONE):
        raise RemoteError("MALFORMED", "a rejection has a reason and nothing else has", penalise=True)
