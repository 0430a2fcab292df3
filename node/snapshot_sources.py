"""Who can be asked for a snapshot: what each member offers, and who is not asked for a while.

Offers are hints: a lie costs one request. What does not live here: proofs (``node.snapshot_format``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.snapshot_frames import SnapshotOffer


class SnapshotSources:
    """The other members of our committee, by index."""

    def __init__(self, others: Sequence[int]) -> None:
        self._others = tuple(others)
        self._offers: dict[int, tuple[SnapshotOffer, ...]] = {}
        self._avoid_until_ms: dict[int, int] = {}

    def on_offers(self, peer: int, offers: Sequence[SnapshotOffer]) -> None:
        """What ``peer`` says it has, all of it."""
        self._offers[peer] = tuple(offers)

    def forget(self, peer: int) -> None:
        """The link is gone; what it offers may be another thing afterwards."""
        self._offers.pop(peer, None)

    def avoid(self, peer: int, now_ms: int, for_ms: int) -> None:
        """Ask it nothing for a while."""
        self._avoid_until_ms[peer] = max(self._avoid_until_ms.get(peer, 0), now_ms + for_ms)

    def list_usable(self, is_connected: Callable[[int], bool], now_ms: int) -> list[int]:
        """Who may be asked."""
        return [peer for peer in self._others if is_connected(peer) and now_ms >= self._avoid_until_ms.get(peer, 0)]

    def find_best(self, peers: Sequence[int], above: int) -> SnapshotOffer | None:
        """The highest that any of ``peers`` offers above this height."""
        offers = [offer for peer in peers for offer in self._offers.get(peer, ()) if offer.height > above]
        return max(offers, key=lambda offer: (offer.height, offer.header_hash), default=None)

    def list_holders(self, peers: Sequence[int], offer: SnapshotOffer) -> list[int]:
        """Those of ``peers`` that offer exactly this one."""
        return [peer for peer in peers if offer in self._offers.get(peer, ())]
