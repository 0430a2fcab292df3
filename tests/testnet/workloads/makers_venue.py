"""A venue that knows resting orders only: what maker actions do to a book when nothing else happens to it."""

from __future__ import annotations

from collections.abc import Iterable

from shards.transactions import Action, Amend, Cancel, OrderKind, Place, Side


class MakersVenue:
    """Orders by (account, client id): side, price, total size and what is filled of it."""

    def __init__(self) -> None:
        self.orders: dict[tuple[object, int], tuple[Side, int, int]] = {}
        self.filled: dict[tuple[object, int], int] = {}

    def apply(self, account: object, actions: Iterable[Action]) -> bool:
        """Execute a batch as best effort; whether every action succeeded."""
        results = [self._apply_one(account, action) for action in actions]
        return all(results)

    def _apply_one(self, account: object, action: Action) -> bool:
        match action:
            case Cancel(client_id=client_id):
                self.filled.pop((account, client_id), None)
                return self.orders.pop((account, client_id), None) is not None
            case Amend(client_id=client_id, price_ticks=price, size_lots=lots):
                key = (account, client_id)
                if key not in self.orders or lots <= self.filled.get(key, 0):
                    return False
                self.orders[key] = (self.orders[key][0], price, lots)
                return True
            case Place(client_id=client_id, side=side, kind=OrderKind.POST_ONLY, price_ticks=price, size_lots=lots):
                if (account, client_id) in self.orders or self._would_match(side, price):
                    return False
                self.orders[account, client_id] = (side, price, lots)
                return True
            case _:
                raise AssertionError(f"no maker's action: {action}")

    def take(self, side: Side, lots: int) -> list[int]:
        """Fill a taker's order on ``side`` from the best prices on; the prices at which something was filled."""
        wanted = Side.SELL if side is Side.BUY else Side.BUY
        sign = 1 if side is Side.BUY else -1
        prices = []
        for key, (other, price, total) in sorted(self.orders.items(), key=lambda item: sign * item[1][1]):
            if other is not wanted or not lots:
                continue
            taken = min(lots, total - self.filled.get(key, 0))
            lots -= taken
            prices.append(price)
            self.filled[key] = self.filled.get(key, 0) + taken
            if self.filled[key] == total:
                del self.orders[key], self.filled[key]
        return prices

    def show(self, side: Side) -> dict[int, int]:
        """Open lots by price."""
        levels: dict[int, int] = {}
        for key, (other, price, total) in self.orders.items():
            if other is side:
                levels[price] = levels.get(price, 0) + total - self.filled.get(key, 0)
        return levels

    def _would_match(self, side: Side, price: int) -> bool:
        opposite = [other_price for other, other_price, _ in self.orders.values() if other is not side]
        if side is Side.BUY:
            return any(other <= price for other in opposite)
        return any(other >= price for other in opposite)
