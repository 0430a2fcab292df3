"""A committee of engine hosts on virtual time, and its judge: agreement, honest names, no exceptions.

The committee owns time, delays and keys; who hears whom is a function that its user gives and may change at any
time. The judge sees all: all nodes decide one digest per slot (where more than f members have twins, all honest
nodes), and none of a payload that is not valid; nobody honest is accused by evidence, no engine raises, no engine
refuses the signature of what another one sent, and honest nodes keep their word (``engine_votes``). It shares no
code with the engines. What does not live here: the nodes themselves (``engine_host``), scripts and liveness
(``twins``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from consensus.certificate import Attestation, Certificate
from consensus.committee import Committee
from consensus.engine import Engine, EngineFactory, EngineParameters, Evidence, Record, Send
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST
from primitives.signing import Signer
from testnet.simulator.engine_host import CATCH_UP_BLOCKS, EngineHost, read_message
from testnet.simulator.engine_links import EngineLinks
from testnet.simulator.engine_votes import EngineVotes
from testnet.simulator.scheduler import US_PER_MS, Chance, Scheduler
from testnet.simulator.signatures import TokenKeys
from testnet.simulator.twins_scenarios import Setting

TICK_US: Final = 40 * US_PER_MS
LOOK_US: Final = 10 * US_PER_MS

Reach: TypeAlias = Callable[[EngineHost], frozenset[int] | None]
"""The nodes that what a host sends now gets to; ``None``: all."""
RoundOf: TypeAlias = Callable[[EngineHost], int]


@dataclass(frozen=True, slots=True)
class Complaint:
    """A broken promise: which kind, where, when, and in words."""

    checker: str
    node: int
    at_ms: int
    sentence: str

    def __str__(self) -> str:
        return f"[{self.checker}] node {self.node} at {self.at_ms} ms: {self.sentence}"


class EngineCommittee:
    """Satisfies ``engine_host.EngineSurroundings``."""

    def __init__(
        self,
        setting: Setting,
        factory: EngineFactory,
        parameters: EngineParameters,
        seed: int,
        reach: Reach,
        round_of: RoundOf,
        sink: Callable[[str], None] | None = None,
    ) -> None:
        """``sink`` gets a line per decision, complaint and message, for people."""
        self.scheduler = Scheduler()
        self.complaints: list[Complaint] = []
        self.note = sink
        self._factory = factory
        self._reach = reach
        self._round_of = round_of
        self._rng = Chance(seed).stream("delays")
        self._keys = TokenKeys(0)
        signers = [self._keys.make("member", index) for index in range(setting.nodes)]
        self.committee = Committee(ZERO_DIGEST, 0, 0, 0, tuple(signer.public_key for signer in signers))
        self._agreed: dict[int, bytes] = {}
        self._are_twins_bound = setting.twins <= self.committee.faults
        self.links = EngineLinks(setting.total, self._rng, Chance(seed).stream("rare losses"))
        self.noise: set[bytes] = set()
        self._votes: dict[int, EngineVotes] = {}
        self.hosts: list[EngineHost] = []
        for node in range(setting.total):
            index = setting.member_of(node)
            signer: Signer = signers[index]
            if setting.is_honest(node):
                self._votes[node] = EngineVotes(signer, factory)
                signer = self._votes[node].signer
            make = partial(self._make_engine, signer, parameters)
            self.hosts.append(EngineHost(node, index, setting.is_honest(node), make, signers[index], self))

    def _make_engine(
        self,
        signer: Signer,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        factory, committee, keys = self._factory, self.committee, self._keys
        if records:
            return factory.restore(committee, signer, keys, parameters, certificate, records)
        return factory.create(committee, signer, keys, parameters, certificate)

    @property
    def honest(self) -> list[EngineHost]:
        """Nodes whose member has no twin."""
        return [host for host in self.hosts if host.is_honest]

    @property
    def now_ms(self) -> int:
        """Virtual time."""
        return self.scheduler.now_us // US_PER_MS

    def start(self, on_tick: Callable[[EngineHost], None]) -> None:
        """Start every engine with work to do; ``on_tick`` is called for each node every ``TICK_US``."""
        for host in self.hosts:
            host.start()
            self._plan_tick(host, on_tick)

    def run_until(self, is_done: Callable[[], bool], bound_us: int) -> None:
        """Run until ``is_done`` (looked at every ``LOOK_US``), a complaint, or ``bound_us`` from now."""
        deadline_us = self.scheduler.now_us + bound_us
        while self.scheduler.now_us < deadline_us and not self.complaints and not is_done():
            self.scheduler.run_until(min(deadline_us, self.scheduler.now_us + LOOK_US))

    def _plan_tick(self, host: EngineHost, on_tick: Callable[[EngineHost], None]) -> None:
        def tick() -> None:
            if host.is_broken:
                return
            on_tick(host)
            host.repeat()
            for peer in self.hosts:
                if peer.certified < host.certified and self._reaches(host, peer):
                    blocks = host.chain[peer.certified : peer.certified + CATCH_UP_BLOCKS]
                    self._carry(host, peer, "blocks", partial(peer.on_blocks, blocks))
            self.scheduler.after(TICK_US, tick)

        self.scheduler.after(self._rng.randint(1, TICK_US), tick)

    def _carry(self, sender: EngineHost, receiver: EngineHost, kind: str, action: Callable[[], None]) -> None:
        now_us = self.scheduler.now_us
        delay_us = self.links.draw_delay_us(sender.node, receiver.node, kind, self._round_of(sender), now_us)
        if delay_us is not None:
            self.scheduler.after(delay_us, action)

    # --- the network -----------------------------------------------------------------------------------

    def transmit(self, sender: EngineHost, send: Send) -> None:
        """To every process of the members addressed that it reaches; twins are addressed alike."""
        signer, message = read_message(self._factory, send.message, self.committee)
        if self.note is not None:
            self._note(sender, f"sends {message!r} to {'all' if send.to is None else send.to}")
        if sender.is_honest:
            for sentence in self._votes[sender.node].on_send(send.message):
                self.complain("votes", sender, sentence)
        kind = type(message).__name__
        for receiver in self._list_receivers(sender, send.to):
            self._carry(sender, receiver, kind, partial(self._deliver, sender, receiver, signer, message))

    def _list_receivers(self, sender: EngineHost, to: int | None) -> list[EngineHost]:
        reached = self._reach(sender)
        return [
            host
            for host in self.hosts
            if host.index != sender.index
            and (to is None or to == host.index)
            and (reached is None or host.node in reached)
        ]

    def _reaches(self, sender: EngineHost, receiver: EngineHost) -> bool:
        reached = self._reach(sender)
        return reached is None or receiver.node in reached

    def _deliver(self, sender: EngineHost, receiver: EngineHost, signer: int, message: Any) -> None:
        if receiver.is_broken or not receiver.engine.needs(signer, message):
            return
        try:
            self._factory.verify_message(signer, message, self.committee, self._keys)
        except RemoteError as error:
            if sender.is_honest:
                self.complain("refusal", receiver, f"refuses what honest node {sender.node} sent: {error}")
            return
        receiver.receive(signer, message)

    def spread_attestation(self, sender: EngineHost, attestation: Attestation) -> None:
        """To all that it reaches."""
        for receiver in self._list_receivers(sender, None):
            self._carry(sender, receiver, "attestation", partial(receiver.on_attestation, attestation))

    def fetch_payload(self, host: EngineHost, digest: bytes, sources: Sequence[int]) -> bytes | None:
        """From the first source that holds it and reaches ``host``."""
        for peer in self.hosts:
            if peer is not host and peer.index in sources and self._reaches(peer, host):
                payload = peer.find_payload(digest, ())
                if payload is not None:
                    return payload
        return None

    # --- the judge -------------------------------------------------------------------------------------

    def on_persisted(self, host: EngineHost, records: Sequence[Record]) -> None:
        """Votes are durable before they leave."""
        if host.is_honest:
            self._votes[host.node].on_persist(records)

    def on_decided(self, host: EngineHost, slot: int, digest: bytes) -> None:
        """One digest per slot. What a twin decides rests on the votes of a quorum too, so while no more than f
        members have one it is as final as what honest nodes decide, though nobody honest may know of it yet."""
        if self.note is not None:
            self._note(host, f"decides slot {slot} as {digest.hex()[:12]}")
        if (host.is_honest or self._are_twins_bound) and self._agreed.setdefault(slot, digest) != digest:
            sentence = f"decides {digest.hex()[:12]} at slot {slot}, others {self._agreed[slot].hex()[:12]}"
            self.complain("agreement", host, sentence)
        if host.is_honest and digest in self.noise:
            self.complain(
                "validity", host, f"decides {digest.hex()[:12]} at slot {slot}, which is no valid payload"
            )

    def on_noise(self, digest: bytes) -> None:
        """Somebody faulty built a payload that nobody may order."""
        self.noise.add(digest)

    def on_evidence(self, host: EngineHost, evidence: Evidence) -> None:
        """Twins contradict themselves, honest members never."""
        if self.note is not None:
            self._note(host, f"has evidence of {evidence.kind} against member {evidence.culprit}")
        if any(peer.is_honest and peer.index == evidence.culprit for peer in self.hosts):
            sentence = f"holds evidence of {evidence.kind} against honest member {evidence.culprit}"
            self.complain("evidence", host, sentence)

    def on_exception(self, host: EngineHost, error: Exception) -> None:
        """No engine raises, whatever it hears."""
        self.complain("exception", host, f"raised {type(error).__name__}: {error}")

    def complain(self, checker: str, host: EngineHost, sentence: str) -> None:
        """Note a broken promise."""
        self.complaints.append(Complaint(checker, host.node, self.now_ms, sentence))
        self.scheduler.is_stopped = True
        if self.note is not None:
            self._note(host, f"VIOLATION: {sentence}")

    def _note(self, host: EngineHost, sentence: str) -> None:
        assert self.note is not None, "asked before"
        self.note(f"{self.now_ms:6d} ms  node {host.node}  {sentence}")
