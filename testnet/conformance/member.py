"""One member: an engine, and the least of a replica around it.

It honours an output's fields in their order: records into the log after a sync, then sends, timers, wishes,
decisions. It applies decisions in order, attests each to a chain of hashes, forms certificates, offers certified
blocks to members that are behind. A crash loses what was not durable, at a point that the test chooses; the engine
comes back from its records alone.

Transactions are ``t0``, ``t1``, …, known to all members at once. A payload joins some of them and says which life
of which process built it: two processes with one key (twins) build different ones, and so does one that forgot.
What does not live here: the network and what must hold (``world``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, assert_never

from consensus.certificate import Attestation, Certificate, attest, verify_certificate
from consensus.engine import (
    NULL_DIGEST,
    NULL_PAYLOAD,
    BuildPayload,
    CancelWish,
    Certified,
    Decided,
    Engine,
    Event,
    Evidence,
    ObtainPayload,
    Output,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Send,
    Started,
    TimerFired,
    Wish,
    Work,
    WorkLevel,
    compute_payload_digest,
)

if TYPE_CHECKING:
    from testnet.conformance.world import Committee

TICK_MS: Final = 100
"""How often a replica looks after what moves slowly: late attestations, members that are behind."""
FETCH_MS: Final = 2
TRANSACTIONS_PER_PAYLOAD: Final = 2
BLOCKS_PER_OFFER: Final = 8
INVALID: Final = b"invalid"
"""How a payload that must never be decided begins."""
GENESIS_HASH: Final = bytes(32)


class Stage(Enum):
    """Where in an output that persists something a crash strikes."""

    BEFORE_PERSIST = "before persisting"
    AFTER_PERSIST = "between persisting and sending"
    AMID_SENDS = "amid sending"
    AFTER_OUTPUT = "after all of it"


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The ``output``-th output of a member's first life that persists something."""

    output: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Block:
    """A certified slot."""

    height: int
    digest: bytes
    payload: bytes
    header_hash: bytes
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Step:
    """One call of ``handle``; ``event`` is ``None`` where an engine was made, from ``records``."""

    now_ms: int
    event: Event | None
    output: Output
    certificate: Certificate | None = None
    records: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(eq=False)
class Member:
    """One process. ``is_honest`` is false for twins and whoever lies. ``censored`` transactions it never builds
    into a payload; ``forge`` replaces what it builds. One that lost its log starts at ``first_view``."""

    committee: Committee
    name: str
    index: int
    is_honest: bool = True
    engine: Engine | None = None
    lives: int = 0
    log: dict[bytes, bytes] = field(default_factory=dict)  # durable
    pinned: dict[bytes, bytes] = field(default_factory=dict)  # durable
    chain: list[Block] = field(default_factory=list)  # durable
    known: dict[bytes, int] = field(default_factory=dict)
    done: set[bytes] = field(default_factory=set)
    decided: dict[int, bytes] = field(default_factory=dict)
    headers: list[bytes] = field(default_factory=lambda: [GENESIS_HASH])
    attestations: dict[tuple[int, bytes], dict[int, Attestation]] = field(default_factory=dict)
    wish: BuildPayload | None = None
    level: WorkLevel = WorkLevel.IDLE
    timers: dict[str, int] = field(default_factory=dict)
    pending_timers: set[str] = field(default_factory=set)
    censored: frozenset[bytes] = frozenset()
    forge: Callable[[bytes], bytes] | None = None
    crash_point: CrashPoint | None = None
    persisted: int = 0
    highest_certified: int = 0
    first_view: int = 0
    commit_due_ms: int = 0
    evidence: list[Evidence] = field(default_factory=list)
    history: list[Step] | None = None

    @property
    def certified(self) -> int:
        """The height of its chain."""
        return len(self.chain)

    @property
    def view(self) -> int:
        """Its engine's."""
        assert self.engine is not None, f"{self.name} is down"
        return self.engine.statistics().view

    # --- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A process begins, from what is durable."""
        certificate = self.chain[-1].certificate if self.chain else None
        self.engine = self.committee.make_engine(self, certificate)
        self.lives += 1
        if self.history is not None:
            self.history.append(
                Step(self.committee.now_ms, None, Output(), certificate, tuple(sorted(self.log.items())))
            )
        self.timers, self.pending_timers = {}, set()
        self.wish, self.level = None, WorkLevel.IDLE
        self.done = {tx for block in self.chain for tx in block.payload.split(b",")}
        self.decided = {block.height: block.digest for block in self.chain}
        self.headers = [GENESIS_HASH, *(block.header_hash for block in self.chain)]
        self.attestations = {}
        self.feed(Started())
        for peer in self.committee.members:
            if peer is not self and peer.engine is not None and self.committee.is_linked(self, peer):
                self.feed(PeerConnected(peer.index))
                peer.feed(PeerConnected(self.index))
        self.tick()

    def crash(self, lost_blocks: int = 0) -> None:
        """The process dies; the chain's store may lose its last blocks, the vote log loses nothing."""
        self.engine = None
        self.lives += 1
        self.crash_point = None
        del self.chain[max(0, len(self.chain) - lost_blocks) :]

    def feed(self, event: Event) -> None:
        """Hand an event to the engine and queue its output for the disk, behind earlier ones."""
        if self.engine is None:
            return
        committee = self.committee
        committee.note_event()
        output = self.engine.handle(event, committee.now_ms)
        if self.history is not None:
            self.history.append(Step(committee.now_ms, event, output))
        sync_ms = committee.draw_sync_ms() if output.persist else 0
        self.commit_due_ms = max(self.commit_due_ms, committee.now_ms + sync_ms)
        self.later(self.commit_due_ms - committee.now_ms, lambda: self.commit(output))

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it unless the process dies before."""
        life = self.lives
        self.committee.at(delay_ms, lambda: action() if life == self.lives else None)

    def commit(self, output: Output) -> None:
        """Honour an output in the order of its fields."""
        stage: Stage | None = None
        if output.persist and self.is_honest:
            self.persisted += 1
            if self.crash_point is not None and self.crash_point.output == self.persisted:
                stage = self.crash_point.stage
        if stage is Stage.BEFORE_PERSIST:
            return self.crash()
        for record in output.persist:
            if record.value is None:
                self.log.pop(record.key, None)
            else:
                self.log[record.key] = record.value
        if stage is Stage.AFTER_PERSIST:
            return self.crash()
        self._send(output.send, torn=stage is Stage.AMID_SENDS)
        if stage is Stage.AMID_SENDS:
            return self.crash()
        for order in output.timers:
            self.set_timer(order.timer, order.delay_ms)
        for wish in output.wishes:
            self.on_wish(wish)
        for decided in output.decided:
            self.on_decided(decided)
        for evidence in output.evidence:
            self.evidence.append(evidence)
            self.committee.judge_evidence(self, evidence)
        if stage is Stage.AFTER_OUTPUT:
            self.crash()
        return None

    def _send(self, sends: Sequence[Send], *, torn: bool) -> None:
        """A torn broadcast reaches the members below the middle only."""
        reached = range(self.committee.size // 2) if torn else range(self.committee.size)
        for send in sends:
            self.committee.transmit(self, send, reached)

    def set_timer(self, timer: str, delay_ms: int | None) -> None:
        """Replace the pending timer of this name."""
        token = self.timers[timer] = self.timers.get(timer, 0) + 1
        self.pending_timers.discard(timer)
        if delay_ms is None:
            return
        self.pending_timers.add(timer)

        def fire() -> None:
            if self.timers[timer] == token:
                self.pending_timers.discard(timer)
                self.feed(TimerFired(timer))

        self.later(max(delay_ms, 0), fire)

    def copy_chain(self, peer: Member) -> None:
        """Adopt everything that a peer has certified, while down."""
        assert self.engine is None, "a process adopts blocks one by one"
        self.chain = list(peer.chain)
        self.highest_certified = peer.certified

    # --- payloads ------------------------------------------------------------------------------------------

    def on_wish(self, wish: Wish) -> None:
        """Answered later, by events."""
        match wish:
            case BuildPayload():
                self.committee.judge_slot(self, wish.slot, "wishes to build a payload", windows=1)
                self.wish = wish
                self.build()
            case CancelWish(ticket=ticket):
                if self.wish is not None and self.wish.ticket == ticket:
                    self.wish = None
            case ObtainPayload():
                self.committee.judge_slot(self, wish.slot, "wishes to obtain a payload", windows=2)
                self.obtain(wish)
            case _:
                assert_never(wish)

    def build(self) -> None:
        """Answer the open wish, if there is something to order or nothing is allowed."""
        wish = self.wish
        if wish is None or self.engine is None:
            return
        taken = {tx for digest in wish.ancestors for tx in self.pinned.get(digest, b"").split(b",")}
        taken |= self.done | self.censored
        free = [tx for tx in self.known if tx not in taken]
        if not free and not wish.allow_null:
            return
        payload = self._compose(free[:TRANSACTIONS_PER_PAYLOAD], wish.slot) if free else NULL_PAYLOAD
        ticket, self.wish = wish.ticket, None
        self.pinned[compute_payload_digest(payload)] = payload
        self.later(0, lambda: self.feed(PayloadBuilt(ticket, payload)))

    def _compose(self, transactions: Sequence[bytes], slot: int) -> bytes:
        # Another one in every life: who forgets what it proposed proposes something else.
        author = f"by {self.name} at {slot} in life {self.lives}".encode()
        payload = b",".join([*transactions, author, self.committee.padding])
        return payload if self.forge is None else self.forge(payload)

    def obtain(self, wish: ObtainPayload) -> None:
        """Answer when payload and bodies are here; it asks for as long as it takes."""
        if wish.payload is not None:
            self.pinned[wish.digest] = wish.payload
        payload = self.find_payload(wish.digest, wish.sources)
        if payload is None:
            if wish.slot > self.certified:
                self.later(TICK_MS, lambda: self.obtain(wish))
            return
        held = PayloadHeld(wish.slot, wish.digest, payload, valid=not payload.startswith(INVALID))
        self.later(0 if wish.payload is not None else FETCH_MS, lambda: self.feed(held))

    def find_payload(self, digest: bytes, sources: Sequence[int]) -> bytes | None:
        """Ours, or fetched from a source that we can reach."""
        if digest == NULL_DIGEST:
            return NULL_PAYLOAD
        for peer in self.committee.members:
            is_source = peer.index in sources and peer.engine is not None and self.committee.is_linked(peer, self)
            if is_source and digest in peer.pinned:
                self.pinned.setdefault(digest, peer.pinned[digest])
        return self.pinned.get(digest)

    # --- executing, attesting, certifying ------------------------------------------------------------------

    def on_decided(self, decided: Decided) -> None:
        """Apply it when its turn has come and its payload is here."""
        self.committee.judge_slot(self, decided.slot, "decides", windows=2)
        self.committee.judge_decision(self, decided.slot, decided.digest)
        self.decided.setdefault(decided.slot, decided.digest)
        self._obtain_decided(decided)

    def _obtain_decided(self, decided: Decided) -> None:
        if self.find_payload(decided.digest, decided.sources) is None:
            if decided.slot > self.certified:
                self.later(TICK_MS, lambda: self._obtain_decided(decided))
            return
        self._execute()

    def _execute(self) -> None:
        while (height := len(self.headers)) in self.decided:
            digest = self.decided[height]
            payload = self.find_payload(digest, ())
            if payload is None:
                return
            self.committee.judge_payload(self, height, payload)
            self.headers.append(sha256(self.headers[-1] + digest).digest())
            self._attest(height)

    def _attest(self, height: int) -> None:
        committee = self.committee
        attestation = attest(committee.public, committee.signers[self.index], height, self.headers[height])
        self._on_attestation(attestation)
        for peer in committee.members:
            if peer is not self:
                committee.carry(self, peer, partial(peer._on_attestation, attestation))

    def _on_attestation(self, attestation: Attestation) -> None:
        if self.engine is None or attestation.height <= self.certified:
            return
        votes = self.attestations.setdefault((attestation.height, attestation.header_hash), {})
        votes[attestation.signer] = attestation
        self._certify()

    def _certify(self) -> None:
        if not self.committee.certifies:
            return
        height = self.certified + 1
        while height < len(self.headers):
            votes = self.attestations.get((height, self.headers[height]), {})
            if len(votes) < self.committee.public.quorum:
                return
            signers = tuple(sorted(votes)[: self.committee.public.quorum])
            signatures = tuple(votes[signer].signature for signer in signers)
            certificate = Certificate(0, 0, height, self.headers[height], signers, signatures)
            digest = self.decided[height]
            self._settle(Block(height, digest, self.pinned.get(digest, b""), self.headers[height], certificate))
            height += 1

    def _settle(self, block: Block) -> None:
        self.committee.judge_decision(self, block.height, block.digest)
        self.chain.append(block)
        self.highest_certified = max(self.highest_certified, block.height)
        self.done.update(block.payload.split(b","))
        self.feed(Certified(block.height, block.certificate))
        self.update_work()

    def _on_blocks(self, blocks: Sequence[Block]) -> None:
        """Catch-up: certified blocks of a peer, in order."""
        for block in blocks:
            if self.engine is None or block.height != self.certified + 1:
                continue
            verify_certificate(block.certificate, self.committee.public, self.committee.scheme)
            self.pinned[block.digest] = block.payload
            self.decided[block.height] = block.digest
            del self.headers[block.height :]
            self.headers.append(block.header_hash)
            self._settle(block)
        self._execute()

    # --- work ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What a replica does now and then: build, re-send attestations, offer blocks to who is behind."""
        if self.engine is None:
            return
        self.update_work()
        self._certify()
        for height in range(self.certified + 1, len(self.headers)):
            self._attest(height)
        for peer in self.committee.members:
            if peer is not self and peer.engine is not None and peer.certified < self.certified:
                blocks = self.chain[peer.certified : peer.certified + BLOCKS_PER_OFFER]
                self.committee.carry(self, peer, partial(peer._on_blocks, blocks))
        self.later(TICK_MS, self.tick)

    def update_work(self) -> None:
        """Tell the engine where the level changed."""
        waiting = [since for tx, since in self.known.items() if tx not in self.done]
        level = WorkLevel.PENDING if waiting else WorkLevel.IDLE
        if waiting and self.committee.now_ms - min(waiting) > self.committee.overdue_ms:
            level = WorkLevel.OVERDUE
        if level is not self.level:
            self.level = level
            self.feed(Work(level))
        self.build()
