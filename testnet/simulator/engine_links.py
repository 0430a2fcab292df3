"""Links between engine hosts: how long a message takes, and which messages are lost.

While a script lasts each direction of each link has its own pace, and each run loses some share of the messages:
one by one, or a whole kind of message on a direction for a round, so that what is sent again is lost again; any
kind, or those that the round strikes, on most directions or on all but those to one node, while other kinds pass.
Then one node sees a quorum of commits and nobody else does, or a new view is heard and its votes are not. That is
where protocols break. Settled links lose nothing and are all alike. What does not live here: partitions.
"""

from __future__ import annotations

from random import Random
from typing import Final

from testnet.simulator.scheduler import US_PER_MS

MIN_DELAY_US: Final = US_PER_MS // 2
MAX_DELAYS_US: Final = (3 * US_PER_MS, 12 * US_PER_MS, 50 * US_PER_MS)
"""The longest delay of a direction: one node is long past a vote before another, and rounds end between phases."""
SETTLED_DELAYS_US: Final = ((MIN_DELAY_US, 6 * US_PER_MS), (90 * US_PER_MS, 110 * US_PER_MS))
"""Shortest and longest: a quick network, and one in which a view takes longer than the base timeout."""
MESSAGE_LOSSES: Final = (0, 0, 0, 15, 35, 0, 0, 0)
KIND_LOSSES: Final = (20, 50, 0, 0, 0, 60, 100, 100)
KIND_STRIKES: Final = (100, 100, 0, 0, 0, 25, 25, 40)
"""Percent of messages; of the directions on which a struck kind is lost for a round; of the (kind, round) that are
struck. Each run has one of these triples. What is lost on all directions reaches one node in spite of that."""


class EngineLinks:
    """All directions among ``total`` nodes; every chance from ``rng``."""

    def __init__(self, total: int, rng: Random) -> None:
        self._rng = rng
        self._min_delay_us = MIN_DELAY_US
        losses = list(zip(MESSAGE_LOSSES, KIND_LOSSES, KIND_STRIKES, strict=True))
        self._message_loss, self._kind_loss, self._strikes = rng.choice(losses)
        self._lost: dict[tuple[int, int, str, int], bool] = {}
        self._struck: dict[tuple[str, int], bool] = {}
        self._hearers: dict[tuple[str, int], int] = {}
        self._total = total
        self._max_delays_us = {
            (source, target): rng.choice(MAX_DELAYS_US) for source in range(total) for target in range(total)
        }

    def settle(self) -> None:
        """Nothing is lost from now on, and all directions have one pace."""
        self._min_delay_us, max_us = self._rng.choice(SETTLED_DELAYS_US)
        self._max_delays_us = dict.fromkeys(self._max_delays_us, max_us)
        self._message_loss = self._kind_loss = 0

    def draw_delay_us(self, source: int, target: int, kind: str, round: int) -> int | None:
        """Of one message; ``None`` where it is lost."""
        if self._message_loss and self._rng.randrange(100) < self._message_loss:
            return None
        if self._kind_loss and self._is_kind_lost((source, target, kind, round)):
            return None
        spread_us = self._max_delays_us[source, target] - self._min_delay_us
        return self._min_delay_us + int(self._rng.random() * spread_us)

    def _is_kind_lost(self, key: tuple[int, int, str, int]) -> bool:
        lost = self._lost.get(key)
        if lost is None:
            is_struck = self._is_kind_struck(key[2:])
            lost = self._lost[key] = is_struck and self._is_direction_lost(key[1], key[2:])
        return lost

    def _is_direction_lost(self, target: int, key: tuple[str, int]) -> bool:
        if self._kind_loss < 100:
            return self._rng.randrange(100) < self._kind_loss
        if key not in self._hearers:
            self._hearers[key] = self._rng.randrange(self._total)
        return target != self._hearers[key]

    def _is_kind_struck(self, key: tuple[str, int]) -> bool:
        if self._strikes == 100:
            return True
        struck = self._struck.get(key)
        if struck is None:
            struck = self._struck[key] = self._rng.randrange(100) < self._strikes
        return struck
