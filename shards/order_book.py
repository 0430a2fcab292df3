"""The book of one market: price levels in price order, orders in seq order, and what resting an order changes.

Levels are derived from the orders in the positions; only the positions are recorded. A level's queue maps seq
to the position that holds the order, so a cancel is one deletion and the maker is one look-up away.

Both sides keep their prices as *ranks*, bids as the price and asks as its negative: in ascending lists the
best level is last on either side, and an incoming order crosses while the best rank is at least its own.

The public mutators note in the journal how to undo them (``shards.journal``). What undoing the removal of one order
costs does not grow with how many others rest at its price: a failed action must not cost more than it paid for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from operator import itemgetter
from typing import Final

from shards.orders import REDUCE_ONLY, SELL, Order
from shards.positions import Position, touch_position

_DEAD_SEQS_TOLERATED: Final = 64
"""Seqs of orders that left, on top of as many as rest, before a level's list is written anew."""


class Level:
    """The orders at one price and their open lots. ``queue`` maps seq to position, in no order that matters;
    ``seqs`` ascend and say who comes first. What leaves stays among ``seqs`` until somebody passes it or half of
    them are gone, so a removal costs one deletion, and its undoing one search."""

    __slots__ = ("lots", "queue", "seqs")

    def __init__(self) -> None:
        self.queue: dict[int, Position] = {}
        self.seqs: list[int] = []
        self.lots = 0

    def enter(self, seq: int, position: Position) -> None:
        """Let an order in: a new one at the end, one that comes back where it stood."""
        seqs = self.seqs
        if not seqs or seq > seqs[-1]:
            seqs.append(seq)
        else:
            place = bisect_left(seqs, seq)
            if seqs[place] != seq:
                seqs.insert(place, seq)
        self.queue[seq] = position

    def leave(self, seq: int) -> None:
        """Let an order out."""
        queue = self.queue
        del queue[seq]
        if len(self.seqs) > 2 * len(queue) + _DEAD_SEQS_TOLERATED:
            self.seqs = [known for known in self.seqs if known in queue]

    def peek(self, count: int) -> list[tuple[int, Position]]:
        """(seq, position) of the first orders, at least one where there is any and at most ``count``."""
        seqs, queue = self.seqs, self.queue
        dead = 0
        while dead < len(seqs) and seqs[dead] not in queue:
            dead += 1
        if dead:
            del seqs[:dead]
        return [(seq, queue[seq]) for seq in seqs[:count] if seq in queue]

    def list_seqs(self) -> list[int]:
        """The seqs of the orders that rest, first come first."""
        return [seq for seq in self.seqs if seq in self.queue]


class BookSide:
    """One side: the levels by rank, and the ranks in order, the best last."""

    __slots__ = ("levels", "ranks")

    def __init__(self) -> None:
        self.levels: dict[int, Level] = {}
        self.ranks: list[int] = []

    def walk(self) -> Iterator[tuple[int, Level]]:
        """(price, level) from the best on."""
        for rank in reversed(self.ranks):
            yield abs(rank), self.levels[rank]

    def attach(self, rank: int, seq: int, position: Position, lots: int) -> None:
        """Put an order into its level's queue, by its seq."""
        level = self.levels.get(rank)
        if level is None:
            level = self.levels[rank] = Level()
            insort(self.ranks, rank)
        level.enter(seq, position)
        level.lots += lots

    def detach(self, rank: int, seq: int, lots: int) -> None:
        """Take an order out; an emptied level goes."""
        level = self.levels[rank]
        level.leave(seq)
        level.lots -= lots
        if not level.queue:
            del self.levels[rank]
            ranks = self.ranks
            if ranks[-1] == rank:
                ranks.pop()
            else:
                del ranks[bisect_left(ranks, rank)]

    def change(self, rank: int, lots: int) -> None:
        """Note that an order of the level has ``lots`` more open."""
        self.levels[rank].lots += lots


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
    position.market.returned.append(position)


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


def restore_priority(returned: list[Position]) -> None:
    """Put the orders of the positions to which some returned back into seq order, each once. A position has at
    most 200; in the levels, where many may rest, those that returned are in their places already.

    Without it a rollback would split live replicas from those that were restored from records.
    """
    for position in {id(position): position for position in returned}.values():
        position.orders = dict(sorted(position.orders.items(), key=itemgetter(0)))
