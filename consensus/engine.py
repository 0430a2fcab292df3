"""The engine interface: events in, one ``Output`` out.

An engine orders opaque payload bytes into consecutive slots; slot = height. It is a synchronous,
deterministic object with no clock, no randomness and no IO. The replica drives it:

    handle(event, now_ms) -> Output

The fields of an ``Output`` are honoured in the order in which they are declared: records are durable before
any message of the same output leaves, before any wish is answered and before any decision is applied. An
engine may decide slots out of order; the replica applies them in order, once. No engine votes for a slot
above the last certified height + ``window_slots``.

What passes several times per message is a ``msgspec.Struct``: a frozen dataclass costs ten times as much to make.

Engines are found by name through the entry-point group ``rialto.engines``; an entry point names an
``EngineFactory`` (a class or an instance). What does not live here: any protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.registry import ENGINES, load_registered
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SignatureScheme, Signer


def compute_payload_digest(payload: bytes) -> bytes:
    """What engines vote for: the tagged hash of the payload bytes."""
    return hash_tagged(b"rialto/payload", payload)


NULL_PAYLOAD = b""
"""Fills a gap: executed as an empty block (parent's timestamp + 1, the parent's beacon reference)."""
NULL_DIGEST = compute_payload_digest(NULL_PAYLOAD)


# --- events in ---------------------------------------------------------------------------------------------


class WorkLevel(IntEnum):
    """A level-triggered view of what waits to be ordered *and certified*."""

    IDLE = 0
    PENDING = 1
    OVERDUE = 2
    """Something waited through both stages of the censorship timer: a complaint about the leader."""


class Started(msgspec.Struct, frozen=True, gc=False):
    """First event after creation or restoring; an engine re-sends what it must and asks for what it lacks."""


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """The timer that the engine set under this name; at most one is pending under a name."""

    timer: str


class MessageReceived(msgspec.Struct, frozen=True):
    """A message of this engine's own type, decoded, bounded and with its signature checked.

    ``signer`` is the member that signed the outermost message (not the peer that passed it on).
    """

    signer: int
    message: Any


class PeerConnected(msgspec.Struct, frozen=True, gc=False):
    """The link to a member came up (again): re-send what it may have missed."""

    member: int


class PayloadBuilt(msgspec.Struct, frozen=True, gc=False):
    """Answers ``BuildPayload``; the payload and all its bodies are pinned by the replica."""

    ticket: int
    payload: bytes


class PayloadHeld(msgspec.Struct, frozen=True, gc=False):
    """Answers ``ObtainPayload``: bytes and bodies are here; the records that pin them are in the same group
    commit as whatever the engine answers to this event. ``valid`` is a pure function of them and genesis."""

    slot: int
    digest: bytes
    payload: bytes
    valid: bool


class Work(msgspec.Struct, frozen=True, gc=False):
    """Level-triggered; sent whenever the level changes."""

    level: WorkLevel


class Certified(msgspec.Struct, frozen=True, gc=False):
    """Everything at or below ``height`` is settled; also after catch-up."""

    height: int
    certificate: Certificate


Event: TypeAlias = (
    Started | TimerFired | MessageReceived | PeerConnected | PayloadBuilt | PayloadHeld | Work | Certified
)


# --- outputs -----------------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of the vote log: ``value`` replaces what was under ``key``; ``None`` deletes it."""

    key: bytes
    value: bytes | None


class Send(msgspec.Struct, frozen=True, gc=False):
    """``message`` (encoded, signed) to one member, or to all others where ``to`` is ``None``."""

    to: int | None
    message: bytes


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Replaces a pending timer of the same name; ``None`` cancels it."""

    timer: str
    delay_ms: int | None


class BuildPayload(msgspec.Struct, frozen=True, gc=False):
    """Wanted: a payload for ``slot``. ``ancestors`` are the digests in flight below it, whose batches the
    builder leaves out. With ``allow_null`` an empty payload may be returned when there is nothing to order;
    without it the answer comes when there is. At most one wish per slot is open."""

    ticket: int
    slot: int
    ancestors: tuple[bytes, ...]
    allow_null: bool


class ObtainPayload(msgspec.Struct, frozen=True, gc=False):
    """Wanted: the payload with this digest and its bodies, durable here. ``payload`` holds the bytes where the
    engine has them (a proposal); else they are fetched from ``sources``, in order. ``proven`` payloads (by a
    new-view, a proof of lock, a quorum) skip the admission check against the clock."""

    slot: int
    digest: bytes
    payload: bytes | None
    sources: tuple[int, ...]
    proven: bool


class CancelWish(msgspec.Struct, frozen=True, gc=False):
    """The ``BuildPayload`` with this ticket is not wanted any more."""

    ticket: int


Wish: TypeAlias = BuildPayload | ObtainPayload | CancelWish


class Decided(msgspec.Struct, frozen=True, gc=False):
    """``digest`` is final for ``slot``. ``proof`` is the engine's own (for serving to its peers);
    ``sources`` are members that hold the payload and its bodies."""

    slot: int
    digest: bytes
    proof: bytes
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two signed messages (encoded) of which an honest member signs at most one, or one that it never signs.

    It must convince strangers: whoever has the committee and the engine's parameters checks it with
    ``EngineFactory.verify_evidence``, from nothing but ``messages``. ``kind`` is the engine's own name for the
    offence, lower case with hyphens, such as ``conflicting-prepare``.
    """

    kind: str
    culprit: int
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EvidencePosition:
    """Where the offence was committed: evidence of one kind against one member is wanted once for each place. What
    an engine's kind of evidence has no use for is 0."""

    slot: int
    view: int


@dataclass(frozen=True, slots=True)
class Output:
    """What the replica must do, in the order of the fields."""

    persist: tuple[Record, ...] = ()
    send: tuple[Send, ...] = ()
    timers: tuple[SetTimer, ...] = ()
    wishes: tuple[Wish, ...] = ()
    decided: tuple[Decided, ...] = ()
    evidence: tuple[Evidence, ...] = ()


NO_OUTPUT: Final = Output()
"""Of most events: votes that only add to a count."""


class EngineStatistics(msgspec.Struct, frozen=True, gc=False):
    """A snapshot for the API and the metrics."""

    view: int
    primary: int
    last_certified: int
    slots_in_flight: int
    """Above the certified height, as far as this member works on them: never more than the window."""
    view_changes: int
    buffered_bytes: int
    asked_view: int = 0
    """The highest view that this member installed, voted in, timed out in or asked for; 0 where ``view`` says it
    all. Members that lost their vote log are told of it, and never sign below it again."""


@dataclass(frozen=True, slots=True)
class EngineParameters:
    """What every engine is given; ``extra`` holds an engine's own, from the topology.

    ``window_slots`` is L. ``leader_schedule`` and ``pacemaker`` are names (``consensus.leader``,
    ``consensus.pacemaker``), each with the options that it understands. ``leader_rotation_slots`` is R: the
    proposer moves on every R slots (0: never). ``base_timeout_ms`` grows per failed view to ``max_timeout_ms``.
    """

    window_slots: int = 16
    leader_schedule: str = "round-robin"
    leader_options: Mapping[str, int | str] = field(default_factory=dict)
    leader_rotation_slots: int = 0
    pacemaker: str = "exponential"
    pacemaker_options: Mapping[str, int | str] = field(default_factory=dict)
    base_timeout_ms: int = 1_000
    max_timeout_ms: int = 8_000
    resend_ms: int = 1_000
    max_payload_bytes: int = 1 << 20
    extra: Mapping[str, int | str] = field(default_factory=dict)


class Engine(Protocol):
    """One member's engine of one epoch."""

    def handle(self, event: Event, now_ms: int) -> Output:
        """Take one event. ``now_ms`` is monotonic and only for measuring intervals."""
        ...

    def needs(self, signer: int, message: Any) -> bool:
        """Whether a decoded message could still change anything. Where not (a duplicate, a late vote, one from
        outside the window) the replica counts it and drops it without paying for its signature. Pure."""
        ...

    def statistics(self) -> EngineStatistics: ...


class EngineFactory(Protocol):
    """Makes and restores engines, and reads their messages."""

    name: str

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> Engine:
        """A fresh engine above ``certificate`` (``None``: above genesis, height 0).

        With ``first_view`` above 0 the member has signed messages that it does not know any more, all for slots
        at or below ``certificate``, and for views below ``first_view``. The engine signs nothing for a lower view
        (vote, proposal, view change, timeout), also not in a later life: where it is behind, it joins by asking
        for ``first_view`` or waits for it. An engine whose views begin anew with each slot may ignore it.
        """
        ...

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        """The engine as its own records left it; ``certificate`` is the highest one the chain store holds.

        Raises ``LocalError`` where the records are not what this engine wrote.
        """
        ...

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        """(signer, message), bounded and checked for shape, its signature not yet looked at. Raises
        ``RemoteError`` and nothing else. Cheap: the replica asks ``Engine.needs`` next, and verifies what is."""
        ...

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        """Raise ``RemoteError`` unless ``signer`` signed the outermost message. Proofs nested in it are the
        engine's to verify when it handles the message. Only then does it become ``MessageReceived``."""
        ...

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        """Where the culprit broke the rules; raises ``RemoteError``, and nothing else, unless ``evidence`` proves
        that it did.

        Pure: the beacon calls it with bytes from anybody, and all its members must agree. ``messages`` are one or
        two, distinct, and *in the order of their bytes*, whatever order they were found in; decode them bounded,
        check that both say they are of ``culprit``, that they contradict each other, and last the signatures.
        Checked before: chain, shard, incarnation, epoch, and that the culprit is a member. Two attestations of one
        height are verified outside the engines. What honest members may sign is never evidence: view changes or
        timeouts that differ, proofs by other signers, one message sent again.

        Inherited as it is by the factory of an engine that emits no evidence.
        """
        raise RemoteError("UNKNOWN_EVIDENCE", f"this engine knows no evidence of kind {evidence.kind[:64]!r}")


def load_engine_factory(name: str) -> EngineFactory:
    """The engine registered under ``name``; raises ``LocalError`` that lists the known names, and where the engine
    calls itself otherwise: what a genesis names and what members report must be one thing."""
    loaded = load_registered(ENGINES, name)
    factory: EngineFactory = loaded() if isinstance(loaded, type) else loaded
    if factory.name != name:
        raise LocalError(f"the consensus engine registered as {name!r} calls itself {factory.name!r}")
    return factory
