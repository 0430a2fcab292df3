"""The terms of the markets that a workload trades: ticks, lots and values, as the genesis fixes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.genesis import Genesis
from primitives.errors import LocalError
from primitives.quantities import divide_up
from shards.amounts import parse_price
from shards.genesis import QUOTE, ShardParameters, parse_shard_parameters
from shards.noop.parameters import is_noop

REFERENCE_PRICES: Final = {"BTCUSDT": "60000", "ETHUSDT": "2700", "SOLUSDT": "150", "BNBUSDT": "550"}
"""Where seeded prices start. Any other market starts at ``REFERENCE_TICKS``."""
REFERENCE_TICKS: Final = 100_000


@dataclass(frozen=True, slots=True)
class MarketTerms:
    """``unit`` is k, the quote quantums of one lot at one tick."""

    shard: int
    market: int
    symbol: str
    tick_size: str
    lot_size: str
    unit: int
    min_notional: int

    def compute_min_lots(self, ticks: int) -> int:
        """The least size that an order at this price may have."""
        return max(1, divide_up(self.min_notional, ticks * self.unit))

    def compute_lots(self, quotes: int, ticks: int) -> int:
        """The size that is worth about ``quotes`` units of the quote currency, at least the least allowed."""
        return max(self.compute_min_lots(ticks), quotes * QUOTE // (ticks * self.unit))

    @property
    def reference_ticks(self) -> int:
        """Where a seeded price starts."""
        text = REFERENCE_PRICES.get(self.symbol)
        return REFERENCE_TICKS if text is None else parse_price(text, self.tick_size)


def read_shard_parameters(genesis: Genesis, shard: int) -> ShardParameters:
    """The venue's parameters of one shard."""
    return parse_shard_parameters(genesis.shard(shard).application)


def list_markets(genesis: Genesis, shard: int) -> tuple[MarketTerms, ...]:
    """The markets of ``shard``."""
    return tuple(
        MarketTerms(
            shard=shard,
            market=market.id,
            symbol=market.symbol,
            tick_size=market.tick_size,
            lot_size=market.lot_size,
            unit=market.quantums_per_tick_lot,
            min_notional=market.min_notional,
        )
        for market in read_shard_parameters(genesis, shard).markets
    )


def find_market(genesis: Genesis, symbol: str) -> MarketTerms:
    """The market called ``symbol``, on the first shard that has it; raises ``LocalError`` where none does."""
    known: list[str] = []
    for shard in genesis.shards:
        if is_noop(shard.application):
            continue
        for market in list_markets(genesis, shard.shard):
            if market.symbol == symbol:
                return market
            known.append(market.symbol)
    raise LocalError(f"no shard has a market {symbol!r}; this network has {', '.join(known) or 'none'}")
