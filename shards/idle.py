"""Accounts without anything in them: which may be forgotten, and when.

A record goes only when it is empty and has been unused for over an hour. No transaction is valid for longer, so
one that was executed under the old record cannot be replayed under a new one.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from shards.accounts import Account

IDLE_MS: Final = 3_600_000
EVICTIONS_PER_BLOCK: Final = 64


class IdleIndex:
    """Empty accounts by (last use, address); keys that no longer hold are skipped, so history never decides."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []

    def note(self, account: Account) -> None:
        """Enter the account if it is empty."""
        if is_idle(account):
            heappush(self._heap, (account.last_used_ms, account.address))

    def pop_due(self, accounts: dict[bytes, Account], now_ms: int, permanent: frozenset[bytes]) -> Account | None:
        """The next account to forget, or ``None``."""
        heap = self._heap
        while heap and heap[0][0] + IDLE_MS < now_ms:
            last_used_ms, address = heappop(heap)
            account = accounts.get(address)
            if (
                account is not None
                and account.last_used_ms == last_used_ms
                and address not in permanent
                and is_idle(account)
            ):
                return account
        return None


def is_idle(account: Account) -> bool:
    """Whether nothing would be lost with the account: no money, no position, no order, no fee tier of its own."""
    return account.fee_tier == 0 and not any(
        subaccount.cash or subaccount.pending or subaccount.positions for subaccount in account.subaccounts.values()
    )
