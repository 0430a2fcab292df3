"""What members signed, read below every protocol: at the signer.

An engine signs ``tag ‖ committee's prefix ‖ position ‖ digest``: the last 32 bytes are what it says, everything
before is where it says it, and at one position a member says one thing. So whoever holds the signers can judge
votes without knowing a single message of the engine. Signatures whose tag is among the factory's ``unbinding_tags``
promise nothing (statuses, requests) and are not judged.

A promise binds once it *left*: one that a crash took before it was sent may be made differently. It has left when
its signature occurs in a message that was sent, whichever way the engine packs it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from primitives.hashing import DIGEST_BYTES
from primitives.signing import SIGNATURE_BYTES, Signer

MAX_UNSENT: Final = 256
"""Of one member: signatures that have not left yet are few, because what is signed is sent."""


def read_unbinding_tags(factory: Any) -> tuple[bytes, ...]:
    """The tags that a factory exempts; most have none."""
    return tuple(getattr(factory, "unbinding_tags", ()))


@dataclass(frozen=True, slots=True)
class Promise:
    """One signature of one member."""

    position: bytes
    digest: bytes
    signature: bytes
    is_binding: bool


class RecordingSigner:
    """A ``Signer`` that remembers what it signed and has not seen leave."""

    __slots__ = ("_inner", "_unbinding_tags", "public_key", "unsent")

    def __init__(self, inner: Signer, unbinding_tags: tuple[bytes, ...]) -> None:
        self._inner = inner
        self._unbinding_tags = unbinding_tags
        self.public_key = inner.public_key
        self.unsent: deque[Promise] = deque(maxlen=MAX_UNSENT)

    def sign(self, message: bytes) -> bytes:
        """The inner signature, noted."""
        signature = self._inner.sign(message)
        assert len(signature) == SIGNATURE_BYTES, "schemes of this project sign in 64 bytes"
        is_binding = not message.startswith(self._unbinding_tags) if self._unbinding_tags else True
        self.unsent.append(Promise(message[:-DIGEST_BYTES], message[-DIGEST_BYTES:], signature, is_binding))
        return signature

    def take_sent(self, data: bytes) -> list[Promise]:
        """The promises that leave with ``data`` and had not left before."""
        leaving = [promise for promise in self.unsent if promise.signature in data]
        for promise in leaving:
            self.unsent.remove(promise)
        return leaving


class PromiseLedger:
    """Everything that left, by member and position."""

    def __init__(self) -> None:
        self._said: dict[tuple[int, bytes], Promise] = {}
        self.by_signature: dict[bytes, tuple[int, Promise]] = {}

    def enter(self, member: int, promise: Promise) -> bool:
        """Note it; whether it agrees with what the member said before."""
        self.by_signature[promise.signature] = member, promise
        if not promise.is_binding:
            return True
        return self._said.setdefault((member, promise.position), promise).digest == promise.digest

    def is_binding_message(self, signer: int, data: bytes) -> bool:
        """Whether a message carries a binding promise of its signer and no unbinding one."""
        own = [promise for member, promise in self.by_signature.values() if member == signer]
        carried = [promise for promise in own if promise.signature in data]
        return bool(carried) and all(promise.is_binding for promise in carried)
