"""Members of any committee, as peers and the command line name them."""

from __future__ import annotations

import msgspec

from primitives.identifiers import format_member


class Member(msgspec.Struct, frozen=True, order=True, gc=False):
    """Validator ``index`` of ``shard`` (or of the beacon, ``BEACON_SHARD``) and its Ed25519 key."""

    shard: int
    index: int
    public_key: bytes

    @property
    def name(self) -> str:
        """``s0v2``, ``bv1``."""
        return format_member(self.shard, self.index)
