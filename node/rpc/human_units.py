"""Decimal strings in human units beside the integers of application views.

Views (``shards.queries``, receipts, events) hold integers: ticks, lots, quote quantums. One rule for every response
turns them into both forms:

    price_ticks: 601234   →   "price": "60123.4",     "price_ticks": 601234
    size_lots: 250        →   "size": "0.250",        "size_lots": 250       (``lots`` → ``size``, ``lots``)
    cash: 12500000        →   "cash": "12.500000",    "cash_raw": 12500000
    [601234, 250]         →   {"price", "ticks", "size", "lots"}             (a level of a book)

A market's ticks and lots are found by the ``market`` (or ``id``) of the mapping or of one around it. Sides become
their names. What does not live here: parsing decimals (``shards.amounts``, on the client's side).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from node.rpc.service import NodeService, Page
from shards.amounts import format_cash, format_units
from shards.transactions import Side

CASH_NAMES: Final = frozenset({
    "amount", "bad_debt", "balance", "cash", "cost", "equity", "fee", "fees", "initial_margin", "insurance",
    "maintenance", "maintenance_margin", "maker_fee", "min_notional", "pending", "taker_fee", "value",
    "withdrawable",
})  # fmt: skip
"""Fields in quote quantums."""
LEVEL_NAMES: Final = ("bids", "asks")
_TICKS: Final = "_ticks"
_LOTS: Final = "_lots"


class HumanUnits:
    """Knows the tick and lot sizes of a node's markets, which never change."""

    def __init__(self, service: NodeService) -> None:
        self._service = service
        self._steps: dict[int, tuple[str, str] | None] = {}

    def present(self, view: Any, market: int | None = None) -> Any:
        """``view`` with decimal strings beside its integers; ``market`` is the one around it."""
        if isinstance(view, list | tuple):
            return [self.present(item, market) for item in view]
        if not isinstance(view, Mapping):
            return view
        return self._present_mapping(view, _find_market(view, market))

    def present_levels(self, levels: Any, market: int) -> list[dict[str, Any]]:
        """Levels of a book, [ticks, lots] each, as objects."""
        tick, lot = self._find_steps(market) or ("1", "1")
        return [
            {"price": format_units(ticks, tick), "ticks": ticks, "size": format_units(lots, lot), "lots": lots}
            for ticks, lots in levels
        ]

    def _present_mapping(self, view: Mapping[str, Any], market: int | None) -> dict[str, Any]:
        steps = None if market is None else self._find_steps(market)
        shown: dict[str, Any] = {}
        for name, value in view.items():
            if value is None and name.endswith(_TICKS):
                shown |= {name.removesuffix(_TICKS): None, name: None}
            elif type(value) is not int:
                if name in LEVEL_NAMES and market is not None:
                    shown[name] = self.present_levels(value, market)
                else:
                    shown[name] = self.present(value, market)
            elif name == "side":
                shown[name] = Side(value).name
            elif name in CASH_NAMES:
                shown |= {name: format_cash(value), f"{name}_raw": value}
            elif steps is not None and name.endswith(_TICKS):
                shown |= {name.removesuffix(_TICKS): format_units(value, steps[0]), name: value}
            elif steps is not None and (name.endswith(_LOTS) or name == "lots"):
                human = "size" if name == "lots" else name.removesuffix(_LOTS)
                shown |= {human: format_units(value, steps[1]), name: value}
            else:
                shown[name] = value
        return shown

    def _find_steps(self, market: int) -> tuple[str, str] | None:
        """(tick size, lot size); ``None`` for a market that this node does not have."""
        if market not in self._steps:
            found = self._service.market(str(market))
            if found is None:
                # Not remembered: unknown numbers are unlimited, markets are not.
                return None
            self._steps[market] = (found["tick_size"], found["lot_size"])
        return self._steps[market]


def _find_market(view: Mapping[str, Any], around: int | None) -> int | None:
    market = view["id"] if "tick_size" in view else view.get("market")
    return market if type(market) is int else around


def summarise_account(view: Mapping[str, Any]) -> dict[str, Any]:
    """An account without its orders, of which each position only says how many are open."""
    return {
        **view,
        "subaccounts": [
            {**part, "positions": [_summarise_position(position) for position in part["positions"]]}
            for part in view["subaccounts"]
        ],
    }


def _summarise_position(position: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in position.items() if name != "orders"}
    return {**rest, "open_orders": len(position["orders"])}


def page_orders(view: Mapping[str, Any], page: Page) -> dict[str, Any]:
    """One page of the orders in an account's view (``shards.queries.view_account``), by subaccount, market and seq.

    ``after`` is the last order's ``subaccount.market.seq``; one that is no such thing starts from the beginning.
    """
    orders = sorted(
        (
            {"subaccount": part["index"], "market": position["market"], **order}
            for part in view["subaccounts"]
            for position in part["positions"]
            for order in position["orders"]
        ),
        key=_order_key,
    )
    start = _parse_order_key(page.after)
    rest = [order for order in orders if start is None or _order_key(order) > start]
    entries = rest[: page.limit]
    more = ".".join(map(str, _order_key(entries[-1]))) if len(rest) > len(entries) else None
    return {"orders": entries, "next": more}


def _order_key(order: Mapping[str, Any]) -> tuple[int, int, int]:
    return order["subaccount"], order["market"], order["seq"]


def _parse_order_key(after: str | None) -> tuple[int, int, int] | None:
    parts = (after or "").split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
