"""The members a replica talks to: who is connected, what was refused from whom, who is ignored for a while.

A peer whose bytes no honest member could have produced is muted, for longer each time; refusals that an honest but
late or early member can cause are only counted. What does not live here: links (``node.transport``), and the
limits of single components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from consensus.committee import Committee
from node.effects_draft import EffectsDraft
from node.events import Lane, Outgoing
from node.members import Member
from node.wire import FrameKind
from primitives.errors import RemoteError

FIRST_MUTE_MS: Final = 50
MAX_MUTE_MS: Final = 5_000
FORGIVE_AFTER_MS: Final = 30_000
"""A peer that behaved for so long starts again with the shortest mute."""
MAX_REFUSAL_CODES: Final = 64
"""Codes are ours, so few; the bound is for a code that carried something variable by mistake."""


@dataclass(slots=True)
class _Conduct:
    refused: dict[str, int] = field(default_factory=dict)
    muted_until_ms: int = 0
    mute_ms: int = 0
    last_offence_ms: int = 0


class Peers:
    """The other members of our committee by index, and the conduct of everybody who may send us frames."""

    def __init__(self, committee: Committee, own_index: int) -> None:
        self.members = tuple(Member(committee.shard, index, key) for index, key in enumerate(committee.members))
        self.own_index = own_index
        self._quorum = committee.quorum
        self.others = tuple(member for member in self.members if member.index != own_index)
        self._connected: dict[Member, None] = {}
        self._conduct: dict[Member, _Conduct] = {}

    # --- links -----------------------------------------------------------------------------------------

    def connect(self, member: Member) -> None:
        self._connected[member] = None

    def disconnect(self, member: Member) -> None:
        self._connected.pop(member, None)

    @property
    def has_quorum(self) -> bool:
        """Whether a quorum, we among it, is connected."""
        return len(self._connected) + 1 >= self._quorum

    def is_connected(self, index: int) -> bool:
        return self.members[index] in self._connected

    def is_own_committee(self, member: Member) -> bool:
        return member.index < len(self.members) and self.members[member.index] == member

    # --- sending ---------------------------------------------------------------------------------------

    def broadcast(self, draft: EffectsDraft, lane: Lane, kind: FrameKind, body: bytes) -> None:
        """To every other member whose link is up; the others ask when they are back."""
        connected = self._connected
        draft.sends.extend([Outgoing(member, lane, kind, body) for member in self.others if member in connected])

    def send(self, draft: EffectsDraft, index: int, lane: Lane, kind: FrameKind, body: bytes) -> None:
        """To one member of our committee."""
        if index != self.own_index and 0 <= index < len(self.members):
            draft.sends.append(Outgoing(self.members[index], lane, kind, body))

    # --- conduct ---------------------------------------------------------------------------------------

    def refuse(self, member: Member, error: RemoteError, now_ms: int) -> None:
        """Count what ``member`` sent, and mute it where it was no mistake."""
        conduct = self._conduct.setdefault(member, _Conduct())
        if error.code in conduct.refused or len(conduct.refused) < MAX_REFUSAL_CODES:
            conduct.refused[error.code] = conduct.refused.get(error.code, 0) + 1
        if not error.penalise:
            return
        if now_ms - conduct.last_offence_ms > FORGIVE_AFTER_MS:
            conduct.mute_ms = 0
        conduct.last_offence_ms = now_ms
        conduct.mute_ms = min(MAX_MUTE_MS, max(FIRST_MUTE_MS, 2 * conduct.mute_ms))
        conduct.muted_until_ms = now_ms + conduct.mute_ms

    def is_muted(self, member: Member, now_ms: int) -> bool:
        conduct = self._conduct.get(member)
        return conduct is not None and now_ms < conduct.muted_until_ms

    def refused(self) -> Mapping[str, Mapping[str, int]]:
        """Per member name, how often each code was refused."""
        return {member.name: dict(conduct.refused) for member, conduct in self._conduct.items()}
