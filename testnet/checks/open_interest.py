"""``open_interest``: in every market what is long equals what is short, and equals the open interest it reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from primitives.identifiers import format_committee
from testnet.checks.verdicts import Findings, Verdict

NAME = "open_interest"


@dataclass(frozen=True, slots=True)
class MarketPositions:
    """One market of one shard: its own figure, and the positions in lots of all accounts, or of those that are
    known where ``is_complete`` is false."""

    shard: int
    symbol: str
    open_interest_lots: int
    positions: tuple[int, ...]
    is_complete: bool = True

    @property
    def problem(self) -> str | None:
        """What does not add up; ``None`` where everything does."""
        longs = sum(size for size in self.positions if size > 0)
        shorts = -sum(size for size in self.positions if size < 0)
        place = f"shard{self.shard} {self.symbol}"
        if not self.is_complete:
            held = max(longs, shorts)
            reported = self.open_interest_lots
            return f"{place}: {held} lots are held, {reported} reported" if held > reported else None
        if longs != shorts:
            return f"{place}: {longs} lots long, {shorts} short"
        if longs != self.open_interest_lots:
            return f"{place}: {longs} lots are held, {self.open_interest_lots} reported"
        return None


def collect_positions(
    shard: int, markets: Iterable[Mapping[str, Any]], accounts: Iterable[Mapping[str, Any]], *, is_complete: bool
) -> list[MarketPositions]:
    """Out of the API's answers; ``is_complete``: nobody else has a position."""
    sizes: dict[int, list[int]] = {}
    for account in accounts:
        for subaccount in account["subaccounts"]:
            for position in subaccount["positions"]:
                sizes.setdefault(position["market"], []).append(position["size_lots"])
    return [
        MarketPositions(
            shard, market["symbol"], market["open_interest_lots"], tuple(sizes.get(market["id"], ())), is_complete
        )
        for market in markets
    ]


def check_open_interest(markets: Iterable[MarketPositions], unreadable: Iterable[str] = ()) -> Verdict:
    """The verdict over all markets of all shards; ``unreadable`` are shards that nobody answers for."""
    findings = Findings()
    for shard in unreadable:
        findings.remark(f"{shard} was not checked: nobody answers")
    counted = holders = 0
    partial: set[int] = set()
    for market in markets:
        counted += 1
        holders += sum(1 for size in market.positions if size)
        if market.problem is not None:
            findings.add(market.problem)
        if not market.is_complete:
            partial.add(market.shard)
    if partial:
        names = ", ".join([format_committee(shard) for shard in sorted(partial)])
        findings.remark(f"not all holders of {names} are known, of those only that they hold no more than reported")
    if not counted:
        findings.add("no market could be checked")
    return findings.conclude(NAME, f"{counted} markets, {holders} positions: long equals short")
