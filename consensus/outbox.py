"""The output under construction: what an engine collects while it handles one event.

Deletions wait for the next record that has to be written anyway. What does not live here: any key of an engine's
own, and any rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consensus.certificate import Certificate
from consensus.engine import NO_OUTPUT, Decided, Evidence, Output, Record, Send, SetTimer, Wish
from primitives.codec import encode

STABLE_KEY: Final = b"stable"
"""Holds the ``Certificate`` below which records were deleted."""


class Outbox:
    """Collects what one event causes."""

    __slots__ = ("_deletions", "_stable", "decided", "evidence", "persist", "send", "wishes")

    def __init__(self) -> None:
        self._deletions: dict[bytes, None] = {}
        self._stable: Certificate | None = None
        self.persist: list[Record] = []
        self.send: list[Send] = []
        self.wishes: list[Wish] = []
        self.decided: list[Decided] = []
        self.evidence: list[Evidence] = []

    def log(self, key: bytes, value: bytes) -> None:
        """Make ``value`` durable under ``key`` before anything else of this output happens."""
        self._deletions.pop(key, None)
        self.persist.append(Record(key, value))

    def settle(self, keys: Iterable[bytes], certificate: Certificate | None) -> None:
        """Delete the records of slots that ``certificate`` settles, some time: a stale record is harmless, so it
        never costs a sync of its own. The certificate goes into the log in their place. The chain's store may
        lose its last blocks in a power cut, and without any trace we would vote anew for their slots."""
        for key in sorted(keys):
            self._deletions[key] = None
        self._stable = certificate or self._stable

    def flush(self, timers: tuple[SetTimer, ...]) -> Output:
        """The output, and empty again."""
        if self.persist and self._deletions:
            if self._stable is not None:
                self.persist.append(Record(STABLE_KEY, encode(self._stable)))
            self.persist.extend(Record(key, None) for key in self._deletions)
            self._deletions.clear()
        if not (self.persist or self.send or timers or self.wishes or self.decided or self.evidence):
            return NO_OUTPUT
        output = Output(
            persist=tuple(self.persist),
            send=tuple(self.send),
            timers=timers,
            wishes=tuple(self.wishes),
            decided=tuple(self.decided),
            evidence=tuple(self.evidence),
        )
        for collected in (self.persist, self.send, self.wishes, self.decided, self.evidence):
            collected.clear()
        return output
