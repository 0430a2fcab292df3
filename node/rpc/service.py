"""``NodeService``: everything that the RPC layer needs of a node, and the values that it exchanges.

The runtime implements it over a replica, its chain and its application; tests implement it in memory. The RPC
layer only parses, bounds, formats and streams. What application queries return (accounts, markets, transfers)
is a JSON-ready mapping made by the application itself, so a new kind of account or market needs no change
here; ``docs/api.md`` shows the shapes.

Queries are synchronous reads of memory or of the store. They raise ``RemoteError`` with a code of
``node.rpc.errors`` where a request cannot be answered, in particular ``NOT_SERVED`` where this member's chain has
no such thing (the beacon has no accounts, a shard has no tips, a no-op shard neither).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from consensus.certificate import Certificate
from crosslink.header import ShardHeader
from node.events import SubmissionResult

Json: TypeAlias = Mapping[str, Any]
"""A JSON-ready mapping: strings, integers, booleans, ``None``, lists and mappings of these."""


class TransactionState(Enum):
    """What a member can say about a transaction id. ``UNKNOWN`` is not *failed*: this member never saw it, or
    saw it and forgot; it may still be certified. ``EXPIRED`` is final: no later block can hold it."""

    ACCEPTED = "accepted"
    CERTIFIED = "certified"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TransactionView:
    """``height``, ``index`` and ``receipt`` are given when certified; ``receipt`` is the decoded receipt."""

    state: TransactionState
    height: int | None = None
    index: int | None = None
    receipt: Json | None = None


@dataclass(frozen=True, slots=True)
class BlockView:
    """One certified block without its bodies; ``transactions`` counts them, ``None`` where they are pruned."""

    header: ShardHeader
    header_hash: bytes
    certificate: Certificate
    transactions: int | None


@dataclass(frozen=True, slots=True)
class BlockTransaction:
    """One transaction of a block: its signed bytes, and its receipt where execution gave one (a transaction
    whose account does not exist is skipped without)."""

    id: bytes
    data: bytes
    receipt: Json | None


@dataclass(frozen=True, slots=True)
class PeerView:
    """One member that this one has, or wants, links to. Round trips are in microseconds."""

    name: str
    committee: str
    connected: bool
    address: str | None
    round_trip_us: int | None
    queued_bytes: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What ``/v1/status`` shows. Costs are since the process started; ``certified_ago_ms`` is the age of the
    last certificate by this node's clock, ``None`` before the first. Blocks are here with their header from
    ``headers_from`` on, with their transactions from ``transactions_from`` on; ``snapshot_height`` is the newest
    snapshot that others can have (0: none), ``joining`` what is being done to take one."""

    name: str
    role: str
    chain: str
    committee: str
    shard: int
    height: int
    certified_height: int
    certified_ago_ms: int | None
    beacon_height: int
    view: int
    primary: str
    engine: str
    leader_schedule: str
    pacemaker: str
    in_sync: bool
    peers: int
    mempool_transactions: int
    mempool_bytes: int
    slots_decided: int
    transactions_certified: int
    actions_certified: int
    view_changes: int
    syncs: int
    sync_p50_us: int
    sync_p99_us: int
    transport_writes: int
    transport_bytes: int
    cpu_us: int
    uss_bytes: int
    uptime_ms: int
    alarms: Sequence[str]
    transport_frames: int = 0
    evidence: int = 0
    evidence_recorded: int = 0
    standing: str = "voting"
    headers_from: int = 1
    transactions_from: int = 1
    snapshot_height: int = 0
    joining: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a listing: at most ``limit`` (≥ 1) entries that come after the opaque ``after``."""

    after: str | None
    limit: int


class NodeService(Protocol):
    """See the module. Heights given by the RPC layer are in 0 … 2⁶³ − 1, limits already bounded."""

    async def submit(self, transactions: Sequence[bytes]) -> Sequence[SubmissionResult]:
        """Offer signed transactions to the mempool; one result each, in order. ``transaction`` in a result is the
        transaction's id (its hash also where it was refused). Raises ``RemoteError`` (``NOT_READY``,
        ``SHUTTING_DOWN``) where the node takes none at all."""
        ...

    def transaction(self, transaction: bytes) -> TransactionView: ...

    def status(self) -> NodeStatus: ...

    def genesis(self) -> Json: ...

    def peers(self) -> Sequence[PeerView]: ...

    def not_ready_because(self) -> str | None:
        """``None`` while the node is in sync; otherwise one sentence that says what it waits for."""
        ...

    def certified_height(self) -> int:
        """0 before the first certified block."""
        ...

    def first_height(self) -> int:
        """The lowest block that is here at all: 1, unless this member joined by snapshot."""
        ...

    def block(self, height: int) -> BlockView | None:
        """``None`` where the height is not certified here; raises ``RemoteError`` (``PRUNED``) where this member
        has none of it any more."""
        ...

    def block_transactions(self, height: int, start: int, limit: int) -> Sequence[BlockTransaction]:
        """Transactions by payload position; raises ``RemoteError`` (``NOT_FOUND``, ``PRUNED``)."""
        ...

    def summary(self, height: int) -> tuple[bytes, Json] | None:
        """The canonical summary of a shard's block and its decoded form."""
        ...

    def tips(self, height: int) -> Json | None:
        """The registered tips at a beacon height, with the summaries' hashes; never pruned."""
        ...

    def evidence(self, page: Page) -> Json:
        """What this member keeps against members of its committee, oldest first."""
        ...

    def evidence_item(self, number: int) -> Json | None:
        """One item with its signed messages."""
        ...

    def recorded_evidence(self, height: int, page: Page) -> Json | None:
        """What the beacon recorded up to one of its heights; ``None`` above the certified one."""
        ...

    def account(self, address: bytes) -> Json | None: ...

    def orders(self, address: bytes, page: Page) -> Json | None: ...

    def markets(self) -> Json: ...

    def market(self, market: str) -> Json | None: ...

    def book(self, market: str, depth: int) -> Json | None:
        """Aggregated levels, best first, with the ``height`` of the state that they show."""
        ...

    def transfer(self, transfer: bytes) -> Json | None: ...

    def transfers(self, address: bytes, page: Page) -> Json: ...

    def receipt_code(self, encoded: bytes) -> str:
        """The code in a receipt that this node's own execution encoded, without decoding the rest."""
        ...
