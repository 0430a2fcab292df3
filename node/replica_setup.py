"""What a replica is made of: given once, by the runtime or by the simulator, to ``node.replica.open_replica``.

No behaviour lives here. Everything in ``ReplicaLimits`` is this member's own choice; what all members must agree
on is in ``primitives.parameters``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from consensus.committee import Committee
from consensus.engine import EngineFactory, EngineParameters
from consensus.evidence import EvidenceItem
from crosslink.bundle import BlockDeliveries
from crosslink.follower import BeaconFollower
from node.application import Application
from node.store import Store
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme, Signer


class DeliverySource(Protocol):
    """What ``crosslink.beacon.BeaconApplication`` keeps for bundles."""

    def recent_deliveries(self, height: int) -> BlockDeliveries | None: ...

    def lowest_followed(self) -> int:
        """Up to this height no follower needs the beacon's blocks any more."""
        ...

    def is_settled(self, item: EvidenceItem) -> bool: ...


@dataclass(frozen=True, slots=True)
class FollowsBeacon:
    """A shard's replica: it follows the beacon through ``follower`` (which its application reads too) and submits
    its headers to ``beacon``."""

    follower: BeaconFollower
    beacon: Committee


@dataclass(frozen=True, slots=True)
class ServesShards:
    """A beacon's replica: it pushes certified blocks to the members of ``shards`` and takes their submissions.
    ``deliveries`` is its application."""

    shards: tuple[Committee, ...]
    deliveries: DeliverySource


@dataclass(frozen=True, slots=True)
class StandsAlone:
    """A chain without a beacon."""


Role: TypeAlias = FollowsBeacon | ServesShards | StandsAlone


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Times in ms of the monotonic clock. Reasons are with the components that use them."""

    mempool_transactions: int = 20_000
    mempool_bytes: int = 16 << 20
    sender_transactions: int = 4_096
    unverified_transactions: int = 20_000
    unverified_bytes: int = 16 << 20
    flush_ms: int = 50
    """Between two batches of one member that are not full."""
    proposal_gap_ms: int = 100
    """Between two proposals that are not full; the beacon's is ``beacon_interval_ms``. A block costs every member
    some milliseconds whatever is in it."""
    fetch_delay_ms: int = 50
    """Lanes reorder: a missing body is probably on its way."""
    fetch_retry_ms: int = 250
    relay_after_ms: int = 500
    """First stage of the censorship timer: everybody gets the body."""
    overdue_after_ms: int = 1_500
    """Second stage: a complaint about the leader."""
    resend_after_ms: int = 1_000
    sync_blocks: int = 64
    sync_ms: int = 1_000
    """The chain store is synced this often; pins are kept until then."""
    recall_answers: int | None = None
    """Members that must answer at the start before this one votes; ``None`` is q − 1, the only safe number. With 0
    a process trusts a log that may not be its newest: for processes that are meant to lie."""
    range_timeout_ms: int = 1_000
    ranges_in_flight: int = 3
    keep_blocks: int | None = None
    """Payloads, bodies and receipts of so many certified blocks are kept; ``None``: all of them."""
    snapshot_blocks: int = 2_048
    """Between two snapshots that are offered to others; 0: none are made, and then nothing is pruned."""
    snapshot_gap_blocks: int = 4_096
    """Further behind than this, a member takes a snapshot; 0: only where nobody has the blocks any more."""
    snapshot_timeout_ms: int = 5_000
    """For the answer to one request."""


@dataclass(frozen=True, slots=True)
class ReplicaSetup:
    """Everything that ``open_replica`` needs.

    ``genesis_hash`` is the parent of block 1, ``genesis_time_ms`` its parent timestamp. ``vote_log`` is what
    ``VoteLog.load()`` returned. ``wall`` gives wall-clock ms, for timestamps and admission only.
    """

    committee: Committee
    signer: Signer
    scheme: SignatureScheme
    engine: EngineFactory
    engine_parameters: EngineParameters
    application: Application
    parameters: ProtocolParameters
    genesis_hash: bytes
    genesis_time_ms: int
    store: Store
    vote_log: Mapping[bytes, bytes]
    wall: Callable[[], int]
    role: Role
    limits: ReplicaLimits = field(default_factory=ReplicaLimits)
    bucket_count: int | None = None
    """Buckets of the application's state tree; ``None``: as the protocol parameters say."""
