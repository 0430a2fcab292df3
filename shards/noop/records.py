"""Records and receipts of the no-op application.

A transaction is the record itself: bytes without envelope, signature or nonce. Its id is the tagged hash of them.
It holds fixed-size commands, which are counted by the record's length and never touched one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from shards.noop.parameters import NoopParameters

OK: Final = "OK"
DUPLICATE: Final = "DUPLICATE"
"""The record was executed within the replay window, so this appearance has no effect."""
MAX_RECEIPT_BYTES: Final = 256
_RECORD_TAG: Final = b"rialto/noop/record"


@dataclass(frozen=True, slots=True)
class OpaqueRecord:
    """One decoded transaction. Nobody signs it, so all records have one sender."""

    id: bytes
    size_bytes: int
    commands: int
    sender: bytes = b""
    priority: bool = False


class NoopReceipt(Wire, frozen=True):
    """``position`` is the record's in the payload, ``code`` is ``OK`` or ``DUPLICATE``, ``commands`` what it
    counted for (0 for a duplicate)."""

    transaction: Digest
    position: Unsigned
    code: str
    commands: Unsigned


def compute_record_id(data: bytes) -> bytes:
    """The id under which a record is known everywhere: 32 bytes."""
    return hash_tagged(_RECORD_TAG, data)


def decode_record(data: bytes, parameters: NoopParameters) -> OpaqueRecord:
    """The record that ``data`` is; raises ``RemoteError`` (``TOO_LARGE``, ``BAD_SIZE``). Reads its length only."""
    size = len(data)
    if size > parameters.max_record_bytes:
        raise RemoteError("TOO_LARGE", f"a record of {size} bytes where {parameters.max_record_bytes} are allowed")
    commands, rest = divmod(size, parameters.command_bytes)
    if rest or not commands:
        raise RemoteError("BAD_SIZE", f"a record is a whole number of {parameters.command_bytes}-byte commands")
    return OpaqueRecord(compute_record_id(data), size, commands)


def encode_receipt(transaction: bytes, position: int, code: str, commands: int) -> bytes:
    """The canonical bytes of the ``NoopReceipt`` with these fields, without building it."""
    return encode((transaction, position, code, commands))


def decode_noop_receipt(data: bytes) -> NoopReceipt:
    """The receipt in ``data``; raises ``RemoteError``."""
    receipt: NoopReceipt = decode(NoopReceipt, data, max_bytes=MAX_RECEIPT_BYTES)
    return receipt


_own = msgspec.msgpack.Decoder(NoopReceipt)


def read_own_receipt(data: bytes) -> NoopReceipt:
    """The same for a receipt of our own execution, which need not be compared with its canonical form."""
    return _own.decode(data)
