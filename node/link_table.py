"""Which links exist, which of two for the same purpose stays, and when a member counts as connected.

No IO. At most one link for each member and lane: reconnecting replaces what is stale. When both sides dial
at once, both must keep the same one of the two connections, so the one dialled by the lower key stays
unless the newcomer is from another process of the peer (its ``boot`` differs): then the old one is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from node.framing import Lane
from node.members import Member
from node.peer_link import PeerLink
from node.rate_limit import TokenBucket


@dataclass(slots=True, eq=False)
class Peer:
    """A member as the transport sees it. ``is_lower`` says that we have the lower key, and so dial first."""

    member: Member
    is_lower: bool
    buckets: dict[Lane, TokenBucket]
    links: dict[Lane, PeerLink] = field(default_factory=dict)
    changed: dict[Lane, trio.Event] = field(default_factory=lambda: {lane: trio.Event() for lane in Lane})
    is_connected: bool = False

    def notify(self, lane: Lane) -> None:
        """Wake whoever waits for news about the link on ``lane``: it came, it went, the address is another."""
        self.changed[lane].set()
        self.changed[lane] = trio.Event()


class LinkTable:
    """The links of one node. A member is connected while it has a link on every lane."""

    __slots__ = ("_on_connected", "_on_disconnected", "peers")

    def __init__(
        self,
        peers: list[Peer],
        on_connected: Callable[[Member], None],
        on_disconnected: Callable[[Member], None],
    ) -> None:
        self.peers = {peer.member: peer for peer in peers}
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected

    def connected(self) -> list[Member]:
        """Members with all lanes up, in the order in which members were given."""
        return [peer.member for peer in self.peers.values() if peer.is_connected]

    def links(self) -> list[PeerLink]:
        """Every live link."""
        return [link for peer in self.peers.values() for link in peer.links.values()]

    def install(self, link: PeerLink) -> bool:
        """Make ``link`` the one for its member and lane; false if the one that exists stays."""
        peer = self.peers[link.member]
        existing = peer.links.get(link.lane)
        if existing is not None:
            if existing.boot == link.boot and existing.dialled == peer.is_lower != link.dialled:
                return False
            existing.close("replaced")
            self.remove(existing)
        peer.links[link.lane] = link
        peer.notify(link.lane)
        if len(peer.links) == len(Lane):
            peer.is_connected = True
            self._on_connected(peer.member)
        return True

    def remove(self, link: PeerLink) -> None:
        """``link`` has ended. Harmless if another one has taken its place."""
        peer = self.peers[link.member]
        if peer.links.get(link.lane) is not link:
            return
        del peer.links[link.lane]
        peer.notify(link.lane)
        if peer.is_connected:
            peer.is_connected = False
            self._on_disconnected(peer.member)
