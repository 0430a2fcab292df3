"""Messages of any member, made by hand, and one engine that is fed with them.

The committee of a test signs with tokens, and the test holds everybody's signer: it can say anything in
anybody's name. ``Subject`` is one engine under test with everything that left it.
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
    EngineParameters,
    Event,
    Evidence,
    MessageReceived,
    ObtainPayload,
    Output,
    PayloadBuilt,
    PayloadHeld,
    Started,
    TimerFired,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.pbft import messages
from consensus.pbft.engine import PbftEngine, PbftFactory
from consensus.pbft.messages import PreparedProof, PrePrepare, Proposal, ViewChange
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

M = TypeVar("M")
FACTORY = PbftFactory()
PARAMETERS = EngineParameters(window_slots=4)


@dataclass
class World:
    """n members (4 unless said otherwise) and what each of them would sign."""

    size: int = 4
    committee: Committee = field(init=False)

    def __post_init__(self) -> None:
        self.signers = make_signers(self.size)
        self.committee = make_committee(self.size)

    @property
    def quorum(self) -> int:
        return self.committee.quorum

    def propose(self, sender: int, view: int, slot: int, digest: bytes) -> Proposal:
        return messages.sign_proposal(self.committee, self.signers[sender], sender, view, slot, digest)

    def pre_prepare(self, sender: int, view: int, slot: int, payload: bytes) -> PrePrepare:
        return PrePrepare(self.propose(sender, view, slot, compute_payload_digest(payload)), payload)

    def prepare(self, sender: int, view: int, slot: int, digest: bytes) -> messages.Prepare:
        return messages.sign_prepare(self.committee, self.signers[sender], sender, view, slot, digest)

    def commit(self, sender: int, view: int, slot: int, digest: bytes) -> messages.Commit:
        return messages.sign_commit(self.committee, self.signers[sender], sender, view, slot, digest)

    def prove(self, view: int, slot: int, digest: bytes) -> PreparedProof:
        """A prepared proof by the view's leader and the lowest others."""
        leader = view % self.size
        others = [member for member in range(self.size) if member != leader][: self.quorum - 1]
        votes = [self.prepare(member, view, slot, digest) for member in others]
        signatures = tuple(vote.signature for vote in votes)
        return PreparedProof(self.propose(leader, view, slot, digest), tuple(others), signatures)

    def change_view(
        self,
        sender: int,
        view: int,
        proofs: Sequence[PreparedProof] = (),
        certificate: Certificate | None = None,
    ) -> ViewChange:
        return messages.sign_view_change(
            self.committee, self.signers[sender], sender, view, certificate, tuple(proofs)
        )

    def start_view(
        self, view: int, view_changes: Sequence[ViewChange], carried: Sequence[tuple[int, bytes]]
    ) -> messages.NewView:
        """A new view with these proposals, whether they follow or not."""
        leader = view % self.size
        proposals = tuple(self.propose(leader, view, slot, digest) for slot, digest in carried)
        return messages.sign_new_view(
            self.committee, self.signers[leader], leader, view, tuple(view_changes), proposals
        )

    def certify(self, height: int) -> Certificate:
        attestations = [
            attest(self.committee, self.signers[index], height, bytes(32)) for index in range(self.quorum)
        ]
        signatures = tuple(attestation.signature for attestation in attestations)
        return Certificate(0, 0, height, bytes(32), tuple(range(self.quorum)), signatures)

    def subject(self, index: int, parameters: EngineParameters = PARAMETERS) -> Subject:
        scheme = TokenScheme()
        engine = FACTORY.create(self.committee, self.signers[index], scheme, parameters, None)
        subject = Subject(self, index, engine, scheme, parameters)
        subject.feed(Started())
        return subject


@dataclass
class Subject:
    """The engine under test. Payload wishes are answered at once unless ``holds_payloads`` is off."""

    world: World
    index: int
    engine: PbftEngine
    scheme: TokenScheme
    parameters: EngineParameters
    now_ms: int = 0
    holds_payloads: bool = True
    log: dict[bytes, bytes] = field(default_factory=dict)
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
            if isinstance(wish, ObtainPayload) and wish.payload is not None and self.holds_payloads:
                self.feed(PayloadHeld(wish.slot, wish.digest, wish.payload, valid=True))
        return output

    def hear(self, message: Any) -> bool:
        """Let it arrive as bytes; whether it was wanted and well signed."""
        data = encode(message)
        signer, decoded = FACTORY.decode_message(data, self.world.committee)
        if not self.engine.needs(signer, decoded):
            return False
        try:
            FACTORY.verify_message(signer, decoded, self.world.committee, self.scheme)
        except RemoteError:
            return False
        self.feed(MessageReceived(signer, decoded))
        return True

    def propose(self, payload: bytes) -> bytes:
        """As the primary: answer the open wish; returns the digest."""
        self.feed(Work(WorkLevel.PENDING))
        wishes = [wish for output in self.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]
        self.feed(PayloadBuilt(wishes[-1].ticket, payload))
        return compute_payload_digest(payload)

    def prepare_slot(self, slot: int, payload: bytes) -> bytes:
        """As a backup in view 0: bring a slot to PREPARED; returns the digest."""
        pre_prepare = self.world.pre_prepare(0, 0, slot, payload)
        assert self.hear(pre_prepare)
        digest = pre_prepare.proposal.digest
        for sender in range(1, self.world.size):
            if sender != self.index:
                self.hear(self.world.prepare(sender, 0, slot, digest))
        return digest

    def certify(self, height: int) -> None:
        self.feed(Certified(height, self.world.certify(height)))

    def expire(self, timer: str) -> None:
        """Let a timer run out."""
        self.now_ms += 100_000
        self.feed(TimerFired(timer))

    def restart(self) -> None:
        """Come back from the log alone."""
        self.engine = FACTORY.restore(
            self.world.committee,
            self.world.signers[self.index],
            self.scheme,
            self.parameters,
            None,
            dict(self.log),
        )
        self.outputs.clear()
        self.feed(Started())

    def sent(self, kind: type[M]) -> list[M]:
        """Every message of this kind that left, in order."""
        found = []
        for output in self.outputs:
            for send in output.send:
                _, message = FACTORY.decode_message(send.message, self.world.committee)
                if isinstance(message, kind):
                    found.append(message)
        return found

    def evidence(self) -> list[Evidence]:
        return [evidence for output in self.outputs for evidence in output.evidence]

    def decided(self) -> list[tuple[int, bytes]]:
        return [(decided.slot, decided.digest) for output in self.outputs for decided in output.decided]
