"""What the parts of the engine share: one member's protocol state.

``ordering`` moves the current height, ``status`` re-sends, ``deadlines`` says when time is up; all act on one
``TendermintState`` and never on each other's internals. No rule lives here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import NULL_DIGEST, NULL_PAYLOAD, EngineParameters, WorkLevel
from consensus.leader import LeaderSchedule
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.tendermint.backlog import Backlog
from consensus.tendermint.core import TendermintCore
from consensus.tendermint.messages import (
    DecisionCertificate,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Vote,
)
from consensus.tendermint.records import HeightRecords
from consensus.tendermint.round_book import RoundBook
from consensus.tendermint.steps import TimeoutKind
from primitives.signing import Signer


@dataclass(frozen=True, slots=True)
class HeldPayload:
    """A payload that is durable here with all its bodies, and whether it is valid."""

    payload: bytes
    is_valid: bool


@dataclass(slots=True)
class Height:
    """The height that is being decided. ``proposal`` is the last one that we signed, with the proof of lock that it
    was sent with; ``due`` is one to broadcast when its payload is here (line 19, after a restart). ``logged`` are
    its keys in the vote log."""

    number: int
    core: TendermintCore
    book: RoundBook
    prevotes: dict[int, Prevote] = field(default_factory=dict)
    precommits: dict[int, Precommit] = field(default_factory=dict)
    proposal: Proposal | None = None
    proposal_proof: PrevoteCertificate | None = None
    due: tuple[int, bytes, int] | None = None
    valid: PrevoteCertificate | None = None
    is_value_wanted: bool = False
    held: dict[bytes, HeldPayload] = field(default_factory=lambda: {NULL_DIGEST: HeldPayload(NULL_PAYLOAD, True)})
    scheduled: dict[TimeoutKind, int | None] = field(default_factory=dict)
    entered_ms: int = 0
    logged: set[bytes] = field(default_factory=set)

    @property
    def round(self) -> int:
        """round_p; 0 before the first one is started."""
        return max(self.core.round, 0)

    @property
    def has_proposal(self) -> bool:
        """Whether we have seen this round's proposal."""
        entry = self.book.peek(self.round)
        return entry is not None and entry.proposal is not None

    @property
    def is_awaiting_votes(self) -> bool:
        """Whether timeoutPrevote or timeoutPrecommit runs."""
        return any(kind is not TimeoutKind.PROPOSE for kind in self.scheduled)

    @property
    def own_votes(self) -> tuple[Vote, ...]:
        """Ours of this round and the one before, by round."""
        rounds = (self.round - 1, self.round)
        return tuple(
            votes[round] for round in rounds for votes in (self.prevotes, self.precommits) if round in votes
        )

    def is_relevant(self, digest: bytes) -> bool:
        """Whether this payload may still be proposed or decided here, as far as we know."""
        return (
            digest in self.book.proposed_digests
            or digest in (self.core.locked_value, self.core.valid_value)
            or (self.due is not None and digest == self.due[1])
        )


@dataclass(frozen=True, slots=True)
class DecidedHeight:
    """A decision that is not certified yet, and its keys in the vote log."""

    certificate: DecisionCertificate
    keys: frozenset[bytes]


@dataclass(slots=True)
class TendermintState:
    """``stable`` is the certified height; ``decided`` holds what is decided above it; ``height`` is the lowest
    height that is neither, unless the window forbids it. ``unread`` waits in the log for its height. ``settled``
    are the decisions of the last window up to ``stable``: a member that missed one cannot vote before it has it,
    and its vote may be the one that is lacking."""

    committee: Committee
    signer: Signer
    index: int
    parameters: EngineParameters
    schedule: LeaderSchedule
    pacemaker: Pacemaker
    backlog: Backlog
    stable: int
    certificate: Certificate | None
    outbox: Outbox = field(default_factory=Outbox)
    decided: dict[int, DecidedHeight] = field(default_factory=dict)
    settled: dict[int, DecisionCertificate] = field(default_factory=dict)
    height: Height | None = None
    unread: dict[int, HeightRecords] = field(default_factory=dict)
    work: WorkLevel = WorkLevel.IDLE
    now_ms: int = 0
    progress_ms: int | None = None
    rounds_failed: int = 0

    @property
    def last_slot(self) -> int:
        """The highest height in the window: nothing above it is voted for."""
        return self.stable + self.parameters.window_slots

    @property
    def open_height(self) -> int:
        """The lowest height that is not decided."""
        number = self.stable + 1
        while number in self.decided:
            number += 1
        return number

    def compute_proposer(self, round: int, height: int) -> int:
        """proposer(height, round)."""
        return self.schedule.compute_proposer(round, height)

    def settle(self, certificate: DecisionCertificate) -> None:
        """Keep a decision that is certified now, for a window of heights."""
        self.settled[certificate.height] = certificate
        while len(self.settled) > self.parameters.window_slots:
            del self.settled[min(self.settled)]

    def note_progress(self) -> None:
        """Something was decided or certified."""
        self.progress_ms = self.now_ms
