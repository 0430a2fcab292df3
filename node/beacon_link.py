"""What a replica has to do with the beacon: the ``BeaconLink`` protocol, and the link of a chain that has none.

The links themselves: ``node.beacon_follow`` (a shard's replica) and ``node.beacon_serve`` (the beacon's own).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consensus.certificate import Certificate
from consensus.engine import Record
from crosslink.header import ShardHeader
from node.effects_draft import EffectsDraft
from node.executor import BeaconView, ExecutedBlock
from node.members import Member
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST


class BeaconLink(BeaconView, Protocol):
    """One replica's side of the traffic between shards and the beacon. Every method adds to the draft what is to
    be sent and stored."""

    def is_peer(self, member: Member) -> bool:
        """Whether a member of another committee has any business with us."""
        ...

    def on_link_up(self, member: Member, draft: EffectsDraft, now_ms: int) -> None: ...

    def on_link_down(self, member: Member) -> None: ...

    def on_frame(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        """A frame of a beacon kind, also from a member of our own committee; raises ``RemoteError``."""
        ...

    def on_certified(
        self, blocks: Sequence[ExecutedBlock], certificate: Certificate, draft: EffectsDraft, now_ms: int
    ) -> None:
        """These blocks of ours are certified, in order; ``certificate`` is of the last."""
        ...

    def on_awaited(self, height: int, proposer: int, draft: EffectsDraft, now_ms: int) -> None:
        """A payload waits for beacon block ``height``; ``proposer`` had it."""
        ...

    def on_tick(self, draft: EffectsDraft, now_ms: int) -> None:
        """Every so often, and on the timer that the link set."""
        ...

    def compute_prune_limit(self, certified_height: int) -> int:
        """Blocks of ours above this height are still needed for the traffic between shards and beacon."""
        ...

    def retain(self, header: ShardHeader | None) -> None:
        """``header`` is of the oldest snapshot that we offer: who joins by it needs the beacon from there on."""
        ...

    def prepare_jump(self, header: ShardHeader, draft: EffectsDraft, now_ms: int) -> Sequence[Record] | None:
        """We are about to go on above ``header`` without having executed what lies below. Returns what must be
        in the follower's other area then (nothing, where what we follow will do), or ``None`` while that is on
        its way."""
        ...


class NoBeacon:
    """The link of a chain that stands alone."""

    follows = False
    height = 0

    def hash_at(self, height: int) -> bytes:
        return ZERO_DIGEST

    def is_peer(self, member: Member) -> bool:
        return False

    def on_link_up(self, member: Member, draft: EffectsDraft, now_ms: int) -> None:
        return

    def on_link_down(self, member: Member) -> None:
        return

    def on_frame(self, member: Member, kind: int, body: bytes, draft: EffectsDraft, now_ms: int) -> None:
        raise RemoteError("UNKNOWN_KIND", "this chain has no beacon", penalise=True)

    def on_certified(
        self, blocks: Sequence[ExecutedBlock], certificate: Certificate, draft: EffectsDraft, now_ms: int
    ) -> None:
        return

    def on_awaited(self, height: int, proposer: int, draft: EffectsDraft, now_ms: int) -> None:
        return

    def on_tick(self, draft: EffectsDraft, now_ms: int) -> None:
        return

    def compute_prune_limit(self, certified_height: int) -> int:
        return certified_height

    def retain(self, header: ShardHeader | None) -> None:
        return

    def prepare_jump(self, header: ShardHeader, draft: EffectsDraft, now_ms: int) -> Sequence[Record] | None:
        return ()
