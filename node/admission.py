"""Which connections may be in a handshake: bounded at once, bounded per address, the silent evicted first.

Sans-IO. There is deliberately no limit on how many connections are taken over time: only those that have
not yet proved a member's key are counted, and each of them leaves within the handshake timeout.

Addresses at which members are known to be are not counted against the total, so that strangers, however
many addresses they have, take no member's place. And a full house does not simply refuse the newcomer, or
idle connections would keep real peers out: an honest dialler speaks first and at once, so the oldest
connection that has said nothing makes room.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SILENCE_MS: Final = 100
"""How long a connection may say nothing before a newcomer may take its place: a few times the delay
between the end of TCP's handshake and the first bytes, which an honest dialler sends together."""


@dataclass(slots=True, eq=False)
class HandshakeSlot:
    """One connection in its handshake. ``is_known`` says that some member is thought to be at ``address``,
    ``is_silent`` whether nothing was read yet; ``evict`` ends it."""

    address: str
    is_known: bool
    started_ms: int
    is_silent: Callable[[], bool]
    evict: Callable[[], None]


class HandshakeSlots:
    """The house. Loopback has its own limit per address, since all of a local network shares one."""

    __slots__ = ("_per_address", "_per_loopback", "_slots", "_total")

    def __init__(self, *, total: int, per_address: int, per_loopback_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._per_loopback = per_loopback_address
        self._slots: dict[HandshakeSlot, None] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def enter(self, slot: HandshakeSlot) -> bool:
        """Take ``slot`` in, evicting a silent one if that is what it takes; false if there is no room."""
        limit = self._per_loopback if _is_loopback(slot.address) else self._per_address
        neighbours = [other for other in self._slots if other.address == slot.address]
        if len(neighbours) >= limit:
            crowd = neighbours
        else:
            strangers = [] if slot.is_known else [other for other in self._slots if not other.is_known]
            crowd = strangers if len(strangers) >= self._total else []
        if crowd and not self._evict_silent(crowd, slot.started_ms):
            return False
        self._slots[slot] = None
        return True

    def leave(self, slot: HandshakeSlot) -> None:
        """The handshake ended, well or not. Leaving twice is harmless."""
        self._slots.pop(slot, None)

    def _evict_silent(self, crowd: list[HandshakeSlot], now_ms: int) -> bool:
        for slot in crowd:
            if now_ms - slot.started_ms >= SILENCE_MS and slot.is_silent():
                self.leave(slot)
                slot.evict()
                return True
        return False


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
