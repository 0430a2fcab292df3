"""A committee: who signs, how many must, and what every signature is bound to.

Arithmetic: with n members, f = ⌊(n−1)/3⌋ may be faulty. Two quorums of size q overlap in at least
2q − n members, and that overlap must hold an honest one: 2q − n ≥ f + 1, so q ≥ (n + f + 1) / 2, and the
least such integer is ⌊(n + f) / 2⌋ + 1. The n − f honest members alone reach it, because
n − f ≥ ⌊(n + f) / 2⌋ + 1 whenever n ≥ 3f + 1.  (n = 4, 5, 6, 7 → q = 3, 4, 4, 5.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from primitives.errors import LocalError
from primitives.signing import PUBLIC_KEY_BYTES


@dataclass(frozen=True)
class Committee:
    """The members of one shard (or the beacon) in one epoch, in index order, of equal weight.

    ``chain`` is the 32-byte hash of the genesis. A member is named by its index everywhere.
    """

    chain: bytes
    shard: int
    incarnation: int
    epoch: int
    members: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise LocalError("a committee needs at least one member")
        if len(set(self.members)) != len(self.members):
            raise LocalError("a committee names one key twice")
        if any(len(key) != PUBLIC_KEY_BYTES for key in self.members):
            raise LocalError(f"a committee member's key has {PUBLIC_KEY_BYTES} bytes")

    @cached_property
    def size(self) -> int:
        """n."""
        return len(self.members)

    @cached_property
    def faults(self) -> int:
        """f, the number of faulty members that safety and liveness tolerate."""
        return (self.size - 1) // 3

    @cached_property
    def quorum(self) -> int:
        """q = ⌊(n + f) / 2⌋ + 1; see the derivation above."""
        return (self.size + self.faults) // 2 + 1

    @cached_property
    def _index(self) -> dict[bytes, int]:
        return {key: index for index, key in enumerate(self.members)}

    def index_of(self, public_key: bytes) -> int | None:
        """The member's index, or ``None`` for a stranger."""
        return self._index.get(public_key)

    @cached_property
    def signing_prefix(self) -> bytes:
        """``chain ‖ shard ‖ incarnation ‖ epoch``, fixed width: what every signature of this epoch is bound to."""
        return (
            self.chain
            + self.shard.to_bytes(4, "big")
            + self.incarnation.to_bytes(4, "big")
            + self.epoch.to_bytes(8, "big")
        )
