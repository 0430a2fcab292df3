"""Driving one engine: its messages read, its outputs turned into effects. Knows no particular engine.

What does not live here: what wishes and decisions mean (``node.replica``).
"""

from __future__ import annotations

from consensus.committee import Committee
from consensus.engine import (
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
from node.peers import Peers
from node.vote_records import build_engine_records
from node.wire import MAX_VOTE_FRAME_BYTES, FrameKind
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

ENGINE_TIMER_PREFIX = "engine/"


class EngineDriver:
    """Between the replica and an engine."""

    def __init__(
        self,
        engine: Engine,
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
        self.unneeded = 0

    def read(self, body: bytes) -> MessageReceived | None:
        """The event of an engine's message; ``None`` where it would change nothing, which costs no signature
        check. Raises ``RemoteError``."""
        if len(body) > MAX_VOTE_FRAME_BYTES:
            raise RemoteError("TOO_LARGE", f"an engine message of {len(body)} bytes", penalise=True)
        signer, message = self._factory.decode_message(body, self._committee)
        if not self._engine.needs(signer, message):
            self.unneeded += 1
            return None
        self._factory.verify_message(signer, message, self._committee, self._scheme)
        return MessageReceived(signer, message)

    def feed(self, event: Event, draft: EffectsDraft, now_ms: int) -> Output:
        """Let the engine take an event; records, messages and timers go to the draft, the rest is the caller's."""
        output = self._engine.handle(event, now_ms)
        draft.persist.extend(build_engine_records(output.persist))
        for send in output.send:
            if send.to is None:
                self._peers.broadcast(draft, Lane.VOTES, FrameKind.ENGINE, send.message)
            else:
                self._peers.send(draft, send.to, Lane.VOTES, FrameKind.ENGINE, send.message)
        draft.timers.extend(
            [SetTimer(ENGINE_TIMER_PREFIX + timer.timer, timer.delay_ms) for timer in output.timers]
        )
        return output

    def statistics(self) -> EngineStatistics:
        """The engine's own."""
        return self._engine.statistics()
