"""Replicas on virtual time: a pump, a network and disks that obey the test.

Every member has a memory store and vote log that outlive it. Frames take ``delay_ms``; ``drops`` is asked for each
frame and may cut, count or forge. The pump honours effects in order and may join those of several events, as the
real one does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from consensus.committee import Committee
from consensus.engine import EngineFactory, EngineParameters, load_engine_factory
from node.events import (
    BlockCertified,
    Effects,
    FrameReceived,
    LinkDown,
    LinkUp,
    Outgoing,
    ReplicaEvent,
    Start,
    SubmissionReply,
    TimerFired,
    TransactionsSubmitted,
)
from node.members import Member
from node.memory_store import MemoryStore, MemoryVoteLog
from node.replica import Replica, open_replica
from node.replica_setup import ReplicaLimits, ReplicaSetup, Role, StandsAlone
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme, Signer
from tests.consensus.tokens import TokenScheme, make_signers
from tests.node.toy_application import ToyApplication

GENESIS_MS = 1_700_000_000_000
FAST_LIMITS = ReplicaLimits(sync_ms=200, sync_blocks=8)


@dataclass
class Node:
    """One member: its disks, its process (if it runs), and what the test may look at."""

    index: int
    member: Member
    store: MemoryStore
    log: MemoryVoteLog
    application: Any
    replica: Replica | None = None
    life: int = 0
    reopened: int = 0
    skew_ms: int = 0
    salt: bytes = b""
    timers: dict[str, int] = field(default_factory=dict)
    replies: list[SubmissionReply] = field(default_factory=list)
    certified: list[BlockCertified] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    halted: str | None = None


class World:
    """One clock and one queue of what will happen; the clusters in it by shard."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.clusters: dict[int, Cluster] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def at(self, due_ms: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (due_ms, self._sequence, action))

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        stop = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= stop:
            due_ms, _, action = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, due_ms)
            action()
        self.now_ms = stop

    def find(self, member: Member) -> tuple[Cluster, Node]:
        cluster = self.clusters[member.shard]
        return cluster, cluster.nodes[member.index]


class Cluster:
    """``size`` members of one committee."""

    def __init__(
        self,
        size: int = 4,
        *,
        delay_ms: int = 2,
        limits: ReplicaLimits = FAST_LIMITS,
        parameters: ProtocolParameters | None = None,
        engine_parameters: EngineParameters | None = None,
        factory: EngineFactory | None = None,
        scheme: SignatureScheme | None = None,
        signers: Sequence[Signer] | None = None,
        world: World | None = None,
        shard: int = 0,
        make_application: Callable[[int], tuple[Any, Role]] | None = None,
    ) -> None:
        """``make_application`` gives a member's application and role at each start."""
        self.world = world or World()
        self.world.clusters[shard] = self
        self.make_application = make_application or self._make_toy
        self.delay_ms = delay_ms
        self.limits = limits
        self.parameters = parameters or ProtocolParameters()
        self.engine_parameters = engine_parameters or EngineParameters()
        self.factory = factory or load_engine_factory("pbft")
        self.scheme = scheme or TokenScheme()
        self.signers = signers or make_signers(size)
        self.committee = Committee(bytes(32), shard, 0, 0, tuple(signer.public_key for signer in self.signers))
        self.drops: Callable[[int, Outgoing], bool] = lambda sender, outgoing: False
        self.frames: dict[int, int] = {}
        self._tickets = 0
        self.nodes = [
            Node(
                index,
                Member(self.committee.shard, index, key),
                MemoryStore(),
                MemoryVoteLog(),
                ToyApplication(self.scheme),
            )
            for index, key in enumerate(self.committee.members)
        ]

    # --- processes -----------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.world.now_ms

    def _make_toy(self, index: int) -> tuple[Any, Role]:
        salt = self.nodes[index].salt
        return ToyApplication(self.scheme, self.parameters.batch_lifetime_blocks, salt), StandsAlone()

    def make_setup(self, index: int) -> ReplicaSetup:
        node = self.nodes[index]
        node.application, role = self.make_application(index)
        return ReplicaSetup(
            committee=self.committee,
            signer=self.signers[index],
            scheme=self.scheme,
            engine=self.factory,
            engine_parameters=self.engine_parameters,
            application=node.application,
            parameters=self.parameters,
            genesis_hash=bytes(32),
            genesis_time_ms=GENESIS_MS,
            store=node.store,
            vote_log=node.log.load(),
            wall=lambda: GENESIS_MS + self.now_ms + node.skew_ms,
            role=role,
            limits=self.limits,
            bucket_count=getattr(node.application, "bucket_count", None),
        )

    def start(self, *indices: int) -> None:
        """Start members (all of them by default) and link them with everybody who runs."""
        for index in indices or range(len(self.nodes)):
            node = self.nodes[index]
            assert node.replica is None
            node.replica = open_replica(self.make_setup(index))
            node.life += 1
            node.halted = None
            node.timers = {}
            self.give(index, Start())
            for cluster in self.world.clusters.values():
                for other in cluster.nodes:
                    if other.replica is not None and other is not node:
                        self.give(index, LinkUp(other.member))
                        cluster.give(other.index, LinkUp(node.member))

    def boot(self) -> None:
        """Start everybody and wait for the first block, which comes without any client."""
        self.start()
        self.run_until(lambda: min(self.heights()) == 1)

    def kill(self, index: int, rng: Random | None = None) -> None:
        """End a process at once; with ``rng`` the power fails and a part of the unsynced tail is lost."""
        node = self.nodes[index]
        node.replica = None
        if rng is not None:
            node.store.crash(rng)
        for cluster in self.world.clusters.values():
            for other in cluster.nodes:
                if other.replica is not None:
                    cluster.give(other.index, LinkDown(node.member))

    # --- the pump ------------------------------------------------------------------------------------------

    def give(self, index: int, *events: ReplicaEvent) -> None:
        """Handle events in one round: all records are written before anything else happens."""
        node = self.nodes[index]
        if node.replica is None or node.halted is not None:
            return
        gathered: list[Effects] = []
        for event in events:
            gathered.append(node.replica.handle(event, self.now_ms))
        replica = node.replica
        while replica.busy and node.replica is replica:
            gathered.append(replica.work(self.now_ms))
            self._honour(node, gathered)
            gathered = []
        self._honour(node, gathered)

    def _honour(self, node: Node, gathered: list[Effects]) -> None:
        for effects in gathered:
            node.log.write(effects.persist)
        for effects in gathered:
            for write in effects.writes:
                node.store.write(write.records, sync=write.sync)
            for outgoing in effects.sends:
                self._send(node.index, outgoing)
            for timer in effects.timers:
                self._set_timer(node, timer.timer, timer.delay_ms)
            node.replies.extend(effects.replies)
            node.certified.extend(effects.certified)
            node.alarms.extend(effects.alarms)
            if effects.halt is not None:
                node.halted = effects.halt
        if any(effects.reopens for effects in gathered):
            node.reopened += 1
            self.kill(node.index)
            self.start(node.index)

    def _set_timer(self, node: Node, timer: str, delay_ms: int | None) -> None:
        if delay_ms is None:
            node.timers.pop(timer, None)
            return
        due_ms = self.now_ms + delay_ms
        node.timers[timer] = due_ms
        life = node.life

        def fire() -> None:
            if node.life == life and node.timers.get(timer) == due_ms:
                del node.timers[timer]
                self.give(node.index, TimerFired(timer))

        self.world.at(due_ms, fire)

    def _send(self, sender: int, outgoing: Outgoing) -> None:
        self.frames[outgoing.kind] = self.frames.get(outgoing.kind, 0) + 1
        if not self.drops(sender, outgoing):
            self.deliver(self.nodes[sender].member, outgoing.member, outgoing.kind, outgoing.body)

    def deliver(self, source: Member, target: Member, kind: int, body: bytes) -> None:
        """A frame arrives after the delay, whether ``source`` sent it or the test made it up."""
        cluster, node = self.world.find(target)
        life = node.life

        def arrive() -> None:
            if node.life == life:
                cluster.give(node.index, FrameReceived(source, kind, body))

        self.world.at(self.now_ms + self.delay_ms, arrive)

    # --- what tests do -------------------------------------------------------------------------------------

    def submit(self, index: int, *transactions: bytes) -> int:
        """Hand transactions to a member; returns the ticket."""
        self._tickets += 1
        self.give(index, TransactionsSubmitted(self._tickets, transactions))
        return self._tickets

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        self.world.run(for_ms)

    def run_until(self, condition: Callable[[], bool], within_ms: int = 30_000) -> int:
        """Let time pass until ``condition``; returns the ms that took, fails after ``within_ms``."""
        started = self.now_ms
        while not condition():
            assert self.now_ms - started < within_ms, f"not within {within_ms} ms: {self.describe()}"
            self.run(5)
        return self.now_ms - started

    def heights(self) -> list[int]:
        """Certified heights; -1 for a member that does not run."""
        return [-1 if node.replica is None else node.replica.statistics().certified_height for node in self.nodes]

    def statistics(self, index: int) -> Any:
        replica = self.nodes[index].replica
        assert replica is not None
        return replica.statistics()

    def describe(self) -> str:
        return f"heights {self.heights()}, halted {[node.halted for node in self.nodes]}"

    def check_prefixes(self) -> None:
        """No two members certified different blocks, and each member's notices are in order, once each."""
        by_height: dict[int, bytes] = {}
        for node in self.nodes:
            for block in node.certified:
                known = by_height.setdefault(block.header.height, block.header_hash)
                assert known == block.header_hash, f"two blocks at height {block.header.height}"
        for node in self.nodes:
            heights = [block.header.height for block in node.certified]
            assert len(set(heights)) == len(heights) or node.life > 1

    def with_limits(self, **changes: int) -> None:
        """Applies to members that start from now on."""
        self.limits = replace(self.limits, **changes)
