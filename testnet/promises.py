"""What members sign, read below every protocol: at the signer.

Everything that consensus signs is ``tag ‖ committee's prefix ‖ position ‖ digest``: the last 32 bytes are what is
said, everything before is where it is said, and at one position a member says one thing. So votes of every engine
are judged without knowledge of a single message, and anybody's vote can be turned into its contradiction by
whoever holds the key. Signatures whose tag is among the factory's ``unbinding_tags`` promise nothing (statuses,
requests).

A promise binds once it *left*: one that a crash took before it was sent may be made differently. It has left when
its signature occurs in a message that was sent, whichever way the engine packs it. What does not live here: where a
promise has to be durable before it leaves, which each simulator looks up in the log that it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

from primitives.hashing import DIGEST_BYTES
from primitives.signing import SIGNATURE_BYTES, Signer

MAX_PENDING: Final = 256
"""Of one process: what is signed is sent soon, so few signatures wait."""


def read_unbinding_tags(factory: Any) -> tuple[bytes, ...]:
    """The tags under which an engine's members promise nothing; most have none."""
    return tuple(getattr(factory, "unbinding_tags", ()))


@dataclass(frozen=True, slots=True)
class Promise:
    """One signature of one member."""

    position: bytes
    digest: bytes
    signature: bytes
    is_binding: bool = True

    def describe(self) -> str:
        """The tag and the last numbers of the position, for a violation."""
        tag = bytes([byte for byte in self.position[:40] if 32 <= byte < 127]).decode()
        return f"{tag.rpartition('/1')[0] or tag} …{self.position[-20:].hex()}"


class RecordingSigner:
    """A ``Signer`` that remembers what it signed and what has not left yet.

    Under ``ignored`` tags nothing is remembered; under ``unbinding`` ones what is remembered is no promise.
    """

    __slots__ = ("_ignored", "_inner", "_unbinding", "pending", "public_key")

    def __init__(
        self,
        inner: Signer,
        *,
        ignored: tuple[bytes, ...] = (),
        unbinding: tuple[bytes, ...] = (),
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._inner = inner
        self._ignored = ignored
        self._unbinding = unbinding
        self.public_key = inner.public_key
        self.pending: deque[Promise] = deque(maxlen=max_pending)

    def sign(self, message: bytes) -> bytes:
        """The inner signature, noted."""
        signature = self._inner.sign(message)
        assert len(signature) == SIGNATURE_BYTES, "schemes of this project sign in 64 bytes"
        if not message.startswith(self._ignored):
            is_binding = not message.startswith(self._unbinding)
            self.pending.append(Promise(message[:-DIGEST_BYTES], message[-DIGEST_BYTES:], signature, is_binding))
        return signature

    def take_leaving(self, frame: bytes) -> list[Promise]:
        """What leaves with ``frame`` and had not left before."""
        leaving = [promise for promise in self.pending if promise.signature in frame]
        for promise in leaving:
            self.pending.remove(promise)
        return leaving

    def contradict(self, frame: bytes, digest: bytes) -> bytes | None:
        """The same frame about ``digest`` instead, signed; ``None`` where it holds no vote of ours in the open."""
        for promise in self.pending:
            if promise.signature in frame and promise.digest in frame:
                forged = self._inner.sign(promise.position + digest)
                return frame.replace(promise.signature, forged).replace(promise.digest, digest)
        return None


class PromiseLedger:
    """Everything that left, by who said it and where."""

    def __init__(self) -> None:
        self._said: dict[tuple[Hashable, bytes], bytes] = {}

    def enter(self, who: Hashable, promise: Promise) -> bool:
        """Note it; whether it agrees with what the same member said there before, if it binds at all."""
        if not promise.is_binding:
            return True
        return self._said.setdefault((who, promise.position), promise.digest) == promise.digest
