"""Canonical MessagePack: one byte string per value.

Messages are ``Wire`` structs: positional arrays with explicit integer tags. Decoding is bounded in
size, validates types in the same step, and re-encodes to compare, so a value that was accepted has no
second encoding that somebody else accepts. Integers must be below 2**63 in magnitude wherever they
travel: fields declare ``Unsigned`` or ``Signed``. No ``Wire`` type refers to itself, so the depth of nesting
is bounded by the type and never depends on how deep the decoder's own stack happens to be.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES

T = TypeVar("T")

Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An integer field from 0 to 2**63 - 1."""
Signed = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]
"""An integer field below 2**63 in magnitude."""
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
"""A field of exactly 32 bytes."""


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of every struct that travels or is hashed. Subclasses say ``frozen=True`` again
    (for mypy); those in a union pass ``tag=<int>``."""


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def encode(value: Any) -> bytes:
    """The canonical bytes of ``value`` (a ``Wire`` struct, or plain ints, bytes, strings, lists, dicts
    with string keys, which are sorted)."""
    return _encoder.encode(value)


def decode(kind: type[T] | Any, data: bytes, *, max_bytes: int) -> T:
    """The value of type ``kind`` (a class or a union of ``Wire`` classes) whose canonical bytes are ``data``.

    Raises ``RemoteError``: ``TOO_LARGE`` over ``max_bytes``, ``MALFORMED`` where the bytes are no such
    value, ``NOT_CANONICAL`` where they are but not in their only accepted form.
    """
    if len(data) > max_bytes:
        raise RemoteError("TOO_LARGE", f"{len(data)} bytes where {max_bytes} are allowed", penalise=True)
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value: T = decoder.decode(data)
        canonical = _encoder.encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise RemoteError("MALFORMED", str(error)[:200], penalise=True) from None
    if canonical != data:
        raise RemoteError("NOT_CANONICAL", "the bytes are not the canonical encoding", penalise=True)
    return value
