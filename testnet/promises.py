"""What members sign, read below every protocol: at the signer.

Everything that consensus signs is ``tag ‖ committee's prefix ‖ position ‖ digest``: the last 32 bytes are what is
said, everything before is where it is said, and at one position a member says one thing. So votes of every engine
are judged without knowledge of a single message, and anybody's vote can be turned into its contradiction by
whoever holds the key. Tags in the factory's ``unbinding_tags`` promise nothing (statuses, requests). What does not
live here: the rule (``votes``), the lie (``byzantine``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from primitives.hashing import DIGEST_BYTES
from primitives.signing import Signer

MAX_PENDING: Final = 256
"""Of one process: what is signed is sent soon, so few signatures wait."""
_OTHER_TAGS: Final = (b"rialto/batch-signature/1",)
"""What members sign that is no vote: every batch is another one."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One signature."""

    position: bytes
    digest: bytes
    signature: bytes

    def describe(self) -> str:
        """The tag and the last numbers of the position, for a violation."""
        tag = bytes([byte for byte in self.position[:40] if 32 <= byte < 127]).decode()
        return f"{tag.rpartition('/1')[0] or tag} …{self.position[-20:].hex()}"


def read_unbinding_tags(factory: Any) -> tuple[bytes, ...]:
    """The tags under which an engine's members promise nothing."""
    return tuple(getattr(factory, "unbinding_tags", ()))


class RecordingSigner:
    """A ``Signer`` that remembers what it signed and what has not left yet."""

    __slots__ = ("_ignored", "_inner", "pending", "public_key")

    def __init__(self, inner: Signer, unbinding_tags: tuple[bytes, ...], max_pending: int = MAX_PENDING) -> None:
        self._inner = inner
        self._ignored = (*_OTHER_TAGS, *unbinding_tags)
        self.public_key = inner.public_key
        self.pending: deque[Promise] = deque(maxlen=max_pending)

    def sign(self, message: bytes) -> bytes:
        """The inner signature, noted."""
        signature = self._inner.sign(message)
        if not message.startswith(self._ignored):
            self.pending.append(Promise(message[:-DIGEST_BYTES], message[-DIGEST_BYTES:], signature))
        return signature

    def take_leaving(self, frame: bytes) -> list[Promise]:
        """The promises that leave with ``frame`` and had not left before."""
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
