"""Reading what requests say: paths and query parameters into values, or a ``RemoteError`` that says what to write.

Every route module uses these, so the same mistake gets the same sentence everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeVar

from litestar.params import QueryParameter

from node.rpc.limits import DEFAULT_PAGE, MAX_PAGE
from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES
from primitives.identifiers import parse_address
from primitives.quantities import MAX_INT

T = TypeVar("T")

MAX_CURSOR: Final = 128
"""Characters of an ``after``: an id of 64 digits with room to spare."""

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="Entries in the response.")]
After = Annotated[str | None, QueryParameter(max_length=MAX_CURSOR, description="The last response's `next`.")]
Entries = dict[str, object]
"""The JSON object of a response."""

__all__ = ["DEFAULT_PAGE", "After", "Entries", "Limit", "parse_address", "parse_digest", "parse_height", "require"]


def parse_height(text: str, latest: Callable[[], int]) -> int:
    """A block height, or ``latest()`` for ``latest``."""
    return latest() if text == "latest" else parse_number(text, "a height is a number, or latest")


def parse_number(text: str, complaint: str) -> int:
    """An integer from 0 to 2⁶³ − 1 in plain decimal digits; raises ``RemoteError`` (``BAD_PARAMETER``)."""
    # 19 digits are enough for 2**63 - 1, and int() of a very long text would be slow.
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_INT:
        return int(text)
    raise RemoteError("BAD_PARAMETER", f"{complaint}; not {text[:40]!r}")


def parse_digest(text: str, noun: str) -> bytes:
    """32 bytes written as 64 hexadecimal digits; raises ``RemoteError`` (``BAD_HEX``)."""
    if len(text) == 2 * DIGEST_BYTES and text.isalnum():
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    raise RemoteError("BAD_HEX", f"{noun} is 64 hexadecimal digits; not {text[:80]!r}")


def require(value: T | None, noun: str) -> T:
    """``value``; raises ``RemoteError`` (``NOT_FOUND``) for ``None``."""
    if value is None:
        raise RemoteError("NOT_FOUND", f"there is no {noun} here")
    return value


def merge(body: Mapping[str, object], **more: object) -> Entries:
    """A response body with further fields."""
    return {**body, **more}
