"""What the beacon has registered of each shard, as one beacon height shows it.

Values only: the beacon's own table is ``crosslink.registry``, a shard's picture of it ``crosslink.follower``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from primitives.hashing import ZERO_DIGEST


@dataclass(frozen=True, slots=True)
class RegisteredTip:
    """The newest registered header of a shard. Height 0 means that none is registered yet.

    ``beacon_ref_height`` is the beacon height that this header had executed; ``registered_at`` the one that
    registered it.
    """

    incarnation: int = 0
    height: int = 0
    hash: bytes = ZERO_DIGEST
    beacon_ref_height: int = 0
    registered_at: int = 0
    frozen: bool = False


UNREGISTERED = RegisteredTip()


class RegistryView(Protocol):
    """The registered tips as of one fixed beacon height."""

    def tip(self, shard: int) -> RegisteredTip:
        """``UNREGISTERED`` for a shard without a registered header."""
        ...


def is_stalled(tip: RegisteredTip, beacon_height: int, stall_after_blocks: int) -> bool:
    """Whether a shard's registered tip trails ``beacon_height`` by more than K1 blocks."""
    return beacon_height - tip.beacon_ref_height > stall_after_blocks
