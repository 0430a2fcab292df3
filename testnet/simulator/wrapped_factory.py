"""Engine factories around others: a base for wrappers, and one that reads each message once for all members.

A broadcast is decoded, and its signature verified, by every member that takes it; both are pure functions of the
bytes and the committee, and messages are immutable, so in one process the second reader may have the first one's
answer. What does not live here: wrappers that lie (``wrong_parts``), the loading of factories by name
(``networks``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import Engine, EngineFactory, EngineParameters, Evidence
from primitives.signing import SignatureScheme, Signer

MAX_REMEMBERED: Final = 4_096
"""Messages; a broadcast is read by all members within a second of virtual time, unless it is clogged."""


class WrappedFactory(EngineFactory):
    """Everything as the wrapped factory has it; ``wrap`` may replace each engine that it makes."""

    def __init__(self, inner: EngineFactory) -> None:
        self.name = inner.name
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        # What this process asks of a particular factory stays as it is.
        return getattr(self.inner, name)

    def wrap(self, engine: Engine) -> Engine:
        """A base to override."""
        return engine

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> Engine:
        return self.wrap(self.inner.create(committee, signer, scheme, parameters, certificate, first_view))

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> Engine:
        return self.wrap(self.inner.restore(committee, signer, scheme, parameters, certificate, records))

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        return self.inner.decode_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        self.inner.verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> Any:
        return self.inner.verify_evidence(evidence, committee, scheme, parameters)


class SharedReading(WrappedFactory):
    """Remembers what messages say, and which signatures are right."""

    def __init__(self, inner: EngineFactory) -> None:
        super().__init__(inner)
        self._decoded: OrderedDict[tuple[int, bytes], tuple[int, Any]] = OrderedDict()
        self._verified: OrderedDict[int, Any] = OrderedDict()

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        key = committee.shard, data
        known = self._decoded.get(key)
        if known is None:
            known = self._decoded[key] = self.inner.decode_message(data, committee)
            if len(self._decoded) > MAX_REMEMBERED:
                self._decoded.popitem(last=False)
        return known

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        # By identity: the message itself is kept beside it, so its identity belongs to nobody else.
        if self._verified.get(id(message)) is message:
            return
        self.inner.verify_message(signer, message, committee, scheme)
        self._verified[id(message)] = message
        if len(self._verified) > MAX_REMEMBERED:
            self._verified.popitem(last=False)
