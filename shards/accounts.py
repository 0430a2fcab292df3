"""Accounts and subaccounts: cash, nonces, and the cached sums over a subaccount's positions.

Mutable slotted records of the hot state. Cash changes through ``shards.venue`` only, which keeps the totals;
the cached sums belong to ``shards.margin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shards.positions import Position


class Account:
    """One address on this shard. The nonce window is the owner key's (``shards.nonces``)."""

    __slots__ = (
        "address",
        "fee_tier",
        "free_cancels_block",
        "free_cancels_used",
        "is_dirty",
        "key",
        "last_used_ms",
        "nonce_bitmap",
        "nonce_highest",
        "subaccounts",
        "undone_block",
        "undone_steps",
    )

    def __init__(self, address: bytes, fee_tier: int = 0) -> None:
        self.address = address
        self.key = b"a" + address
        self.fee_tier = fee_tier
        self.nonce_highest = 0
        self.nonce_bitmap = 0
        self.last_used_ms = 0
        self.subaccounts: dict[int, Subaccount] = {}
        self.is_dirty = False
        # The allowance is per block, so what was used of it is no state: a block starts at zero everywhere.
        self.free_cancels_block = 0
        self.free_cancels_used = 0
        # What rollbacks of its atomic batches have cost in this block, likewise (shards.execution).
        self.undone_block = 0
        self.undone_steps = 0

    def subaccount(self, index: int) -> Subaccount:
        """Subaccount ``index``, made empty at first use; only what is not empty is recorded."""
        found = self.subaccounts.get(index)
        if found is None:
            found = self.subaccounts[index] = Subaccount(self, index)
        return found


class Subaccount:
    """A margin account: its positions share its cash.

    ``pending`` is the sum of accepted credits from other shards that are not free yet. The four sums are over
    its positions as of block ``epoch``; −1 says that something changed since.
    """

    __slots__ = (
        "account",
        "cash",
        "epoch",
        "index",
        "initial_sum",
        "last_liquidation_ms",
        "maintenance_sum",
        "min_place_nonce",
        "open_positions",
        "pending",
        "position_initial_sum",
        "positions",
        "value_sum",
    )

    def __init__(self, account: Account, index: int) -> None:
        self.account = account
        self.index = index
        self.cash = 0
        self.pending = 0
        self.min_place_nonce = 0
        self.last_liquidation_ms = 0
        self.positions: dict[int, Position] = {}
        self.open_positions = 0
        self.epoch = -1
        self.value_sum = 0
        self.initial_sum = 0
        self.position_initial_sum = 0
        self.maintenance_sum = 0
