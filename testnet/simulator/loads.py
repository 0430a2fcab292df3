"""Loads: what clients do to a simulated network, from a seed, and when they have what they asked for.

A client sends to a member that runs, and sends the same bytes again to another where nothing was certified for a
while; that is how a real client treats *unknown*. A load is settled when everything that was not refused for good
is certified. What does not live here: load on real networks (``testnet.workloads``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from node.events import BlockCertified, SubmissionReply, TransactionsSubmitted
from primitives.identifiers import compute_address
from primitives.signing import Signer
from shards.transactions import (
    Action,
    Cancel,
    CrossTransfer,
    Observation,
    OracleReport,
    OrderKind,
    Place,
    Side,
    Transfer,
    sign_transaction,
)
from testnet.simulator.host import HostState, SimulatedHost
from testnet.simulator.networks import GENESIS_MS, SimulatedNetwork
from testnet.simulator.plan import Load as LoadPlan
from testnet.simulator.scheduler import US_PER_MS, US_PER_S, Scheduler
from testnet.simulator.toy_application import compute_command_id, encode_command

RESEND_AFTER_US: Final = 2 * US_PER_S
RETRIED_CODES: Final = ("BUSY", "SENDER_BUSY", "DUPLICATE", "TOO_MANY_SUBMISSIONS")
"""Refusals that say nothing about the transaction."""
VALIDITY_MS: Final = 1_800_000
MAX_WAITING: Final = 400
"""Transactions in flight: a client stops sending while so many wait."""


@dataclass(slots=True)
class _Waiting:
    data: bytes
    sent_us: int
    resends: int = 0


class Clients:
    """The clients of one shard: they send, wait, and send again."""

    def __init__(self, shard: int, scheduler: Scheduler, rng: Random, hosts: Sequence[SimulatedHost]) -> None:
        self.shard = shard
        self._scheduler = scheduler
        self._rng = rng
        self._hosts = [host for host in hosts if host.member.shard == shard]
        self._waiting: dict[bytes, _Waiting] = {}
        self._seen_heights: dict[int, None] = {}
        self._ticket = 0
        self._tickets: dict[tuple[str, int], bytes] = {}
        self._sent: set[bytes] = set()
        self.submitted = self.certified = self.refused = 0
        self.codes: dict[str, int] = {}

    @property
    def has_room(self) -> bool:
        """Whether another transaction may be sent."""
        return len(self._waiting) < MAX_WAITING

    @property
    def waiting(self) -> int:
        """Transactions that are neither certified nor refused."""
        return len(self._waiting)

    def has_sent(self, identity: bytes) -> bool:
        """Whether this transaction is of one of these clients."""
        return identity in self._sent

    def send(self, identity: bytes, data: bytes) -> None:
        """A new transaction."""
        self.submitted += 1
        self._sent.add(identity)
        self._waiting[identity] = _Waiting(data, self._scheduler.now_us)
        self._offer(identity, data)

    def resend(self) -> None:
        """Offer again what waited for long."""
        now_us = self._scheduler.now_us
        for identity, waiting in list(self._waiting.items()):
            if now_us - waiting.sent_us >= RESEND_AFTER_US:
                waiting.sent_us = now_us
                waiting.resends += 1
                self._offer(identity, waiting.data)

    def _offer(self, identity: bytes, data: bytes) -> None:
        running = [host for host in self._hosts if host.state is HostState.RUNNING and not host.is_outside]
        if not running:
            return
        host = self._rng.choice(running)
        self._ticket += 1
        if host.submit(TransactionsSubmitted(self._ticket, (data,))):
            self._tickets[host.name, self._ticket] = identity

    def on_reply(self, host: SimulatedHost, reply: SubmissionReply) -> None:
        """A member's answer: a refusal for good ends the wait, unless an earlier offer may still be certified."""
        identity = self._tickets.pop((host.name, reply.ticket), None)
        if identity is None or identity not in self._waiting:
            return
        result = reply.results[0]
        self.codes[result.code] = self.codes.get(result.code, 0) + 1
        is_final = result.code != "ACCEPTED" and result.code not in RETRIED_CODES
        if is_final and self._waiting[identity].resends == 0:
            del self._waiting[identity]
            self.refused += 1

    def on_certified(self, block: BlockCertified) -> None:
        """Receipts of a certified block end the wait."""
        if block.header.height in self._seen_heights:
            return
        self._seen_heights[block.header.height] = None
        for identity, _ in block.receipts:
            if self._waiting.pop(identity, None) is not None:
                self.certified += 1


class Load(Protocol):
    """What a world runs against its hosts."""

    @property
    def clients(self) -> Sequence[Clients]: ...

    def start(self) -> None: ...

    def stop(self) -> None:
        """Nothing new any more; what waits is still sent again."""
        ...


class _Ticking(ABC):
    """Calls ``_tick`` at random intervals, and lets clients send again."""

    def __init__(self, clients: Sequence[Clients], scheduler: Scheduler, rng: Random, plan: LoadPlan) -> None:
        self.clients = clients
        self._scheduler = scheduler
        self._rng = rng
        self._plan_of_load = plan
        self._is_stopped = False

    def start(self) -> None:
        """Begin."""
        self._plan(self._tick_load, lambda: self._rng.randint(1, 2 * self._plan_of_load.gap_us))
        self._plan(self._resend, lambda: 500 * US_PER_MS)

    def stop(self) -> None:
        """Nothing new any more."""
        self._is_stopped = True

    def _plan(self, action: Callable[[], None], draw_gap_us: Callable[[], int]) -> None:
        def act() -> None:
            action()
            self._scheduler.after(draw_gap_us(), act)

        self._scheduler.after(draw_gap_us(), act)

    def _tick_load(self) -> None:
        if not self._is_stopped and self.submitted < self._plan_of_load.max_transactions:
            self._tick()

    @property
    def submitted(self) -> int:
        """Transactions so far."""
        return sum(clients.submitted for clients in self.clients)

    @abstractmethod
    def _tick(self) -> None:
        """Submit what is due now."""

    def _resend(self) -> None:
        for clients in self.clients:
            clients.resend()


class ToyLoad(_Ticking):
    """Numbered commands of a few clients, now and then a burst, now and then silence."""

    def __init__(self, scheduler: Scheduler, rng: Random, hosts: Sequence[SimulatedHost], plan: LoadPlan) -> None:
        super().__init__([Clients(0, scheduler, rng, hosts)], scheduler, rng, plan)
        self._numbers = [0, 0, 0]

    def _tick(self) -> None:
        rng = self._rng
        burst = rng.choice((0, 1, 1, 1, 2, 8))
        for _ in range(burst):
            if not self.clients[0].has_room:
                return
            client = rng.randrange(len(self._numbers))
            self._numbers[client] += 1
            padding = bytes(rng.choice((0, 10, 300)))
            data = encode_command(client, self._numbers[client], padding)
            self.clients[0].send(compute_command_id(data), data)


class VenueLoad(_Ticking):
    """Traders quote, take, cancel and pay each other on every shard, reporters report prices, and where there are
    several shards collateral crosses, each time to an address of its own."""

    def __init__(
        self,
        network: SimulatedNetwork,
        scheduler: Scheduler,
        rng: Random,
        hosts: Sequence[SimulatedHost],
        plan: LoadPlan,
        read_beacon_height: Callable[[], int],
    ) -> None:
        clients = [Clients(shard, scheduler, rng, hosts) for shard in network.shards]
        super().__init__(clients, scheduler, rng, plan)
        self._network = network
        self._read_beacon_height = read_beacon_height
        self._nonces: dict[bytes, int] = {}
        self._mid = dict.fromkeys(network.shards, 50_000)
        self._reported_us = dict.fromkeys(network.shards, -US_PER_S)
        self._recipients = 0

    def _tick(self) -> None:
        rng = self._rng
        clients = rng.choice(self.clients)
        if not clients.has_room:
            return
        shard = clients.shard
        if self._scheduler.now_us - self._reported_us[shard] >= US_PER_S:
            self._report(clients)
        trader = rng.choice(self._network.traders[shard])
        count = rng.choice((1, 1, 2, 5))
        self._send(clients, trader, [self._draw_action(shard) for _ in range(count)])

    def _report(self, clients: Clients) -> None:
        shard = clients.shard
        now_us = self._scheduler.now_us
        self._reported_us[shard] = now_us
        self._mid[shard] = max(20_000, self._mid[shard] + self._rng.randint(-150, 150))
        observed_ms = GENESIS_MS + now_us // US_PER_MS
        for reporter in self._network.reporters[shard]:
            ticks = self._mid[shard] + self._rng.randint(-3, 3)
            market = shard % 3
            self._send(clients, reporter, [OracleReport((Observation(market, ticks, observed_ms),))])

    def _draw_action(self, shard: int) -> Action:
        rng = self._rng
        others = [number for number in self._network.shards if number != shard]
        market = shard % 3
        match rng.randrange(10):
            case 0 | 1 if others:
                return self._draw_cross_transfer(rng.choice(others))
            case 2:
                recipient = compute_address(rng.choice(self._network.traders[shard]).public_key)
                return Transfer(recipient, 0, 0, rng.randint(10_000, 5_000_000))
            case 3:
                return Cancel(market, seq=rng.randint(1, 300))
            case _:
                price = self._mid[shard] + rng.randint(-100, 100)
                kind = rng.choice((OrderKind.LIMIT, OrderKind.LIMIT, OrderKind.IOC, OrderKind.POST_ONLY))
                return Place(market, rng.choice((Side.BUY, Side.SELL)), kind, price, rng.randint(1, 50))

    def _draw_cross_transfer(self, destination: int) -> CrossTransfer:
        self._recipients += 1
        recipient = b"\xaa" + self._recipients.to_bytes(19, "big")
        parameters = self._network.parameters
        ahead = self._rng.randint(
            parameters.transfer_deadline_min_blocks, 20 * parameters.transfer_deadline_min_blocks
        )
        deadline = self._read_beacon_height() + ahead
        return CrossTransfer(destination, recipient, 0, 0, self._rng.randint(10_000, 9_000_000), deadline)

    def _send(self, clients: Clients, signer: Signer, actions: Sequence[Action]) -> None:
        nonce = self._nonces.get(signer.public_key, 0) + 1
        self._nonces[signer.public_key] = nonce
        identity, data = sign_transaction(
            signer,
            chain=self._network.chain,
            shard=clients.shard,
            nonce=nonce,
            valid_until_ms=GENESIS_MS + self._scheduler.now_us // US_PER_MS + VALIDITY_MS,
            actions=actions,
        )
        clients.send(identity, data)
