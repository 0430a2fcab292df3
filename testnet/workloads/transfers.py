"""Value transfers from a CSV list, between accounts that are hashed onto shards.

Columns are found by the header's names ``from``, ``to`` and ``value``, in any order and among others: the form in
which Ethereum transfer lists are published. An address text's hash names its shard, and its key is derived from
the text and the load's seed. What stays on a shard is a transfer there; the rest goes through the channels.

Values come in every unit from wei to ether, so they are scaled: the value that 95 % of the rows do not exceed
moves ``TYPICAL_QUOTES``. Rows that make no sense are counted and left out, with the first one's line in the report.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from primitives.errors import LocalError
from primitives.hashing import hash_tagged
from primitives.signing import derive_seed
from shards.genesis import QUOTE
from shards.transactions import SETTLEMENT_ASSET, Action, CrossTransfer, Transfer
from testnet.directory import Network
from testnet.keys import compute_key_address
from testnet.workloads.agents import TRANSFER_DEADLINE_BLOCKS
from testnet.workloads.market_terms import read_shard_parameters
from testnet.workloads.options import LoadOptions
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction

COLUMNS: Final = ("from", "to", "value")
MAX_ROWS: Final = 200_000
MAX_ACCOUNTS: Final = 5_000
"""Each one's nonce is asked for before the load begins; rows with further accounts are left out."""
MAX_TEXT_CHARACTERS: Final = 128
MAX_FIELD_CHARACTERS: Final = 1 << 20
"""Published lists have a column of input data."""
MAX_VALUE_CHARACTERS: Final = 80
MAX_VALUE_EXPONENT: Final = 60
TYPICAL_QUOTES: Final = 100
"""What the 95th percentile of the values moves, in units of the quote currency; no transfer moves over ten times
that."""
MAX_SHARE: Final = 10
FEES_QUOTES: Final = 100
"""Spare cash of an account for the fees of its transfers."""
_MASTER_TAG: Final = b"rialto/transfer-list"


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One row; addresses are the texts in the file."""

    sender: str
    recipient: str
    value: Decimal


@dataclass(slots=True)
class TransferCounts:
    """What became of the rows."""

    rows: int = 0
    left_out: int = 0
    over_accounts: int = 0
    first_mistake: str = ""
    local: int = 0
    across: int = 0


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An address of the list: its shard, and the account that stands for it here."""

    shard: int
    address: bytes
    seed: bytes


@dataclass(frozen=True, slots=True)
class ScaledTransfer:
    """A row as it will be sent; ``amount`` in quantums."""

    sender: ListedAccount
    recipient: ListedAccount
    amount: int


@dataclass(slots=True)
class TransferWorkload:
    """See ``plan.Workload``."""

    transfers: Sequence[ScaledTransfer]
    rate: float
    counts: TransferCounts
    shards: tuple[int, ...]
    ordered: bool = False

    def list_needs(self) -> Sequence[FundingNeed]:
        outflow: dict[ListedAccount, int] = {}
        for transfer in self.transfers:
            outflow[transfer.sender] = outflow.get(transfer.sender, 0) + transfer.amount
        return [
            FundingNeed(account.shard, account.address, amount + FEES_QUOTES * QUOTE)
            for account, amount in outflow.items()
        ]

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {transfer.sender.address: transfer.sender.seed for transfer in self.transfers}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane(f"shard{shard}", self._generate(shard)) for shard in self.shards]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        return {}

    def list_topics(self, shard: int) -> Sequence[str]:
        return ()

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """Nothing is subscribed."""

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """The plan does not depend on it."""

    def describe(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "rows": counts.rows,
            "rows_left_out": counts.left_out,
            "rows_over_accounts": counts.over_accounts,
            "first_mistake": counts.first_mistake,
            "transfers_on_one_shard": counts.local,
            "transfers_between_shards": counts.across,
        }

    def _generate(self, shard: int) -> Iterator[PlannedTransaction]:
        for number, transfer in enumerate(self.transfers):
            if transfer.sender.shard == shard:
                yield PlannedTransaction(
                    number / self.rate, shard, transfer.sender.address, (_build_action(transfer),)
                )


def open_transfers(network: Network, options: LoadOptions) -> TransferWorkload:
    """The workload of the CSV in ``options.files``; raises ``LocalError``."""
    if len(options.files) != 1:
        raise LocalError(f"--workload transfers needs exactly one --file, not {len(options.files)}")
    if options.rate <= 0:
        raise LocalError(f"--rate must be above 0 transactions a second, not {options.rate:g}")
    counts = TransferCounts()
    wanted = max(1, min(MAX_ROWS, int(options.rate * options.duration_s)))
    rows = read_rows(options.files[0], counts, wanted)
    if not rows:
        raise LocalError(f"{options.files[0]}: no row can be used; {counts.first_mistake or 'there is none'}")
    minimum = max(read_shard_parameters(network.genesis, shard).min_transfer for shard in network.venues)
    accounts: dict[str, ListedAccount] = {}
    transfers = []
    for row, amount in zip(rows, scale_values([row.value for row in rows], minimum), strict=True):
        if len(accounts.keys() | {row.sender, row.recipient}) > MAX_ACCOUNTS:
            counts.over_accounts += 1
            continue
        for text in (row.sender, row.recipient):
            if text not in accounts:
                accounts[text] = place_account(text, network.venues, options.seed)
        transfer = ScaledTransfer(accounts[row.sender], accounts[row.recipient], amount)
        transfers.append(transfer)
        if transfer.sender.shard == transfer.recipient.shard:
            counts.local += 1
        else:
            counts.across += 1
    return TransferWorkload(transfers, options.rate, counts, network.venues)


def place_account(text: str, shards: Sequence[int], seed: int) -> ListedAccount:
    """The account that stands for the address ``text`` (without regard to case)."""
    name = text.lower()
    digest = hash_tagged(b"rialto/transfer-shard", name.encode())
    key_seed = derive_seed(hash_tagged(_MASTER_TAG, str(seed).encode()), name)
    return ListedAccount(
        shard=shards[int.from_bytes(digest[:8], "big") % len(shards)],
        address=compute_key_address(key_seed),
        seed=key_seed,
    )


def scale_values(values: Sequence[Decimal], minimum: int) -> list[int]:
    """Quantums for each value: the 95th percentile becomes ``TYPICAL_QUOTES``, nothing is below ``minimum``."""
    typical = sorted(values)[(len(values) - 1) * 95 // 100]
    unit = TYPICAL_QUOTES * QUOTE
    return [min(MAX_SHARE * unit, max(minimum, int(value * unit / typical))) for value in values]


# --- reading -------------------------------------------------------------------------------------------------


def read_rows(path: Path, counts: TransferCounts, wanted: int) -> list[TransferRow]:
    """At most ``wanted`` good rows of the file; raises ``LocalError`` for a file without the columns."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            return list(_parse_rows(path, csv.reader(file), counts, wanted))
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise LocalError(f"{path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise LocalError(f"{path}: is not CSV: {error}") from None


def _parse_rows(
    path: Path, reader: Iterable[list[str]], counts: TransferCounts, wanted: int
) -> Iterator[TransferRow]:
    iterator = iter(reader)
    places = _find_columns(path, next(iterator, []))
    for number, cells in enumerate(iterator, start=2):
        if not cells:
            continue
        counts.rows += 1
        try:
            yield _parse_row([cells[place].strip() for place in places if place < len(cells)])
        except ValueError as mistake:
            counts.left_out += 1
            counts.first_mistake = counts.first_mistake or f"line {number}: {mistake}"
            continue
        if counts.rows - counts.left_out >= wanted:
            return


def _find_columns(path: Path, header: Sequence[str]) -> tuple[int, ...]:
    names = [name.strip().lower() for name in header]
    missing = [column for column in COLUMNS if names.count(column) != 1]
    if missing:
        shown = ", ".join(names)[:100] or "nothing"
        raise LocalError(f"{path}: the header must name {', '.join(COLUMNS)} once each; it has: {shown}")
    return tuple(names.index(column) for column in COLUMNS)


def _parse_row(cells: Sequence[str]) -> TransferRow:
    """Raises ``ValueError`` that says what is wrong."""
    if len(cells) != len(COLUMNS):
        raise ValueError("a column is missing")
    sender, recipient, text = cells
    for name, address in (("from", sender), ("to", recipient)):
        if not 0 < len(address) <= MAX_TEXT_CHARACTERS or not address.isprintable():
            raise ValueError(f"{name}: must have 1 to {MAX_TEXT_CHARACTERS} printable characters")
    if sender.lower() == recipient.lower():
        raise ValueError("from and to are the same account")
    if len(text) > MAX_VALUE_CHARACTERS:
        raise ValueError(f"value: is longer than {MAX_VALUE_CHARACTERS} characters")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"value: {text[:40]!r} is no number") from None
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > MAX_VALUE_EXPONENT:
        raise ValueError(f"value: {text[:40]!r} is not a positive amount")
    return TransferRow(sender, recipient, value)


def _build_action(transfer: ScaledTransfer) -> Action:
    recipient = transfer.recipient
    if recipient.shard == transfer.sender.shard:
        return Transfer(recipient=recipient.address, subaccount=0, asset=SETTLEMENT_ASSET, amount=transfer.amount)
    return CrossTransfer(
        destination=recipient.shard,
        recipient=recipient.address,
        subaccount=0,
        asset=SETTLEMENT_ASSET,
        amount=transfer.amount,
        deadline=TRANSFER_DEADLINE_BLOCKS,
    )
