"""A node in memory for the interface's tests: a short certified chain, one account, one market, one transfer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from prometheus_client import CollectorRegistry

from consensus.certificate import Certificate, attest
from consensus.committee import Committee
from crosslink.header import NO_BEACON_REF, START_CURSOR, ShardHeader, compute_header_hash
from node.events import BlockCertified, SubmissionResult
from node.rpc.app import RpcApplication
from node.rpc.human_units import page_orders
from node.rpc.receipts import describe_receipt, read_receipt_code
from node.rpc.server import RpcListener, RpcServer
from node.rpc.service import (
    BlockTransaction,
    BlockView,
    Json,
    NodeStatus,
    Page,
    PeerView,
    TransactionState,
    TransactionView,
)
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST, hash_bytes
from primitives.identifiers import format_address
from primitives.signing import Ed25519Signer
from shards.codes import ResultCode
from shards.receipts import encode_receipt

SIGNERS = [Ed25519Signer(bytes([index]) * 32) for index in range(4)]
COMMITTEE = Committee(b"\x07" * 32, 0, 0, 0, tuple(signer.public_key for signer in SIGNERS))
ADDRESS = b"\xaa" * 20
XID = b"\x0b" * 32
MARKET = {"id": 1, "symbol": "BTC-PERP", "tick_size": "0.1", "lot_size": "0.001"}


def make_block(height: int, transactions: int = 0) -> BlockView:
    """A certified block of ``COMMITTEE``."""
    header = ShardHeader(
        COMMITTEE.chain, 0, 0, 0, height, bytes(32), bytes(32), 1_700_000_000_000 + height, bytes(32), bytes(32),
        bytes(32), bytes(32), START_CURSOR, NO_BEACON_REF, ZERO_DIGEST,
    )  # fmt: skip
    digest = compute_header_hash(header)
    votes = [attest(COMMITTEE, signer, height, digest) for signer in SIGNERS[: COMMITTEE.quorum]]
    certificate = Certificate(
        0, 0, height, digest, tuple(vote.signer for vote in votes), tuple(vote.signature for vote in votes)
    )
    return BlockView(header, digest, certificate, transactions)


def make_receipt(transaction: bytes) -> bytes:
    """The receipt of a transaction that succeeded."""
    return encode_receipt(transaction, 0, ResultCode.OK, [ResultCode.OK], 100, [])


@dataclass
class FakeService:
    """Satisfies ``NodeService``. A transaction is good if it begins with ``ok``; ``certify`` makes a block of
    those that wait."""

    blocks: list[BlockView] = field(default_factory=list)
    contents: dict[int, list[bytes]] = field(default_factory=dict)
    waiting: list[bytes] = field(default_factory=list)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    open_orders: int = 5
    pruned: int = 0
    unready: str | None = None
    failure: Exception | None = None

    def certify(self, events: Sequence[tuple[str, Any]] = ()) -> BlockCertified:
        """The next block, with everything that waits; its notice."""
        height = len(self.blocks) + 1
        block = make_block(height, len(self.waiting))
        self.blocks.append(block)
        self.contents[height] = self.waiting
        receipts = []
        for index, data in enumerate(self.waiting):
            self.places[hash_bytes(data)] = (height, index)
            receipts.append((hash_bytes(data), make_receipt(hash_bytes(data))))
        self.waiting = []
        return BlockCertified(block.header, block.header_hash, block.certificate, tuple(receipts), tuple(events))

    async def submit(self, transactions: Sequence[bytes]) -> Sequence[SubmissionResult]:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        return [self._admit(data) for data in transactions]

    def _admit(self, data: bytes) -> SubmissionResult:
        if not data.startswith(b"ok"):
            return SubmissionResult(hash_bytes(data), "MALFORMED", "begin with ok")
        self.waiting.append(data)
        return SubmissionResult(hash_bytes(data), "ACCEPTED", "")

    def transaction(self, transaction: bytes) -> TransactionView:
        if transaction in self.places:
            height, index = self.places[transaction]
            receipt = describe_receipt(make_receipt(transaction))
            return TransactionView(TransactionState.CERTIFIED, height, index, receipt)
        if any(hash_bytes(data) == transaction for data in self.waiting):
            return TransactionView(TransactionState.ACCEPTED)
        return TransactionView(TransactionState.UNKNOWN)

    def status(self) -> NodeStatus:
        return NodeStatus(
            name="s0v0", role="validator", chain=COMMITTEE.chain.hex(), committee="shard0", shard=0,
            height=len(self.blocks), certified_height=len(self.blocks), certified_ago_ms=3, beacon_height=0, view=0,
            primary="s0v0", engine="pbft", leader_schedule="round-robin", pacemaker="exponential", in_sync=True,
            peers=3, mempool_transactions=len(self.waiting), mempool_bytes=0,
            slots_decided=0, transactions_certified=0, actions_certified=0, view_changes=0, syncs=0, sync_p50_us=0,
            sync_p99_us=0, transport_writes=0, transport_bytes=0, cpu_us=0, uss_bytes=0, uptime_ms=1, alarms=(),
        )  # fmt: skip

    def genesis(self) -> Json:
        return {"network": "test", "devnet": True}

    def peers(self) -> Sequence[PeerView]:
        return [PeerView("s0v1", "shard0", True, "127.0.0.1:1", 210, 0)]

    def not_ready_because(self) -> str | None:
        return self.unready

    def certified_height(self) -> int:
        return len(self.blocks)

    def first_height(self) -> int:
        return self.pruned + 1

    def block(self, height: int) -> BlockView | None:
        if height <= self.pruned:
            raise RemoteError("PRUNED", f"block {height}: this member has none below {self.pruned + 1}")
        return self.blocks[height - 1] if 1 <= height <= len(self.blocks) else None

    def block_transactions(self, height: int, start: int, limit: int) -> Sequence[BlockTransaction]:
        return [
            BlockTransaction(hash_bytes(data), data, describe_receipt(make_receipt(hash_bytes(data))))
            for data in self.contents[height][start : start + limit]
        ]

    def summary(self, height: int) -> tuple[bytes, Json] | None:
        return (encode([height]), {"assets": []}) if self.block(height) is not None else None

    def tips(self, height: int) -> Json | None:
        raise RemoteError("NOT_SERVED", "this member follows a shard; ask a beacon member")

    def evidence(self, page: Page) -> Json:
        return {"evidence": [], "next": None}

    def evidence_item(self, number: int) -> Json | None:
        return None

    def recorded_evidence(self, height: int, page: Page) -> Json | None:
        raise RemoteError("NOT_SERVED", "this member follows a shard; ask a beacon member")

    def account(self, address: bytes) -> Json | None:
        if address != ADDRESS:
            return None
        orders = [
            {"seq": seq, "client_id": 0, "side": seq % 2, "price_ticks": 600_001, "open_lots": 250}
            for seq in range(self.open_orders)
        ]
        position = {"market": 1, "size_lots": -1_500, "cost": 12_500_000, "orders": orders}
        part = {"index": 0, "cash": 7, "equity": -1, "positions": [position]}
        return {"address": format_address(address), "nonce": 3, "subaccounts": [part]}

    def orders(self, address: bytes, page: Page) -> Json | None:
        view = self.account(address)
        return None if view is None else page_orders(view, page)

    def markets(self) -> Json:
        return {"markets": [MARKET]}

    def market(self, market: str) -> Json | None:
        return MARKET if market in ("1", "BTC-PERP") else None

    def book(self, market: str, depth: int) -> Json | None:
        if self.market(market) is None:
            return None
        bids = sorted(self.bids.items(), reverse=True)[:depth]
        asks = sorted(self.asks.items())[:depth]
        return {"market": 1, "height": len(self.blocks), "bids": bids, "asks": asks}

    def transfer(self, transfer: bytes) -> Json | None:
        return (
            {"xid": transfer.hex(), "state": "open", "amount": 5, "is_certified": True} if transfer == XID else None
        )

    def transfers(self, address: bytes, page: Page) -> Json:
        return {"transfers": [], "next": None}

    def receipt_code(self, encoded: bytes) -> str:
        return read_receipt_code(encoded)


@dataclass
class ServedNode:
    """A fake node behind a real server on loopback."""

    service: FakeService
    application: RpcApplication
    server: RpcServer

    @property
    def url(self) -> str:
        return self.server.url

    def certify(self, events: Sequence[tuple[str, Any]] = ()) -> None:
        """Make a block and tell the subscribers."""
        self.application.hub.publish(self.service.certify(events))


@asynccontextmanager
async def serve_fake() -> AsyncIterator[ServedNode]:
    """A served node with three blocks, stopped gracefully in the end."""
    service = FakeService()
    for _ in range(3):
        service.certify()
    application = RpcApplication(service, CollectorRegistry())
    server = RpcServer(application, RpcListener("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield ServedNode(service, application, server)
        server.stop()
