"""Wrong parts for members that lie: an application with wrong roots, an engine that is fed payloads of noise.

Each wraps the honest part and changes one answer. What does not live here: who lies when (``byzantine``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from consensus.engine import Engine, EngineFactory, EngineStatistics, Event, Output, PayloadBuilt
from crosslink.block import BlockInput, BlockResult, Readiness
from node.application import Application, Transaction
from primitives.hashing import hash_tagged
from testnet.simulator.wrapped_factory import WrappedFactory

_LIE_TAG = b"rialto/simulated-lie"


def make_lie(*parts: bytes) -> bytes:
    """A digest of nothing that exists."""
    return hash_tagged(_LIE_TAG, *parts)


class WrongRoots:
    """An ``Application`` around another, with wrong state roots from ``first_height`` on."""

    def __init__(self, honest: Application, first_height: int, flavour: bytes) -> None:
        self._honest = honest
        self._first_height = first_height
        self._flavour = flavour

    def __getattr__(self, name: str) -> Any:
        # What links ask of a particular application (a beacon's deliveries) stays as it is.
        return getattr(self._honest, name)

    def decode(self, data: bytes) -> Transaction:
        return self._honest.decode(data)

    def verify(self, transaction: Any) -> None:
        self._honest.verify(transaction)

    def admit(self, transaction: Any, now_ms: int) -> None:
        self._honest.admit(transaction, now_ms)

    def execute(self, block: BlockInput) -> BlockResult:
        result = self._honest.execute(block)
        if block.height < self._first_height:
            return result
        return replace(result, state_root=make_lie(self._flavour, result.state_root))

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        return self._honest.readiness(now_ms, last_block_ms)

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        return self._honest.load(records)

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        return self._honest.genesis_records()


class NoisyFactory(WrappedFactory):
    """Its engines propose, now and then, bytes that are no payload."""

    def __init__(self, honest: EngineFactory, rng: Random, percent: int) -> None:
        super().__init__(honest)
        self._rng = rng
        self._percent = percent

    def wrap(self, engine: Engine) -> Engine:
        return _NoisyEngine(engine, self._rng, self._percent)


class _NoisyEngine:
    def __init__(self, honest: Engine, rng: Random, percent: int) -> None:
        self._honest = honest
        self._rng = rng
        self._percent = percent

    def handle(self, event: Event, now_ms: int) -> Output:
        if isinstance(event, PayloadBuilt) and self._rng.randrange(100) < self._percent:
            noise = self._rng.randbytes(48) if self._rng.random() < 0.5 else event.payload[:-1] + b"\x00"
            event = PayloadBuilt(event.ticket, noise)
        return self._honest.handle(event, now_ms)

    def needs(self, signer: int, message: Any) -> bool:
        return self._honest.needs(signer, message)

    def statistics(self) -> EngineStatistics:
        return self._honest.statistics()
