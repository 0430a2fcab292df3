"""Driving one engine: its messages read, its outputs turned into effects. Knows no particular engine.

Before ``open`` the engine hears and says nothing (``node.abstention`` says when that is); what its peers send
meanwhile is kept, within bounds, because they may be at work already. Without an engine nothing is kept.

What does not live here: what wishes and decisions mean (``node.replica``).
"""

from __future__ import annotations

from typing import Final

from consensus.committee import Committee
from consensus.engine import (
    NO_OUTPUT,
    Engine,
    EngineFactory,
    EngineStatistics,
    Event,
    MessageReceived,
    Output,
    SetTimer,
)
from node.effects_draft import EffectsDraft
from node.events import Lane
from node.members import Member
from node.peers import Peers
from node.vote_records import build_engine_records
from node.wire import MAX_VOTE_FRAME_BYTES, FrameKind
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

ENGINE_TIMER_PREFIX = "engine/"
MAX_EARLY_FRAMES: Final = 512
MAX_EARLY_BYTES: Final = 4 << 20
"""Engine messages kept until the engine is opened: those of some slots. More comes again with a status."""
_NO_ENGINE: Final = EngineStatistics(0, 0, 0, 0, 0, 0)


class EngineDriver:
    """Between the replica and an engine."""

    def __init__(
        self,
        engine: Engine | None,
        factory: EngineFactory,
        committee: Committee,
        scheme: SignatureScheme,
        peers: Peers,
    ) -> None:
        self._engine = engine
        self._factory = factory
        self._committee = committee
        self._scheme = scheme
        self._peers = peers
        self._is_open = False
        self._early: list[tuple[Member, bytes]] = []
        self._early_bytes = 0
        self.unneeded = 0

    def open(self) -> list[tuple[Member, bytes]]:
        """From now on the engine is fed; returns who sent which message too early, in order."""
        assert self._engine is not None, "whoever may vote has an engine"
        self._is_open = True
        early, self._early = self._early, []
        return early

    def keep_early(self, member: Member, body: bytes) -> bool:
        """Whether the engine is not open yet; then the message is kept, if there is room and an engine."""
        if self._is_open:
            return False
        room = len(self._early) < MAX_EARLY_FRAMES and self._early_bytes + len(body) <= MAX_EARLY_BYTES
        if self._engine is not None and room:
            self._early.append((member, body))
            self._early_bytes += len(body)
        return True

    def read(self, body: bytes) -> MessageReceived | None:
        """The event of an engine's message; ``None`` where it would change nothing, which costs no signature
        check. Raises ``RemoteError``."""
        if len(body) > MAX_VOTE_FRAME_BYTES:
            raise RemoteError("TOO_LARGE", f"an engine message of {len(body)} bytes", penalise=True)
        signer, message = self._factory.decode_message(body, self._committee)
        if self._engine is None or not self._engine.needs(signer, message):
            self.unneeded += 1
            return None
        self._factory.verify_message(signer, message, self._committee, self._scheme)
        return MessageReceived(signer, message)

    def feed(self, event: Event, draft: EffectsDraft, now_ms: int) -> Output:
        """Let the engine take an event; records, messages and timers go to the draft, the rest is the caller's."""
        if self._engine is None or not self._is_open:
            return NO_OUTPUT
        output = self._engine.handle(event, now_ms)
        if output.persist:
            draft.persist.extend(build_engine_records(output.persist))
        for send in output.send:
            if send.to is None:
                self._peers.broadcast(draft, Lane.VOTES, FrameKind.ENGINE, send.message)
            else:
                self._peers.send(draft, send.to, Lane.VOTES, FrameKind.ENGINE, send.message)
        for timer in output.timers:
            draft.timers.append(SetTimer(ENGINE_TIMER_PREFIX + timer.timer, timer.delay_ms))
        return output

    def statistics(self) -> EngineStatistics:
        """The engine's own."""
        return _NO_ENGINE if self._engine is None else self._engine.statistics()
