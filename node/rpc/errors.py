"""The error codes of the HTTP interface: the one list that clients, documentation and tests share.

Every response that is not a success is ``{"code", "message"}`` with one of these codes and its status. What a
*transaction* may fail with (at admission or in execution) is listed in ``shards.codes``: such a result is no
HTTP error, because the request itself was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from primitives.errors import RemoteError


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """``status`` is the HTTP status, ``meaning`` one sentence for the documentation."""

    code: str
    status: int
    meaning: str


_LIST: Final = (
    ErrorCode("BAD_REQUEST", 400, "The request cannot be read; the message names the field and what is expected."),
    ErrorCode("BAD_JSON", 400, "The body is not JSON in UTF-8."),
    ErrorCode("BAD_MSGPACK", 400, "The body is not a MessagePack array of binary strings."),
    ErrorCode("BAD_HEX", 400, "A transaction, id or hash is not hexadecimal digits of the right length."),
    ErrorCode("BAD_ADDRESS", 400, "An address is 0x and 40 hexadecimal digits."),
    ErrorCode("BAD_PARAMETER", 400, "A query parameter or a part of the path is out of range or no number."),
    ErrorCode("BAD_SUBSCRIPTION", 400, "A WebSocket message is no subscription, or names an unknown topic."),
    ErrorCode("NOT_FOUND", 404, "No such path, block, account, market or transfer here."),
    ErrorCode(
        "NOT_SERVED",
        404,
        "This member's chain has no such thing: the beacon has no accounts, a shard no tips, a no-op one neither.",
    ),
    ErrorCode("METHOD_NOT_ALLOWED", 405, "The path exists, but not with this method."),
    ErrorCode(
        "PRUNED", 410, "This member does not keep so old a block, or never had it; ask one that keeps everything."
    ),
    ErrorCode("REQUEST_TIMEOUT", 408, "The body was not complete in time."),
    ErrorCode(
        "TOO_LARGE", 413, "The body, or the number of transactions in it, is over the limit; send less at once."
    ),
    ErrorCode("TARGET_TOO_LONG", 414, "The path with its query is over 2,048 bytes."),
    ErrorCode("UNSUPPORTED_MEDIA_TYPE", 415, "Send application/json or application/msgpack."),
    ErrorCode("UPGRADE_REQUIRED", 426, "The path speaks WebSocket only."),
    ErrorCode("BUSY", 503, "Too many requests, waiters or streams at once; try again shortly."),
    ErrorCode("NOT_READY", 503, "The node is not in sync yet; the message says what it waits for."),
    ErrorCode("SHUTTING_DOWN", 503, "The node is stopping; use another one."),
    ErrorCode("INTERNAL", 500, "A bug of ours: the log has the details under the same time."),
)

ERROR_CODES: Final = {entry.code: entry for entry in _LIST}


def status_of(error: RemoteError) -> int:
    """The HTTP status of ``error``; a code that is not in the list is some refusal of the request: 400."""
    entry = ERROR_CODES.get(error.code)
    return 400 if entry is None else entry.status


def render_markdown() -> str:
    """The table for ``docs/api.md``."""
    rows = [f"| `{entry.code}` | {entry.status} | {entry.meaning} |" for entry in _LIST]
    return "\n".join(["| code | status | meaning |", "|---|---|---|", *rows])
