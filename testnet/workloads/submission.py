"""Sending to one shard: in bulk, over all of its members that answer, again where that is safe.

Theory of operation. Entries wait in a queue; a tick takes what is there and sends it to the next member as one
request. Sending a transaction twice is harmless, because its nonce executes once, so

- a node that is busy, or not ready, gets it offered again a little later, another one as likely as not;
- a request that got no answer leaves its entries in doubt: some node may have them; they go to another member;
- an entry that was accepted and is not certified for long may have died with the member that accepted it, and is
  sent to another one, at most ``MAX_RESENDS`` times.

A member that does not answer is left alone for ``QUARANTINE_S``. An ordered workload has one request at a time
under way, and to one member, as long as that member answers: batches of two members would overtake each other.

What does not live here: learning of certificates (``certification``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node.client import Submitted, TransactionStatus
from primitives.errors import RemoteError
from testnet.workloads.ledger import Outstanding

TICK_S: Final = 0.03
"""How long transactions gather after others left: adds 15 ms to a latency, and saves most of the requests."""
MAX_BATCH: Final = 1_024
"""Half of what a request may hold: about 60 ms of a node's signature checks."""
MAX_REQUEST_BYTES: Final = 512 << 10
"""Half of a request's largest body."""
MAX_REQUESTS: Final = 4
"""Requests under way to one shard, where the order does not matter."""
RETRY_PAUSE_S: Final = 0.1
QUARANTINE_S: Final = 2.0
GIVE_UP_S: Final = 15.0
"""A transaction that no node took by then is refused, or unknown where one may have it all the same."""
RESEND_AFTER_S: Final = 5.0
"""Later than any certificate of a shard that works; doubled with every send."""
MAX_RESENDS: Final = 3

RETRYABLE: Final = frozenset(
    {"BUSY", "SENDER_BUSY", "NOT_READY", "SHUTTING_DOWN", "UNREACHABLE", "BAD_RESPONSE", "NO_ACCOUNT", "INTERNAL"}
)
"""Answers that say nothing about the transaction itself; a member that lags may not know an account yet."""
LOST: Final = frozenset({"UNREACHABLE", "BAD_RESPONSE", "INTERNAL"})
"""Failures of a request after which a node may have taken what was in it."""
EXECUTED: Final = frozenset({"DUPLICATE", "NONCE_USED", "NONCE_TOO_OLD"})
"""After an earlier send these mean that it was executed, or that we outran ourselves: the chain tells."""


class SubmittingClient(Protocol):
    """What is needed of ``node.client.NodeClient``."""

    async def submit_transactions(self, transactions: Sequence[bytes]) -> list[Submitted]: ...

    async def transaction(self, transaction: str | bytes, *, wait_ms: int = 0) -> TransactionStatus: ...


@dataclass(slots=True)
class Door:
    """One member's way in. ``closed_until_s``: it did not answer lately."""

    name: str
    client: SubmittingClient
    closed_until_s: float = 0.0


class Submitter:
    """All submissions of one load to one shard. ``now`` is the clock of the entries' ledgers, in seconds."""

    def __init__(
        self, doors: Sequence[Door], now: Callable[[], float], *, is_ordered: bool, gathering_s: float = TICK_S
    ) -> None:
        """``gathering_s`` is how long transactions wait for others to leave with."""
        assert doors, "a shard has members"
        self._gathering_s = gathering_s
        self._wake = trio.Event()
        self._doors = tuple(doors)
        self._now = now
        self._is_ordered = is_ordered
        self._slots = trio.CapacityLimiter(1 if is_ordered else MAX_REQUESTS)
        self._queue: deque[Outstanding] = deque()
        self._accepted: dict[str, Outstanding] = {}
        self._turn = 0
        self.resent = 0
        self.requests = 0
        self.backlog_s = 0.0
        """How far behind its intended time the last transaction left; ``backlog_max_s`` is the worst so far."""
        self.backlog_max_s = 0.0

    @property
    def queued(self) -> int:
        """Entries that wait to be sent."""
        return len(self._queue)

    def put(self, entry: Outstanding) -> None:
        """Have it sent with the next tick."""
        self._queue.append(entry)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._resend_stale, nursery)
            while True:
                while self._queue:
                    await self._start_sending(nursery, self._take_batch(), None)
                await trio.sleep(self._gathering_s)
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()

    def _take_batch(self) -> list[Outstanding]:
        """What leaves as one request: bounded by what a node takes, in number and in bytes."""
        batch: list[Outstanding] = []
        room = MAX_REQUEST_BYTES
        while self._queue and len(batch) < MAX_BATCH:
            room -= len(self._queue[0].signed.data)
            if batch and room < 0:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _start_sending(self, nursery: trio.Nursery, batch: list[Outstanding], avoid: str | None) -> None:
        """Send the batch in the background, once a slot is free."""
        token = object()
        await self._slots.acquire_on_behalf_of(token)
        nursery.start_soon(self._send, batch, token, avoid)

    # --- one request -----------------------------------------------------------------------------------------

    async def _send(self, batch: list[Outstanding], token: object, avoid: str | None) -> None:
        try:
            live = [entry for entry in batch if entry.is_open]
            if live:
                await self._offer(live, avoid)
        finally:
            self._slots.release_on_behalf_of(token)

    async def _offer(self, batch: list[Outstanding], avoid: str | None) -> None:
        door = self._choose_door(avoid)
        if door is None:
            await self._retry(batch, "UNREACHABLE")
            return
        now_s = self._now()
        self.requests += 1
        for entry in batch:
            if not entry.sends:
                self.backlog_s = max(0.0, now_s - entry.intended_s)
                self.backlog_max_s = max(self.backlog_max_s, self.backlog_s)
            entry.sends += 1
            entry.sent_s = now_s
            entry.sent_to = door.name
        try:
            answers = await door.client.submit_transactions([entry.signed.data for entry in batch])
        except RemoteError as error:
            if error.code in LOST:
                door.closed_until_s = self._now() + QUARANTINE_S
                for entry in batch:
                    entry.in_doubt = True
                    self._accepted[entry.signed.id] = entry
            elif error.code in RETRYABLE:
                door.closed_until_s = self._now() + RETRY_PAUSE_S
            await self._retry(batch, error.code)
            return
        await self._settle(batch, answers)

    async def _settle(self, batch: Sequence[Outstanding], answers: Sequence[Submitted]) -> None:
        again: dict[str, list[Outstanding]] = {}
        for entry, answer in zip(batch, answers, strict=True):
            if answer.accepted:
                entry.in_doubt = True
                if entry.is_open:
                    self._accepted[entry.signed.id] = entry
            elif answer.code in RETRYABLE:
                again.setdefault(answer.code, []).append(entry)
            elif not (answer.code in EXECUTED and (entry.in_doubt or answer.code == "DUPLICATE")):
                # Not even an accepted copy elsewhere can pass what this member refuses for good, except where
                # that copy is the reason; then the stream, or the look-up at the end, tells.
                entry.fail(answer.code)
        for code, entries in again.items():
            await self._retry(entries, code)

    async def _retry(self, batch: list[Outstanding], code: str) -> None:
        """Put it back at the front after a pause; too old: refused, or left to the look-up where in doubt."""
        now_s = self._now()
        keep = []
        for entry in batch:
            if now_s - entry.intended_s < GIVE_UP_S or entry.sends <= 1:
                keep.append(entry)
            elif not entry.in_doubt:
                entry.fail(code)
        await trio.sleep(RETRY_PAUSE_S)
        self._queue.extendleft(reversed(keep))
        self._wake.set()

    def _choose_door(self, avoid: str | None) -> Door | None:
        """The next one that answered lately; an ordered workload stays with one while it does."""
        now_s = self._now()
        for step in range(len(self._doors)):
            door = self._doors[(self._turn + step) % len(self._doors)]
            if now_s >= door.closed_until_s and door.name != avoid:
                self._turn = (self._turn + step + (0 if self._is_ordered else 1)) % len(self._doors)
                return door
        return None

    # --- what was lost ---------------------------------------------------------------------------------------

    async def _resend_stale(self, nursery: trio.Nursery) -> None:
        """Send again, to another member, what one accepted and no block holds for long."""
        while True:
            await trio.sleep(1)
            now_s = self._now()
            self._accepted = {identity: entry for identity, entry in self._accepted.items() if entry.is_open}
            waiting = {entry.signed.id for entry in self._queue}
            stale: dict[str, list[Outstanding]] = {}
            for identity, entry in self._accepted.items():
                is_due = now_s - entry.sent_s > RESEND_AFTER_S * 2 ** (entry.sends - 1)
                if is_due and entry.sends <= MAX_RESENDS and identity not in waiting:
                    stale.setdefault(entry.sent_to, []).append(entry)
            for member, entries in stale.items():
                self.resent += len(entries[:MAX_BATCH])
                await self._start_sending(nursery, entries[:MAX_BATCH], member)
