"""Members that lie: wrappers around honest replicas, engines and applications. Honest code has no attack flags.

Each ``Misconduct`` changes what a process is made from (``wrap``), what leaves it (``alter``) or when
(``draw_delay_us``), and works with every engine: votes are seen at the signer (``promises``). A member that
equivocates in every way at once is a *twin*: two honest processes with one key and two disks (``world`` places
them), so they propose, vote and attest differently without a line of attack code. Up to f such members the checkers
must stay silent; beyond f they must not. What does not live here: who lies (``swarm``, ``plan.Role``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final

import msgspec
from msgspec import structs

from consensus.certificate import attest
from consensus.pbft import messages as pbft
from node.events import Effects, Outgoing
from node.replica_setup import ReplicaSetup
from node.wire import FrameKind
from primitives.codec import encode
from testnet.simulator.plan import Lie, Role
from testnet.simulator.scheduler import US_PER_MS
from testnet.simulator.votes import record_votes
from testnet.simulator.wrong_parts import NoisyFactory, WrongRoots, make_lie

VOTING_KINDS: Final = (FrameKind.ENGINE, FrameKind.ATTESTATION, FrameKind.CERTIFICATE)
MAX_KEPT_FRAMES: Final = 64
DEFAULT_DELAY_MS: Final = 1_000


class Misconduct:
    """Honest so far; a base to override. Satisfies ``host.Conduct``."""

    def __init__(self, role: Role, rng: Random) -> None:
        self.role = role
        self.rng = rng

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        """What the process is made from."""
        return setup

    def alter(self, effects: Effects) -> Effects:
        """What leaves the process."""
        return effects

    def draw_delay_us(self, outgoing: Outgoing) -> int:
        """How long a frame is held back."""
        return 0

    def is_drawn(self) -> bool:
        """Whether it lies this time."""
        return self.rng.randrange(100) < self.role.percent


class TrustingItsLog(Misconduct):
    """Votes without asking whether its log is the newest, as twins must: the others would say that it is not."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        return replace(setup, limits=replace(setup.limits, recall_answers=0))


class Withholding(Misconduct):
    """Sends only some of its votes and bodies, to nobody in particular."""

    def alter(self, effects: Effects) -> Effects:
        return structs.replace(
            effects, sends=tuple([outgoing for outgoing in effects.sends if not self.is_drawn()])
        )


class SilentToSome(Misconduct):
    """Votes for everybody but some: they see a leader that ignores them."""

    def alter(self, effects: Effects) -> Effects:
        kept = [
            outgoing
            for outgoing in effects.sends
            if outgoing.kind not in VOTING_KINDS or outgoing.member.name not in self.role.members
        ]
        return structs.replace(effects, sends=tuple(kept))


class Delaying(Misconduct):
    """Sends votes late, so out of order too."""

    def draw_delay_us(self, outgoing: Outgoing) -> int:
        if outgoing.kind not in VOTING_KINDS or not self.is_drawn():
            return 0
        return self.rng.randint(1, self.role.amount or DEFAULT_DELAY_MS) * US_PER_MS


class Contradicting(Misconduct):
    """Signs the opposite of its votes as well, and shows it to some."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        self._signer = record_votes(setup.signer, setup.engine)
        return replace(setup, signer=self._signer)

    def alter(self, effects: Effects) -> Effects:
        forged: dict[bytes, bytes | None] = {}
        sends = []
        for outgoing in effects.sends:
            sends.append(outgoing)
            if outgoing.kind != FrameKind.ENGINE:
                continue
            if outgoing.body not in forged:
                lie = self._signer.contradict(outgoing.body, make_lie(outgoing.body)) if self.is_drawn() else None
                forged[outgoing.body] = lie
                self._signer.take_leaving(outgoing.body)
            other = forged[outgoing.body]
            if other is not None and outgoing.member.name in self.role.members:
                sends.append(structs.replace(outgoing, body=other))
        return structs.replace(effects, sends=tuple(sends))


class Stale(Misconduct):
    """Sends an older message of its engine in place of the one that is due."""

    def __init__(self, role: Role, rng: Random) -> None:
        super().__init__(role, rng)
        self._kept: deque[bytes] = deque(maxlen=MAX_KEPT_FRAMES)

    def alter(self, effects: Effects) -> Effects:
        return structs.replace(effects, sends=tuple([self._replace(outgoing) for outgoing in effects.sends]))

    def _replace(self, outgoing: Outgoing) -> Outgoing:
        if outgoing.kind != FrameKind.ENGINE:
            return outgoing
        if self._kept and self.is_drawn():
            return structs.replace(outgoing, body=self._kept[self.rng.randrange(len(self._kept))])
        self._kept.append(outgoing.body)
        return outgoing


def _forget_pbft(body: bytes, setup: ReplicaSetup) -> bytes | None:
    message = msgspec.msgpack.decode(body)
    if message[0] != 6:
        return None
    _, view, _, _, sender, _ = message
    return encode(pbft.sign_view_change(setup.committee, setup.signer, sender, view, None, ()))


_FORGETTING: Final[Mapping[str, Callable[[bytes, ReplicaSetup], bytes | None]]] = {"pbft": _forget_pbft}


class StaleViewChange(Misconduct):
    """Asks for new views as if it had prepared nothing. Where nobody knows how to say that in its engine's messages
    it is silent about new views of which it knows most: it sends old messages (``Stale``)."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        self._setup = setup
        self._stale = Stale(self.role, self.rng)
        return setup

    def alter(self, effects: Effects) -> Effects:
        forget = _FORGETTING.get(self._setup.engine.name)
        if forget is None:
            return self._stale.alter(effects)
        sends = []
        for outgoing in effects.sends:
            lie = forget(outgoing.body, self._setup) if outgoing.kind == FrameKind.ENGINE else None
            sends.append(outgoing if lie is None else structs.replace(outgoing, body=lie))
        return structs.replace(effects, sends=tuple(sends))


class InvalidPayload(Misconduct):
    """Proposes bytes that are no payload."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        return replace(setup, engine=NoisyFactory(setup.engine, self.rng, self.role.percent))


class DoubleAttesting(Misconduct):
    """Attests another header as well, to some, with its real key."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        self._setup = setup
        return setup

    def alter(self, effects: Effects) -> Effects:
        return structs.replace(effects, sends=tuple([self._attest_other(outgoing) for outgoing in effects.sends]))

    def _attest_other(self, outgoing: Outgoing) -> Outgoing:
        if outgoing.kind != FrameKind.ATTESTATION or outgoing.member.name not in self.role.members:
            return outgoing
        height = msgspec.msgpack.decode(outgoing.body)[1]
        lie = attest(self._setup.committee, self._setup.signer, height, make_lie(height.to_bytes(8, "big")))
        return structs.replace(outgoing, body=encode(lie))


class WrongHeader(Misconduct):
    """Executes honestly and reports another state root; all who lie so report the same one."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        return replace(setup, application=WrongRoots(setup.application, self.role.amount, b""))


_MISCONDUCT: Final[Mapping[Lie, type[Misconduct]]] = {
    Lie.EQUIVOCATE: TrustingItsLog,
    Lie.DOUBLE_VOTE: TrustingItsLog,
    Lie.CONTRADICT: Contradicting,
    Lie.WITHHOLD: Withholding,
    Lie.SILENT_TO_SOME: SilentToSome,
    Lie.DELAY: Delaying,
    Lie.STALE: Stale,
    Lie.STALE_VIEW_CHANGE: StaleViewChange,
    Lie.INVALID_PAYLOAD: InvalidPayload,
    Lie.DOUBLE_ATTEST: DoubleAttesting,
    Lie.WRONG_HEADER: WrongHeader,
}


def make_misconduct(role: Role, rng: Random) -> Misconduct:
    """The misconduct of a role; twins are honest twice."""
    return _MISCONDUCT[role.lie](role, rng)
