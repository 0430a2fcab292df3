"""One engine on virtual time with the least of a replica around it: enough to decide, certify and catch up.

Whole replicas cost a millisecond of CPU per decision; engines alone a tenth, which buys thousands of scenarios a
minute where only ordering is in question. The engine is the production one. The host around it honours an output's
fields in their order: records into the log, then sends, timers, wishes, decisions. It builds payloads that name
their builder, applies decisions in order, attests each to a chain of hashes, forms certificates and fetches
certified blocks from peers that are ahead. A restart keeps the log, the certified chain and payloads; a doomed host
restarts between its next records and the messages that follow them.

What does not live here: who hears whom, and what must hold (``engine_committee``); batches, bodies, pins, torn
writes and real disks (``host`` with a whole replica).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, TypeAlias, assert_never

from consensus.certificate import Attestation, Certificate, attest
from consensus.committee import Committee
from consensus.engine import (
    NULL_DIGEST,
    NULL_PAYLOAD,
    BuildPayload,
    CancelWish,
    Certified,
    Decided,
    Engine,
    EngineStatistics,
    Event,
    Evidence,
    MessageReceived,
    ObtainPayload,
    Output,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Record,
    Send,
    Started,
    TimerFired,
    Wish,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST
from primitives.signing import Signer
from testnet.simulator.scheduler import US_PER_MS, Scheduler

BUILD_US: Final = 25 * US_PER_MS
"""How long a payload takes: a view of 100 ms decides a few slots, and some are always half done when it ends."""
RETRY_US: Final = 20 * US_PER_MS
"""Between two attempts to fetch a payload."""
CATCH_UP_BLOCKS: Final = 16
NOISE: Final = b"noise "
"""How a payload begins that is not valid."""
MAX_EVENTS_AT_ONCE: Final = 10_000
"""At one moment: an engine that answers its own answers for ever, or asks again and again for a timer that is due,
is stopped here, for time would never go on."""


MakeEngine: TypeAlias = Callable[[Certificate | None, Mapping[bytes, bytes]], Engine]
"""From the highest certificate and the log's records; both empty at first."""


@dataclass(frozen=True, slots=True)
class EngineBlock:
    """A certified slot, with what another host needs to adopt it."""

    height: int
    digest: bytes
    payload: bytes
    header_hash: bytes
    certificate: Certificate


class EngineSurroundings(Protocol):
    """What a host asks of the committee around it."""

    scheduler: Scheduler
    committee: Committee

    def transmit(self, sender: EngineHost, send: Send) -> None: ...

    def spread_attestation(self, sender: EngineHost, attestation: Attestation) -> None: ...

    def fetch_payload(self, host: EngineHost, digest: bytes, sources: Sequence[int]) -> bytes | None:
        """From a source that can reach ``host`` now."""
        ...

    def on_persisted(self, host: EngineHost, records: Sequence[Record]) -> None: ...

    def on_decided(self, host: EngineHost, slot: int, digest: bytes) -> None: ...

    def on_noise(self, digest: bytes) -> None:
        """The payload with this digest is valid nowhere."""
        ...

    def on_evidence(self, host: EngineHost, evidence: Evidence) -> None: ...

    def on_exception(self, host: EngineHost, error: Exception) -> None: ...


class EngineHost:
    """Node ``node``, a process of member ``index``; the twin of a member is another node with its index."""

    def __init__(
        self, node: int, index: int, is_honest: bool, make: MakeEngine, signer: Signer, around: EngineSurroundings
    ) -> None:
        self.node = node
        self.index = index
        self.is_honest = is_honest
        self.chain: list[EngineBlock] = []
        self.log: dict[bytes, bytes] = {}
        self.events = 0
        self.lives = 0
        self.is_broken = False
        self.is_doomed = False
        self.builds_noise = False
        self._moment_us = 0
        self._events_of_moment = 0
        self._make = make
        self._signer = signer
        self._around = around
        self._held: dict[bytes, bytes] = {NULL_DIGEST: NULL_PAYLOAD}
        self._built = 0
        self._open()

    def _open(self) -> None:
        """What a process has in memory when it begins."""
        self.lives += 1
        self.is_doomed = False
        self.engine = self._make(self.chain[-1].certificate if self.chain else None, dict(self.log))
        self._pending: deque[Event] = deque()
        self._is_busy = False
        self._level = WorkLevel.IDLE
        self._decided: dict[int, bytes] = {block.height: block.digest for block in self.chain}
        self._sources: dict[bytes, tuple[int, ...]] = {}
        self._headers = [ZERO_DIGEST, *[block.header_hash for block in self.chain]]
        self._attestations: dict[tuple[int, bytes], dict[int, Attestation]] = {}
        self._timers: dict[str, int] = {}
        self._wish: BuildPayload | None = None
        self._statistics: EngineStatistics | None = None
        self._statistics_of = 0

    @property
    def statistics(self) -> EngineStatistics:
        """The engine's, asked once after each of its events: they cost as much as an event."""
        if self._statistics is None or self._statistics_of != self.events:
            self._statistics, self._statistics_of = self.engine.statistics(), self.events
        return self._statistics

    @property
    def certified(self) -> int:
        """The highest certified height."""
        return len(self.chain)

    def start(self) -> None:
        """The engine's first events."""
        self.feed(Started())
        for member in range(self._around.committee.size):
            if member != self.index:
                self.feed(PeerConnected(member))
        self.set_work(WorkLevel.PENDING)

    def restart(self) -> None:
        """Kill the process and open the engine from what is durable; what is broken stays so."""
        if self.is_broken:
            return
        try:
            self._open()
        except Exception as error:
            self.is_broken = True
            self._around.on_exception(self, error)
            return
        self.start()

    def _later(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do it unless this process is dead by then."""
        life = self.lives
        self._around.scheduler.after(delay_us, lambda: action() if self.lives == life else None)

    def set_work(self, level: WorkLevel) -> None:
        """Tell the engine where the level changed."""
        if level is not self._level:
            self._level = level
            self.feed(Work(level))

    # --- events and outputs ----------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Hand it to the engine after those that wait; what its outputs cause at once follows in the same call."""
        self._pending.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        life = self.lives
        try:
            while self._pending and not self.is_broken:
                self._count_event()
                self._honour(self.engine.handle(self._pending.popleft(), self._now_ms))
                if self.lives != life:
                    return  # It died on the way; the next life has events of its own.
        except Exception as error:
            # Whatever production code raises here it raises in a validator too.
            self.is_broken = True
            self._around.on_exception(self, error)
        self._is_busy = False

    def _count_event(self) -> None:
        self.events += 1
        now_us = self._around.scheduler.now_us
        if now_us != self._moment_us:
            self._moment_us, self._events_of_moment = now_us, 0
        self._events_of_moment += 1
        if self._events_of_moment > MAX_EVENTS_AT_ONCE:
            raise RuntimeError(f"more than {MAX_EVENTS_AT_ONCE} events at one moment")

    @property
    def _now_ms(self) -> int:
        return self._around.scheduler.now_us // US_PER_MS

    def receive(self, signer: int, message: Any) -> None:
        """A decoded message whose signature was checked; see ``Engine.needs``."""
        self.feed(MessageReceived(signer, message))

    def _honour(self, output: Output) -> None:
        for record in output.persist:
            if record.value is None:
                self.log.pop(record.key, None)
            else:
                self.log[record.key] = record.value
        if output.persist:
            self._around.on_persisted(self, output.persist)
        if self.is_doomed and output.persist:
            self.restart()
            return
        for send in output.send:
            self._around.transmit(self, send)
        for order in output.timers:
            self._set_timer(order.timer, order.delay_ms)
        for wish in output.wishes:
            self._on_wish(wish)
        for decided in output.decided:
            self._on_decided(decided)
        for evidence in output.evidence:
            self._around.on_evidence(self, evidence)

    def _set_timer(self, timer: str, delay_ms: int | None) -> None:
        setting = self._timers[timer] = self._timers.get(timer, 0) + 1
        if delay_ms is None:
            return

        def fire() -> None:
            if self._timers[timer] == setting:
                self.feed(TimerFired(timer))

        self._later(delay_ms * US_PER_MS, fire)

    # --- payloads --------------------------------------------------------------------------------------

    def _on_wish(self, wish: Wish) -> None:
        match wish:
            case BuildPayload():
                self._wish = wish
                self._later(BUILD_US, lambda: self._build(wish))
            case CancelWish(ticket=ticket):
                if self._wish is not None and self._wish.ticket == ticket:
                    self._wish = None
            case ObtainPayload():
                self._obtain(wish)
            case _:
                assert_never(wish)

    def _build(self, wish: BuildPayload) -> None:
        """Another payload each time and at each node: twins propose differently."""
        if self._wish is not wish:
            return
        self._wish = None
        self._built += 1
        payload = b"node %d slot %d number %d" % (self.node, wish.slot, self._built)
        if self.builds_noise:
            payload = NOISE + payload
            self._around.on_noise(compute_payload_digest(payload))
        self._held[compute_payload_digest(payload)] = payload
        self.feed(PayloadBuilt(wish.ticket, payload))

    def _obtain(self, wish: ObtainPayload) -> None:
        payload = wish.payload if wish.payload is not None else self.find_payload(wish.digest, wish.sources)
        if payload is None:
            if wish.slot > self.certified:
                self._later(RETRY_US, lambda: self._obtain(wish))
            return
        is_named = compute_payload_digest(payload) == wish.digest
        if is_named:
            self._held[wish.digest] = payload
        self.feed(PayloadHeld(wish.slot, wish.digest, payload, is_named and not payload.startswith(NOISE)))

    def find_payload(self, digest: bytes, sources: Sequence[int]) -> bytes | None:
        """Ours, or a copy from a source that can reach us."""
        payload = self._held.get(digest)
        if payload is None and sources:
            payload = self._around.fetch_payload(self, digest, sources)
            if payload is not None:
                self._held[digest] = payload
        return payload

    # --- deciding, attesting, certifying ---------------------------------------------------------------

    def _on_decided(self, decided: Decided) -> None:
        self._around.on_decided(self, decided.slot, decided.digest)
        if self._decided.setdefault(decided.slot, decided.digest) == decided.digest:
            self._sources[decided.digest] = decided.sources
            self._execute()

    def _execute(self) -> None:
        """Extend the chain of hashes by what is decided and held, and attest it."""
        while (digest := self._decided.get(len(self._headers))) is not None:
            if self.find_payload(digest, self._sources.get(digest, ())) is None:
                return
            self._headers.append(sha256(self._headers[-1] + digest).digest())
            self._attest(len(self._headers) - 1)

    def _attest(self, height: int) -> None:
        attestation = attest(self._around.committee, self._signer, height, self._headers[height])
        self.on_attestation(attestation)
        self._around.spread_attestation(self, attestation)

    def on_attestation(self, attestation: Attestation) -> None:
        """One vote for a header, ours or a peer's."""
        if attestation.height <= self.certified:
            return
        votes = self._attestations.setdefault((attestation.height, attestation.header_hash), {})
        votes[attestation.signer] = attestation
        self._certify()

    def _certify(self) -> None:
        # The quorum of certificates is the host's own count: an engine with a wrong one must not spoil the judge.
        size = self._around.committee.size
        quorum = (size + (size - 1) // 3) // 2 + 1
        while (height := self.certified + 1) < len(self._headers):
            votes = self._attestations.get((height, self._headers[height]), {})
            if len(votes) < quorum:
                return
            signers = tuple(sorted(votes)[:quorum])
            signatures = tuple([votes[signer].signature for signer in signers])
            header_hash, digest = self._headers[height], self._decided[height]
            certificate = Certificate(0, 0, height, header_hash, signers, signatures)
            self._settle(EngineBlock(height, digest, self._held[digest], header_hash, certificate))

    def _settle(self, block: EngineBlock) -> None:
        self.chain.append(block)
        self._attestations = {key: votes for key, votes in self._attestations.items() if key[0] > block.height}
        self.feed(Certified(block.height, block.certificate))

    def on_blocks(self, blocks: Sequence[EngineBlock]) -> None:
        """Certified blocks of a peer, in order; what extends our chain is adopted."""
        for block in blocks:
            height = block.height
            if height != self.certified + 1:
                continue
            self._around.on_decided(self, height, block.digest)
            if len(self._headers) > height and self._headers[height] != block.header_hash:
                # We decided otherwise. The judge knows by now; nothing sensible can follow.
                self.is_broken = True
                return
            self._decided[height] = block.digest
            self._held[block.digest] = block.payload
            if len(self._headers) == height:
                self._headers.append(block.header_hash)
            self._settle(block)
        self._execute()

    def repeat(self) -> None:
        """What a replica does now and then: attest again what is not certified, look again for payloads."""
        for height in range(self.certified + 1, len(self._headers)):
            self._attest(height)
        self._execute()


def read_message(factory: Any, data: bytes, committee: Committee) -> tuple[int, Any]:
    """(signer, message) of bytes that an engine sent: it never sends what cannot be read."""
    try:
        decoded: tuple[int, Any] = factory.decode_message(data, committee)
    except RemoteError as error:
        raise RuntimeError(f"an engine sent what nobody reads: {error}") from error
    return decoded
