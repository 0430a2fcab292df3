"""The state of one shard in memory: accounts, markets, the venue's own buckets, and what this block has touched.

Everything that a record holds is here and in the objects below; what can be derived is derived at load. Cash
moves through ``move_cash`` alone, so the total and the dirty list cannot be forgotten. Rules live elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from primitives.identifiers import parse_address
from primitives.quantities import check
from shards.accounts import Account, Subaccount
from shards.expiries import ExpiryIndex
from shards.genesis import ShardParameters
from shards.idle import IdleIndex
from shards.journal import Note
from shards.markets import Market
from shards.notices import Notice
from shards.positions import Position

if TYPE_CHECKING:
    from shards.audit import Auditor

MAX_HELD = 2**61
"""What all shards together may mint, and what a credit may bring a subaccount to. A quarter of the range of
quantities, so that refunds and realised results always fit on top, whatever the order in which they come."""
MAX_TRADED = 2**62
"""What a fill or a funding payment may bring cash, cost, a clearing account or their sum to, in magnitude. Half of
the range of quantities: what must not fail outside a transaction (a refund, a release, the insurance fund) always
fits on top, and so the inbox and the closing phases never meet an overflow."""
MAX_VISITS_PER_BLOCK = 20_000
"""Makers that one block's transactions may visit: about 0.1 s of matching."""


class Venue:
    """``fees``, ``insurance``, ``dust``, ``minted``, ``burned`` are buckets in quote quantums; ``cash_total`` is
    the signed sum over all subaccounts. ``exposed`` are the subaccounts with a position, ``indebted`` those with
    negative cash and none: both derived, and read in sorted order only."""

    __slots__ = (
        "accounts",
        "auditor",
        "bad_debt",
        "beacon_height",
        "burned",
        "cash_total",
        "dirty_accounts",
        "dirty_positions",
        "dust",
        "epoch",
        "expiries",
        "exposed",
        "faucet",
        "fee_tiers",
        "fees",
        "height",
        "idle",
        "indebted",
        "insurance",
        "insurance_left",
        "markets",
        "mint_limit",
        "minted",
        "notes",
        "notices",
        "parameters",
        "permanent",
        "reporters",
        "time_ms",
        "visits_left",
    )

    def __init__(self, parameters: ShardParameters, mint_limit: int = MAX_HELD) -> None:
        """``mint_limit`` is this shard's part of what may be minted."""
        self.parameters = parameters
        self.mint_limit = mint_limit
        self.fee_tiers = tuple((tier.taker_ppm, tier.maker_ppm) for tier in parameters.fees.tiers)
        self.reporters = tuple(sorted(parse_address(text) for text in parameters.oracle.reporters))
        self.faucet = None if parameters.faucet is None else parse_address(parameters.faucet)
        self.permanent = frozenset((*self.reporters, *([] if self.faucet is None else [self.faucet])))
        self.expiries = ExpiryIndex()
        self.notes: list[Note] = []
        self.notices: list[Notice] = []
        self.dirty_accounts: list[Account] = []
        self.dirty_positions: list[Position] = []
        self.accounts: dict[bytes, Account] = {}
        self.markets: dict[int, Market] = {
            market.id: Market(market, self.expiries, self.dirty_positions, self.notes, self.notices)
            for market in sorted(parameters.markets, key=lambda market: market.id)
        }
        self.fees = 0
        self.insurance = 0
        self.dust = 0
        self.minted = 0
        self.burned = 0
        self.cash_total = 0
        self.exposed: dict[tuple[bytes, int], Subaccount] = {}
        self.indebted: dict[tuple[bytes, int], Subaccount] = {}
        self.idle = IdleIndex()
        self.auditor: Auditor | None = None
        self.height = 0
        self.time_ms = 0
        self.beacon_height = 0
        self.epoch = 0
        self.visits_left = 0
        self.insurance_left = 0
        # As of the start of the block's transactions (shards.transition) and what its liquidations added.
        self.bad_debt = 0

    def begin_block(self, height: int, time_ms: int, beacon_height: int) -> None:
        """Set the block's clocks and fill up its allowances."""
        self.height = height
        self.time_ms = time_ms
        self.beacon_height = beacon_height
        self.epoch += 1
        self.visits_left = MAX_VISITS_PER_BLOCK
        self.insurance_left = self.parameters.insurance.max_paid_per_block
        self.notices.clear()

    def finish_restoring(self) -> None:
        """Forget what loading has touched: it is in the records already."""
        for position in self.dirty_positions:
            position.is_dirty = False
        for account in self.dirty_accounts:
            account.is_dirty = False
        self.dirty_positions.clear()
        self.dirty_accounts.clear()
        self.notes.clear()


def touch_account(venue: Venue, account: Account) -> None:
    """Have the account's record encoded at the block's end."""
    if not account.is_dirty:
        account.is_dirty = True
        venue.dirty_accounts.append(account)


def open_account(venue: Venue, address: bytes) -> Account:
    """The account at ``address``, created at first use."""
    account = venue.accounts.get(address)
    if account is None:
        account = venue.accounts[address] = Account(address)
        # The age of an account counts from here until its first transaction.
        account.last_used_ms = venue.time_ms
        touch_account(venue, account)
        venue.notes.append((venue.accounts.pop, address))
    return account


def move_cash(venue: Venue, subaccount: Subaccount, delta: int) -> None:
    """Add ``delta`` to the subaccount's cash; raises ``Overflow`` before any change."""
    cash = check(subaccount.cash + delta)
    total = check(venue.cash_total + delta)
    venue.notes.append((restore_cash, venue, subaccount, subaccount.cash, venue.cash_total))
    subaccount.cash = cash
    venue.cash_total = total
    touch_account(venue, subaccount.account)


def restore_cash(venue: Venue, subaccount: Subaccount, cash: int, total: int) -> None:
    """Undo a change of cash."""
    subaccount.cash = cash
    venue.cash_total = total


def raise_place_bound(venue: Venue, subaccount: Subaccount, nonce: int) -> None:
    """Let places with nonces below ``nonce`` fail from now on; the bound never falls."""
    if nonce > subaccount.min_place_nonce:
        venue.notes.append((_restore_place_bound, subaccount, subaccount.min_place_nonce))
        subaccount.min_place_nonce = nonce
        touch_account(venue, subaccount.account)


def _restore_place_bound(subaccount: Subaccount, nonce: int) -> None:
    subaccount.min_place_nonce = nonce


def save_buckets(venue: Venue) -> None:
    """Note the venue's fees, dust and minted sum before they change."""
    venue.notes.append((_restore_buckets, venue, venue.fees, venue.dust, venue.minted))


def _restore_buckets(venue: Venue, fees: int, dust: int, minted: int) -> None:
    venue.fees, venue.dust, venue.minted = fees, dust, minted


def compute_free_total(venue: Venue) -> int:
    """What is in no clearing account: by I1, the clearing accounts hold the rest of what this shard holds."""
    return venue.cash_total + venue.fees + venue.insurance + venue.dust


def can_receive(venue: Venue, address: bytes, subaccount: int, amount: int) -> bool:
    """Whether crediting ``amount`` stays in range whatever else is already on its way to the subaccount."""
    account = venue.accounts.get(address)
    found = None if account is None else account.subaccounts.get(subaccount)
    held = 0 if found is None else max(found.cash, 0) + found.pending
    return held + amount <= MAX_HELD and venue.cash_total + amount <= MAX_HELD


def note_exposure(venue: Venue, position: Position, old_size: int) -> None:
    """Keep ``exposed`` right after the position's size was ``old_size``."""
    if (old_size == 0) == (position.size == 0):
        return
    owner = position.owner
    key = (owner.account.address, owner.index)
    if old_size == 0:
        owner.open_positions += 1
        venue.exposed[key] = owner
        return
    owner.open_positions -= 1
    if owner.open_positions == 0:
        del venue.exposed[key]
