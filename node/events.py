"""What the pump gives a replica and what the replica gives back.

The pump (``node.runtime``, or the simulator) feeds one event at a time and honours the ``Effects`` in the
order of their fields. It may join the effects of several events into one group commit, as long as nothing
that follows in a joined ``Effects`` happens before everything in ``persist`` is durable.

What is made for every frame is a ``msgspec.Struct``: a frozen dataclass costs ten times as much. No behaviour
lives here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from consensus.certificate import Certificate
from consensus.engine import Record, SetTimer
from crosslink.block import TopicMessage
from crosslink.header import ShardHeader
from node.framing import Lane as Lane
from node.members import Member

# --- events in ---------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True, gc=False):
    """The first event of a process's life."""


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """The timer that an earlier ``Effects`` set under this name."""

    timer: str


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """Bytes from an authenticated member; ``kind`` is one of ``node.wire``'s."""

    member: Member
    kind: int
    body: bytes


class LinkUp(msgspec.Struct, frozen=True, gc=False):
    """Both lanes to the member are up."""

    member: Member


class LinkDown(msgspec.Struct, frozen=True, gc=False):
    """A lane to the member was lost."""

    member: Member


class TransactionsSubmitted(msgspec.Struct, frozen=True, gc=False):
    """From our own clients; answered by one ``SubmissionReply`` with the same ticket."""

    ticket: int
    transactions: tuple[bytes, ...]


ReplicaEvent: TypeAlias = Start | TimerFired | FrameReceived | LinkUp | LinkDown | TransactionsSubmitted


# --- effects out -------------------------------------------------------------------------------------------


class StoreWrite(msgspec.Struct, frozen=True, gc=False):
    """One atomic batch for the chain store."""

    records: tuple[Record, ...]
    sync: bool = False


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One frame for one member; the transport may lose it."""

    member: Member
    lane: Lane
    kind: int
    body: bytes


class SubmissionResult(msgspec.Struct, frozen=True, gc=False):
    """``code`` is ``ACCEPTED`` or the stable code of the refusal; ``message`` says what to change."""

    transaction: bytes
    code: str
    message: str


class SubmissionReply(msgspec.Struct, frozen=True, gc=False):
    """One result per submitted transaction, in order."""

    ticket: int
    results: tuple[SubmissionResult, ...]


class BlockCertified(msgspec.Struct, frozen=True):
    """A notice for subscribers; heights come in order, once each in a process's life.

    ``receipts`` are (transaction id, encoded receipt) by payload position; ``events`` as in ``BlockResult``.
    """

    header: ShardHeader
    header_hash: bytes
    certificate: Certificate
    receipts: tuple[tuple[bytes, bytes], ...]
    events: Iterable[TopicMessage]


class Effects(msgspec.Struct, frozen=True):
    """What must happen, in the order of the fields. ``halt`` ends the process with this sentence; ``reopens`` says
    that the replica is to be opened anew from what is stored now, and handles nothing any more."""

    persist: tuple[Record, ...] = ()
    writes: tuple[StoreWrite, ...] = ()
    sends: tuple[Outgoing, ...] = ()
    timers: tuple[SetTimer, ...] = ()
    replies: tuple[SubmissionReply, ...] = ()
    certified: tuple[BlockCertified, ...] = ()
    halt: str | None = None
    alarms: tuple[str, ...] = ()
    reopens: bool = False


NO_EFFECTS: Final = Effects()
"""Of most events: votes that only add to a count."""
