"""A world: hosts, links, disks, load and checkers of one simulated network, and everything that is noted of them.

The world is the observer of all hosts: it writes the trace, feeds the checkers what honest hosts do, and ends the
run at the first violation. What does not live here: phases and bounds (``simulation``), faults (``faults``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from consensus.engine import EngineFactory, Record
from node.events import BlockCertified, Outgoing, ReplicaEvent, SubmissionReply
from node.members import Member
from node.replica_setup import ReplicaSetup
from primitives.identifiers import BEACON_SHARD
from shards.application import ShardApplication
from testnet.simulator.agreement import AgreementChecker
from testnet.simulator.assertions import AssertionChecker
from testnet.simulator.bounds import BoundsChecker
from testnet.simulator.byzantine import Misconduct, make_misconduct
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.disk import Disk
from testnet.simulator.host import SimulatedHost, WallClock
from testnet.simulator.loads import Load, ToyLoad, VenueLoad
from testnet.simulator.money import MoneyChecker
from testnet.simulator.network import Network
from testnet.simulator.networks import GENESIS_MS, SimulatedNetwork
from testnet.simulator.plan import TWIN_LIES, Kind, Lie, Plan
from testnet.simulator.scheduler import US_PER_MS, Chance, Scheduler
from testnet.simulator.signatures import KeyMaker, RealKeys, TokenKeys
from testnet.simulator.toy_application import APPLIED
from testnet.simulator.trace import Trace
from testnet.simulator.validity import ValidityChecker
from testnet.simulator.votes import AttestationLogChecker, VoteChecker, record_votes

SAMPLE_US: Final = 100 * US_PER_MS
"""How often checkers look at all hosts, and conditions are looked at for which a run waits."""
TWIN_MARK: Final = "'"
CONFESSION: Final = "abstains from voting"
ACCUSATION: Final = re.compile(r"evidence against member (\d+)")

C = TypeVar("C", bound=Checker)


class World:
    """Satisfies ``host.HostObserver``."""

    def __init__(self, plan: Plan, sink: Callable[[str], None] | None, factory: EngineFactory | None) -> None:
        """The plan's world, nothing started. ``factory`` replaces the engine that the plan names."""
        self.plan = plan
        keys: KeyMaker = RealKeys(plan.seed) if plan.has_real_signatures else TokenKeys(plan.seed)
        self.network = network = SimulatedNetwork(plan.shape, keys, plan.seed, factory)
        self.chance = chance = Chance(plan.seed)
        self.scheduler = Scheduler()
        self.links = Network(self.scheduler, chance)
        self.verdicts = Verdicts(self.scheduler)
        self.agreement = AgreementChecker(self.verdicts, network.committees, network.keys.scheme)
        self.money: MoneyChecker | None = None
        if network.has_beacon:
            self.money = MoneyChecker(self.verdicts, network.shards, network.compute_supply())
        self._checkers: list[Checker] = [
            self.agreement,
            VoteChecker(self.verdicts),
            AttestationLogChecker(self.verdicts),
            BoundsChecker(self.verdicts),
            ValidityChecker(self.verdicts, self._has_sent, APPLIED if plan.shape.kind is Kind.TOY else None),
        ]
        if self.money is not None:
            self._checkers.append(self.money)
        if plan.assertions:
            self._checkers.append(AssertionChecker(self.verdicts, plan.assertions, self.agreement, self.money))
        self._seeing = {hook: self._find_overriding(hook) for hook in ("on_commit", "on_send", "on_certified")}
        self._last_sent: dict[str, bytes] = {}
        self._roles = {role.member: role for role in plan.roles}
        members = {member.name: member for member in network.members}
        twins = [name for name, role in self._roles.items() if role.lie in TWIN_LIES]
        columns = [*members, *[name + TWIN_MARK for name in twins]]
        self.trace = Trace(columns, sink)
        self.hosts: dict[str, SimulatedHost] = {}
        for name in columns:
            self.hosts[name] = self._make_host(name, members[name.removesuffix(TWIN_MARK)])
        self._join()
        self.load = self._make_load()
        self._plan_sample()

    def _find_overriding(self, hook: str) -> list[Checker]:
        """The checkers that look at this at all: the others need not be asked each time."""
        return [checker for checker in self._checkers if getattr(type(checker), hook) is not getattr(Checker, hook)]

    @property
    def events(self) -> int:
        """The discrete events of this simulation so far, as its scheduler ran them: a frame arrives, a round of a
        process ends, a timer is due, a client sends, a fault comes or goes."""
        return self.scheduler.executed

    @property
    def handled(self) -> int:
        """What replicas handled of it: starts, messages, timers, links, requests; and their group commits."""
        return sum(host.handled for host in self.hosts.values())

    @property
    def live_honest(self) -> list[SimulatedHost]:
        """Honest hosts with a process that nothing has left behind."""
        return [
            host
            for host in self.hosts.values()
            if host.is_honest and host.replica is not None and not host.is_outside
        ]

    def note(self, detail: str) -> None:
        """A line of the trace that concerns no single host."""
        self.trace.note_world(self.scheduler.now_us, detail)

    def run_for(self, duration_us: int) -> None:
        """Run for so long, or up to a violation."""
        self.scheduler.run_until(self.scheduler.now_us + duration_us)

    def run_until(self, is_done: Callable[[], bool], bound_us: int) -> bool:
        """Run until ``is_done`` (looked at each ``SAMPLE_US``); false where bound or violation came first."""
        deadline_us = self.scheduler.now_us + bound_us
        while self.scheduler.now_us < deadline_us and not self.verdicts.violations:
            if is_done():
                return True
            self.run_for(SAMPLE_US)
        return not self.verdicts.violations and is_done()

    def describe_host(self, host: SimulatedHost) -> str:
        """Where a host stands, for a violation."""
        if host.replica is None:
            return "down"
        found = host.replica.statistics()
        return f"{found.certified_height}/{found.height} in view {found.view}, {found.work_level.name}"

    def read_cash(self, shard: int, address: bytes) -> int:
        """Free cash of an account's first subaccount, as the live honest member with the highest tip has it."""
        hosts = [host for host in self.live_honest if host.member.shard == shard]
        best = max(hosts, key=lambda host: (_height(host), host.name))
        assert best.setup is not None and isinstance(best.setup.application, ShardApplication), "a venue"
        account = best.setup.application.venue.accounts.get(address)
        return 0 if account is None else account.subaccount(0).cash

    # --- building --------------------------------------------------------------------------------------

    def _make_host(self, name: str, member: Member) -> SimulatedHost:
        role = self._roles.get(member.name)
        misconduct: Misconduct | None = None
        if role is not None:
            misconduct = make_misconduct(role, self.chance.stream("liar", name))

        def prepare(disk: Disk, wall: WallClock) -> ReplicaSetup:
            setup = self.network.prepare(member, disk, wall)
            if misconduct is not None:
                return misconduct.wrap(setup)
            return replace(setup, signer=record_votes(setup.signer, setup.engine))

        host = SimulatedHost(
            name,
            member,
            prepare,
            self.scheduler,
            self.links,
            Disk(self.chance.stream("disk", name)),
            WallClock(self.scheduler, GENESIS_MS),
            self,
            self.chance.stream("host", name),
            misconduct,
        )
        self.links.add(host)
        return host

    def _join(self) -> None:
        by_name = {member.name: member for member in self.network.members}
        names = list(self.hosts)
        for place, one in enumerate(names):
            peers = {peer.name for peer in self.network.list_peers(by_name[one.removesuffix(TWIN_MARK)])}
            for other in names[place + 1 :]:
                if other.removesuffix(TWIN_MARK) in peers and self._see_each_other(one, other):
                    self.links.join(one, other)

    def _see_each_other(self, one: str, other: str) -> bool:
        """Everybody sees exactly one of two twins that equivocate, and both of two that vote twice."""
        if one.removesuffix(TWIN_MARK) == other.removesuffix(TWIN_MARK):
            return False
        for twin, host in ((one, other), (other, one)):
            role = self._roles.get(twin.removesuffix(TWIN_MARK))
            if role is not None and role.lie is Lie.EQUIVOCATE:
                sees_second = host in role.members
                if sees_second != twin.endswith(TWIN_MARK):
                    return False
        return True

    def _make_load(self) -> Load:
        rng, hosts, load = self.chance.stream("load"), list(self.hosts.values()), self.plan.load
        if self.network.shape.kind is Kind.TOY:
            return ToyLoad(self.scheduler, rng, hosts, load)
        return VenueLoad(self.network, self.scheduler, rng, hosts, load, self._read_beacon_height)

    def _has_sent(self, shard: int, transaction: bytes) -> bool:
        return any(clients.has_sent(transaction) for clients in self.load.clients if clients.shard == shard)

    def _read_beacon_height(self) -> int:
        return self.agreement.certified_height(BEACON_SHARD) if self.network.has_beacon else 0

    def _plan_sample(self) -> None:
        def sample() -> None:
            for checker in self._checkers:
                checker.on_sample(self.live_honest)
            self.scheduler.after(SAMPLE_US, sample)

        self.scheduler.after(SAMPLE_US, sample)

    def check_quiescence(self) -> None:
        """Let every checker look at the settled world."""
        for checker in self._checkers:
            checker.on_quiescence(self.live_honest)

    # --- what hosts do ---------------------------------------------------------------------------------

    def on_event(self, host: SimulatedHost, event: ReplicaEvent) -> None:
        self.trace.note_event(self.scheduler.now_us, host.name, event)

    def on_commit(self, host: SimulatedHost, records: list[Record]) -> None:
        self.trace.note(self.scheduler.now_us, host.name, "w", f"{len(records)} records")
        if host.is_honest:
            for checker in self._seeing["on_commit"]:
                checker.on_commit(host, records)

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        # A broadcast is one frame for each member: look once.
        if self._last_sent.get(host.name) is not outgoing.body:
            self._last_sent[host.name] = outgoing.body
            for checker in self._seeing["on_send"]:
                checker.on_send(host, outgoing)

    def on_reply(self, host: SimulatedHost, reply: SubmissionReply) -> None:
        self.trace.note(self.scheduler.now_us, host.name, "r", f"reply {reply.results[0].code}")
        for clients in self.load.clients:
            clients.on_reply(host, reply)

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None:
        header = block.header
        detail = f"{header.height} certified {block.header_hash.hex()[:16]}, {len(block.receipts)} receipts"
        self.trace.note(self.scheduler.now_us, host.name, "#", detail)
        if host.is_honest:
            for checker in self._seeing["on_certified"]:
                checker.on_certified(host, block)
            for clients in self.load.clients:
                if clients.shard == host.member.shard:
                    clients.on_certified(block)

    def on_alarm(self, host: SimulatedHost, sentence: str) -> None:
        """An honest member raises no alarm, unless it caught a liar, or has lost its votes: nobody honest is ever
        accused."""
        self.trace.note(self.scheduler.now_us, host.name, "!", sentence)
        if host.has_lost_votes and sentence.startswith(CONFESSION):
            return
        accused = ACCUSATION.match(sentence)
        if host.is_honest and (accused is None or not self._is_liar(host.member.shard, int(accused[1]))):
            self.verdicts.report("alarm", host.name, sentence)

    def _is_liar(self, shard: int, index: int) -> bool:
        members = [host for host in self.hosts.values() if (host.member.shard, host.member.index) == (shard, index)]
        return not all(host.is_honest for host in members)

    def on_opened(self, host: SimulatedHost) -> None:
        self.trace.note(self.scheduler.now_us, host.name, "+", f"life {host.lives}")

    def on_started(self, host: SimulatedHost) -> None:
        if host.is_honest:
            for checker in self._checkers:
                checker.on_started(host)

    def on_down(self, host: SimulatedHost, how: str) -> None:
        self.trace.note(self.scheduler.now_us, host.name, "X", how)

    def on_halt(self, host: SimulatedHost, sentence: str) -> None:
        self.trace.note(self.scheduler.now_us, host.name, "!", sentence)
        if host.is_honest:
            self.verdicts.report("halt", host.name, sentence)

    def on_exception(self, host: SimulatedHost, error: Exception) -> None:
        self.verdicts.report("exception", host.name, describe_exception(error))


def describe_exception(error: Exception) -> str:
    """Type, message and the innermost places, without anything that differs between machines."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} at {' < '.join(reversed(places[-5:]))}"


def _height(host: SimulatedHost) -> int:
    return 0 if host.replica is None else host.replica.statistics().height
