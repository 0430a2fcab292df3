"""Tendermint's messages of any member, made by hand, and one engine that is fed with them.

The test holds everybody's signer: it can say anything in anybody's name. ``Subject`` is one engine under test with
everything that left it. With four members the proposer of (height 1, round r) is member (1 + r) mod 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consensus.certificate import Certificate, attest
from consensus.committee import Committee
from consensus.engine import (
    BuildPayload,
    Certified,
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
    SetTimer,
    Started,
    TimerFired,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.tendermint import messages
from consensus.tendermint.engine import TendermintFactory
from consensus.tendermint.messages import (
    DecisionCertificate,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Propose,
)
from consensus.tendermint.steps import NO_ROUND
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

M = TypeVar("M")
PARAMETERS = EngineParameters(window_slots=4)
FACTORY: EngineFactory = TendermintFactory()


@dataclass
class World:
    """n members (4 unless said otherwise), what each of them would sign, and the factory under test."""

    size: int = 4
    factory: EngineFactory = FACTORY
    committee: Committee = field(init=False)

    def __post_init__(self) -> None:
        self.signers = make_signers(self.size)
        self.committee = make_committee(self.size)

    @property
    def quorum(self) -> int:
        return self.committee.quorum

    def proposer(self, round: int, height: int = 1) -> int:
        return (height + round) % self.size

    def others(self, *without: int) -> list[int]:
        return [member for member in range(self.size) if member not in without]

    # --- what members say ----------------------------------------------------------------------------------

    def proposal(
        self, round: int, digest: bytes, valid_round: int = NO_ROUND, height: int = 1, sender: int | None = None
    ) -> Proposal:
        by = self.proposer(round, height) if sender is None else sender
        return messages.sign_proposal(self.committee, self.signers[by], by, round, height, digest, valid_round)

    def propose(
        self,
        round: int,
        payload: bytes,
        proof: PrevoteCertificate | None = None,
        height: int = 1,
        sender: int | None = None,
    ) -> Propose:
        """By the round's proposer, unless ``sender`` says otherwise."""
        valid_round = NO_ROUND if proof is None else proof.round
        proposal = self.proposal(round, compute_payload_digest(payload), valid_round, height, sender)
        return Propose(proposal, payload, proof)

    def prevote(self, sender: int, round: int, digest: bytes, height: int = 1) -> Prevote:
        return messages.sign_prevote(self.committee, self.signers[sender], sender, round, height, digest)

    def precommit(self, sender: int, round: int, digest: bytes, height: int = 1) -> Precommit:
        return messages.sign_precommit(self.committee, self.signers[sender], sender, round, height, digest)

    def prove(self, round: int, digest: bytes, members: Sequence[int] | None = None) -> PrevoteCertificate:
        """A proof of lock by these members, or the lowest."""
        signers = tuple(range(self.quorum) if members is None else members)
        signatures = tuple(self.prevote(member, round, digest).signature for member in signers)
        return PrevoteCertificate(round, 1, digest, signers, signatures)

    def decide(self, round: int, digest: bytes, height: int = 1) -> DecisionCertificate:
        signers = tuple(range(self.quorum))
        signatures = tuple(self.precommit(member, round, digest, height).signature for member in signers)
        return DecisionCertificate(round, height, digest, signers, signatures)

    def certify(self, height: int) -> Certificate:
        attestations = [
            attest(self.committee, self.signers[index], height, bytes(32)) for index in range(self.quorum)
        ]
        signatures = tuple(attestation.signature for attestation in attestations)
        return Certificate(0, 0, height, bytes(32), tuple(range(self.quorum)), signatures)

    def subject(self, index: int, parameters: EngineParameters = PARAMETERS) -> Subject:
        scheme = TokenScheme()
        engine = self.factory.create(self.committee, self.signers[index], scheme, parameters, None)
        subject = Subject(self, index, engine, scheme, parameters)
        subject.feed(Started())
        return subject


@dataclass
class Subject:
    """The engine under test. Payload wishes are answered at once unless ``holds_payloads`` is off; payloads that
    begin with ``invalid`` are."""

    world: World
    index: int
    engine: Engine
    scheme: TokenScheme
    parameters: EngineParameters
    now_ms: int = 0
    holds_payloads: bool = True
    log: dict[bytes, bytes] = field(default_factory=dict)
    payloads: dict[bytes, bytes] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def feed(self, event: Event) -> Output:
        output = self.engine.handle(event, self.now_ms)
        self.outputs.append(output)
        for record in output.persist:
            if record.value is None:
                self.log.pop(record.key, None)
            else:
                self.log[record.key] = record.value
        for wish in output.wishes:
            if isinstance(wish, ObtainPayload):
                self.obtain(wish)
        return output

    def obtain(self, wish: ObtainPayload) -> None:
        """What was here before is still here: payloads are pinned before they are voted for."""
        if wish.payload is not None:
            self.payloads[wish.digest] = wish.payload
        payload = self.payloads.get(wish.digest)
        if payload is not None and self.holds_payloads:
            self.feed(PayloadHeld(wish.slot, wish.digest, payload, valid=not payload.startswith(b"invalid")))

    def hear(self, *heard: Any) -> bool:
        """Let messages arrive as bytes; whether the last was wanted and well signed."""
        wanted = False
        for message in heard:
            signer, decoded = self.world.factory.decode_message(encode(message), self.world.committee)
            wanted = self.engine.needs(signer, decoded)
            if not wanted:
                continue
            try:
                self.world.factory.verify_message(signer, decoded, self.world.committee, self.scheme)
            except RemoteError:
                wanted = False
                continue
            self.feed(MessageReceived(signer, decoded))
        return wanted

    # --- whole scenes --------------------------------------------------------------------------------------

    def work(self, level: WorkLevel = WorkLevel.PENDING) -> None:
        self.feed(Work(level))

    def build(self, payload: bytes) -> bytes:
        """As the proposer: answer the open wish; returns the digest."""
        self.work()
        wishes = [wish for output in self.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]
        digest = compute_payload_digest(payload)
        self.payloads[digest] = payload
        self.feed(PayloadBuilt(wishes[-1].ticket, payload))
        return digest

    def hear_polka(self, round: int, digest: bytes) -> None:
        """Enough prevotes of others that with ours they are a quorum."""
        for sender in self.world.others(self.index)[: self.world.quorum - 1]:
            self.hear(self.world.prevote(sender, round, digest))

    def lock(self, round: int, payload: bytes) -> bytes:
        """Propose, prevote and precommit it in this round; returns the digest."""
        propose = self.world.propose(round, payload)
        self.hear(propose)
        self.hear_polka(round, propose.proposal.digest)
        return propose.proposal.digest

    def go_to(self, round: int) -> None:
        """f + 1 others are there already (line 55)."""
        for sender in self.world.others(self.index)[: self.world.committee.faults + 1]:
            self.hear(self.world.precommit(sender, round, bytes(32)))

    def certify(self, height: int) -> None:
        self.feed(Certified(height, self.world.certify(height)))

    def expire(self, timer: str) -> None:
        """Let a timer run out."""
        self.now_ms += 100_000
        self.feed(TimerFired(timer))

    def restart(self) -> None:
        """Come back from the log alone."""
        self.engine = self.world.factory.restore(
            self.world.committee,
            self.world.signers[self.index],
            self.scheme,
            self.parameters,
            None,
            dict(self.log),
        )
        self.outputs.clear()
        self.feed(Started())

    # --- what left it --------------------------------------------------------------------------------------

    @property
    def round(self) -> int:
        return self.engine.statistics().view

    def sent(self, kind: type[M]) -> list[M]:
        """Every message of this kind that left, in order."""
        found = []
        for output in self.outputs:
            for send in output.send:
                _, message = self.world.factory.decode_message(send.message, self.world.committee)
                if isinstance(message, kind):
                    found.append(message)
        return found

    def prevoted(self) -> dict[int, bytes]:
        """What we prevoted last, by round."""
        return {vote.round: vote.digest for vote in self.sent(Prevote)}

    def precommitted(self) -> dict[int, bytes]:
        """What we precommitted last, by round."""
        return {vote.round: vote.digest for vote in self.sent(Precommit)}

    def timers(self) -> list[SetTimer]:
        return [order for output in self.outputs for order in output.timers]

    def evidence(self) -> list[Evidence]:
        return [evidence for output in self.outputs for evidence in output.evidence]

    def decided(self) -> list[tuple[int, bytes]]:
        return [(decided.slot, decided.digest) for output in self.outputs for decided in output.decided]
