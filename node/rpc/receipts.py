"""Receipts and transactions between their canonical bytes and the JSON form of the interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from node.rpc.json_form import build, describe
from primitives.codec import encode
from primitives.errors import RemoteError
from shards.codes import EXPLANATIONS, ResultCode
from shards.receipts import decode_receipt
from shards.transactions import Envelope


class _ReceiptHead(msgspec.Struct, array_like=True):
    """The first fields of a receipt; the decoder skips the rest (its events) without building it."""

    transaction: bytes
    position: int
    code: int


_head = msgspec.msgpack.Decoder(_ReceiptHead)


def describe_receipt(encoded: bytes) -> dict[str, Any]:
    """The JSON form of a shard's receipt, as in ``docs/api.md``; what failed has a sentence beside its code."""
    described: dict[str, Any] = describe(decode_receipt(encoded))
    code = ResultCode[described["code"]]
    return described if code is ResultCode.OK else described | {"message": EXPLANATIONS[code]}


def read_receipt_code(encoded: bytes) -> str:
    """The name of the code in a shard's receipt that our own execution made; 0.5 µs."""
    return ResultCode(_head.decode(encoded).code).name


def encode_form(form: Mapping[str, Any]) -> bytes:
    """The bytes of ``{"envelope": {…}}``; raises ``RemoteError`` (``BAD_REQUEST``) that names a wrong field.

    Ranges and the signature are checked where the bytes are decoded, like those of any other submission.
    """
    if form.keys() != {"envelope"}:
        raise RemoteError("BAD_REQUEST", 'a transaction is hexadecimal digits, or {"envelope": {…}}')
    try:
        return encode(build(Envelope, form["envelope"], where="envelope"))
    except OverflowError:
        raise RemoteError("BAD_REQUEST", "an integer in the envelope is beyond 2⁶³ − 1") from None


def describe_transaction(data: bytes) -> dict[str, Any]:
    """The JSON form of a shard's transaction that was decoded before: what ``encode_form`` takes."""
    return {"envelope": describe(msgspec.msgpack.decode(data, type=Envelope))}
