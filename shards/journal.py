"""The undo journal: how atomic batches, failed actions and fill-or-kill orders take back what they did.

Theory of operation. Every mutator of the hot state appends a note before it acts: a function and the arguments
with which calling it restores what was there. ``rollback`` calls them newest first, so the earliest value of each
thing wins. An order that comes back finds its place in its level by its seq; in its position it is appended at
the wrong end, so the position's orders are put back into seq order afterwards. Locks towards other shards have a
journal of their own in the transfer machine, and what subscribers would have been told is cut.

Action fees and nonces are charged outside and cleared from the notes. What a rollback leaves behind is derived or
harmless: dirty marks, an empty position (dropped at the flush), used-up matching work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shards.order_book import restore_priority

if TYPE_CHECKING:
    from crosslink.transfers import TransferMachine
    from shards.venue import Venue

Note = tuple[Any, ...]
"""(function, arguments …)."""

Savepoint = tuple[int, int, int]
"""Lengths of the notes, of the locks sent and of the block's notices."""


def take_savepoint(venue: Venue, machine: TransferMachine) -> Savepoint:
    """Where ``rollback`` returns to; savepoints nest."""
    return len(venue.notes), machine.savepoint(), len(venue.notices)


def rollback(venue: Venue, machine: TransferMachine, savepoint: Savepoint) -> None:
    """Undo everything noted since ``savepoint``."""
    count, machine_savepoint, notice_count = savepoint
    machine.rollback(machine_savepoint)
    del venue.notices[notice_count:]
    notes = venue.notes
    while len(notes) > count:
        note = notes.pop()
        note[0](*note[1:])
    for market in venue.markets.values():
        if market.returned:
            restore_priority(market.returned)
            market.returned.clear()
