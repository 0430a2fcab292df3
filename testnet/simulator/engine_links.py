"""Links between engine hosts: how long a message takes, and which messages are lost.

While a script lasts each direction of each link has its own pace, and each run loses some share of the messages:
one by one, or a whole kind of message on a direction for a round, so that what is sent again is lost again. Then
one node sees a quorum of commits and nobody else does, or a new view is heard and its votes are not. That is where
protocols break. Some runs lose in ways of their own besides: a kind of message reaches one or two *witnesses* alone
for a round (who alone has a proof or a decision that the others know nothing of), or a kind fails on a direction for
a moment and comes through later (so what belongs to a view arrives when its reader has asked for the next one).
Settled links lose nothing and are all alike. What does not live here: partitions.
"""

from __future__ import annotations

from random import Random
from typing import Final

from testnet.simulator.scheduler import US_PER_MS

MIN_DELAY_US: Final = US_PER_MS // 2
MAX_DELAYS_US: Final = (3 * US_PER_MS, 12 * US_PER_MS, 50 * US_PER_MS)
"""The longest delay of a direction: one node is long past a vote before another, and rounds end between phases."""
SETTLED_DELAYS_US: Final = ((MIN_DELAY_US, 6 * US_PER_MS), (50 * US_PER_MS, 70 * US_PER_MS))
"""Shortest and longest: a quick network, and one in which a view takes longer than the base timeout."""
MESSAGE_LOSSES: Final = (0, 0, 0, 15, 35)
KIND_LOSSES: Final = (20, 50, 0, 0, 0)
"""Percent of messages, and of (direction, kind, round); each run has one pair."""
WITNESSED: Final = (0, 0, 0, 35, 35, 60)
"""Percent of (kind, round) that one or two nodes hear and nobody else."""
MOMENTS: Final = (0, 0, 0, 30)
"""Percent of (direction, kind, moment) that are lost."""
MOMENT_US: Final = 60 * US_PER_MS
"""Shorter than a round, longer than a message takes."""


class EngineLinks:
    """All directions among ``total`` nodes; every chance from ``rng``, but that of what most runs do not have."""

    def __init__(self, total: int, rng: Random, rare: Random) -> None:
        self._rng = rng
        self._rare = rare
        self._total = total
        self._witnessed = rare.choice(WITNESSED)
        self._moments = rare.choice(MOMENTS)
        self._witnesses: dict[tuple[str, int], frozenset[int] | None] = {}
        self._failed: dict[tuple[int, int, str, int], bool] = {}
        self._min_delay_us = MIN_DELAY_US
        self._message_loss, self._kind_loss = rng.choice(list(zip(MESSAGE_LOSSES, KIND_LOSSES, strict=True)))
        self._lost: dict[tuple[int, int, str, int], bool] = {}
        self._max_delays_us = {
            (source, target): rng.choice(MAX_DELAYS_US) for source in range(total) for target in range(total)
        }

    def settle(self) -> None:
        """Nothing is lost from now on, and all directions have one pace."""
        self._min_delay_us, max_us = self._rng.choice(SETTLED_DELAYS_US)
        self._max_delays_us = dict.fromkeys(self._max_delays_us, max_us)
        self._message_loss = self._kind_loss = 0
        self._witnessed = self._moments = 0

    def draw_delay_us(self, source: int, target: int, kind: str, round: int, now_us: int) -> int | None:
        """Of one message; ``None`` where it is lost."""
        if self._witnessed and not self._is_witness(target, (kind, round)):
            return None
        if self._moments and self._has_failed((source, target, kind, now_us // MOMENT_US)):
            return None
        if self._message_loss and self._rng.randrange(100) < self._message_loss:
            return None
        if self._kind_loss and self._is_kind_lost((source, target, kind, round)):
            return None
        spread_us = self._max_delays_us[source, target] - self._min_delay_us
        return self._min_delay_us + int(self._rng.random() * spread_us)

    def _is_witness(self, target: int, key: tuple[str, int]) -> bool:
        if key not in self._witnesses:
            rare = self._rare
            is_witnessed = rare.randrange(100) < self._witnessed
            nodes = rare.sample(range(self._total), min(self._total, rare.choice((1, 1, 2))))
            self._witnesses[key] = frozenset(nodes) if is_witnessed else None
        witnesses = self._witnesses[key]
        return witnesses is None or target in witnesses

    def _has_failed(self, key: tuple[int, int, str, int]) -> bool:
        failed = self._failed.get(key)
        if failed is None:
            failed = self._failed[key] = self._rare.randrange(100) < self._moments
        return failed

    def _is_kind_lost(self, key: tuple[int, int, str, int]) -> bool:
        lost = self._lost.get(key)
        if lost is None:
            lost = self._lost[key] = self._rng.randrange(100) < self._kind_loss
        return lost
