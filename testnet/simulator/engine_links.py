"""Links between engine hosts: how long a message takes, and which messages are lost.

While a script lasts each direction of each link has its own pace, and each run loses some share of the messages:
one by one, or a whole kind of message on a direction for a round, so that what is sent again is lost again; any
kind, or those that the round strikes, on most directions or on all but those to one node, while other kinds pass.
Then one node sees a quorum of commits and nobody else does, or a new view is heard and its votes are not. That is
where protocols break. Some runs have a *habit* besides. Settled links lose nothing and are all alike. What does not
live here: partitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final, assert_never

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


class Habit(Enum):
    """How a run loses messages besides."""

    NONE = auto()
    SECRETS = auto()
    """In most rounds one *witness* hears what nobody else hears: one kind of message, the more frequent the
    likelier, or everything from some moment on. So it alone has the proofs or decisions of the slots in flight.
    Often it is cut off in the next round, and the others go on without what it knows."""
    MOMENTS = auto()
    """A kind fails on a direction for a moment and comes through later: what belongs to a view arrives when its
    reader has asked for the next one."""


HABITS: Final = (Habit.NONE, Habit.NONE, Habit.SECRETS, Habit.SECRETS, Habit.SECRETS, Habit.MOMENTS)
SECRET_ROUNDS: Final = 60
"""Percent of the rounds that have a witness."""
KIND_SECRETS: Final = 70
"""Percent of the secrets that are of one kind of message."""
SECRET_FROM_US: Final = (10 * US_PER_MS, 140 * US_PER_MS)
"""When the others begin to hear nothing, from the round's beginning: it lasts a little longer."""
CUT_OFF: Final = 60
"""Percent of the witnesses that are cut off in the round that follows, and of those that stay so in the next."""
LOST_MOMENTS: Final = 30
"""Percent of (direction, kind, moment)."""
MOMENT_US: Final = 60 * US_PER_MS
"""Shorter than a round, longer than a message takes."""


@dataclass(frozen=True, slots=True)
class _Secret:
    """Of one round: from when on the witness alone hears this kind (``None``: anything); and who hears nobody and
    is heard by nobody throughout. Without a witness everybody hears."""

    witness: int | None
    kind: str | None
    from_us: int
    cut_off: int | None

    def loses(self, source: int, target: int, kind: str, now_us: int) -> bool:
        if self.cut_off in (source, target):
            return True
        if self.witness in (None, target) or now_us < self.from_us:
            return False
        return self.kind in (None, kind)


class EngineLinks:
    """All directions among ``total`` nodes; every chance from ``rng``, but that of what most runs do not have."""

    def __init__(self, total: int, rng: Random, rare: Random) -> None:
        self._rng = rng
        self._rare = rare
        self._total = total
        self._habit = rare.choice(HABITS)
        self._favourite = rare.randrange(total)
        self._secrets: dict[int, _Secret] = {}
        self._kinds: dict[str, int] = {}
        self._failed: dict[tuple[int, int, str, int], bool] = {}
        self._min_delay_us = MIN_DELAY_US
        losses = list(zip(MESSAGE_LOSSES, KIND_LOSSES, KIND_STRIKES, strict=True))
        self._message_loss, self._kind_loss, self._strikes = rng.choice(losses)
        self._lost: dict[tuple[int, int, str, int], bool] = {}
        self._struck: dict[tuple[str, int], bool] = {}
        self._hearers: dict[tuple[str, int], int] = {}
        self._max_delays_us = {
            (source, target): rng.choice(MAX_DELAYS_US) for source in range(total) for target in range(total)
        }

    def settle(self) -> None:
        """Nothing is lost from now on, and all directions have one pace."""
        self._min_delay_us, max_us = self._rng.choice(SETTLED_DELAYS_US)
        self._max_delays_us = dict.fromkeys(self._max_delays_us, max_us)
        self._message_loss = self._kind_loss = 0
        self._habit = Habit.NONE

    def draw_delay_us(self, source: int, target: int, kind: str, round: int, now_us: int) -> int | None:
        """Of one message; ``None`` where it is lost."""
        if self._is_lost_by_habit(source, target, kind, round, now_us):
            return None
        if self._message_loss and self._rng.randrange(100) < self._message_loss:
            return None
        if self._kind_loss and self._is_kind_lost((source, target, kind, round)):
            return None
        spread_us = self._max_delays_us[source, target] - self._min_delay_us
        return self._min_delay_us + int(self._rng.random() * spread_us)

    def _is_lost_by_habit(self, source: int, target: int, kind: str, round: int, now_us: int) -> bool:
        match self._habit:
            case Habit.NONE:
                return False
            case Habit.SECRETS:
                self._kinds[kind] = self._kinds.get(kind, 0) + 1
                return self._secret_of(round, now_us).loses(source, target, kind, now_us)
            case Habit.MOMENTS:
                return self._has_failed((source, target, kind, now_us // MOMENT_US))
            case _:
                assert_never(self._habit)

    def _secret_of(self, round: int, now_us: int) -> _Secret:
        """Drawn when the first node sends in the round."""
        if round not in self._secrets:
            rare, before = self._rare, self._secrets.get(round - 1)
            cut_off = None
            if before is not None and rare.randrange(100) < CUT_OFF:
                cut_off = before.witness if before.cut_off is None else before.cut_off
            witness = rare.choice((self._favourite, rare.randrange(self._total)))
            if rare.randrange(100) >= SECRET_ROUNDS:
                secret = _Secret(None, None, 0, cut_off)
            elif rare.randrange(100) < KIND_SECRETS:
                (kind,) = rare.choices(list(self._kinds), list(self._kinds.values()))
                secret = _Secret(witness, kind, 0, cut_off)
            else:
                secret = _Secret(witness, None, now_us + rare.randint(*SECRET_FROM_US), cut_off)
            self._secrets[round] = secret
        return self._secrets[round]

    def _has_failed(self, key: tuple[int, int, str, int]) -> bool:
        failed = self._failed.get(key)
        if failed is None:
            failed = self._failed[key] = self._rare.randrange(100) < LOST_MOMENTS
        return failed

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
