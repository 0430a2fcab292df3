"""What a replica gives an application to execute, and what it gets back.

Shared by every application (a shard's venue, the beacon), which the replica drives through the
``Application`` protocol that ``node.application`` declares. What is made for every transaction is a
``msgspec.Struct``: a frozen dataclass costs ten times as much. No behaviour lives here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from crosslink.header import START_CURSOR, BeaconRef, InboxCursor
from primitives.hashing import ZERO_DIGEST

TopicMessage: TypeAlias = tuple[str, Mapping[str, Any]]
"""What subscribers of a topic are told: the topic's name, and a JSON-ready mapping."""


class Readiness(IntEnum):
    """What the application itself (apart from the mempool) wants: see ``Application.readiness``."""

    IDLE = 0
    PENDING = 1
    OVERDUE = 2


class BlockBatch(msgspec.Struct, frozen=True, gc=False):
    """One batch as ordered: its digest, the height after which it is skipped, and its decoded transactions
    (objects that the same application's ``decode`` returned)."""

    digest: bytes
    expiry_height: int
    transactions: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class BlockInput:
    """One decided payload, resolved. ``timestamp_ms`` is already max(parent + 1, payload's), ``beacon_ref`` is
    already the effective one. ``parent_hash`` is the parent header's: the beacon checks by it which of its own
    blocks a shard header refers to."""

    height: int
    timestamp_ms: int
    beacon_ref: BeaconRef
    parent_timestamp_ms: int
    parent_cursor: InboxCursor
    parent_beacon_ref: BeaconRef
    batches: tuple[BlockBatch, ...]
    parent_hash: bytes = ZERO_DIGEST


class TransactionReceipt(msgspec.Struct, frozen=True, gc=False):
    """``encoded`` is the receipt's canonical bytes, the leaf of the receipts tree; ``transaction`` its id."""

    transaction: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class BlockResult:
    """The roots that go into the header, and what the store keeps.

    ``changes`` are state records (``None`` deletes). ``receipts`` are by payload position. ``outbox`` are the
    leaves in order. ``summary`` is the canonical summary that ``summary_root`` commits to. Not hashed are
    ``transfers``, JSON-ready notices about the cross-shard transfers that the block moved, of which the store keeps
    the last of each; and ``events`` for subscribers, bounded like the receipts that they come from, which may be
    described only when somebody iterates.
    """

    state_root: bytes
    receipts_root: bytes
    outbox_root: bytes
    summary_root: bytes
    changes: Mapping[bytes, bytes | None]
    receipts: tuple[TransactionReceipt, ...] = ()
    outbox: tuple[bytes, ...] = ()
    summary: bytes = b""
    inbox_cursor: InboxCursor = START_CURSOR
    next_committee_root: bytes = ZERO_DIGEST
    transfers: tuple[Mapping[str, Any], ...] = ()
    events: Iterable[TopicMessage] = ()
