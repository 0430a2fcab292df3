"""What one engine host signs, over all its lives: durable before it leaves, and never in contradiction to itself.

What ``votes`` checks of whole replicas, for hosts whose log is a dict and whose outputs are honoured at once.
Without it a member that breaks its word is found only where two honest nodes hear different halves of it and a
third one both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from consensus.engine import Record
from primitives.signing import Signer
from testnet.promises import PromiseLedger, RecordingSigner, read_unbinding_tags

MAX_PENDING: Final = 16
"""Signatures that have not left: a handful comes of one event, and some, like votes for ourselves, never leave."""


class EngineVotes:
    """The promises of one process and of those that come after it with the same log."""

    def __init__(self, signer: Signer, factory: Any) -> None:
        self.signer = RecordingSigner(signer, ignored=read_unbinding_tags(factory), max_pending=MAX_PENDING)
        self._ledger = PromiseLedger()
        self._durable: set[bytes] = set()

    def on_persist(self, records: Sequence[Record]) -> None:
        """These records are durable now."""
        for promise in self.signer.pending:
            if any(record.value is not None and promise.signature in record.value for record in records):
                self._durable.add(promise.signature)

    def on_send(self, frame: bytes) -> Iterator[str]:
        """What is wrong with the promises that leave with ``frame``, in words."""
        for promise in self.signer.take_leaving(frame):
            if not self._ledger.enter(None, promise):
                yield f"signed two different things: {promise.describe()}"
            if promise.signature not in self._durable:
                yield f"sent what is not durable: {promise.describe()}"
