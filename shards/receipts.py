"""Receipts: what a block says became of each transaction, the leaves of its receipts tree.

A receipt's encoding is hashed, so a light client proves with it that an order was filled or refused. The last
receipt of a block with events of its own (liquidations, expiries, funding) is the block's, see
``compute_block_receipt_id``. What does not live here: the outbox receipts between shards (``crosslink``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.hashing import hash_tagged
from shards.codes import ResultCode
from shards.events import Event, EventTuple

MAX_RECEIPT_BYTES: Final = 2**22
"""Receipts come from certified blocks; a block's own receipt lists at most the block's matching work."""


class Receipt(Wire, frozen=True):
    """``position`` is the transaction's in the payload, ``code`` the whole's, ``action_codes`` one for each
    action (empty where nothing ran), ``fee`` what the actions cost apart from trading fees."""

    transaction: Digest
    position: Unsigned
    code: ResultCode
    action_codes: tuple[ResultCode, ...]
    fee: Unsigned
    events: tuple[Event, ...]


def encode_receipt(
    transaction: bytes, position: int, code: int, action_codes: Sequence[int], fee: int, events: list[EventTuple]
) -> bytes:
    """The canonical bytes of the ``Receipt`` with these fields, without building it."""
    return encode((transaction, position, code, action_codes, fee, events))


def decode_receipt(data: bytes) -> Receipt:
    """The receipt in ``data``; raises ``RemoteError``."""
    receipt: Receipt = decode(Receipt, data, max_bytes=MAX_RECEIPT_BYTES)
    return receipt


class _ActionCodes(msgspec.Struct, array_like=True):
    """The first fields of a receipt; the decoder skips its events without building them."""

    transaction: bytes
    position: int
    code: int
    action_codes: tuple[int, ...]


_action_codes = msgspec.msgpack.Decoder(_ActionCodes)


def count_actions(data: bytes) -> int:
    """How many actions a receipt of our own execution reports on; 0.6 µs."""
    return len(_action_codes.decode(data).action_codes)


def compute_block_receipt_id(chain: bytes, shard: int, height: int) -> bytes:
    """The id under which a block's own events are filed."""
    return hash_tagged(b"rialto/block-receipt", chain, shard.to_bytes(2, "big"), height.to_bytes(8, "big"))
