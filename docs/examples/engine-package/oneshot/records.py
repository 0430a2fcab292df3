"""What a member writes into its vote log, and reads back after a restart.

One record of each kind, of the slot that is open. A new slot's replaces the last one's, which is certified by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consensus.certificate import Certificate
from oneshot.messages import Decision, Phase, Propose, Quorum, Timeout, Vote
from primitives.codec import Unsigned, Wire, decode
from primitives.errors import LocalError, RemoteError

STABLE: Final = b"stable"
MAX_RECORD_BYTES: Final = 1 << 20


class View(Wire, frozen=True):
    """The view that we are in, and the timeouts that brought us there."""

    slot: Unsigned
    view: Unsigned
    timeouts: tuple[Timeout, ...]


def name_vote(phase: Phase) -> str:
    """The key of our newest vote of a phase."""
    return f"vote/{int(phase)}"


_KINDS: Final[Mapping[bytes, Any]] = {
    STABLE: Certificate,
    b"view": View,
    b"timeout": Timeout,
    b"proposal": Propose,
    b"prepared": Quorum,
    b"decision": Decision,
    name_vote(Phase.PREPARE).encode(): Vote,
    name_vote(Phase.COMMIT).encode(): Vote,
}


@dataclass(frozen=True, slots=True)
class Log:
    """What the records say of one slot."""

    view: View | None = None
    timeout: Timeout | None = None
    proposal: Propose | None = None
    prepared: Quorum | None = None
    decision: Decision | None = None
    votes: tuple[Vote, ...] = ()


def read_log(records: Mapping[bytes, bytes], height: int) -> tuple[int, Log]:
    """(certified height, what we said about the slot above it); raises ``LocalError`` for records of others.

    The height is the chain's, or that of the certificate in the log where the chain's store lost its end.
    """
    found: dict[bytes, Any] = {}
    for key, value in records.items():
        if key not in _KINDS:
            raise LocalError(f"the vote log holds a record {key!r} that this engine never writes")
        try:
            found[key] = decode(_KINDS[key], value, max_bytes=MAX_RECORD_BYTES)
        except RemoteError as error:
            raise LocalError(f"the record {key!r} of the vote log is damaged: {error}") from error
    stable: Certificate | None = found.pop(STABLE, None)
    height = height if stable is None else max(height, stable.height)
    here = {key: value for key, value in found.items() if _slot_of(value) == height + 1}
    votes = [here.get(name_vote(phase).encode()) for phase in (Phase.PREPARE, Phase.COMMIT)]
    return height, Log(
        view=here.get(b"view"),
        timeout=here.get(b"timeout"),
        proposal=here.get(b"proposal"),
        prepared=here.get(b"prepared"),
        decision=here.get(b"decision"),
        votes=tuple(vote for vote in votes if vote is not None),
    )


def _slot_of(value: Any) -> int:
    slot: int = value.quorum.slot if isinstance(value, Decision) else value.slot
    return slot
