"""``NodeService`` over a running validator: what the API answers, from the chain, the application and the edges.

Everything but ``submit`` is a synchronous read on the loop's thread. What does not live here: HTTP
(``node.rpc``), the form of accounts and markets (``node.venue_views``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import psutil
import trio

from consensus.engine import NULL_PAYLOAD
from crosslink.header import ShardHeader, compute_header_hash
from node.application_forms import choose_forms
from node.chain import Chain
from node.clock import monotonic_ms, wall_ms
from node.events import BlockCertified, SubmissionReply, SubmissionResult, TransactionsSubmitted
from node.evidence_views import list_kept, list_recorded, view_kept
from node.genesis import render_genesis
from node.home import VALIDATOR, OpenHome
from node.mempool import TransactionStatus
from node.payload import decode_payload
from node.pump import Pump
from node.rpc.human_units import page_orders
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
from node.snapshot import describe_joining
from node.transport import Transport
from node.validator import Validator
from primitives.errors import RemoteError
from primitives.identifiers import format_committee, format_member, parse_address
from primitives.merkle import EMPTY_ROOT
from shards.markets import Market
from shards.queries import list_markets, view_account, view_book, view_market
from shards.venue import Venue

MAX_ALARMS: Final = 16
MEMORY_FRESH_MS: Final = 30_000
SYNC_GAP_BLOCKS: Final = 32
"""Further behind than this a node catches up and is not ready: two windows of slots."""
_STATES: Final = {
    TransactionStatus.ACCEPTED: TransactionState.ACCEPTED,
    TransactionStatus.CERTIFIED: TransactionState.CERTIFIED,
    TransactionStatus.EXPIRED: TransactionState.EXPIRED,
    TransactionStatus.UNKNOWN: TransactionState.UNKNOWN,
}


class ReplicaService:
    """Satisfies ``node.rpc.service.NodeService``; the runtime tells it what leaves the pump."""

    def __init__(self, opened: OpenHome, validator: Validator, pump: Pump, transport: Transport) -> None:
        self._opened = opened
        self._validator = validator
        self._forms = choose_forms(validator)
        self._pump = pump
        self._transport = transport
        self._chain = Chain(opened.store)
        self._genesis: Json = _describe_genesis(opened)
        self._process = psutil.Process()
        self._uss_bytes = self._uss_due_ms = 0
        self._started_ms = monotonic_ms()
        self._alarms: deque[str] = deque(maxlen=MAX_ALARMS)
        self._next_ticket = 0
        self._waiting: dict[int, tuple[trio.Event, list[SubmissionReply]]] = {}
        self._transactions = self._actions = self._certified_blocks = 0

    # --- what the runtime tells --------------------------------------------------------------------------

    def on_reply(self, reply: SubmissionReply) -> None:
        """The replica's answer to one submission."""
        waiting = self._waiting.pop(reply.ticket, None)
        if waiting is not None:
            event, box = waiting
            box.append(reply)
            event.set()

    def note_certified(self, block: BlockCertified) -> None:
        """Count what became certified."""
        self._certified_blocks += 1
        if self._validator.beacon is not None:
            return
        count = self._forms.count_actions
        self._transactions += len(block.receipts)
        self._actions += sum([count(encoded) for _, encoded in block.receipts])

    def note_alarm(self, sentence: str) -> None:
        """Kept for ``/v1/status``."""
        self._alarms.append(sentence)

    # --- transactions --------------------------------------------------------------------------------------

    async def submit(self, transactions: Sequence[bytes]) -> Sequence[SubmissionResult]:
        """See ``NodeService``; raises ``RemoteError`` (``BUSY``) where too many requests wait."""
        self._next_ticket += 1
        ticket = self._next_ticket
        event, box = trio.Event(), list[SubmissionReply]()
        self._waiting[ticket] = (event, box)
        try:
            if not self._pump.post_submission(TransactionsSubmitted(ticket, tuple(transactions))):
                raise RemoteError("BUSY", "too many submissions wait already; try again shortly")
            await event.wait()
        finally:
            self._waiting.pop(ticket, None)
        return box[0].results

    def transaction(self, transaction: bytes) -> TransactionView:
        """The state of a transaction, with its receipt once certified."""
        state = _STATES[self._validator.replica.transaction_state(transaction)]
        if state is not TransactionState.CERTIFIED:
            return TransactionView(state)
        found = self._chain.find_transaction(transaction)
        assert found is not None, "a certified transaction is in the index"
        height, position = found
        _, encoded = self._chain.get_receipts(height)[position]
        return TransactionView(state, height, position, self._forms.describe_receipt(encoded))

    def receipt_code(self, encoded: bytes) -> str:
        """The code in a receipt of ours."""
        return self._forms.read_code(encoded)

    # --- the node ------------------------------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """Everything at a glance; the memory figure is up to ``MEMORY_FRESH_MS`` old."""
        replica = self._validator.replica.statistics()
        votes = self._opened.vote_log.statistics()
        transport = self._transport.statistics()
        certified_ms = replica.certified_wall_ms
        shard = self._validator.committee.shard
        is_beacon = self._validator.beacon is not None
        return NodeStatus(
            name=self._validator.member.name,
            role=VALIDATOR,
            chain=self._opened.chain.hex(),
            committee=format_committee(shard),
            shard=shard,
            height=replica.height,
            certified_height=replica.certified_height,
            certified_ago_ms=None if certified_ms is None else max(0, wall_ms() - certified_ms),
            beacon_height=replica.certified_height if is_beacon else replica.beacon_height,
            view=replica.view,
            primary=format_member(shard, replica.primary),
            engine=self._validator.engine.name,
            leader_schedule=self._validator.engine_parameters.leader_schedule,
            pacemaker=self._validator.engine_parameters.pacemaker,
            in_sync=self.not_ready_because() is None,
            peers=len(self._transport.connected()),
            mempool_transactions=replica.mempool.transactions,
            mempool_bytes=replica.mempool.bytes,
            slots_decided=replica.executed_blocks,
            transactions_certified=self._transactions,
            actions_certified=self._actions,
            view_changes=replica.view_changes,
            syncs=votes.syncs,
            sync_p50_us=votes.sync_p50_us,
            sync_p99_us=votes.sync_p99_us,
            transport_writes=transport.writes,
            transport_bytes=transport.bytes_out,
            cpu_us=_compute_cpu_us(),
            uss_bytes=self._read_uss_bytes(),
            uptime_ms=monotonic_ms() - self._started_ms,
            alarms=tuple(self._alarms),
            transport_frames=transport.frames_out,
            evidence=replica.evidence,
            evidence_recorded=replica.evidence_recorded,
            standing=self._validator.replica.standing[0],
            headers_from=replica.snapshot.first_height,
            transactions_from=replica.snapshot.floor_height,
            snapshot_height=replica.snapshot.offered,
            joining=describe_joining(replica.snapshot),
        )

    def _read_uss_bytes(self) -> int:
        """Unique memory; not anew for every question, because the kernel walks over all our pages for it."""
        now_ms = monotonic_ms()
        if now_ms >= self._uss_due_ms:
            self._uss_due_ms = now_ms + MEMORY_FRESH_MS
            self._uss_bytes = self._process.memory_full_info().uss
        return self._uss_bytes

    def genesis(self) -> Json:
        """The genesis document as its file has it."""
        return self._genesis

    def peers(self) -> Sequence[PeerView]:
        """Every member that this one keeps a link with."""
        connected = set(self._transport.connected())
        queued = self._transport.statistics().queued_bytes
        return [
            PeerView(
                name=member.name,
                committee=format_committee(member.shard),
                connected=member in connected,
                address=self._transport.address_of(member),
                round_trip_us=None,
                queued_bytes=sum(size for link, size in queued.items() if link.startswith(f"{member.name}/")),
            )
            for member in self._validator.peers
        ]

    def not_ready_because(self) -> str | None:
        """One sentence, or ``None`` where clients can rely on this node."""
        replica = self._validator.replica.statistics()
        committee = self._validator.committee
        own = sum(1 for member in self._transport.connected() if member.shard == committee.shard)
        if replica.is_halted:
            return "the replica has halted; see the log"
        if own + 1 < committee.quorum:
            return f"{own + 1} of {committee.size} members are connected; a quorum is {committee.quorum}"
        unheard = self._validator.replica.standing[1]
        if unheard is not None:
            return unheard
        joining = describe_joining(replica.snapshot)
        if joining is not None:
            return joining
        if replica.catch_up.is_active and replica.catch_up.target > replica.height + SYNC_GAP_BLOCKS:
            return f"catching up: at height {replica.height} of {replica.catch_up.target}"
        return None

    # --- blocks --------------------------------------------------------------------------------------------

    def certified_height(self) -> int:
        """0 before the first certified block."""
        return self._validator.replica.statistics().certified_height

    def first_height(self) -> int:
        """1, unless this member joined by snapshot."""
        return self._chain.first_height()

    def block(self, height: int) -> BlockView | None:
        """A certified block."""
        header = self._certified_header(height)
        certificate = None if header is None else self._chain.find_covering_certificate(height)
        if header is None or certificate is None:
            return None
        receipts = self._chain.get_receipts(height)
        is_pruned = not receipts and header.receipts_root != EMPTY_ROOT
        return BlockView(header, compute_header_hash(header), certificate, None if is_pruned else len(receipts))

    def block_transactions(self, height: int, start: int, limit: int) -> Sequence[BlockTransaction]:
        """By payload position, with the receipts that execution gave."""
        if self._certified_header(height) is None:
            raise RemoteError("NOT_FOUND", f"there is no certified block {height} here")
        payload = self._chain.get_payload(height)
        if payload is None:
            raise self._explain_pruned(f"the transactions of block {height}")
        digests = [] if payload == NULL_PAYLOAD else [ref.digest for ref in decode_payload(payload).batches]
        transactions = self._chain.find_transactions_of(height, digests)[: start + limit]
        # A transaction that two members batched is in the block twice, with a receipt each, in the same order.
        receipts: dict[bytes, deque[bytes]] = {}
        for identity, encoded in self._chain.get_receipts(height):
            receipts.setdefault(identity, deque()).append(encoded)
        found: list[BlockTransaction] = []
        for position, data in enumerate(transactions):
            identity = self._forms.identify(data)
            waiting = receipts.get(identity)
            own = waiting.popleft() if waiting else None
            if position >= start:
                receipt = None if own is None else self._forms.describe_receipt(own)
                found.append(BlockTransaction(identity, data, receipt))
        return found

    def summary(self, height: int) -> tuple[bytes, Json] | None:
        """A block's canonical summary and its decoded form; never pruned."""
        data = None if self._certified_header(height) is None else self._chain.get_summary(height)
        if data is None and height == self._chain.first_height() > 1:
            raise self._explain_pruned(f"the summary of block {height}")
        return None if data is None else (data, self._forms.describe_summary(data))

    def tips(self, height: int) -> Json | None:
        """The registered tips at a beacon height."""
        if self._validator.beacon is None:
            raise RemoteError("NOT_SERVED", "this member follows a shard; ask a beacon member")
        found = self.summary(height)
        return None if found is None else {"height": height, **found[1]}

    # --- evidence ------------------------------------------------------------------------------------------

    def evidence(self, page: Page) -> Json:
        """What is kept here."""
        return list_kept(self._validator.replica.list_evidence(), self._validator.committee, page)

    def evidence_item(self, number: int) -> Json | None:
        """One item."""
        return view_kept(self._validator.replica.list_evidence(), self._validator.committee, number)

    def recorded_evidence(self, height: int, page: Page) -> Json | None:
        """What the beacon recorded, as far as this member has executed it."""
        beacon = self._validator.beacon
        if beacon is None:
            raise RemoteError("NOT_SERVED", "this member follows a shard; ask a beacon member")
        if height > self.certified_height():
            return None
        return list_recorded(beacon.offences.list_records(), height, page)

    def _certified_header(self, height: int) -> ShardHeader | None:
        """Raises ``RemoteError`` (``PRUNED``) where this member joined above that height."""
        if not 1 <= height <= self.certified_height():
            return None
        header = self._chain.get_header(height)
        if header is None and height < self._chain.first_height():
            raise self._explain_pruned(f"block {height}")
        return header

    def _explain_pruned(self, what: str) -> RemoteError:
        headers, blocks = self._chain.first_height(), self._chain.floor_height()
        return RemoteError(
            "PRUNED",
            f"{what}: this member has headers from {headers} on, transactions from {blocks} on; ask another",
        )

    # --- the venue -----------------------------------------------------------------------------------------

    def account(self, address: bytes) -> Json | None:
        """Balances, positions, open orders."""
        return view_account(self._venue(), address)

    def orders(self, address: bytes, page: Page) -> Json | None:
        """Open orders."""
        account = view_account(self._venue(), address)
        return None if account is None else page_orders(account, page)

    def markets(self) -> Json:
        """All markets of this shard."""
        return {"markets": list_markets(self._venue())}

    def market(self, market: str) -> Json | None:
        """By number or symbol."""
        found = self._find_market(market)
        return None if found is None else view_market(found)

    def book(self, market: str, depth: int) -> Json | None:
        """Levels, best first."""
        found = self._find_market(market)
        return None if found is None else {**view_book(found, depth), "height": self._venue().height}

    def _find_market(self, text: str) -> Market | None:
        for market in self._venue().markets.values():
            if text in (str(market.id), market.parameters.symbol):
                return market
        return None

    def transfer(self, transfer: bytes) -> Json | None:
        """What this shard knows of a transfer."""
        self._venue()
        found = self._chain.find_transfer(transfer)
        return None if found is None else {**found, "is_certified": found["height"] <= self.certified_height()}

    def transfers(self, address: bytes, page: Page) -> Json:
        """An account's transfers, newest step first, each once."""
        self._venue()
        try:
            before = None if page.after is None else bytes.fromhex(page.after)
        except ValueError:
            raise RemoteError("BAD_REQUEST", "after: use the value of next in the previous page") from None
        found: dict[bytes, Json] = {}
        last = b""
        for place, xid in self._chain.scan_transfers_of(address, before):
            if len(found) == page.limit:
                return {"transfers": list(found.values()), "next": last.hex()}
            last = place
            notice = None if xid in found else self._chain.find_transfer(xid)
            if notice is not None and parse_address(notice["account"]) == address:
                found[xid] = notice
        return {"transfers": list(found.values()), "next": None}

    def _venue(self) -> Venue:
        if self._validator.shard is None:
            raise RemoteError("NOT_SERVED", self._forms.no_accounts or "there are no accounts and markets here")
        return self._validator.shard.venue


def _describe_genesis(opened: OpenHome) -> Json:
    import json

    described: dict[str, Any] = json.loads(render_genesis(opened.genesis))
    return {"chain": opened.chain.hex(), **described}


def _compute_cpu_us() -> int:
    times = os.times()
    return int((times.user + times.system) * 1_000_000)
