"""Deleting whole ranges of keys in bounded steps: retired snapshots, downloads that were given up, old state areas.

What does not live here: which ranges belong to nothing any more, and which blocks are pruned (``node.pruning``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from consensus.engine import Record
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.snapshot_records import KeyRange, SnapshotReader

SWEPT_RECORDS: Final = 512
"""Deleted in one step: under 2 ms."""


class Sweeper:
    """Key ranges that go, one after the other."""

    def __init__(self, reader: SnapshotReader, ranges: Iterable[KeyRange]) -> None:
        self._reader = reader
        self._ranges = deque(ranges)

    @property
    def is_idle(self) -> bool:
        """Whether everything is gone."""
        return not self._ranges

    def add(self, keys: KeyRange) -> None:
        """This goes too; nothing may be written there until ``is_idle``."""
        self._ranges.append(keys)

    def step(self, draft: EffectsDraft) -> None:
        """Delete some, from behind what earlier steps deleted: those keys would have to be skipped again."""
        if not self._ranges:
            return
        start, stop = self._ranges.popleft()
        found = list(islice(self._reader.scan_keys((start, stop)), SWEPT_RECORDS))
        if not found:
            return
        draft.writes.append(StoreWrite(tuple([Record(key, None) for key in found])))
        self._ranges.appendleft((found[-1] + b"\x00", stop))
