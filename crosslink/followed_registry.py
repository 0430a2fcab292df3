"""The registry as a follower sees it: every shard's registered tip, as of each retained beacon block.

A shard's block looks at the registry as of its own beacon reference, which may lie behind the newest block; so the
follower keeps the history of each tip. What does not live here: feeding it (``crosslink.follower``).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from crosslink.messages import ShardNumber
from crosslink.records import Freeze, Registration
from crosslink.tips import UNREGISTERED, RegisteredTip
from primitives.codec import Digest, Unsigned, Wire


class BaseTip(Wire, frozen=True):
    """One shard's registered tip at the base."""

    shard: ShardNumber
    incarnation: Unsigned
    height: Unsigned
    hash: Digest
    beacon_ref_height: Unsigned
    registered_at: Unsigned
    frozen: bool


class FollowerBase(Wire, frozen=True):
    """The newest pruned block, and the registry as of it."""

    height: Unsigned
    hash: Digest
    tips: tuple[BaseTip, ...]


@dataclass(slots=True)
class TipHistory:
    """A shard's tip after every retained beacon block that changed it, oldest first."""

    heights: list[int] = field(default_factory=list)
    tips: list[RegisteredTip] = field(default_factory=list)

    def at(self, height: int) -> RegisteredTip:
        """The tip as of beacon block ``height``."""
        position = bisect_right(self.heights, height)
        return self.tips[position - 1] if position else UNREGISTERED

    def put(self, height: int, tip: RegisteredTip) -> None:
        """Note the tip after beacon block ``height``; heights never fall."""
        if self.heights and self.heights[-1] == height:
            self.tips[-1] = tip
            return
        self.heights.append(height)
        self.tips.append(tip)

    def prune(self, height: int) -> None:
        """Forget what is not needed for ``at(height)`` and later."""
        surplus = bisect_right(self.heights, height) - 1
        if surplus > 0:
            del self.heights[:surplus], self.tips[:surplus]


class FollowedRegistry:
    """The registry as one beacon height shows it (a ``RegistryView``)."""

    __slots__ = ("_height", "_histories")

    def __init__(self, histories: dict[int, TipHistory], height: int) -> None:
        self._histories = histories
        self._height = height

    def tip(self, shard: int) -> RegisteredTip:
        """``UNREGISTERED`` for a shard without a registered header."""
        history = self._histories.get(shard)
        return UNREGISTERED if history is None else history.at(self._height)


def advance_tip(tip: RegisteredTip, record: Registration | Freeze, height: int) -> RegisteredTip:
    """``tip`` after beacon block ``height`` said ``record`` about its shard."""
    if isinstance(record, Freeze):
        return RegisteredTip(tip.incarnation, tip.height, tip.hash, tip.beacon_ref_height, tip.registered_at, True)
    return RegisteredTip(
        record.incarnation, record.height, record.tip_hash, record.beacon_ref_height, height, tip.frozen
    )


def summarise_histories(histories: dict[int, TipHistory], height: int) -> tuple[BaseTip, ...]:
    """Every registered tip as of beacon block ``height``, by shard."""
    tips: list[BaseTip] = []
    for shard, history in sorted(histories.items()):
        tip = history.at(height)
        if tip is UNREGISTERED:
            continue
        tips.append(
            BaseTip(
                shard,
                tip.incarnation,
                tip.height,
                tip.hash,
                tip.beacon_ref_height,
                tip.registered_at,
                tip.frozen,
            )
        )
    return tuple(tips)


def restore_histories(base: FollowerBase) -> dict[int, TipHistory]:
    """Histories that know the tips of ``base`` and nothing else."""
    histories: dict[int, TipHistory] = {}
    for tip in base.tips:
        restored = RegisteredTip(
            tip.incarnation, tip.height, tip.hash, tip.beacon_ref_height, tip.registered_at, tip.frozen
        )
        histories[tip.shard] = TipHistory([base.height], [restored])
    return histories
