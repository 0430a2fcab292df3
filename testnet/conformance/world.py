"""A committee of members on virtual time, with a seeded network, and what must hold at every step.

Judged as it happens, without knowledge of any protocol: honest members decide one digest a slot and nothing that is
invalid; nothing is decided or voted above certified + L; what an honest member signed and sent is in its log and
never contradicted, over all its lives; honest messages decode, verify and fit a frame; nobody honest is accused,
and accusations convince strangers. The first broken promise raises ``RuleBroken``.

What does not live here: scripts (the rules), liveness (each rule's own bounds).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from consensus.certificate import Certificate
from consensus.committee import Committee as PublicCommittee
from consensus.engine import (
    Engine,
    EngineFactory,
    EngineParameters,
    Evidence,
    MessageReceived,
    PeerConnected,
    Send,
)
from node.wire import MAX_VOTE_FRAME_BYTES
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme
from testnet.conformance.member import INVALID, CrashPoint, Member
from testnet.promises import Promise, PromiseLedger, RecordingSigner, read_unbinding_tags
from testnet.simulator.signatures import TokenKeys

WINDOW_SLOTS: Final = 4
BASE_TIMEOUT_MS: Final = 600
MAX_EVENTS: Final = 400_000
"""Of one committee; a run has some thousands. An engine that answers itself for ever is stopped here."""


class RuleBroken(Exception):
    """An engine broke a promise."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Percentages and milliseconds."""

    loss_percent: int = 0
    duplicate_percent: int = 0
    min_delay_ms: int = 1
    max_delay_ms: int = 1
    max_sync_ms: int = 0


CALM: Final = Weather()
STORM: Final = Weather(loss_percent=10, duplicate_percent=10, min_delay_ms=1, max_delay_ms=60, max_sync_ms=4)


def require(holds: bool, sentence: str) -> None:
    """Raise ``RuleBroken`` with the sentence unless it holds."""
    if not holds:
        raise RuleBroken(sentence)


class Committee:
    """n members (those in ``twins`` doubled), one random generator, one heap of things to come."""

    def __init__(
        self,
        factory: EngineFactory,
        size: int = 4,
        seed: int = 0,
        parameters: EngineParameters | None = None,
        weather: Weather = CALM,
        twins: Sequence[int] = (),
        overdue_ms: int = 5_000,
        absent: Iterable[int] = (),
    ) -> None:
        self.factory = factory
        self.size = size
        self.weather = weather
        self.parameters = parameters or choose_parameters()
        self.overdue_ms = overdue_ms
        self.now_ms = 0
        self.certifies = True
        self.judges_duplicates = False
        self.padding = b""
        self.sent = 0
        self.events = 0
        self.sent_data: list[tuple[str, bytes]] = []
        self._ledger = PromiseLedger()
        self._left: dict[int, list[Promise]] = {}
        """What each member signed and sent, binding or not."""
        keys = TokenKeys(seed)
        self.scheme: SignatureScheme = keys.scheme
        self.signers = [keys.make("member", index) for index in range(size)]
        self.public = PublicCommittee(bytes(32), 0, 0, 0, tuple(signer.public_key for signer in self.signers))
        self._tags = read_unbinding_tags(factory)
        self._recording: dict[str, RecordingSigner] = {}
        self._rng = random.Random(f"conformance {seed}")
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._agreed: dict[int, bytes] = {}
        self._groups: tuple[frozenset[str], ...] = ()
        self._cuts: set[tuple[str, str]] = set()
        self.reach: Callable[[Member, Member], bool] = lambda sender, receiver: True
        self.members = [Member(self, f"m{index}", index, index not in twins) for index in range(size)]
        self.members += [Member(self, f"m{index}'", index, is_honest=False) for index in twins]
        for member in self.members:
            if member.index not in absent:
                member.start()

    def make_engine(self, member: Member, certificate: Certificate | None) -> Engine:
        """As a replica does: restored where there is a log, else fresh."""
        # One for all lives: what a life before signed and logged may leave now.
        signer = self._recording.setdefault(
            member.name, RecordingSigner(self.signers[member.index], unbinding=self._tags)
        )
        common = (self.public, signer, self.scheme, self.parameters, certificate)
        if member.log:
            return self.factory.restore(*common, dict(member.log))
        return self.factory.create(*common, member.first_view)

    @property
    def alive(self) -> list[Member]:
        """Honest members with a process."""
        return [member for member in self.members if member.engine is not None and member.is_honest]

    @property
    def tip(self) -> int:
        """The highest certified height of an honest member that lives."""
        return max(member.certified for member in self.alive)

    def find_leader(self) -> int:
        """The member that proposes next, as the honest living ones see it by majority."""
        seen = [member.engine.statistics().primary for member in self.alive if member.engine is not None]
        return max(sorted(set(seen)), key=seen.count)

    # --- time ----------------------------------------------------------------------------------------------

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it then."""
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._sequence, action))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        self.run_until(lambda: False, duration_ms)

    def run_until(self, condition: Callable[[], bool], within_ms: int) -> bool:
        """Whether the condition came true in time."""
        deadline_ms = self.now_ms + within_ms
        while not condition():
            if not self._heap or self._heap[0][0] > deadline_ms:
                self.now_ms = deadline_ms
                return condition()
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        return True

    def note_event(self) -> None:
        """An engine takes an event."""
        self.events += 1
        require(self.events <= MAX_EVENTS, f"the engines took {MAX_EVENTS} events: they never come to rest")

    def draw_sync_ms(self) -> int:
        """How long the disk takes."""
        return self._rng.randint(0, self.weather.max_sync_ms)

    # --- network -------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[str]) -> None:
        """Only members of one group hear each other."""
        self._groups = tuple(frozenset(group) for group in groups)

    def cut(self, sender: str, receiver: str) -> None:
        """One way."""
        self._cuts.add((sender, receiver))

    def heal(self) -> None:
        """All links are up again, and everybody notices."""
        self._groups, self._cuts = (), set()
        for member in self.members:
            for peer in self.members:
                if member is not peer and peer.engine is not None:
                    member.feed(PeerConnected(peer.index))

    def is_linked(self, sender: Member, receiver: Member) -> bool:
        """Whether the first is heard by the second."""
        if (sender.name, receiver.name) in self._cuts or not self.reach(sender, receiver):
            return False
        return not self._groups or any({sender.name, receiver.name} <= group for group in self._groups)

    def carry(self, sender: Member, receiver: Member, action: Callable[[], None]) -> None:
        """Deliver later, perhaps, perhaps twice."""
        if not self.is_linked(sender, receiver) or self._rng.randrange(100) < self.weather.loss_percent:
            return
        copies = 2 if self._rng.randrange(100) < self.weather.duplicate_percent else 1
        for _ in range(copies):
            self.at(self._rng.randint(self.weather.min_delay_ms, self.weather.max_delay_ms), action)

    def transmit(self, sender: Member, send: Send, reached: range) -> None:
        """What an engine sends, to the members in ``reached`` that it is for."""
        data = send.message
        self.sent += 1
        self.sent_data.append((sender.name, data))
        self._judge_promises(sender, data)
        signer, message = self._read(sender, data)
        for receiver in self.members:
            is_meant = receiver.index in reached if send.to is None else receiver.index == send.to
            if is_meant and receiver.index != sender.index:
                self.carry(sender, receiver, partial(self._deliver, receiver, signer, message, data))

    def _read(self, sender: Member, data: bytes) -> tuple[int, Any]:
        require(len(data) <= MAX_VOTE_FRAME_BYTES, f"{sender.name} sends a message of {len(data)} bytes")
        try:
            signer, message = self.factory.decode_message(data, self.public)
        except RemoteError as error:
            raise RuleBroken(f"{sender.name} sends what does not decode: {error}") from error
        return signer, message

    def _deliver(self, receiver: Member, signer: int, message: Any, data: bytes) -> None:
        if receiver.engine is None or not receiver.engine.needs(signer, message):
            return
        try:
            self.factory.verify_message(signer, message, self.public, self.scheme)
        except RemoteError as error:
            raise RuleBroken(f"a message of member {signer} does not verify: {error}") from error
        receiver.feed(MessageReceived(signer, message))
        if self.judges_duplicates and self._is_binding(signer, data) and receiver.engine is not None:
            again = receiver.engine.needs(signer, message)
            require(
                not again, f"{receiver.name} needs a second copy of {type(message).__name__} of member {signer}"
            )

    # --- what must hold at every step ----------------------------------------------------------------------

    def _judge_promises(self, sender: Member, data: bytes) -> None:
        for promise in self._recording[sender.name].take_leaving(data):
            if not sender.is_honest:
                continue
            self._left.setdefault(sender.index, []).append(promise)
            where = f"{sender.name} at {self.now_ms} ms"
            require(
                self._ledger.enter(sender.index, promise),
                f"{where} signs two different things at one position: {promise.describe()}. "
                "If such a signature promises nothing, its tag belongs into the factory's unbinding_tags",
            )
            if promise.is_binding:
                is_logged = any(
                    promise.signature in value or promise.digest in value for value in sender.log.values()
                )
                require(is_logged, f"{where} sends what is not in its log: {promise.describe()}")

    def _is_binding(self, signer: int, data: bytes) -> bool:
        """Whether a message carries a promise of its signer, and nothing of it that is none."""
        carried = [promise for promise in self._left.get(signer, ()) if promise.signature in data]
        return bool(carried) and all(promise.is_binding for promise in carried)

    def judge_slot(self, member: Member, slot: int, what: str, windows: int) -> None:
        """What is built stays within our own window; what others vote for may be a window ahead of it."""
        # The chain's store may have lost blocks that the engine's own log still proves.
        last = member.highest_certified + windows * self.parameters.window_slots
        if member.is_honest:
            require(slot <= last, f"{member.name} {what} for slot {slot}, above {last} = certified + {windows} L")

    def judge_decision(self, member: Member, slot: int, digest: bytes) -> None:
        """One digest a slot."""
        if member.is_honest:
            agreed = self._agreed.setdefault(slot, digest)
            require(agreed == digest, f"{member.name} decides slot {slot} differently, at {self.now_ms} ms")

    def judge_payload(self, member: Member, slot: int, payload: bytes) -> None:
        """Nothing invalid is executed."""
        if member.is_honest:
            require(not payload.startswith(INVALID), f"{member.name} decides an invalid payload for slot {slot}")

    def judge_evidence(self, member: Member, evidence: Evidence) -> None:
        """Honest members accuse liars only, and convince strangers."""
        if not member.is_honest:
            return
        liars = {other.index for other in self.members if not other.is_honest}
        require(
            evidence.culprit in liars,
            f"{member.name} accuses member {evidence.culprit}, which is honest, of {evidence.kind}",
        )
        for message in evidence.messages:
            require(bool(message), f"{member.name} gives evidence of {evidence.kind} with an empty message")
        try:
            self.factory.verify_evidence(evidence, self.public, self.scheme, self.parameters)
        except RemoteError as error:
            raise RuleBroken(f"evidence of {evidence.kind} does not convince: {error}") from error

    # --- scripts -------------------------------------------------------------------------------------------

    def submit(self, count: int) -> None:
        """New transactions, known to everybody at once."""
        first = max((len(member.known) for member in self.members), default=0)
        for member in self.members:
            for number in range(first, first + count):
                member.known[b"t%d" % number] = self.now_ms
            if member.engine is not None:
                member.update_work()

    def is_done(self) -> bool:
        """Whether every living honest member has certified everything."""
        tip = self.tip
        return all(set(member.known) <= member.done and member.certified == tip for member in self.alive)

    def finish(self, within_ms: int, what: str) -> None:
        """Require that everything is certified in time."""
        if not self.run_until(self.is_done, within_ms):
            raise RuleBroken(f"{what}: not everything is certified within {within_ms} ms; {self.describe()}")

    def schedule_restart(self, member: Member, point: CrashPoint, down_ms: int) -> None:
        """Crash there; come back a while after it happened."""
        member.crash_point = point

        def look() -> None:
            if member.engine is None:
                member.start()
            else:
                self.at(down_ms, look)

        self.at(down_ms, look)

    def describe(self) -> str:
        """Where everybody stands."""
        parts = []
        for member in self.members:
            state = "down" if member.engine is None else f"in view {member.view}, {member.level.name}"
            parts.append(f"{member.name} certified {member.certified}, decided {len(member.decided)}, {state}")
        return "; ".join(parts)


def choose_parameters(**changes: Any) -> EngineParameters:
    """Small windows and short timeouts, so that little time shows much."""
    given: dict[str, Any] = {"window_slots": WINDOW_SLOTS, "base_timeout_ms": BASE_TIMEOUT_MS, **changes}
    return EngineParameters(**given)
