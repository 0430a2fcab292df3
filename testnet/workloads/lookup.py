"""Asking the members what became of transactions of which no stream has told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from primitives.errors import RemoteError
from testnet.workloads.ledger import Ledger, Outstanding
from testnet.workloads.submission import SubmittingClient

MAX_LOOK_UPS: Final = 2_048
"""Of one load, oldest first: some seconds of asking. The rest stays unknown, which is never wrong."""
MAX_QUESTIONS: Final = 8
"""Under way at one moment."""


async def look_up_outstanding(
    ledger: Ledger, clients: Mapping[int, Sequence[SubmittingClient]], now: Callable[[], float]
) -> None:
    """Settle what any member of its shard can tell: certified, or failed because it expired."""
    limiter = trio.CapacityLimiter(MAX_QUESTIONS)

    async def ask(entry: Outstanding) -> None:
        async with limiter:
            await _ask_members(ledger, entry, clients[entry.shard], now)

    entries = sorted(ledger.outstanding.values(), key=lambda entry: entry.intended_s)
    async with trio.open_nursery() as nursery:
        for entry in entries[:MAX_LOOK_UPS]:
            nursery.start_soon(ask, entry)


async def _ask_members(
    ledger: Ledger, entry: Outstanding, clients: Sequence[SubmittingClient], now: Callable[[], float]
) -> None:
    for client in clients:
        try:
            status = await client.transaction(entry.signed.id)
        except RemoteError:
            continue
        match status.state:
            case "certified" if status.receipt is None:
                # Its block skipped it, because the account did not exist there.
                entry.fail("SKIPPED")
                return
            case "certified":
                ledger.certify(entry.signed.id, status.code or "OK", now())
                return
            case "expired":
                entry.fail("EXPIRED")
                return
            case _:
                continue
