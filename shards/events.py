"""Events: what happened inside a block, in the form that receipts commit to.

Hot code appends plain tuples that begin with an ``EventKind``; they encode exactly as the ``Wire`` structs
here, which clients decode. Nothing may be added to a tuple without its struct. An event encodes to at most
``MAX_EVENT_BYTES``, so the bound on the bytes of a transaction's events is a bound on their number.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from primitives.codec import Signed, Unsigned, Wire
from shards.transactions import Address, Side

MAX_EVENTS_BYTES: Final = 65_536
"""All events of one transaction."""
MAX_EVENT_BYTES: Final = 60
"""The longest event is a fill: header, tag and side of one byte, a market of three, six integers of nine."""
MAX_EVENTS: Final = MAX_EVENTS_BYTES // MAX_EVENT_BYTES


class EventKind(IntEnum):
    """The tags of events."""

    PLACED = 1
    FILLED = 2
    CANCELLED = 3
    AMENDED = 4
    CREDITED = 5
    LOCKED = 6
    LIQUIDATED = 7
    INSURANCE_PAID = 8
    BAD_DEBT = 9
    FUNDING_ACCRUED = 10
    SUBACCOUNT_LIQUIDATED = 11
    MINTED = 12


class CancelReason(IntEnum):
    """Why an order, or what was left of it, is no longer open."""

    REQUESTED = 0
    SELF_TRADE = 1
    EXPIRED = 2
    OUT_OF_BAND = 3
    MAKER_MARGIN = 4
    TAKER_MARGIN = 5
    REDUCE_ONLY = 6
    LIQUIDATION = 7
    IMMEDIATE = 8
    WORK_BOUND = 9
    AMENDED = 10
    OVERFLOW = 11


class Placed(Wire, frozen=True, tag=1):
    """An order rests in the book with ``lots`` open."""

    market: int
    seq: Unsigned
    client_id: Unsigned
    side: Side
    price_ticks: Unsigned
    lots: Unsigned


class Filled(Wire, frozen=True, tag=2):
    """A trade at the maker's price; negative fees are rebates. ``side`` is the taker's."""

    market: int
    maker_seq: Unsigned
    taker_seq: Unsigned
    side: Side
    price_ticks: Unsigned
    lots: Unsigned
    maker_fee: Signed
    taker_fee: Signed


class Cancelled(Wire, frozen=True, tag=3):
    """``lots`` of order ``seq`` will not trade any more."""

    market: int
    seq: Unsigned
    client_id: Unsigned
    lots: Unsigned
    reason: CancelReason


class Amended(Wire, frozen=True, tag=4):
    """Order ``seq`` was shrunk in place to ``lots`` open."""

    market: int
    seq: Unsigned
    client_id: Unsigned
    lots: Unsigned


class Credited(Wire, frozen=True, tag=5):
    """``amount`` moved into a subaccount's cash on this shard."""

    recipient: Address
    subaccount: int
    asset: int
    amount: Unsigned


class Locked(Wire, frozen=True, tag=6):
    """``amount`` is in escrow for ``destination``; (destination, sequence) identifies the transfer."""

    destination: int
    sequence: Unsigned
    asset: int
    amount: Unsigned
    fee: Unsigned


class Liquidated(Wire, frozen=True, tag=7):
    """A liquidation order sold (or bought) ``lots`` of a position; ``fee`` went to the insurance fund."""

    market: int
    seq: Unsigned
    side: Side
    lots: Unsigned
    fee: Unsigned


class InsurancePaid(Wire, frozen=True, tag=8):
    """The insurance fund covered ``amount`` of a subaccount's deficit."""

    account: Address
    subaccount: int
    amount: Unsigned


class BadDebt(Wire, frozen=True, tag=9):
    """A subaccount without positions owes ``amount`` that the insurance fund has not covered yet."""

    account: Address
    subaccount: int
    amount: Unsigned


class FundingAccrued(Wire, frozen=True, tag=10):
    """A market's funding index moved by k · oracle · rate."""

    market: int
    rate_ppm: Signed
    oracle_ticks: Unsigned
    index: Signed


class SubaccountLiquidated(Wire, frozen=True, tag=11):
    """A subaccount fell below maintenance: what follows, up to the next of these, is its liquidation."""

    account: Address
    subaccount: int
    equity: Signed
    maintenance: Unsigned


class Minted(Wire, frozen=True, tag=12):
    """The faucet made ``amount`` of an asset."""

    recipient: Address
    subaccount: int
    asset: int
    amount: Unsigned


Event = (
    Placed
    | Filled
    | Cancelled
    | Amended
    | Credited
    | Locked
    | Liquidated
    | InsurancePaid
    | BadDebt
    | FundingAccrued
    | SubaccountLiquidated
    | Minted
)

EventTuple = tuple[int | bytes, ...]
"""An event as hot code makes it: its kind, then the fields of its struct in order."""
