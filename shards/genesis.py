"""What the genesis fixes about a shard: markets, margins, fees, oracle, insurance, accounts, faucet.

What lives here: the typed configuration, its parsing from a plain dictionary (TOML or JSON) and its validation.
What does not: the records that it becomes (``shards.records``), or anything of the network (``node.genesis``).

Amounts are quote quantums (10**-6), rates parts per million, times milliseconds, addresses ``0x…`` strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from primitives.errors import LocalError, RemoteError
from primitives.identifiers import format_address, parse_address
from primitives.quantities import PPM
from shards.amounts import QUOTE_DECIMALS, parse_decimal

Positive = Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
RatePpm = Annotated[int, msgspec.Meta(ge=0, le=PPM)]
SmallNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
QUOTE: Final = 10**QUOTE_DECIMALS
MAX_REPORTERS: Final = 32
MAX_MARKETS: Final = 64


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every part of the configuration: unknown names are mistakes, not extensions."""


class FreshnessParameters(Parameters, frozen=True):
    """How old an observation may be for one use, by three clocks that no single proposer holds back."""

    max_age_ms: Positive
    max_blocks: Positive
    max_beacon_blocks: Positive


class OracleParameters(Parameters, frozen=True):
    """Who reports, and how fresh a price each use needs."""

    reporters: tuple[str, ...]
    max_drift_ms: NotNegative = 1_000
    pricing: FreshnessParameters = FreshnessParameters(max_age_ms=30_000, max_blocks=600, max_beacon_blocks=600)
    liquidation: FreshnessParameters = FreshnessParameters(max_age_ms=15_000, max_blocks=300, max_beacon_blocks=300)
    funding: FreshnessParameters = FreshnessParameters(max_age_ms=15_000, max_blocks=300, max_beacon_blocks=300)


class FeeTier(Parameters, frozen=True):
    """Trading fees; a negative maker fee is a rebate."""

    taker_ppm: RatePpm
    maker_ppm: Annotated[int, msgspec.Meta(ge=-PPM, le=PPM)]


class FeeParameters(Parameters, frozen=True):
    """``action`` is charged for each action attempted; pure cancels are free up to an allowance per account and
    block."""

    tiers: tuple[FeeTier, ...] = (FeeTier(taker_ppm=500, maker_ppm=100),)
    action: NotNegative = 100
    lock: NotNegative = 10_000
    free_cancels_per_block: NotNegative = 512


class MarketParameters(Parameters, frozen=True):
    """One perpetual market.

    ``size_threshold_lots``: beyond it the initial margin fraction grows in proportion to the size.
    ``open_interest_lower`` and ``_upper`` (quantums): between them the initial fraction grows from
    ``initial_ppm`` to 100 %. Band: how far a price may lie from the mark, and the mark from the oracle.
    ``liquidate_whole_below`` (quantums): a position worth less is closed in one step.
    """

    id: SmallNumber
    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    tick_size: str
    lot_size: str
    initial_ppm: Annotated[int, msgspec.Meta(ge=1, le=PPM)] = 50_000
    maintenance_ppm: Annotated[int, msgspec.Meta(ge=1, le=PPM)] = 25_000
    size_threshold_lots: Positive = 2**40
    open_interest_lower: Positive = 1_000_000_000 * QUOTE
    open_interest_upper: Positive = 2_000_000_000 * QUOTE
    band_ppm: Annotated[int, msgspec.Meta(ge=1, lt=PPM)] = 100_000
    mark_band_ppm: Annotated[int, msgspec.Meta(ge=1, lt=PPM)] = 10_000
    mark_ema_ms: Positive = 30_000
    min_notional: NotNegative = QUOTE
    impact_notional: Positive = 5_000 * QUOTE
    funding_cap_ppm: RatePpm = 5_000
    liquidation_fee_ppm: RatePpm = 5_000
    liquidation_step_ppm: Annotated[int, msgspec.Meta(ge=1, le=PPM)] = 200_000
    liquidate_whole_below: NotNegative = 1_000 * QUOTE

    @property
    def quantums_per_tick_lot(self) -> int:
        """k: the quote quantums of one lot at one tick; 0 where that is no integer (refused at genesis)."""
        tick, tick_scale = parse_decimal(self.tick_size)
        lot, lot_scale = parse_decimal(self.lot_size)
        quantums, rest = divmod(tick * lot * QUOTE, 10 ** (tick_scale + lot_scale))
        return 0 if rest else quantums


class InsuranceParameters(Parameters, frozen=True):
    """The insurance fund at genesis, and how much of it one block may spend."""

    funding: NotNegative = 100_000 * QUOTE
    max_paid_per_block: Positive = 10_000 * QUOTE


class GenesisAccount(Parameters, frozen=True):
    """An account at height 0: ``balances`` are the cash of subaccounts 0, 1, …"""

    address: str
    balances: tuple[NotNegative, ...] = ()
    fee_tier: SmallNumber = 0


class ShardParameters(Parameters, frozen=True):
    """Everything that the state machine of one shard takes from the genesis."""

    shard: SmallNumber
    markets: tuple[MarketParameters, ...]
    oracle: OracleParameters
    fees: FeeParameters = FeeParameters()
    insurance: InsuranceParameters = InsuranceParameters()
    accounts: tuple[GenesisAccount, ...] = ()
    faucet: str | None = None
    min_transfer: Positive = 10_000


def parse_shard_parameters(source: Mapping[str, Any]) -> ShardParameters:
    """The parameters in a plain dictionary; raises ``LocalError`` that names the field and what is wrong."""
    try:
        parameters = msgspec.convert(dict(source), ShardParameters)
    except msgspec.ValidationError as error:
        raise LocalError(f"shard parameters: {error}") from None
    validate_shard_parameters(parameters)
    return parameters


def format_shard_parameters(parameters: ShardParameters) -> dict[str, Any]:
    """The plain dictionary that ``parse_shard_parameters`` reads back to the same value."""
    plain: dict[str, Any] = msgspec.to_builtins(parameters)
    if parameters.faucet is None:
        del plain["faucet"]
    return plain


def validate_shard_parameters(parameters: ShardParameters) -> None:
    """Raise ``LocalError`` for the first rule that the values break together."""
    if not 0 <= len(parameters.markets) <= MAX_MARKETS:
        raise LocalError(f"markets: a shard has at most {MAX_MARKETS}, not {len(parameters.markets)}")
    _refuse_repeats("markets", [str(market.id) for market in parameters.markets])
    _refuse_repeats("markets", [market.symbol for market in parameters.markets])
    for market in parameters.markets:
        _validate_market(market)
    _validate_fees(parameters.fees)
    reporters = parameters.oracle.reporters
    if not 1 <= len(reporters) <= MAX_REPORTERS:
        raise LocalError(f"oracle.reporters: between 1 and {MAX_REPORTERS} are needed, not {len(reporters)}")
    _refuse_repeats("oracle.reporters", [_normalise("oracle.reporters", text) for text in reporters])
    _refuse_repeats("accounts", [_normalise("accounts", account.address) for account in parameters.accounts])
    if parameters.faucet is not None:
        _normalise("faucet", parameters.faucet)
    for account in parameters.accounts:
        if account.fee_tier >= len(parameters.fees.tiers):
            raise LocalError(f"accounts: {account.address} has fee tier {account.fee_tier}, which does not exist")
        if len(account.balances) > 16:
            raise LocalError(f"accounts: {account.address} has more than 16 subaccounts")


def _validate_market(market: MarketParameters) -> None:
    where = f"market {market.symbol}"
    for name, text in (("tick_size", market.tick_size), ("lot_size", market.lot_size)):
        try:
            value, _ = parse_decimal(text)
        except RemoteError as error:
            raise LocalError(f"{where}: {name}: {error.message}") from None
        if value <= 0:
            raise LocalError(f"{where}: {name}: {text} is not positive")
    if market.quantums_per_tick_lot < 1:
        raise LocalError(
            f"{where}: tick_size · lot_size must be a whole number of quote quantums (10**-6), at least 1"
        )
    if market.maintenance_ppm >= market.initial_ppm:
        raise LocalError(f"{where}: maintenance_ppm must be below initial_ppm")
    if market.open_interest_lower >= market.open_interest_upper:
        raise LocalError(f"{where}: open_interest_lower must be below open_interest_upper")
    if market.mark_band_ppm > market.band_ppm:
        raise LocalError(f"{where}: mark_band_ppm must not exceed band_ppm")


def _validate_fees(fees: FeeParameters) -> None:
    if not fees.tiers:
        raise LocalError("fees.tiers: at least one tier is needed")
    least_taker = min(tier.taker_ppm for tier in fees.tiers)
    greatest_rebate = max(-tier.maker_ppm for tier in fees.tiers)
    if least_taker < greatest_rebate:
        raise LocalError(
            f"fees.tiers: the lowest taker fee ({least_taker} ppm) is below a rebate ({greatest_rebate} ppm)"
        )


def _refuse_repeats(where: str, values: Sequence[str]) -> None:
    repeated = sorted(value for value in set(values) if values.count(value) > 1)
    if repeated:
        raise LocalError(f"{where}: {repeated[0]} is there twice")


def _normalise(where: str, text: str) -> str:
    try:
        return format_address(parse_address(text))
    except RemoteError as error:
        raise LocalError(f"{where}: {error.message}") from None


DEVNET_MARKETS: Final[dict[str, tuple[int, str, str]]] = {
    "BTCUSDT": (0, "0.10", "0.001"),
    "ETHUSDT": (1, "0.01", "0.001"),
    "SOLUSDT": (2, "0.001", "1"),
    "BNBUSDT": (3, "0.01", "0.01"),
}
"""Number, tick and lot of the markets that a devnet offers by name, as Binance USD-M lists them."""


def build_devnet_parameters(
    shard: int,
    *,
    markets: Sequence[str],
    reporters: Sequence[bytes],
    accounts: Mapping[bytes, int] | None = None,
    faucet: bytes | None = None,
) -> ShardParameters:
    """Sensible parameters for a development network.

    ``markets`` are names from ``DEVNET_MARKETS``; ``accounts`` maps addresses to the cash (quantums) of their
    subaccount 0. Raises ``LocalError``.
    """
    unknown = [name for name in markets if name not in DEVNET_MARKETS]
    if unknown:
        raise LocalError(f"no devnet market is called {unknown[0]!r}; known are {', '.join(DEVNET_MARKETS)}")
    parameters = ShardParameters(
        shard=shard,
        markets=tuple(
            MarketParameters(id=number, symbol=name, tick_size=tick, lot_size=lot)
            for name in markets
            for number, tick, lot in (DEVNET_MARKETS[name],)
        ),
        oracle=OracleParameters(reporters=tuple(format_address(address) for address in reporters)),
        accounts=tuple(
            GenesisAccount(address=format_address(address), balances=(cash,))
            for address, cash in sorted((accounts or {}).items())
        ),
        faucet=None if faucet is None else format_address(faucet),
    )
    validate_shard_parameters(parameters)
    return parameters
