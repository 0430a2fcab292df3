"""What the genesis fixes about a no-op shard, and how its table is told from a venue's: by ``kind = "noop"``.

Sizes are bytes. What does not live here: the state machine (``shards.noop.application``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from primitives.errors import LocalError
from primitives.parameters import ProtocolParameters

KIND: Final = "noop"
MAX_RECORD_BYTES: Final = (1 << 20) - (4 << 10)
"""What one request of a client can carry, with the envelopes around it."""
MAX_REPLAY_BLOCKS: Final = 4_096
"""Ids of executed records are held in memory for so many blocks; a full block holds some 1,500."""


class NoopParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``command_bytes``: a record of n × that many bytes counts as n commands; other lengths are refused.

    ``max_record_bytes`` bounds one record (a transaction). A record whose id was executed within the last
    ``replay_blocks`` blocks has no effect again; after that the same bytes count once more.
    """

    kind: Literal["noop"] = "noop"
    command_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] = 256
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_RECORD_BYTES)] = 256 << 10
    replay_blocks: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPLAY_BLOCKS)] = 1_024


def is_noop(application: Mapping[str, Any]) -> bool:
    """Whether a shard's ``application`` table in the genesis asks for the no-op application."""
    return application.get("kind") == KIND


def parse_noop_parameters(source: Mapping[str, Any], protocol: ProtocolParameters) -> NoopParameters:
    """The parameters in a plain dictionary; raises ``LocalError`` that names what is wrong."""
    try:
        parameters = msgspec.convert(dict(source), NoopParameters)
    except msgspec.ValidationError as error:
        raise LocalError(f"no-op parameters: {error}") from None
    if parameters.max_record_bytes < parameters.command_bytes:
        raise LocalError("no-op parameters: max_record_bytes: must hold at least one command")
    if parameters.max_record_bytes > protocol.max_payload_bytes:
        raise LocalError("no-op parameters: max_record_bytes: must not exceed parameters.max_payload_bytes")
    return parameters


def format_noop_parameters(parameters: NoopParameters) -> dict[str, Any]:
    """The plain dictionary that ``parse_noop_parameters`` reads back to the same value."""
    return dict(msgspec.structs.asdict(parameters))
