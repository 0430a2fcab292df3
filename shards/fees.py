"""The fee per action: charged before a transaction runs, and kept whatever becomes of it.

Trading fees are part of a fill (``shards.matching``), the lock fee part of a lock (``shards.transfers``).
"""

from __future__ import annotations

from primitives.quantities import MAX_INT
from shards.accounts import Account, Subaccount
from shards.margin import compute_equity
from shards.transactions import FaucetMint, SignedTransaction
from shards.venue import MAX_HELD, Venue, move_cash


def compute_action_fee(venue: Venue, account: Account, transaction: SignedTransaction) -> int:
    """What the transaction's actions cost, or 0: reporters and the faucet do their duty free of charge, and an
    account's pure cancels are free within its allowance per block."""
    count = len(transaction.envelope.actions)
    fees = venue.parameters.fees
    if transaction.is_report and account.address in venue.reporters:
        return 0
    if account.address == venue.faucet and all(
        isinstance(action, FaucetMint) for action in transaction.envelope.actions
    ):
        return 0
    if transaction.is_pure_cancel and _count_free_cancels(venue, account) + count <= fees.free_cancels_per_block:
        return 0
    return count * fees.action


def _count_free_cancels(venue: Venue, account: Account) -> int:
    return account.free_cancels_used if account.free_cancels_block == venue.height else 0


def note_free_cancels(venue: Venue, account: Account, count: int) -> None:
    """Use ``count`` of the account's allowance in this block."""
    account.free_cancels_used = _count_free_cancels(venue, account) + count
    account.free_cancels_block = venue.height


def can_pay(venue: Venue, subaccount: Subaccount, fee: int) -> bool:
    """Whether min(cash, equity) covers ``fee``: a fee is never lent. And whether both sums have room for it."""
    if fee == 0:
        return True
    has_room = venue.fees + fee <= MAX_HELD and venue.cash_total - fee >= -MAX_INT
    return has_room and min(subaccount.cash, compute_equity(subaccount, venue.epoch)) >= fee


def charge_fee(venue: Venue, subaccount: Subaccount, fee: int) -> None:
    """Move ``fee`` from the subaccount to the fees bucket; ``can_pay`` has just agreed."""
    if fee:
        move_cash(venue, subaccount, -fee)
        venue.fees += fee
