"""Fake members of fake shards, for the generator: they accept, certify on a beat, die, forget and refuse.

All members of a shard share one chain; each has its own mempool and can be made to misbehave. Time is trio's, so
tests run on a virtual clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import trio

from node.client import Submitted, TransactionStatus
from primitives.errors import RemoteError
from shards.transactions import compute_id
from testnet.directory import Network

BLOCK_S = 0.1


@dataclass(slots=True)
class FakeChain:
    """One shard: its blocks are lists of (id, code). ``stalled`` stops certification."""

    shard: int
    blocks: list[list[tuple[str, str]]] = field(default_factory=list)
    executed: dict[str, str] = field(default_factory=dict)
    members: list[FakeMember] = field(default_factory=list)
    judge: Callable[[bytes], str] = lambda _: "OK"
    stalled: bool = False
    actions: int = 0

    def certify(self) -> None:
        """One block with everything that living members accepted."""
        rows: dict[str, str] = {}
        for member in self.members:
            if member.alive:
                for identity, data in member.mempool.items():
                    if identity not in self.executed:
                        rows[identity] = self.judge(data)
                member.mempool.clear()
        self.executed |= rows
        self.blocks.append(list(rows.items()))
        for member in self.members:
            member.tell_block()


@dataclass(slots=True, eq=False)
class FakeMember:
    """``refuse`` maps bytes to a code that refuses them; ``forgetful``: accepts, and loses what it accepted."""

    chain: FakeChain
    name: str
    alive: bool = True
    forgetful: bool = False
    refuse: Callable[[bytes], str | None] = lambda _: None
    mempool: dict[str, bytes] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    streams: list[trio.MemorySendChannel[dict[str, Any]]] = field(default_factory=list)

    def tell_block(self) -> None:
        if not self.alive:
            return
        height = len(self.chain.blocks)
        message = {"type": "receipts", "topic": "receipts", "height": height, "receipts": self.chain.blocks[-1]}
        for stream in self.streams:
            stream.send_nowait(message)

    def die(self) -> None:
        """Lose the mempool and every connection."""
        self.alive = False
        self.mempool.clear()
        for stream in self.streams:
            stream.close()
        self.streams.clear()

    def submit(self, data: bytes) -> Submitted:
        identity = compute_id(data).hex()
        code = self.refuse(data)
        if identity in self.chain.executed:
            code = "DUPLICATE"
        if code is None:
            self.received.append(identity)
            if not self.forgetful:
                self.mempool[identity] = data
        return Submitted(identity, code or "ACCEPTED", "")


class FakeStream:
    """What ``NodeClient.stream`` gives."""

    def __init__(self, member: FakeMember) -> None:
        self._member = member
        self._send, self._receive = trio.open_memory_channel[dict[str, Any]](10_000)

    async def __aenter__(self) -> Self:
        await self._member_check()
        height = len(self._member.chain.blocks)
        self._send.send_nowait({"type": "subscribed", "topic": "receipts", "height": height})
        self._member.streams.append(self._send)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._send in self._member.streams:
            self._member.streams.remove(self._send)

    async def __anext__(self) -> dict[str, Any]:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def _member_check(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._member.alive:
            raise RemoteError("UNREACHABLE", "dead")


class FakeClient:
    """The part of ``NodeClient`` that loads use."""

    def __init__(self, member: FakeMember | None) -> None:
        self._member = member

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def _reach(self) -> FakeMember:
        await trio.lowlevel.checkpoint()
        if self._member is None or not self._member.alive:
            raise RemoteError("UNREACHABLE", "dead")
        return self._member

    async def submit_transactions(self, transactions: Sequence[bytes]) -> list[Submitted]:
        member = await self._reach()
        return [member.submit(data) for data in transactions]

    async def transaction(self, transaction: str, *, wait_ms: int = 0) -> TransactionStatus:
        member = await self._reach()
        code = member.chain.executed.get(transaction)
        if code is not None:
            return TransactionStatus(transaction, "certified", 1, 0, {"code": code})
        return TransactionStatus(transaction, "accepted" if transaction in member.mempool else "unknown")

    def stream(self, topics: Sequence[str]) -> FakeStream:
        assert self._member is not None and topics[0] == "receipts"
        return FakeStream(self._member)

    async def block_transactions(self, height: int) -> AsyncIterator[dict[str, Any]]:
        member = await self._reach()
        for identity, code in member.chain.blocks[height - 1]:
            yield {"id": identity, "receipt": {"code": code}}

    async def account(self, address: bytes) -> dict[str, Any]:
        await self._reach()
        subaccounts = [{"index": index, "cash": 10**15, "positions": []} for index in range(2)]
        return {"nonce": 7, "subaccounts": subaccounts}

    async def status(self) -> dict[str, Any]:
        await self._reach()
        counters = dict.fromkeys(("slots_decided", "transport_writes", "view_changes", "sync_p50_us"), 5)
        uptime_ms = int(trio.current_time() * 1_000)
        return {**counters, "certified_height": 100, "beacon_height": 100, "uptime_ms": uptime_ms}


class FakeNetwork:
    """The chains and members behind a ``Network``'s addresses."""

    def __init__(self, network: Network) -> None:
        self.chains = {shard: FakeChain(shard) for shard in network.shards}
        self.members: dict[str, FakeMember] = {}
        self._urls: dict[str | None, FakeMember] = {}
        for shard, chain in self.chains.items():
            for entry in network.members_of(shard):
                member = FakeMember(chain, entry.name)
                chain.members.append(member)
                self.members[entry.name] = self._urls[entry.rpc] = member

    def connect(self, url: str) -> FakeClient:
        """A client of the member at ``url``; the beacon's have nobody behind them."""
        return FakeClient(self._urls.get(url))

    async def wait_and_certify(self) -> None:
        """Certify a block on every shard on a beat, until cancelled."""
        while True:
            await trio.sleep(BLOCK_S)
            for chain in self.chains.values():
                if not chain.stalled:
                    chain.certify()


def read_nonce(data: bytes) -> int:
    """The nonce of an encoded transaction."""
    nonce: int = msgspec.msgpack.decode(data)[6]
    return nonce
