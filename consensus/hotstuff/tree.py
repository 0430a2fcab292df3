"""The tree of entries above the last certified height: which payloads lie below a block.

Blocks are many (each view has one), entries few: one per slot and branch. An entry is learned from a certified
block or from an answer whose entries hash to what a certified block names, so nothing here has to be trusted.
Branches that were abandoned stay until their slot is certified, bounded per slot; should one of them come back, its
own block brings it. What does not live here: certificates and votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.hotstuff.messages import Entry, compute_entry_id

MAX_BRANCHES: Final = 16
"""Entries of one slot that are kept: each beyond the first needs a certified block that a later view abandoned."""


@dataclass(frozen=True, slots=True)
class Path:
    """The entries of a branch from the lowest known slot up. ``missing`` is the identity of an entry that has to be
    learned before the path reaches down to the certified height; ``None``: it does."""

    entries: tuple[Entry, ...]
    missing: bytes | None


class EntryTree:
    """Entries by identity, above ``height``."""

    __slots__ = ("_by_slot", "_entries", "_reach_slots", "height")

    def __init__(self, height: int, reach_slots: int) -> None:
        """Nothing more than ``reach_slots`` above the height is kept: it is far from being voted on here."""
        self.height = height
        self._reach_slots = reach_slots
        self._entries: dict[bytes, Entry] = {}
        self._by_slot: dict[int, list[bytes]] = {}

    def find(self, identity: bytes) -> Entry | None:
        """The entry, if it is known and not settled."""
        return self._entries.get(identity)

    def reaches(self, slot: int) -> bool:
        """Whether entries of ``slot`` are kept."""
        return self.height < slot <= self.height + self._reach_slots

    def learn(self, entry: Entry) -> tuple[Entry, ...] | None:
        """Add it; returns what had to go for it, ``None`` where it is known, settled or far off."""
        identity = compute_entry_id(entry)
        if not self.reaches(entry.slot) or identity in self._entries:
            return None
        branches = self._by_slot.setdefault(entry.slot, [])
        excess = max(0, len(branches) + 1 - MAX_BRANCHES)
        gone = tuple(self._entries.pop(old) for old in branches[:excess])
        del branches[: len(gone)]
        branches.append(identity)
        self._entries[identity] = entry
        return gone

    def trace(self, top: Entry) -> Path:
        """The path from ``top``, itself known or not, down to the height."""
        entries: list[Entry] = []
        entry: Entry | None = top
        while entry is not None and entry.slot > self.height:
            entries.append(entry)
            prior = entry.prior
            if entry.slot == self.height + 1:
                break
            entry = self._entries.get(prior)
            if entry is None or entry.slot != entries[-1].slot - 1:
                return Path(tuple(reversed(entries)), prior)
        return Path(tuple(reversed(entries)), None)

    def settle(self, height: int) -> None:
        """Everything at or below ``height`` is certified."""
        self.height = max(self.height, height)
        for slot in [slot for slot in self._by_slot if slot <= height]:
            for identity in self._by_slot.pop(slot):
                del self._entries[identity]

    def __len__(self) -> int:
        return len(self._entries)
