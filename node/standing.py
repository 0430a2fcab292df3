"""A member's standing: whether its vote log is all that it ever signed, as the log itself says.

    VOTING     the other members had nothing newer when it was asked about; everything signed since is in here
    FORGOTTEN  votes are lost; nothing is signed until block ``until_height`` is certified (0: not known yet)
    RETURNING  everything lost is settled; the engine is made anew and signs nothing for views below ``first_view``

A log without a standing has never been allowed to vote. ``until_height`` stays for good: should the chain store
fall behind it again, in a power failure, the member abstains again. What does not live here: moving between the
three (``node.abstention``), the rest of the log (``node.vote_records``).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from consensus.engine import Record
from primitives.codec import Unsigned, Wire, decode, encode

STANDING_KEY: Final = b"s"
_MAX_STANDING_BYTES: Final = 64


class StandingKind(IntEnum):
    """See the module."""

    VOTING = 1
    FORGOTTEN = 2
    RETURNING = 3


class Standing(Wire, frozen=True):
    """One record of the vote log."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=3)]
    until_height: Unsigned
    first_view: Unsigned


FORGOTTEN: Final = Standing(StandingKind.FORGOTTEN, 0, 0)
"""Where a member that lost its votes begins."""


def build_standing_record(standing: Standing) -> Record:
    """What to log."""
    return Record(STANDING_KEY, encode(standing))


def decode_standing(value: bytes) -> Standing:
    """The standing in a record; raises ``RemoteError``."""
    standing: Standing = decode(Standing, value, max_bytes=_MAX_STANDING_BYTES)
    return standing
