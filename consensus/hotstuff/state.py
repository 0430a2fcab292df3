"""What the parts of the engine share: one member's protocol state, and the output under construction.

``ordering`` proposes, votes and commits, ``views`` moves between views, ``exchange`` re-sends; all three act on one
``HotStuffState`` and never on each other's internals. No rule lives here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import (
    NO_OUTPUT,
    NULL_DIGEST,
    Decided,
    EngineParameters,
    Evidence,
    Output,
    Record,
    Send,
    SetTimer,
    Wish,
    WorkLevel,
)
from consensus.hotstuff.messages import (
    Block,
    CommitProof,
    Proposal,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from consensus.hotstuff.proofs import ProofChecker
from consensus.hotstuff.records import STABLE
from consensus.hotstuff.safety import Ballot
from consensus.hotstuff.terms import Terms
from consensus.hotstuff.tree import EntryTree
from consensus.pacemaker import Pacemaker
from primitives.codec import Wire, encode
from primitives.signing import Signer


class Outbox:
    """Collects what one event causes. Deletions wait for the next record that has to be written anyway."""

    __slots__ = ("_deletions", "_persist", "_stable", "decided", "evidence", "send", "wishes")

    def __init__(self) -> None:
        self._deletions: dict[bytes, None] = {}
        self._stable: Certificate | None = None
        self._persist: dict[bytes, bytes] = {}
        self.send: list[Send] = []
        self.wishes: list[Wish] = []
        self.decided: list[Decided] = []
        self.evidence: list[Evidence] = []

    def log(self, key: bytes, value: Wire) -> bytes:
        """Make ``value`` durable under ``key`` before anything else of this output happens; returns its bytes."""
        self._deletions.pop(key, None)
        self._persist[key] = encoded = encode(value)
        return encoded

    def settle(self, keys: Iterable[bytes], certificate: Certificate | None) -> None:
        """Delete records that ``certificate`` settles, some time: a stale record is harmless, so it never costs a
        sync of its own. The certificate goes into the log in their place: the chain's store may lose its last
        blocks in a power cut, and the entries above it lead down to it."""
        for key in sorted(keys):
            self._deletions[key] = None
        self._stable = certificate or self._stable

    def transmit(self, to: int | None, message: Wire) -> None:
        """Send it, once everything logged before is durable."""
        self.send.append(Send(to, encode(message)))

    def flush(self, timers: tuple[SetTimer, ...]) -> Output:
        """The output, and empty again."""
        persist = [Record(key, value) for key, value in self._persist.items()]
        if persist and self._deletions:
            if self._stable is not None:
                persist.append(Record(STABLE, encode(self._stable)))
            persist.extend(Record(key, None) for key in self._deletions)
            self._deletions.clear()
        if not (persist or self.send or timers or self.wishes or self.decided or self.evidence):
            return NO_OUTPUT
        output = Output(
            persist=tuple(persist),
            send=tuple(self.send),
            timers=timers,
            wishes=tuple(self.wishes),
            decided=tuple(self.decided),
            evidence=tuple(self.evidence),
        )
        self._persist.clear()
        for collected in (self.send, self.wishes, self.decided, self.evidence):
            collected.clear()
        return output


@dataclass(slots=True)
class Counts:
    """For the statistics: views that were left without a certificate, and messages whose proofs did not hold."""

    failed_views: int = 0
    refused: int = 0


@dataclass(slots=True)
class HotStuffState:
    """``view`` is where we are; ``timeouts`` brought us here, or a certificate of view − 1 did, or (``None`` and no
    such certificate) enough members that are here already. ``highest`` is the lock. ``proposal`` is the first of
    this view. ``decided`` is the last decided slot, ``tree.height`` the certified height. ``held`` are payloads by
    slot and digest that are durable here with all bodies, and valid in that slot; ``keys`` are those of entries in
    the vote log, by slot. ``silent`` members let a view pass without a proposal and were not heard since."""

    committee: Committee
    signer: Signer
    index: int
    parameters: EngineParameters
    terms: Terms
    pacemaker: Pacemaker
    checker: ProofChecker
    tree: EntryTree
    certificate: Certificate | None
    highest: QuorumCertificate
    decided: int
    ballot: Ballot
    outbox: Outbox = field(default_factory=Outbox)
    counts: Counts = field(default_factory=Counts)
    view: int = 1
    timeouts: TimeoutCertificate | None = None
    proposal: Proposal | None = None
    vote: Vote | None = None
    timeout: Timeout | None = None
    commit: CommitProof | None = None
    held: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    keys: dict[int, list[bytes]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    work: WorkLevel = WorkLevel.IDLE
    now_ms: int = 0
    progress_ms: int | None = None
    view_entered_ms: int | None = None
    term_entered_ms: int | None = None

    @property
    def tip(self) -> Block:
        """The block that a proposal of ours would extend."""
        return self.highest.block

    @property
    def is_undecided(self) -> bool:
        """Whether the highest certified block waits to be committed."""
        return self.tip.slot > self.decided

    @property
    def has_given_up(self) -> bool:
        """Whether our timeout for this view is out: no votes here any more."""
        return self.timeout is not None and self.timeout.view >= self.view

    def is_held(self, slot: int, digest: bytes) -> bool:
        """Whether a vote for this payload may be cast: it is durable here, or settled."""
        return digest == NULL_DIGEST or (slot, digest) in self.held or slot <= self.tree.height

    def note_progress(self) -> None:
        """Something was decided or certified. A certificate alone is no progress: views that are long enough for
        one but not for two in a row would never commit."""
        self.progress_ms = self.now_ms
        self.pacemaker.on_progress()
