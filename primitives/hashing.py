"""SHA-256 with domain separation.

Every hash that is not a node of an RFC 6962 tree starts with a tag that names its purpose, so bytes
made for one purpose are never the preimage of another.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher

DIGEST_BYTES = 32
ZERO_DIGEST = bytes(DIGEST_BYTES)
_REMEMBERED_TAGS: Final = 256
"""More than there are."""


def hash_bytes(data: bytes) -> bytes:
    """SHA-256 of ``data``: 32 bytes, no tag. Only for formats defined elsewhere (RFC 6962)."""
    return sha256(data).digest()


def hash_tagged(tag: bytes, *parts: bytes) -> bytes:
    """SHA-256 over a length-prefixed tag and length-prefixed parts: 32 bytes.

    The prefixes (1 byte for the tag, 4 bytes big endian for a part) make the concatenation injective.
    """
    hasher = _begin(tag).copy()
    for part in parts:
        hasher.update(len(part).to_bytes(4, "big") + part)
    return hasher.digest()


@lru_cache(maxsize=_REMEMBERED_TAGS)
def _begin(tag: bytes) -> Hasher:
    return begin_hash(frame_tag(tag))


def begin_hash(prefix: bytes) -> Hasher:
    """SHA-256 that has seen ``prefix``, for ``hash_behind``."""
    return sha256(prefix)


def hash_behind(begun: Hasher, data: bytes) -> bytes:
    """SHA-256 of the prefix that ``begun`` has seen and ``data``. A copy costs a third of a new hasher, for which
    OpenSSL looks the algorithm up."""
    hasher = begun.copy()
    hasher.update(data)
    return hasher.digest()


def frame_tag(tag: bytes) -> bytes:
    """What ``hash_tagged`` hashes before the parts; hot paths compute it once and add framed parts."""
    return len(tag).to_bytes(1, "big") + tag


def frame_part(part: bytes) -> bytes:
    """What ``hash_tagged`` hashes for one part."""
    return len(part).to_bytes(4, "big") + part
