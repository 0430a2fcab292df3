"""Members that lie: wrappers around honest replicas, engines and applications. Honest code has no attack flags.

Each ``Misconduct`` changes what a process is made from (``wrap``) or what leaves it (``alter``). A member that
equivocates in every way at once is a *twin*: two honest processes with one key and two disks, each linked with a
part of the committee (``world`` places them), so they propose, vote and attest differently without a line of attack
code. Up to f such members the checkers must stay silent; beyond f they must not. What does not live here: who lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any, Final

import msgspec

from consensus.certificate import attest
from crosslink.block import BlockInput, BlockResult, Readiness
from node.application import Application, Transaction
from node.events import Effects, Outgoing
from node.replica_setup import ReplicaSetup
from node.wire import FrameKind
from primitives.codec import encode
from primitives.hashing import hash_tagged

VOTING_KINDS: Final = (FrameKind.ENGINE, FrameKind.ATTESTATION, FrameKind.CERTIFICATE)


class Misconduct:
    """Honest so far; a base to override."""

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        """What the process is made from."""
        return setup

    def alter(self, effects: Effects) -> Effects:
        """What leaves the process."""
        return effects


class Withholding(Misconduct):
    """Sends only some of its votes and bodies, to nobody in particular."""

    def __init__(self, rng: Random, share: float) -> None:
        self._rng = rng
        self._share = share

    def alter(self, effects: Effects) -> Effects:
        kept = tuple([outgoing for outgoing in effects.sends if self._rng.random() >= self._share])
        return replace(effects, sends=kept)


class SilentToSome(Misconduct):
    """Votes for everybody but these members, by index: they see a leader that ignores them."""

    def __init__(self, ignored: Iterable[int]) -> None:
        self._ignored = frozenset(ignored)

    def alter(self, effects: Effects) -> Effects:
        return replace(effects, sends=tuple([item for item in effects.sends if not self._is_ignored(item)]))

    def _is_ignored(self, outgoing: Outgoing) -> bool:
        return outgoing.member.index in self._ignored and outgoing.kind in VOTING_KINDS


class DoubleAttesting(Misconduct):
    """Attests another header as well, to every second member, with its real key."""

    def __init__(self) -> None:
        self._setup: ReplicaSetup | None = None

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        self._setup = setup
        return setup

    def alter(self, effects: Effects) -> Effects:
        return replace(effects, sends=tuple([self._attest_other(outgoing) for outgoing in effects.sends]))

    def _attest_other(self, outgoing: Outgoing) -> Outgoing:
        if outgoing.kind != FrameKind.ATTESTATION or outgoing.member.index % 2:
            return outgoing
        assert self._setup is not None, "the replica was opened"
        height = msgspec.msgpack.decode(outgoing.body)[1]
        other = hash_tagged(b"rialto/simulated-lie", height.to_bytes(8, "big"))
        lie = attest(self._setup.committee, self._setup.signer, height, other)
        return replace(outgoing, body=encode(lie))


class WrongHeader(Misconduct):
    """Executes honestly and reports another state root, from some height on. Two with one ``flavour`` report the
    same wrong root."""

    def __init__(self, first_height: int, flavour: bytes = b"") -> None:
        self._first_height = first_height
        self._flavour = flavour

    def wrap(self, setup: ReplicaSetup) -> ReplicaSetup:
        return replace(setup, application=WrongRoots(setup.application, self._first_height, self._flavour))


class WrongRoots:
    """An ``Application`` around another, with wrong state roots."""

    def __init__(self, honest: Application, first_height: int, flavour: bytes) -> None:
        self._honest = honest
        self._first_height = first_height
        self._flavour = flavour

    def __getattr__(self, name: str) -> Any:
        # What links ask of a particular application (a beacon's deliveries) stays as it is.
        return getattr(self._honest, name)

    def decode(self, data: bytes) -> Transaction:
        return self._honest.decode(data)

    def verify(self, transaction: Any) -> None:
        self._honest.verify(transaction)

    def admit(self, transaction: Any, now_ms: int) -> None:
        self._honest.admit(transaction, now_ms)

    def execute(self, block: BlockInput) -> BlockResult:
        result = self._honest.execute(block)
        if block.height < self._first_height:
            return result
        return replace(result, state_root=hash_tagged(b"rialto/simulated-lie", self._flavour, result.state_root))

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        return self._honest.readiness(now_ms, last_block_ms)

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        return self._honest.load(records)

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        return self._honest.genesis_records()
