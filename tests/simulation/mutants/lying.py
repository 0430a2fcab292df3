"""A base for liars that are wrapped around an engine: what the engine does is honest, what leaves it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consensus.committee import Committee
from consensus.engine import Engine, EngineStatistics, Event, Output, Send
from primitives.signing import Signer


class LyingEngine:
    """Honest so far; ``alter`` is to be overridden."""

    def __init__(self, engine: Engine, committee: Committee, signer: Signer) -> None:
        index = committee.index_of(signer.public_key)
        assert index is not None, "liars are members"
        self.engine = engine
        self.committee = committee
        self.signer = signer
        self.index = index

    def handle(self, event: Event, now_ms: int) -> Output:
        output = self.engine.handle(event, now_ms)
        return replace(output, send=tuple([said for send in output.send for said in self.alter(send)]))

    def alter(self, send: Send) -> tuple[Send, ...]:
        """What leaves in place of one message."""
        return (send,)

    def needs(self, signer: int, message: Any) -> bool:
        return self.engine.needs(signer, message)

    def statistics(self) -> EngineStatistics:
        return self.engine.statistics()
