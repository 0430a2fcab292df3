"""What the pump gives a replica and what the replica gives back.

The pump (``node.runtime``, or the simulator) feeds one event at a time and honours the ``Effects`` in the
order of their fields. It may join the effects of several events into one group commit, as long as nothing
that follows in a joined ``Effects`` happens before everything in ``persist`` is durable. No behaviour lives
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from consensus.certificate import Certificate
from consensus.engine import Record, SetTimer
from crosslink.header import ShardHeader
from node.framing import Lane as Lane
from node.members import Member

# --- events in ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """The first event of a process's life."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The timer that an earlier ``Effects`` set under this name."""

    timer: str


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """Bytes from an authenticated member; ``kind`` is one of ``node.wire``'s."""

    member: Member
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Both lanes to the member are up."""

    member: Member


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A lane to the member was lost."""

    member: Member


@dataclass(frozen=True, slots=True)
class TransactionsSubmitted:
    """From our own clients; answered by one ``SubmissionReply`` with the same ticket."""

    ticket: int
    transactions: tuple[bytes, ...]


ReplicaEvent: TypeAlias = Start | TimerFired | FrameReceived | LinkUp | LinkDown | TransactionsSubmitted


# --- effects out -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """One atomic batch for the chain store."""

    records: tuple[Record, ...]
    sync: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One frame for one member; the transport may lose it."""

    member: Member
    lane: Lane
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """``code`` is ``ACCEPTED`` or the stable code of the refusal; ``message`` says what to change."""

    transaction: bytes
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SubmissionReply:
    """One result per submitted transaction, in order."""

    ticket: int
    results: tuple[SubmissionResult, ...]


@dataclass(frozen=True, slots=True)
class BlockCertified:
    """A notice for subscribers; heights come in order, once each in a process's life.

    ``receipts`` are (transaction id, encoded receipt) by payload position; ``events`` as in ``BlockResult``.
    """

    header: ShardHeader
    header_hash: bytes
    certificate: Certificate
    receipts: tuple[tuple[bytes, bytes], ...]
    events: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Effects:
    """What must happen, in the order of the fields. ``halt`` ends the process with this sentence; ``reopens`` says
    that the replica is to be opened anew from what is stored now, and handles nothing any more."""

    persist: tuple[Record, ...] = ()
    writes: tuple[StoreWrite, ...] = ()
    sends: tuple[Outgoing, ...] = ()
    timers: tuple[SetTimer, ...] = ()
    replies: tuple[SubmissionReply, ...] = ()
    certified: tuple[BlockCertified, ...] = ()
    halt: str | None = None
    alarms: tuple[str, ...] = field(default=())
    reopens: bool = False
