"""A perpetual market: its parameters, its recorded state, and what a block fixes at its start.

What does not live here: how the mark, the funding index or the clearing accounts move (``shards.mark``,
``shards.funding``, ``shards.clearing``).
"""

from __future__ import annotations

from dataclasses import dataclass

from primitives.quantities import PPM
from shards.expiries import ExpiryIndex
from shards.genesis import MarketParameters
from shards.journal import Note
from shards.notices import Notice
from shards.order_book import BookSide
from shards.positions import Position


@dataclass(frozen=True, slots=True)
class Observed:
    """A reporter's newest observation of the market: price, its time, and the block and beacon heights at which
    it was executed."""

    ticks: int
    observed_ms: int
    height: int
    beacon_height: int


class Market:
    """Recorded: the next seq, last price, mark and its average, oracle, funding, clearing accounts C, U, R, open
    interest, and the number of the book's latest change. The rest is derived or fixed at the block's start."""

    __slots__ = (
        "asks",
        "band_high",
        "band_low",
        "bids",
        "block_initial_ppm",
        "clearing_cost",
        "clearing_funding",
        "clearing_remainder",
        "dirty_positions",
        "ema",
        "ema_ms",
        "expiries",
        "funding_carry",
        "funding_index",
        "funding_minute",
        "funding_samples",
        "id",
        "initial_ppm",
        "is_fresh",
        "is_fundable",
        "is_liquidatable",
        "key",
        "last_price",
        "maintenance_ppm",
        "mark",
        "mark_value",
        "next_seq",
        "notes",
        "notices",
        "open_interest",
        "oracle",
        "parameters",
        "reports",
        "returned",
        "sample_second",
        "size_threshold",
        "unit",
    )

    def __init__(
        self,
        parameters: MarketParameters,
        expiries: ExpiryIndex,
        dirty_positions: list[Position],
        notes: list[Note],
        notices: list[Notice],
    ) -> None:
        self.id = parameters.id
        self.key = b"m" + parameters.id.to_bytes(2, "big")
        self.parameters = parameters
        self.unit = parameters.quantums_per_tick_lot
        self.initial_ppm = parameters.initial_ppm
        self.maintenance_ppm = parameters.maintenance_ppm
        self.size_threshold = parameters.size_threshold_lots
        self.expiries = expiries
        self.dirty_positions = dirty_positions
        self.notes = notes
        self.notices = notices
        self.returned: list[Position] = []
        self.bids = BookSide()
        self.asks = BookSide()
        self.next_seq = 1
        self.last_price = 0
        self.open_interest = 0
        self.clearing_cost = 0
        self.clearing_funding = 0
        self.clearing_remainder = 0
        self.funding_index = 0
        self.funding_minute = 0
        self.funding_carry = 0
        self.funding_samples: list[int] = []
        self.sample_second = 0
        self.oracle = 0
        self.mark = 0
        self.ema = 0
        self.ema_ms = 0
        self.reports: dict[bytes, Observed] = {}
        # Fixed at the start of each block (shards.mark):
        self.is_fresh = False
        self.is_liquidatable = False
        self.is_fundable = False
        self.mark_value = 0
        self.band_low = 0
        self.band_high = 0
        self.block_initial_ppm = self.initial_ppm

    def take_seq(self) -> int:
        """The seq of the next order."""
        seq = self.next_seq
        self.notes.append((self._restore_seq, seq))
        self.next_seq = seq + 1
        return seq

    def _restore_seq(self, seq: int) -> None:
        self.next_seq = seq

    def compute_initial(self, lots: int) -> int:
        """The initial margin of ``lots`` (not negative) at the block's mark, rounded up."""
        rate = self.block_initial_ppm
        threshold = self.size_threshold
        if lots > threshold:
            rate = min(PPM, -(-rate * lots // threshold))
        return -(-lots * self.mark_value * rate // PPM)

    def compute_maintenance(self, lots: int) -> int:
        """The maintenance margin of ``lots`` (not negative) at the block's mark, rounded up."""
        return -(-lots * self.mark_value * self.maintenance_ppm // PPM)
