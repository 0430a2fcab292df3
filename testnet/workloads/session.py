"""A load's session with a network: connections, streams, accounts with funds, oracle prices; ready to send.

Oracle reports and preparations have ledgers and submitters of their own, so that they appear in no figure of the
load. What does not live here: sending the load and measuring it (``generator``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import trio

from node.client import NodeClient
from node.clock import monotonic_us, wall_ms
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from testnet.directory import ROLE_REPORTER, Network
from testnet.progress import Progress
from testnet.workloads.certification import CertificateFollower
from testnet.workloads.ledger import Ledger
from testnet.workloads.node_figures import read_statuses
from testnet.workloads.oracle_feed import OracleFeed
from testnet.workloads.plan import PlannedTransaction, Workload
from testnet.workloads.preparation import AccountStates, plan_clearing, plan_mints, wait_settled
from testnet.workloads.process_costs import ProcessMeter
from testnet.workloads.submission import TICK_S, Door, Submitter
from testnet.workloads.wallets import Wallets

CONNECT_TIMEOUT_S: Final = 20.0
PREPARE_TIMEOUT_S: Final = 60.0
BEACON_EVERY_S: Final = 2.0
"""Deadlines of transfers are thousands of beacon blocks away: a height that is some seconds old is good."""

OPAQUE_TICK_S: Final = 0.0
"""Records are large, so none of them waits for others to share its request."""


def seconds_now() -> float:
    """Seconds of the monotonic clock."""
    return monotonic_us() / 1e6


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a load touches besides its network: clocks, how to reach a node, what measures the processes."""

    now: Callable[[], float] = seconds_now
    wall_ms: Callable[[], int] = wall_ms
    connect: Callable[[str], Any] = NodeClient
    open_meter: Callable[[Network], ProcessMeter] = ProcessMeter


class LoadSession:
    """One load's session. ``elapsed`` is the load's clock; the other entries run by ``surroundings.now``."""

    def __init__(
        self,
        network: Network,
        workload: Workload,
        ledger: Ledger,
        elapsed: Callable[[], float],
        surroundings: Surroundings,
        progress: Progress,
    ) -> None:
        self._network = network
        self._workload = workload
        self._ledger = ledger
        self._elapsed = elapsed
        self._surroundings = surroundings
        self._progress = progress
        self._preparations = Ledger((0.0, 0.0))
        self.reports = Ledger((0.0, 0.0))
        self.wallets = Wallets(network, workload.derive_seeds(), surroundings.wall_ms)
        self.clients: dict[str, Any] = {}
        self.submitters: dict[int, Submitter] = {}
        self.followers: dict[int, CertificateFollower] = {}
        self._background: dict[int, Submitter] = {}

    async def open(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        """Connect, follow, prepare; everything runs in ``nursery``. Raises ``LocalError`` where that fails."""
        self._progress.show("connecting")
        for member in self._network.members:
            if member.rpc is not None:
                connection = self._surroundings.connect(member.rpc)
                self.clients[member.name] = await stack.enter_async_context(connection)
        await self._follow(nursery)
        await self._read_beacon_height()
        nursery.start_soon(self._follow_beacon)
        await self._prepare(nursery)

    @property
    def shard_clients(self) -> dict[str, Any]:
        """The clients of all user shards' members, by name."""
        members = [member for shard in self._network.shards for member in self._network.members_of(shard)]
        return {member.name: self.clients[member.name] for member in members if member.name in self.clients}

    def clients_of(self, shard: int) -> list[Any]:
        """The clients of a shard's members."""
        return [self.clients[m.name] for m in self._network.members_of(shard) if m.name in self.clients]

    # --- streams ---------------------------------------------------------------------------------------------

    async def _follow(self, nursery: trio.Nursery) -> None:
        for shard in self._network.shards:
            names = [member.name for member in self._network.members_of(shard) if member.name in self.clients]
            if not names:
                raise LocalError(f"no member of shard {shard} has ever run")
            doors = [Door(name, self.clients[name]) for name in names]
            gathering_s = TICK_S if shard in self._network.venues else OPAQUE_TICK_S
            self.submitters[shard] = Submitter(
                doors, self._elapsed, is_ordered=self._workload.ordered, gathering_s=gathering_s
            )
            doors = [Door(name, self.clients[name]) for name in names]
            self._background[shard] = Submitter(doors, self._surroundings.now, is_ordered=True)
            self.followers[shard] = CertificateFollower(
                self.clients_of(shard), self._workload.list_topics(shard), self._on_receipt, self._listen(shard)
            )
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                for follower in self.followers.values():
                    await nursery.start(follower.run)
        except trio.TooSlowError:
            silent = [shard for shard, follower in self.followers.items() if follower.height is None]
            raise LocalError(
                f"no member of shard {silent[0]} answers: is the network up (rialto testnet status)?"
            ) from None
        for submitter in (*self.submitters.values(), *self._background.values()):
            nursery.start_soon(submitter.run)

    def _listen(self, shard: int) -> Callable[[Mapping[str, Any]], None]:
        return lambda message: self._workload.on_message(shard, message)

    def _on_receipt(self, identity: str, code: str) -> None:
        entry = self._ledger.certify(identity, code, self._elapsed())
        if entry is not None:
            self._workload.on_outcome(entry.signed.plan, code)
            return
        now_s = self._surroundings.now()
        if self.reports.certify(identity, code, now_s) is None:
            self._preparations.certify(identity, code, now_s)

    # --- the beacon's height -----------------------------------------------------------------------------------

    async def _follow_beacon(self) -> None:
        while True:
            await trio.sleep(BEACON_EVERY_S)
            await self._read_beacon_height()

    async def _read_beacon_height(self) -> None:
        """From one member of the beacon, or of a shard that follows it; a dead one leaves the height as it is."""
        for shard in (BEACON_SHARD, *self._network.shards):
            for member in self._network.members_of(shard):
                if member.name not in self.clients:
                    continue
                found = await read_statuses({member.name: self.clients[member.name]})
                for status in found.values():
                    height = status["certified_height"] if shard == BEACON_SHARD else status["beacon_height"]
                    self.wallets.beacon_height = max(self.wallets.beacon_height, height)
                    return

    # --- accounts and prices -----------------------------------------------------------------------------------

    async def _prepare(self, nursery: trio.Nursery) -> None:
        network = self._network
        needs = self._workload.list_needs()
        faucet = network.faucet.address
        wanted = {(need.shard, need.account) for need in needs}
        wanted |= {(shard, faucet) for shard in network.venues}
        wanted |= {(shard, entry.address) for shard in network.venues for entry in self._reporters_of(shard)}
        readers = {shard: self.clients_of(shard) for shard in network.venues}
        states = AccountStates(readers, self._progress)
        await states.load(sorted(wanted))
        for shard, account in wanted:
            self.wallets.start_nonces(shard, account, states.find_first_nonce(shard, account))
        for shard in network.venues:
            nursery.start_soon(self._build_feed(shard).run)
        self._progress.show("funding accounts")
        for plan in (*plan_mints(needs, states, faucet), *plan_clearing(states)):
            self._send_preparation(plan)
        what = "funding the accounts and the first oracle prices"
        await wait_settled(self._is_prepared, self._surroundings.now, PREPARE_TIMEOUT_S, what)
        refused = dict(self._preparations.refusals) | {
            code: count for code, count in self._preparations.codes.items() if code != "OK"
        }
        if refused:
            raise LocalError(f"the accounts could not be funded: {refused}")

    def _reporters_of(self, shard: int) -> tuple[Any, ...]:
        return self._network.accounts_of(shard, ROLE_REPORTER)

    def _build_feed(self, shard: int) -> OracleFeed:
        return OracleFeed(
            shard,
            [entry.address for entry in self._reporters_of(shard)],
            self._workload,
            self.wallets,
            self.reports,
            self._background[shard],
            now=self._surroundings.now,
            elapsed=self._elapsed,
            wall_ms=self._surroundings.wall_ms,
        )

    def _send_preparation(self, plan: PlannedTransaction) -> None:
        entry = self._preparations.open(self.wallets.sign(plan), self._surroundings.now())
        self._background[plan.shard].put(entry)

    def _is_prepared(self) -> bool:
        """Funds are there, and on every shard that has prices each reporter has reported once."""
        if self._preparations.outstanding:
            return False
        return all(
            self.reports.certified_by_shard[shard] >= len(self._reporters_of(shard))
            for shard in self._network.venues
            if self._workload.compute_oracle_prices(shard, 0.0)
        )
