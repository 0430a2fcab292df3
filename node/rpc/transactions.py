"""Submitting transactions and asking what became of them.

Bulk submission (MessagePack) is the hot path: ``node.rpc.app`` calls ``submit_bulk`` with the body, before any
routing. What does not live here: whether a transaction is good (the application's ``admit``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import QueryParameter

from node.events import SubmissionResult
from node.rpc.context import Context, PathText
from node.rpc.limits import MAX_BULK_TRANSACTIONS, MAX_TRANSACTION_HEX, MAX_WAIT_MS
from node.rpc.queries import parse_digest
from node.rpc.receipts import encode_form
from node.rpc.service import NodeService, TransactionState, TransactionView
from primitives.errors import RemoteError

MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"

_bulk = msgspec.msgpack.Decoder(list[bytes])
_packed = msgspec.msgpack.Encoder()

Wait = Annotated[int, QueryParameter(ge=0, le=MAX_WAIT_MS, description="Answer when final, or after this long.")]


class Submission(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body: ``transactions``, or a single ``transaction``."""

    transactions: list[str | dict[str, Any]] | None = None
    transaction: str | dict[str, Any] | None = None


class Result(msgspec.Struct, frozen=True):
    """What became of one submitted transaction."""

    id: str
    code: str
    message: str


class Results(msgspec.Struct, frozen=True):
    """One per transaction, in order."""

    results: list[Result]


class Status(msgspec.Struct, frozen=True):
    """The state of a transaction; the last three are given when certified."""

    id: str
    state: str
    height: int | None = None
    index: int | None = None
    receipt: dict[str, Any] | None = None


async def submit_bulk(service: NodeService, body: bytes) -> bytes:
    """Answer a MessagePack array of signed transactions by one of ``[id, code, message]``."""
    try:
        transactions = _bulk.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError("BAD_MSGPACK", f"expected an array of binary strings: {str(error)[:120]}") from None
    results = await _submit(service, transactions)
    return _packed.encode([(result.transaction, result.code, result.message) for result in results])


async def submit_json(service: NodeService, body: bytes) -> Results:
    """Answer a JSON submission; every transaction is hexadecimal digits or the JSON form."""
    submission = _read_submission(body)
    if (submission.transactions is None) == (submission.transaction is None):
        raise RemoteError("BAD_REQUEST", 'the body has "transactions": […], or one "transaction": …')
    entries = submission.transactions if submission.transactions is not None else [submission.transaction]
    _check_count(len(entries))
    transactions = [_read_transaction(entry) for entry in entries if entry is not None]
    results = await _submit(service, transactions)
    return Results([Result(result.transaction.hex(), result.code, result.message) for result in results])


@post("/", summary="Submit signed transactions", status_code=200)
async def submit(request: Request[Any, Any, Any], context: Context) -> Results | Response[bytes]:
    """JSON, or a MessagePack array of binary strings in bulk; one result per transaction, in order."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MSGPACK:
        return Response(await submit_bulk(context.service, body), media_type=MSGPACK)
    if kind != JSON:
        raise RemoteError("UNSUPPORTED_MEDIA_TYPE", f"send {JSON} or {MSGPACK}, not {kind[:60]!r}")
    return await submit_json(context.service, body)


@get("/{transaction:str}", summary="The state of a transaction, with its receipt once certified")
async def show_transaction(context: Context, transaction: PathText, wait_ms: Wait = 0) -> Status:
    """``unknown`` does not mean that it failed."""
    identity = parse_digest(transaction, "a transaction id")
    service = context.service
    view = service.transaction(identity)
    if wait_ms and not _is_final(view):
        final = await context.hub.wait_until(lambda: _final_view(service, identity), wait_ms)
        view = final or service.transaction(identity)
    receipt = None if view.receipt is None else context.units.present(view.receipt)
    return Status(identity.hex(), view.state.value, view.height, view.index, receipt)


def _is_final(view: TransactionView) -> bool:
    return view.state in (TransactionState.CERTIFIED, TransactionState.EXPIRED)


def _final_view(service: NodeService, identity: bytes) -> TransactionView | None:
    view = service.transaction(identity)
    return view if _is_final(view) else None


async def _submit(service: NodeService, transactions: Sequence[bytes]) -> Sequence[SubmissionResult]:
    _check_count(len(transactions))
    return await service.submit(transactions) if transactions else ()


def _check_count(count: int) -> None:
    if count > MAX_BULK_TRANSACTIONS:
        raise RemoteError("TOO_LARGE", f"{count} transactions in one request; at most {MAX_BULK_TRANSACTIONS}")


def _read_submission(body: bytes) -> Submission:
    try:
        return msgspec.json.decode(body, type=Submission)
    except msgspec.ValidationError as error:
        raise RemoteError("BAD_REQUEST", str(error)[:200]) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError("BAD_JSON", f"the body is not JSON in UTF-8: {str(error)[:160]}") from None


def _read_transaction(entry: str | dict[str, Any]) -> bytes:
    if isinstance(entry, dict):
        return encode_form(entry)
    if len(entry) > MAX_TRANSACTION_HEX:
        raise RemoteError("TOO_LARGE", f"a transaction of {len(entry)} digits; at most {MAX_TRANSACTION_HEX}")
    try:
        return bytes.fromhex(entry.removeprefix("0x"))
    except ValueError:
        raise RemoteError("BAD_HEX", f"a transaction is hexadecimal digits; not {entry[:40]!r}") from None


transaction_router = Router("/v1/transactions", route_handlers=[submit, show_transaction])
