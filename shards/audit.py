"""Watching each transaction: nobody comes under initial margin by his own action.

Attached to the venue under ``--paranoid`` and in tests only. What is checked after a whole block is in
``shards.invariants``.
"""

from __future__ import annotations

from typing import NamedTuple

from shards.accounts import Subaccount
from shards.margin import compute_equity
from shards.venue import Venue


class MarginState(NamedTuple):
    """A subaccount's equity and requirements."""

    equity: int
    initial: int
    position_initial: int
    maintenance: int


class Auditor:
    """Compares the acting subaccount before and after its actions."""

    __slots__ = ("_before", "_venue")

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._before = MarginState(0, 0, 0, 0)

    def _observe(self, subaccount: Subaccount) -> MarginState:
        equity = compute_equity(subaccount, self._venue.epoch)
        return MarginState(
            equity, subaccount.initial_sum, subaccount.position_initial_sum, subaccount.maintenance_sum
        )

    def before_actions(self, subaccount: Subaccount) -> None:
        """The fee is paid already: it is no action."""
        self._before = self._observe(subaccount)

    def after_actions(self, subaccount: Subaccount) -> None:
        """Fails unless it is above initial, was below before, asked for no more, or lowered its risk."""
        before, after = self._before, self._observe(subaccount)
        assert (
            after.equity >= after.initial
            or before.equity < before.initial
            or (after.initial <= before.initial and after.equity >= after.position_initial)
            or (
                after.maintenance <= before.maintenance
                and after.equity * before.maintenance >= before.equity * after.maintenance
            )
        ), f"newly under initial margin by its own action: {before} to {after}"
