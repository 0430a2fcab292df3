"""The window: the L slots above the last certified height, and what is known of each.

A slot's proposal, votes and tallies belong to the installed view and go when another is installed; its prepared
proof and its decision stay until the slot is certified. What does not live here: any rule for voting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from consensus.engine import NULL_DIGEST, NULL_PAYLOAD
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Prepare,
    PreparedProof,
    Proposal,
    SlotPhase,
)
from consensus.tally import Tally


@dataclass(slots=True)
class Slot:
    """``held`` maps digests to payloads that are durable here, with all bodies, and valid. ``logged`` are the
    keys of this slot in the vote log."""

    number: int
    proposal: Proposal | None = None
    prepare: Prepare | None = None
    commit: Commit | None = None
    prepares: Tally[Prepare] = field(default_factory=Tally)
    commits: Tally[Commit] = field(default_factory=Tally)
    prepared: PreparedProof | None = None
    decided: CommitCertificate | None = None
    held: dict[bytes, bytes] = field(default_factory=lambda: {NULL_DIGEST: NULL_PAYLOAD})
    logged: set[bytes] = field(default_factory=set)
    proposer_accused: bool = False

    @property
    def settled_digest(self) -> bytes | None:
        """What this slot will be ordered as, as far as we know: decided, else proposed in this view."""
        if self.decided is not None:
            return self.decided.digest
        return None if self.proposal is None else self.proposal.digest

    @property
    def is_in_flight(self) -> bool:
        """Whether anything happened here, in this view or finally, that is not certified yet.

        A proof from an earlier view alone is none: the new view did not carry it, so nobody is at it.
        """
        return (
            self.proposal is not None or self.decided is not None or len(self.prepares) > 0 or len(self.commits) > 0
        )

    @property
    def phase(self) -> SlotPhase:
        """How far this slot has come in the installed view."""
        if self.decided is not None:
            return SlotPhase.DECIDED
        if self.proposal is None:
            return SlotPhase.EMPTY
        if self.prepared is not None and self.prepared.proposal.view == self.proposal.view:
            return SlotPhase.PREPARED
        return SlotPhase.PROPOSED

    def is_relevant(self, digest: bytes) -> bool:
        """Whether a payload with this digest may still be ordered here, as far as we know."""
        return (
            (self.proposal is not None and self.proposal.digest == digest)
            or (self.prepared is not None and self.prepared.proposal.digest == digest)
            or (self.decided is not None and self.decided.digest == digest)
        )

    def enter_view(self) -> None:
        """Forget what belonged to the view that was left; keep the proof, the decision and held payloads."""
        self.proposal = None
        self.prepare = None
        self.commit = None
        self.prepares = Tally()
        self.commits = Tally()
        self.proposer_accused = False

    def forget_irrelevant(self) -> None:
        """Let go of payloads that no proof, decision or proposal names any more."""
        self.held = {
            digest: payload
            for digest, payload in self.held.items()
            if digest == NULL_DIGEST or self.is_relevant(digest)
        }


class Window:
    """Slots in (stable, stable + size], created when first touched."""

    __slots__ = ("_slots", "size", "stable")

    def __init__(self, stable: int, size: int) -> None:
        self.stable = stable
        self.size = size
        self._slots: dict[int, Slot] = {}

    @property
    def last(self) -> int:
        """The highest slot in the window."""
        return self.stable + self.size

    def __contains__(self, number: int) -> bool:
        return self.stable < number <= self.last

    def __iter__(self) -> Iterator[Slot]:
        """The touched slots in order; all lie in the window."""
        return iter([self._slots[number] for number in sorted(self._slots)])

    def peek(self, number: int) -> Slot | None:
        """The slot if it was touched."""
        return self._slots.get(number)

    def touch(self, number: int) -> Slot:
        """The slot, which lies in the window."""
        assert number in self, f"slot {number} is outside the window"
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = Slot(number)
        return slot

    def advance(self, stable: int) -> tuple[Slot, ...]:
        """Move up to a new certified height; returns the slots that left, in order."""
        assert stable > self.stable, "the window only moves up"
        gone = tuple(slot for slot in self if slot.number <= stable)
        for slot in gone:
            del self._slots[slot.number]
        self.stable = stable
        return gone
