"""Engines in a small world of their own: virtual time, a seeded network, disks, crashes, certificates.

Each ``Host`` plays the replica around one engine: it commits an output's records (after a sync delay, in
order), only then sends and answers, applies decisions in order, attests them and forms certificates. A crash
loses what was not committed; the engine comes back from its records alone. The ``Cluster`` owns time, network
and the omniscient checks: one digest per slot among honest hosts, no vote that was not durable before it left,
no two votes that contradict each other. The full simulator, with a real replica, is in ``testnet``.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from consensus.certificate import Attestation, Certificate, attest, verify_certificate
from consensus.committee import Committee
from consensus.engine import (
    NULL_DIGEST,
    NULL_PAYLOAD,
    BuildPayload,
    CancelWish,
    Certified,
    Decided,
    Engine,
    EngineFactory,
    EngineParameters,
    Event,
    Evidence,
    MessageReceived,
    ObtainPayload,
    Output,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Started,
    TimerFired,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.pbft.engine import PbftFactory
from consensus.pbft.messages import Commit, NewView, Prepare, PrePrepare, ViewChange
from primitives.codec import encode
from primitives.signing import SignatureScheme, Signer
from tests.consensus.tokens import TokenScheme, make_signers

TICK_MS = 100
TRANSACTIONS_PER_PAYLOAD = 2


@dataclass(frozen=True)
class Vote:
    """A signed statement of which an honest member makes at most one per (kind, view, slot). ``record`` are its
    bytes as they must be in the vote log before it leaves."""

    kind: str
    view: int
    slot: int
    record: bytes


@dataclass(frozen=True)
class EngineUnderTest:
    """What a cluster runs, and how its checks read a message: ``None`` where it is no vote."""

    factory: EngineFactory
    read_vote: Callable[[Any], Vote | None]


def read_pbft_vote(message: Any) -> Vote | None:
    if isinstance(message, PrePrepare):
        message = message.proposal
    elif not isinstance(message, Prepare | Commit | ViewChange | NewView):
        return None
    return Vote(type(message).__name__, message.view, getattr(message, "slot", 0), encode(message))


PBFT = EngineUnderTest(PbftFactory(), read_pbft_vote)


@dataclass(frozen=True)
class Weather:
    """Percentages and milliseconds."""

    loss_percent: int = 0
    duplicate_percent: int = 0
    min_delay_ms: int = 1
    max_delay_ms: int = 1
    max_sync_ms: int = 0


CALM = Weather()
STORM = Weather(loss_percent=10, duplicate_percent=5, min_delay_ms=1, max_delay_ms=60, max_sync_ms=4)


@dataclass
class Block:
    height: int
    digest: bytes
    payload: bytes
    header_hash: bytes
    certificate: Certificate


@dataclass
class Host:
    """One process of one member; twins are two hosts of one member."""

    cluster: Cluster
    name: str
    index: int
    honest: bool = True
    engine: Engine | None = None
    generation: int = 0
    log: dict[bytes, bytes] = field(default_factory=dict)  # durable
    pinned: dict[bytes, bytes] = field(default_factory=dict)  # durable
    chain: list[Block] = field(default_factory=list)  # durable
    known: dict[bytes, int] = field(default_factory=dict)
    done: set[bytes] = field(default_factory=set)
    decided: dict[int, bytes] = field(default_factory=dict)
    headers: list[bytes] = field(default_factory=lambda: [bytes(32)])
    attestations: dict[tuple[int, bytes], dict[int, Attestation]] = field(default_factory=dict)
    wish: BuildPayload | None = None
    level: WorkLevel = WorkLevel.IDLE
    timers: dict[str, int] = field(default_factory=dict)
    commit_due_ms: int = 0
    die_after_persist: bool = False
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def certified(self) -> int:
        return len(self.chain)

    # --- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        certificate = self.chain[-1].certificate if self.chain else None
        self.engine = self.cluster.make_engine(self.index, certificate, self.log)
        self.timers, self.wish, self.level = {}, None, WorkLevel.IDLE
        self.decided = {block.height: block.digest for block in self.chain}
        self.headers = [bytes(32), *(block.header_hash for block in self.chain)]
        self.attestations = {}
        self.feed(Started())
        for peer in self.cluster.hosts:
            if peer is not self and peer.engine is not None and self.cluster.is_linked(self, peer):
                self.feed(PeerConnected(peer.index))
                peer.feed(PeerConnected(self.index))
        self.tick()

    def crash(self) -> None:
        self.engine = None
        self.generation += 1
        self.die_after_persist = False

    def feed(self, event: Event) -> None:
        """Hand an event to the engine and queue its output for the disk, behind earlier ones."""
        if self.engine is None:
            return
        output = self.engine.handle(event, self.cluster.now_ms)
        sync_ms = self.cluster.rng.randint(0, self.cluster.weather.max_sync_ms) if output.persist else 0
        self.commit_due_ms = max(self.commit_due_ms, self.cluster.now_ms + sync_ms)
        self.later(self.commit_due_ms - self.cluster.now_ms, lambda: self.commit(output))

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it unless the process dies before."""
        generation = self.generation
        self.cluster.at(delay_ms, lambda: action() if generation == self.generation else None)

    def commit(self, output: Output) -> None:
        for record in output.persist:
            if record.value is None:
                self.log.pop(record.key, None)
            else:
                self.log[record.key] = record.value
        self.cluster.observe(self, output)
        if self.die_after_persist and output.persist:
            self.crash()
            return
        for send in output.send:
            self.cluster.transmit(self, send.to, send.message)
        for order in output.timers:
            self.set_timer(order.timer, order.delay_ms)
        for wish in output.wishes:
            self.on_wish(wish)
        for decided in output.decided:
            self.on_decided(decided)
        self.evidence.extend(output.evidence)

    def set_timer(self, timer: str, delay_ms: int | None) -> None:
        token = self.timers[timer] = self.timers.get(timer, 0) + 1
        if delay_ms is not None:

            def fire() -> None:
                if self.timers[timer] == token:
                    self.feed(TimerFired(timer))

            self.later(delay_ms, fire)

    # --- payloads ------------------------------------------------------------------------------------------

    def on_wish(self, wish: BuildPayload | ObtainPayload | CancelWish) -> None:
        match wish:
            case BuildPayload():
                self.wish = wish
                self.build()
            case CancelWish(ticket=ticket):
                if self.wish is not None and self.wish.ticket == ticket:
                    self.wish = None
            case ObtainPayload():
                self.obtain(wish)

    def build(self) -> None:
        if self.wish is None or self.engine is None:
            return
        taken = {tx for digest in self.wish.ancestors for tx in self.pinned.get(digest, b"").split(b",")}
        free = [tx for tx in self.known if tx not in self.done and tx not in taken]
        if free:
            payload = b",".join([*free[:TRANSACTIONS_PER_PAYLOAD], b"by %d at %d" % (self.index, self.wish.slot)])
            ticket, self.wish = self.wish.ticket, None
            self.pinned[compute_payload_digest(payload)] = payload
            self.later(0, lambda: self.feed(PayloadBuilt(ticket, payload)))
        elif self.wish.allow_null:
            ticket, self.wish = self.wish.ticket, None
            self.later(0, lambda: self.feed(PayloadBuilt(ticket, NULL_PAYLOAD)))

    def obtain(self, wish: ObtainPayload) -> None:
        if wish.payload is not None:
            self.pinned[wish.digest] = wish.payload
        payload = self.find_payload(wish.digest, wish.sources)
        if payload is None:
            self.later(TICK_MS, lambda: self.obtain(wish))
            return
        held = PayloadHeld(wish.slot, wish.digest, payload, valid=not payload.startswith(b"invalid"))
        self.later(0 if wish.payload is not None else 2, lambda: self.feed(held))

    def find_payload(self, digest: bytes, sources: Sequence[int]) -> bytes | None:
        """Ours, or fetched from a source that we can reach."""
        if digest == NULL_DIGEST:
            return b""
        for peer in self.cluster.hosts:
            is_source = peer.index in sources and peer.engine is not None and self.cluster.is_linked(peer, self)
            if is_source and digest in peer.pinned:
                self.pinned.setdefault(digest, peer.pinned[digest])
        return self.pinned.get(digest)

    # --- executing, attesting, certifying ------------------------------------------------------------------

    def on_decided(self, decided: Decided) -> None:
        self.decided.setdefault(decided.slot, decided.digest)
        self.cluster.check_agreement(self, decided.slot, decided.digest)
        self.obtain_decided(decided)

    def obtain_decided(self, decided: Decided) -> None:
        if self.find_payload(decided.digest, decided.sources) is None:
            self.later(TICK_MS, lambda: self.obtain_decided(decided))
            return
        self.execute()

    def execute(self) -> None:
        while (height := len(self.headers)) in self.decided:
            digest = self.decided[height]
            if self.find_payload(digest, ()) is None:
                return
            self.headers.append(sha256(self.headers[-1] + digest).digest())
            self.send_attestation(height)

    def send_attestation(self, height: int) -> None:
        cluster = self.cluster
        attestation = attest(cluster.committee, cluster.signers[self.index], height, self.headers[height])
        self.on_attestation(attestation)
        for peer in cluster.hosts:
            if peer is not self:
                cluster.carry(self, peer, lambda peer=peer: peer.on_attestation(attestation))

    def on_attestation(self, attestation: Attestation) -> None:
        if self.engine is None or attestation.height <= self.certified:
            return
        votes = self.attestations.setdefault((attestation.height, attestation.header_hash), {})
        votes[attestation.signer] = attestation
        self.certify()

    def certify(self) -> None:
        quorum = self.cluster.committee.quorum
        height = self.certified + 1
        while height < len(self.headers):
            votes = self.attestations.get((height, self.headers[height]), {})
            if len(votes) < quorum:
                return
            signers = tuple(sorted(votes)[:quorum])
            signatures = tuple(votes[signer].signature for signer in signers)
            certificate = Certificate(0, 0, height, self.headers[height], signers, signatures)
            digest = self.decided[height]
            self.settle(Block(height, digest, self.pinned.get(digest, b""), self.headers[height], certificate))
            height += 1

    def settle(self, block: Block) -> None:
        self.cluster.check_agreement(self, block.height, block.digest)
        self.chain.append(block)
        self.done.update(block.payload.split(b","))
        self.feed(Certified(block.height, block.certificate))
        self.update_work()

    def on_blocks(self, blocks: Sequence[Block]) -> None:
        """Catch-up: certified blocks of a peer, in order."""
        for block in blocks:
            if self.engine is None or block.height != self.certified + 1:
                continue
            verify_certificate(block.certificate, self.cluster.committee, self.cluster.scheme)
            self.pinned[block.digest] = block.payload
            self.decided[block.height] = block.digest
            del self.headers[block.height :]
            self.headers.append(block.header_hash)
            self.settle(block)
        self.execute()

    # --- work ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What a replica does now and then: build, re-send attestations, offer blocks to who is behind."""
        if self.engine is None:
            return
        self.update_work()
        for height in range(self.certified + 1, len(self.headers)):
            self.send_attestation(height)
        for peer in self.cluster.hosts:
            if peer is not self and peer.engine is not None and peer.certified < self.certified:
                blocks = self.chain[peer.certified : peer.certified + 8]
                self.cluster.carry(self, peer, lambda peer=peer, blocks=blocks: peer.on_blocks(blocks))
        self.later(TICK_MS, self.tick)

    def update_work(self) -> None:
        waiting = [since for tx, since in self.known.items() if tx not in self.done]
        level = WorkLevel.PENDING if waiting else WorkLevel.IDLE
        if waiting and self.cluster.now_ms - min(waiting) > self.cluster.overdue_ms:
            level = WorkLevel.OVERDUE
        if level is not self.level:
            self.level = level
            self.feed(Work(level))
        self.build()


class Cluster:
    """n members (twins doubled), one random generator, one heap of things to come."""

    def __init__(
        self,
        size: int,
        seed: int = 0,
        parameters: EngineParameters | None = None,
        weather: Weather = CALM,
        twins: Sequence[int] = (),
        overdue_ms: int = 5_000,
        signers: Sequence[Signer] | None = None,
        scheme: SignatureScheme | None = None,
        under_test: EngineUnderTest = PBFT,
    ) -> None:
        self.under_test = under_test
        self.factory = under_test.factory
        self.rng = random.Random(seed)
        self.weather = weather
        self.parameters = parameters or EngineParameters(window_slots=4)
        self.overdue_ms = overdue_ms
        self.signers = signers or make_signers(size)
        self.scheme = scheme or TokenScheme()
        self.committee = Committee(bytes(32), 0, 0, 0, tuple(signer.public_key for signer in self.signers))
        self.now_ms = 0
        self.violations: list[str] = []
        self.agreed: dict[int, bytes] = {}
        self.voted: dict[tuple[int, str, int, int], bytes] = {}
        self.trace: Callable[[Host, Output], None] = lambda host, output: None
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._groups: tuple[frozenset[str], ...] = ()
        self._cuts: set[tuple[str, str]] = set()
        self.filter: Callable[[Host, Host, Any], bool] = lambda sender, receiver, message: True
        self.hosts = [Host(self, f"m{index}", index, honest=index not in twins) for index in range(size)]
        self.hosts += [Host(self, f"m{index}'", index, honest=False) for index in twins]
        for host in self.hosts:
            host.start()

    def make_engine(self, index: int, certificate: Certificate | None, log: dict[bytes, bytes]) -> Engine:
        signer = self.signers[index]
        if log:
            return self.factory.restore(
                self.committee, signer, self.scheme, self.parameters, certificate, dict(log)
            )
        return self.factory.create(self.committee, signer, self.scheme, self.parameters, certificate)

    # --- time ----------------------------------------------------------------------------------------------

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._sequence, action))

    def run(self, duration_ms: int) -> None:
        self.run_until(lambda: False, duration_ms)

    def run_until(self, condition: Callable[[], bool], within_ms: int) -> bool:
        """Whether the condition came true in time."""
        deadline = self.now_ms + within_ms
        while not condition():
            if not self._heap or self._heap[0][0] > deadline:
                self.now_ms = deadline
                return condition()
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        return True

    # --- network -------------------------------------------------------------------------------------------

    def partition(self, *groups: Sequence[str]) -> None:
        """Only hosts of one group hear each other."""
        self._groups = tuple(frozenset(group) for group in groups)

    def cut(self, sender: str, receiver: str) -> None:
        """One way."""
        self._cuts.add((sender, receiver))

    def heal(self) -> None:
        """All links are up again, and everybody notices."""
        self._groups, self._cuts = (), set()
        self.filter = lambda sender, receiver, message: True
        for host in self.hosts:
            for peer in self.hosts:
                if host is not peer and peer.engine is not None:
                    host.feed(PeerConnected(peer.index))

    def is_linked(self, sender: Host, receiver: Host) -> bool:
        if (sender.name, receiver.name) in self._cuts:
            return False
        return not self._groups or any({sender.name, receiver.name} <= group for group in self._groups)

    def carry(self, sender: Host, receiver: Host, action: Callable[[], None]) -> None:
        """Deliver later, perhaps, perhaps twice."""
        if not self.is_linked(sender, receiver) or self.rng.randrange(100) < self.weather.loss_percent:
            return
        copies = 2 if self.rng.randrange(100) < self.weather.duplicate_percent else 1
        for _ in range(copies):
            delay_ms = self.rng.randint(self.weather.min_delay_ms, self.weather.max_delay_ms)
            self.at(delay_ms, action)

    def transmit(self, sender: Host, to: int | None, data: bytes) -> None:
        signer, message = self.factory.decode_message(data, self.committee)
        if sender.honest and signer == sender.index:  # What others signed is theirs to answer for.
            self.check_vote(sender, message)
        for receiver in self.hosts:
            if receiver.index == sender.index or (to is not None and receiver.index != to):
                continue
            if self.filter(sender, receiver, message):
                self.carry(sender, receiver, lambda receiver=receiver: self.deliver(receiver, signer, message))

    def deliver(self, receiver: Host, signer: int, message: Any) -> None:
        if receiver.engine is not None and receiver.engine.needs(signer, message):
            self.factory.verify_message(signer, message, self.committee, self.scheme)
            receiver.feed(MessageReceived(signer, message))

    # --- the omniscient checks -----------------------------------------------------------------------------

    def observe(self, host: Host, output: Output) -> None:
        self.trace(host, output)

    def check_agreement(self, host: Host, slot: int, digest: bytes) -> None:
        if host.honest and self.agreed.setdefault(slot, digest) != digest:
            self.violations.append(f"{host.name} has another digest for slot {slot}")

    def check_vote(self, sender: Host, message: Any) -> None:
        """Durable before it left, and never another one for the same view, slot and phase."""
        vote = self.under_test.read_vote(message)
        if vote is None:
            return
        if vote.record not in sender.log.values():
            self.violations.append(f"{sender.name} sent a {vote.kind} that is not durable")
        key = (sender.index, vote.kind, vote.view, vote.slot)
        if self.voted.setdefault(key, vote.record) != vote.record:
            self.violations.append(f"{sender.name} contradicts itself: {key}")

    # --- scripts -------------------------------------------------------------------------------------------

    def submit(self, count: int) -> None:
        """New transactions, known to everybody at once."""
        first = max((len(host.known) for host in self.hosts), default=0)
        for host in self.hosts:
            for number in range(first, first + count):
                host.known[b"t%d" % number] = self.now_ms
            if host.engine is not None:
                host.update_work()

    def is_done(self) -> bool:
        """Whether every live honest host has certified everything."""
        alive = [host for host in self.hosts if host.engine is not None and host.honest]
        tip = max(host.certified for host in alive)
        return all(set(host.known) <= host.done and host.certified == tip for host in alive)
