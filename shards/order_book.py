"""The book of one market: price levels in price order, orders in seq order, and what resting an order changes.

Levels are derived from the orders in the positions; only the positions are recorded. A level's queue maps seq
to the position that holds the order, so a cancel is one deletion and the maker is one look-up away.

Both sides keep their prices as *ranks*, bids as the price and asks as its negative: in ascending lists the
best level is last on either side, and an incoming order crosses while the best rank is at least its own.

The public mutators note in the journal how to undo them (``shards.journal``).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from operator import itemgetter

from shards.orders import REDUCE_ONLY, SELL, Order
from shards.positions import Position, touch_position


class Level:
    """The orders at one price: seq → position, in seq order, and their open lots."""

    __slots__ = ("lots", "queue")

    def __init__(self) -> None:
        self.queue: dict[int, Position] = {}
        self.lots = 0


class BookSide:
    """One side. ``touched`` holds the ranks that changed in this block, for subscribers."""

    __slots__ = ("levels", "ranks", "touched")

    def __init__(self) -> None:
        self.levels: dict[int, Level] = {}
        self.ranks: list[int] = []
        self.touched: dict[int, None] = {}

    def walk(self) -> Iterator[tuple[int, Level]]:
        """(price, level) from the best on."""
        for rank in reversed(self.ranks):
            yield abs(rank), self.levels[rank]

    def attach(self, rank: int, seq: int, position: Position, lots: int) -> None:
        """Put an order at the end of its level's queue."""
        level = self.levels.get(rank)
        if level is None:
            level = self.levels[rank] = Level()
            insort(self.ranks, rank)
        level.queue[seq] = position
        level.lots += lots
        self.touched[rank] = None

    def detach(self, rank: int, seq: int, lots: int) -> None:
        """Take an order out; an emptied level goes."""
        level = self.levels[rank]
        del level.queue[seq]
        level.lots -= lots
        if not level.queue:
            del self.levels[rank]
            ranks = self.ranks
            if ranks[-1] == rank:
                ranks.pop()
            else:
                del ranks[bisect_left(ranks, rank)]
        self.touched[rank] = None

    def change(self, rank: int, lots: int) -> None:
        """Note that an order of the level has ``lots`` more open."""
        self.levels[rank].lots += lots
        self.touched[rank] = None


def rest_order(position: Position, order: Order) -> None:
    """Enter ``order`` into the position, the sums, the book and the expiry index."""
    position.market.notes.append((_leave, position, order))
    _enter(position, order)


def remove_order(position: Position, order: Order) -> None:
    """The inverse of ``rest_order`` with what is still open."""
    position.market.notes.append((_return, position, order))
    _leave(position, order)


def reduce_order(position: Position, order: Order, lots: int) -> None:
    """Take ``lots`` off what is open of a resting order; some is left."""
    position.market.notes.append((_change_open, position, order, lots))
    _change_open(position, order, -lots)


def shrink_order(position: Position, order: Order, lots: int) -> None:
    """Take ``lots`` off the order's total and off what is open of it."""
    reduce_order(position, order, lots)
    position.market.notes.append((_restore_total, order, order.total))
    order.total -= lots


def _enter(position: Position, order: Order) -> None:
    market = position.market
    lots = order.open
    flags = order.flags
    position.orders[order.seq] = order
    if order.client_id:
        position.client_ids[order.client_id] = order
    if flags & SELL:
        position.ask_lots += lots
        position.ask_notional += lots * order.price
        market.asks.attach(-order.price, order.seq, position, lots)
    else:
        position.bid_lots += lots
        position.bid_notional += lots * order.price
        market.bids.attach(order.price, order.seq, position, lots)
    if flags & REDUCE_ONLY:
        position.reduce_only_count += 1
    if order.expiry_ms:
        market.expiries.add(order.expiry_ms, market.id, order.seq, position)
    touch_position(position)


def _leave(position: Position, order: Order) -> None:
    market = position.market
    lots = order.open
    flags = order.flags
    del position.orders[order.seq]
    if order.client_id:
        del position.client_ids[order.client_id]
    if flags & SELL:
        position.ask_lots -= lots
        position.ask_notional -= lots * order.price
        market.asks.detach(-order.price, order.seq, lots)
    else:
        position.bid_lots -= lots
        position.bid_notional -= lots * order.price
        market.bids.detach(order.price, order.seq, lots)
    if flags & REDUCE_ONLY:
        position.reduce_only_count -= 1
    if order.expiry_ms:
        market.expiries.discard(market.id, order.seq)
    touch_position(position)


def _return(position: Position, order: Order) -> None:
    """Undo a removal; ``restore_priority`` must follow."""
    _enter(position, order)
    position.market.returned.append((position, order))


def _change_open(position: Position, order: Order, lots: int) -> None:
    market = position.market
    order.open += lots
    if order.flags & SELL:
        position.ask_lots += lots
        position.ask_notional += lots * order.price
        market.asks.change(-order.price, lots)
    else:
        position.bid_lots += lots
        position.bid_notional += lots * order.price
        market.bids.change(order.price, lots)
    touch_position(position)


def _restore_total(order: Order, total: int) -> None:
    order.total = total


def restore_priority(returned: list[tuple[Position, Order]]) -> None:
    """Put the queues and positions that orders returned to back into seq order, each once.

    Without it a rollback would cost the orders their priority, and would split live replicas from those that
    were restored from records.
    """
    positions: dict[int, Position] = {}
    levels: dict[int, Level] = {}
    for position, order in returned:
        positions[id(position)] = position
        sells = order.flags & SELL
        side = position.market.asks if sells else position.market.bids
        level = side.levels.get(-order.price if sells else order.price)
        if level is not None:
            levels[id(level)] = level
    for position in positions.values():
        position.orders = dict(sorted(position.orders.items(), key=itemgetter(0)))
    for level in levels.values():
        level.queue = dict(sorted(level.queue.items(), key=itemgetter(0)))
