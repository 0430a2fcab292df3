"""The scope of one transaction (or one liquidation): who acts, what happened, and how much work is left.

Bounds: 256 maker visits an action, 1,024 a transaction, 20,000 a block, and 64 KiB of events a transaction. At
a bound the remainder of an order is cancelled, never rested.
"""

from __future__ import annotations

from typing import Final

from shards.accounts import Subaccount
from shards.events import MAX_EVENTS, EventTuple
from shards.venue import Venue

MAX_VISITS_PER_ACTION: Final = 256
MAX_VISITS_PER_TRANSACTION: Final = 1_024
EVENTS_PER_VISIT: Final = 36
"""A visit makes one event, up to 32 reduce-only cancels follow, and the remainder's fate is told in two."""


class Scope:
    """``nonce`` is the transaction's; ``events`` grow in the order of what happens."""

    __slots__ = ("action_visits_left", "events", "nonce", "subaccount", "transaction_visits_left", "venue")

    def __init__(self, venue: Venue, subaccount: Subaccount, nonce: int, events: list[EventTuple]) -> None:
        self.venue = venue
        self.subaccount = subaccount
        self.nonce = nonce
        self.events = events
        self.action_visits_left = MAX_VISITS_PER_ACTION
        self.transaction_visits_left = MAX_VISITS_PER_TRANSACTION

    def begin_action(self) -> None:
        """Fill up what one action may use."""
        self.action_visits_left = MAX_VISITS_PER_ACTION

    def take_visit(self) -> bool:
        """Use one maker visit; false where any bound is reached."""
        if (
            self.action_visits_left <= 0
            or self.transaction_visits_left <= 0
            or self.venue.visits_left <= 0
            or len(self.events) + EVENTS_PER_VISIT > MAX_EVENTS
        ):
            return False
        self.action_visits_left -= 1
        self.transaction_visits_left -= 1
        self.venue.visits_left -= 1
        return True

    @property
    def has_room(self) -> bool:
        """Whether one more action may make events."""
        return len(self.events) + EVENTS_PER_VISIT <= MAX_EVENTS
