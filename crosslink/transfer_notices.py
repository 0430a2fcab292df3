"""What one block did to cross-shard transfers, as JSON-ready notices for the index that the API reads.

Made beside execution from its steps and its outbox; never hashed, so the form may change freely. What does not live
here: the rules (``crosslink.transfers``).

States of a transfer where it was sent: ``open`` → ``settled`` or ``refunded``; where it arrives: ``pending`` →
``credited``, or ``rejected``, or ``expired``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from crosslink.messages import TransferLock, Verdict, compute_xid, decode_message
from crosslink.transfers import TransferEvent, TransferPhase
from primitives.identifiers import format_address

Notice: TypeAlias = Mapping[str, Any]


def describe_transfers(
    steps: Iterable[TransferEvent], outbox: Sequence[bytes], max_leaf_bytes: int
) -> tuple[Notice, ...]:
    """One notice for each step, then one for each lock that left in ``outbox``."""
    notices = [_describe_step(step) for step in steps]
    for leaf in outbox:
        message = decode_message(leaf, max_leaf_bytes)
        if isinstance(message, TransferLock):
            notices.append(_describe_lock(message))
    return tuple(notices)


def _describe_lock(lock: TransferLock) -> dict[str, Any]:
    return {
        "xid": compute_xid(lock.chain, lock.source, lock.destination, lock.sequence).hex(),
        "state": "open",
        "source": lock.source,
        "destination": lock.destination,
        "sequence": lock.sequence,
        "account": format_address(lock.owner),
        "subaccount": lock.owner_subaccount,
        "recipient": format_address(lock.recipient),
        "asset": lock.asset,
        "amount": lock.amount,
        "deadline": lock.deadline,
        "verdict": None,
        "reason": None,
    }


def _describe_step(step: TransferEvent) -> dict[str, Any]:
    return {
        "xid": step.xid.hex(),
        "state": _name_state(step),
        "source": step.source,
        "destination": step.destination,
        "sequence": step.sequence,
        "account": format_address(step.account),
        "subaccount": step.subaccount,
        "asset": step.asset,
        "amount": step.amount,
        "verdict": None if step.verdict is None else step.verdict.name,
        "reason": step.reason.name,
    }


def _name_state(step: TransferEvent) -> str:
    accepted = step.verdict is Verdict.ACCEPTED
    match step.phase:
        case TransferPhase.LOCKED:
            return "open"
        case TransferPhase.JUDGED:
            return "pending" if accepted else str(step.verdict.name if step.verdict else "").lower()
        case TransferPhase.RELEASED:
            return "credited"
        case TransferPhase.SETTLED:
            return "settled" if accepted else "refunded"
