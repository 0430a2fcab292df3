"""HotStuff's messages of any member, made by hand, and one engine that is fed with them.

The test holds everybody's signer: it can say anything in anybody's name. ``Subject`` is one engine under test with
everything that left it. With four members view v is led by member v mod 4; views begin at 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Started,
    TimerFired,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.hotstuff import messages
from consensus.hotstuff.engine import HotStuffFactory
from consensus.hotstuff.messages import (
    Block,
    Propose,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
    extend,
    make_root,
    repeat,
)
from consensus.hotstuff.records import VOTE
from primitives.codec import decode, encode
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

M = TypeVar("M")
PARAMETERS = EngineParameters(window_slots=4)
FACTORY: EngineFactory = HotStuffFactory()
ROOT = make_root(0)


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

    def leader(self, view: int) -> int:
        return view % self.size

    def others(self, *without: int) -> list[int]:
        return [member for member in range(self.size) if member not in without]

    # --- what members say ----------------------------------------------------------------------------------

    def propose(
        self,
        view: int,
        payload: bytes | None,
        justify: QuorumCertificate = ROOT,
        timeouts: TimeoutCertificate | None = None,
        sender: int | None = None,
    ) -> Propose:
        """By the view's leader unless ``sender`` says otherwise; without a payload it repeats."""
        by = self.leader(view) if sender is None else sender
        parent = justify.block
        block = repeat(parent, view) if payload is None else extend(parent, view, compute_payload_digest(payload))
        return self.propose_block(block, payload, justify, timeouts, by)

    def propose_block(
        self,
        block: Block,
        payload: bytes | None,
        justify: QuorumCertificate,
        timeouts: TimeoutCertificate | None,
        sender: int,
    ) -> Propose:
        """Whatever is in the block."""
        proposal = messages.sign_proposal(self.committee, self.signers[sender], sender, block, justify, timeouts)
        return Propose(proposal, payload)

    def vote(self, sender: int, block: Block) -> Vote:
        return messages.sign_vote(self.committee, self.signers[sender], sender, block)

    def certify_block(self, block: Block, members: Sequence[int] | None = None) -> QuorumCertificate:
        """By these members, or the lowest."""
        signers = tuple(range(self.quorum) if members is None else members)
        return QuorumCertificate(block, signers, tuple(self.vote(member, block).signature for member in signers))

    def time_out(self, sender: int, view: int, highest: QuorumCertificate = ROOT) -> Timeout:
        return messages.sign_timeout(self.committee, self.signers[sender], sender, view, highest)

    def certify_timeouts(
        self, view: int, highest: Mapping[int, QuorumCertificate] | None = None
    ) -> TimeoutCertificate:
        """By the members of ``highest``, each with its lock; by the lowest, which know nothing."""
        locks = dict.fromkeys(range(self.quorum), ROOT) if highest is None else dict(sorted(highest.items()))
        signed = [self.time_out(member, view, lock) for member, lock in locks.items()]
        return TimeoutCertificate(
            view,
            tuple(lock.block.view for lock in locks.values()),
            tuple(locks),
            tuple(timeout.signature for timeout in signed),
        )

    def chain(self, *views: int, payloads: bool = True) -> list[QuorumCertificate]:
        """Certificates of blocks in these views, each the child of the one before, the first of the root. The
        later ones repeat the first without ``payloads``."""
        certificates: list[QuorumCertificate] = []
        parent = ROOT.block
        for number, view in enumerate(views):
            is_new = payloads or number == 0
            digest = compute_payload_digest(b"payload of %d" % view)
            block = extend(parent, view, digest) if is_new else repeat(parent, view)
            certificates.append(self.certify_block(block))
            parent = block
        return certificates

    def certify(self, height: int) -> Certificate:
        attestations = [
            attest(self.committee, self.signers[index], height, bytes(32)) for index in range(self.quorum)
        ]
        signatures = tuple(attestation.signature for attestation in attestations)
        return Certificate(0, 0, height, bytes(32), tuple(range(self.quorum)), signatures)

    def subject(self, index: int, parameters: EngineParameters = PARAMETERS, first_view: int = 0) -> Subject:
        scheme = TokenScheme()
        engine = self.factory.create(self.committee, self.signers[index], scheme, parameters, None, first_view)
        subject = Subject(self, index, engine, scheme, parameters)
        subject.feed(Started())
        return subject


@dataclass
class Subject:
    """The engine under test. Payload wishes are answered at once unless ``holds_payloads`` is off; payloads that
    begin with ``invalid`` are. What is not here is nowhere, but for the payloads of ``World.chain``."""

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

    def __post_init__(self) -> None:
        for view in range(40):
            payload = b"payload of %d" % view
            self.payloads[compute_payload_digest(payload)] = payload

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

    def wishes(self) -> list[BuildPayload]:
        return [wish for output in self.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]

    def build(self, payload: bytes) -> bytes:
        """As the leader: answer the last wish; returns the digest."""
        digest = compute_payload_digest(payload)
        self.payloads[digest] = payload
        self.feed(PayloadBuilt(self.wishes()[-1].ticket, payload))
        return digest

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

    # --- what left -----------------------------------------------------------------------------------------

    def sent(self, kind: type[M]) -> list[M]:
        """Every message of this kind that left, in order."""
        return [message for _, message in self.sent_to() if isinstance(message, kind)]

    def sent_to(self) -> list[tuple[int | None, Any]]:
        """Every message that left and to whom, in order."""
        found = []
        for output in self.outputs:
            for send in output.send:
                _, message = self.world.factory.decode_message(send.message, self.world.committee)
                found.append((send.to, message))
        return found

    def voted(self) -> list[Block]:
        """The blocks that it voted for, in order, each once: logged where it collects the votes itself, or sent."""
        votes: list[Vote] = []
        for output in self.outputs:
            logged = [record.value for record in output.persist if record.key == VOTE and record.value is not None]
            votes += [decode(Vote, value, max_bytes=len(value)) for value in logged]
        return list(dict.fromkeys(vote.block for vote in (*votes, *self.sent(Vote))))

    def evidence(self) -> list[Evidence]:
        return [evidence for output in self.outputs for evidence in output.evidence]

    def decided(self) -> list[tuple[int, bytes]]:
        return [(decided.slot, decided.digest) for output in self.outputs for decided in output.decided]

    @property
    def view(self) -> int:
        return self.engine.statistics().view
