"""Collateral that moves: between accounts, between subaccounts, to other shards, and out of the faucet.

``CollateralLedger`` is what the transfer machine of ``crosslink`` asks of this venue. Only what is withdrawable
leaves a subaccount: unrealised gains do not, and funding is settled first.
"""

from __future__ import annotations

from crosslink.messages import RejectReason
from crosslink.transfers import LockRequest, TransferMachine
from shards.accounts import Subaccount
from shards.clearing import settle_funding
from shards.codes import ResultCode
from shards.events import EventKind
from shards.margin import compute_withdrawable
from shards.notices import Credit
from shards.scope import Scope
from shards.transactions import (
    MAX_SUBACCOUNTS,
    SETTLEMENT_ASSET,
    CrossTransfer,
    FaucetMint,
    SubaccountTransfer,
    Transfer,
)
from shards.venue import MAX_HELD, Venue, can_receive, move_cash, open_account, save_buckets


def settle_and_compute_withdrawable(venue: Venue, subaccount: Subaccount) -> int:
    """Settle the funding of every position, then what may leave; raises ``Overflow``."""
    for market_id in sorted(subaccount.positions):
        settle_funding(venue, subaccount.positions[market_id])
    return compute_withdrawable(subaccount, venue.epoch)


def compute_bad_debt(venue: Venue) -> int:
    """What subaccounts without positions owe."""
    return sum(
        -subaccount.cash
        for subaccount in venue.indebted.values()
        if subaccount.cash < 0 and not subaccount.open_positions
    )


def apply_transfer(scope: Scope, action: Transfer) -> ResultCode:
    """Pay another account, or oneself in another subaccount."""
    if action.recipient == scope.subaccount.account.address and action.subaccount == scope.subaccount.index:
        return ResultCode.SAME_SUBACCOUNT
    return _pay(scope, action.recipient, action.subaccount, action.asset, action.amount)


def apply_subaccount_transfer(scope: Scope, action: SubaccountTransfer) -> ResultCode:
    """Move cash to another subaccount of the same account."""
    if action.subaccount == scope.subaccount.index:
        return ResultCode.SAME_SUBACCOUNT
    return _pay(scope, scope.subaccount.account.address, action.subaccount, action.asset, action.amount)


def _pay(scope: Scope, recipient: bytes, index: int, asset: int, amount: int) -> ResultCode:
    venue = scope.venue
    if asset != SETTLEMENT_ASSET:
        return ResultCode.UNKNOWN_ASSET
    if amount < venue.parameters.min_transfer:
        return ResultCode.BELOW_MINIMUM
    if not can_receive(venue, recipient, index, amount):
        return ResultCode.RECIPIENT_LIMIT
    if settle_and_compute_withdrawable(venue, scope.subaccount) < amount:
        return ResultCode.NOT_WITHDRAWABLE
    move_cash(venue, scope.subaccount, -amount)
    move_cash(venue, open_account(venue, recipient).subaccount(index), amount)
    scope.events.append((EventKind.CREDITED, recipient, index, asset, amount))
    venue.notices.append(Credit(recipient, index, asset, amount))
    return ResultCode.OK


def apply_faucet_mint(scope: Scope, action: FaucetMint) -> ResultCode:
    """Make money for ``recipient``."""
    venue = scope.venue
    if scope.subaccount.account.address != venue.faucet:
        return ResultCode.NOT_FAUCET
    if action.asset != SETTLEMENT_ASSET:
        return ResultCode.UNKNOWN_ASSET
    if not can_receive(venue, action.recipient, action.subaccount, action.amount):
        return ResultCode.RECIPIENT_LIMIT
    minted = venue.minted + action.amount
    if minted > venue.mint_limit:
        return ResultCode.OVERFLOW
    save_buckets(venue)
    venue.minted = minted
    move_cash(venue, open_account(venue, action.recipient).subaccount(action.subaccount), action.amount)
    scope.events.append((EventKind.MINTED, action.recipient, action.subaccount, action.asset, action.amount))
    venue.notices.append(Credit(action.recipient, action.subaccount, action.asset, action.amount))
    return ResultCode.OK


def apply_cross_transfer(scope: Scope, machine: TransferMachine, action: CrossTransfer) -> ResultCode:
    """Lock ``amount`` for another shard; the fee covers all three messages of the transfer."""
    venue, subaccount = scope.venue, scope.subaccount
    request = LockRequest(
        destination=action.destination,
        owner=subaccount.account.address,
        owner_subaccount=subaccount.index,
        recipient=action.recipient,
        recipient_subaccount=action.subaccount,
        asset=action.asset,
        amount=action.amount,
        deadline=action.deadline,
        purpose=action.purpose,
    )
    refusal = machine.validate_lock(request)
    if refusal is not None:
        return ResultCode[refusal]
    fee = venue.parameters.fees.lock
    if venue.fees + fee > MAX_HELD:
        return ResultCode.OVERFLOW
    event = machine.apply_lock(request)
    save_buckets(venue)
    move_cash(venue, subaccount, -fee)
    venue.fees += fee
    scope.events.append((EventKind.LOCKED, action.destination, event.sequence, action.asset, action.amount, fee))
    return ResultCode.OK


class CollateralLedger:
    """The accounts of one venue, as the transfer machine sees them."""

    __slots__ = ("_venue",)

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def check_lock(self, owner: bytes, subaccount: int, asset: int, amount: int) -> str | None:
        """``None`` where amount and lock fee may leave the subaccount, else the name of a ``ResultCode``."""
        venue = self._venue
        if venue.bad_debt > venue.insurance:
            return ResultCode.INSOLVENT.name
        fee = venue.parameters.fees.lock
        withdrawable = settle_and_compute_withdrawable(venue, venue.accounts[owner].subaccount(subaccount))
        return None if withdrawable >= amount + fee else ResultCode.NOT_WITHDRAWABLE.name

    def escrow(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Take ``amount`` out of the subaccount."""
        move_cash(self._venue, self._venue.accounts[owner].subaccount(subaccount), -amount)

    def refund(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Give it back; an account that is gone by now comes back with it."""
        move_cash(self._venue, open_account(self._venue, owner).subaccount(subaccount), amount)
        self._venue.notices.append(Credit(owner, subaccount, asset, amount))

    def check_credit(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> RejectReason | None:
        """``None`` where the credit is acceptable."""
        if asset != SETTLEMENT_ASSET:
            return RejectReason.UNKNOWN_ASSET
        if subaccount >= MAX_SUBACCOUNTS:
            return RejectReason.BAD_SUBACCOUNT
        if not can_receive(self._venue, recipient, subaccount, amount):
            return RejectReason.OVERFLOW
        return None

    def hold_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Count a credit for maintenance margin."""
        open_account(self._venue, recipient).subaccount(subaccount).pending += amount

    def release_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        """Make it free cash."""
        found = open_account(self._venue, recipient).subaccount(subaccount)
        found.pending -= amount
        move_cash(self._venue, found, amount)
        self._venue.notices.append(Credit(recipient, subaccount, asset, amount))
