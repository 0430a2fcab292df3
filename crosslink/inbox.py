"""The forced inbox: execution derives what a block consumes, so nobody can omit, reorder or choose.

A pure function of the followed beacon, the parent's cursor and the block's effective beacon reference. Every kind
has a fixed weight; a block consumes in queue order while the weights fit ``inbox_weight``. What does not live here:
the queue (``crosslink.follower``) and what a message does (``crosslink.transfers``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from crosslink.block import Readiness
from crosslink.follower import BeaconFollower, InboxItem
from crosslink.header import InboxCursor
from crosslink.messages import Message, TransferLock, TransferVerdict
from crosslink.transfers import compute_outbox_capacity
from primitives.parameters import ProtocolParameters

LOCK_WEIGHT: Final = 4
"""Judging a lock, its verdict, and the release later: about four times the work of settling."""
VERDICT_WEIGHT: Final = 1
WHOLE_BLOCK: Final = 2**31
"""The record index of a cursor that has consumed everything up to and including its beacon height."""
PENDING_SHARE: Final = 3
OVERDUE_SHARE: Final = 2
"""An idle shard's reference may trail by a third of K1 before it makes a heartbeat block, and its members complain
about a leader who does not make one at half of K1: well before peers call the shard stalled."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What one block consumes, in order, and the cursor after it."""

    items: tuple[InboxItem, ...]
    cursor: InboxCursor


def compute_weight(message: Message) -> int:
    """The fixed weight of a message's kind."""
    match message:
        case TransferLock():
            return LOCK_WEIGHT
        case TransferVerdict():
            return VERDICT_WEIGHT
        case _:
            assert_never(message)


def derive_inbox(
    follower: BeaconFollower, parent_cursor: InboxCursor, beacon_height: int, parameters: ProtocolParameters
) -> Intake:
    """What a block on top of ``parent_cursor`` with effective reference ``beacon_height`` consumes.

    At least one message where there is any, whatever the limits. Every lock puts a verdict into the outbox, so
    locks are also bounded by what one block may send.
    """
    budget = parameters.inbox_weight
    locks_left = compute_outbox_capacity(parameters)
    taken: list[InboxItem] = []
    for item in follower.find_items(parent_cursor, beacon_height):
        is_lock = isinstance(item.message, TransferLock)
        weight = compute_weight(item.message)
        if taken and (weight > budget or (is_lock and not locks_left)):
            return Intake(tuple(taken), taken[-1].cursor)
        taken.append(item)
        budget -= weight
        locks_left -= is_lock
    if beacon_height > parent_cursor.beacon_height:
        return Intake(tuple(taken), InboxCursor(beacon_height, WHOLE_BLOCK, 0))
    if taken:
        return Intake(tuple(taken), InboxCursor(parent_cursor.beacon_height, WHOLE_BLOCK, 0))
    return Intake((), parent_cursor)


def assess_readiness(
    follower: BeaconFollower,
    cursor: InboxCursor,
    beacon_ref_height: int,
    release_is_due: bool,
    parameters: ProtocolParameters,
) -> Readiness:
    """Whether the crosslinks want a block on top of the last executed one, whose cursor and reference these are.

    Pending: a message waits, a pending credit could be freed, or the reference trails by K1/3. Overdue: it trails
    by K1/2, so a primary that holds it back is complained about. A registration alone is no work.
    """
    trailing = follower.head.height - beacon_ref_height
    if trailing >= max(1, parameters.stall_after_blocks // OVERDUE_SHARE):
        return Readiness.OVERDUE
    waits = next(iter(follower.find_items(cursor, follower.head.height)), None) is not None
    if waits or release_is_due or trailing >= max(1, parameters.stall_after_blocks // PENDING_SHARE):
        return Readiness.PENDING
    return Readiness.IDLE
