"""Frames on a peer link: a length, a kind, a body that the transport does not look into.

    | length: 4 bytes, big endian | kind: 1 byte | body: length - 1 bytes |

Sans-IO. ``FrameBuffer`` turns chunks of any size into frames and refuses a length before it buffers for it.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from primitives.errors import RemoteError

LENGTH_BYTES: Final = 4
KIND_BYTES: Final = 1

KIND_PING: Final = 0xFF
KIND_HELLO: Final = 0xFE
KIND_ADDRESSES: Final = 0xFD
FIRST_TRANSPORT_KIND: Final = 0xF0
"""Kinds from here on belong to the transport; the application numbers its own from 0."""

_HEADER = Struct(">IB")
_LENGTH = Struct(">I")


class Lane(IntEnum):
    """Votes travel apart from bodies, so that 8 MB of catch-up never stand before a vote."""

    VOTES = 0
    BULK = 1


MAX_FRAME_BYTES: Final[dict[Lane, int]] = {
    # A new-view message of a committee of 100 carries 67 view changes of some 2 KB each.
    Lane.VOTES: 256 * 1024,
    # A payload with its batches, or a chunk of a snapshot; larger things are sent in pieces.
    Lane.BULK: 8 * 1024 * 1024,
}

Frame = tuple[int, bytes]
"""A kind and a body."""


def encode_header(kind: int, body_bytes: int) -> bytes:
    """The five bytes before a body of ``body_bytes`` bytes."""
    return _HEADER.pack(body_bytes + KIND_BYTES, kind)


def encode_frame(kind: int, body: bytes) -> bytes:
    """A whole frame."""
    return _HEADER.pack(len(body) + KIND_BYTES, kind) + body


class FrameBuffer:
    """Reassembles frames; holds at most one frame of ``max_frame_bytes`` and the chunk that was fed last."""

    __slots__ = ("_max_frame_bytes", "_needed", "_partial")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._partial = bytearray()
        self._needed = LENGTH_BYTES

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has begun and not ended."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order.

        Raises ``RemoteError``: ``FRAME_TOO_LARGE`` or ``EMPTY_FRAME`` from the length alone. The stream
        cannot be resynchronised after that, so the caller closes the link.
        """
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data = bytes(self._partial)
            self._partial.clear()
        frames: list[Frame] = []
        offset, size, limit = 0, len(data), self._max_frame_bytes
        self._needed = LENGTH_BYTES
        while size - offset >= LENGTH_BYTES:
            (length,) = _LENGTH.unpack_from(data, offset)
            if not KIND_BYTES <= length <= limit:
                raise self._refusal(length)
            end = offset + LENGTH_BYTES + length
            if end > size:
                self._needed = end - offset
                break
            frames.append((data[offset + LENGTH_BYTES], data[offset + LENGTH_BYTES + KIND_BYTES : end]))
            offset = end
        if offset < size:
            self._partial += memoryview(data)[offset:]
        return frames

    def _refusal(self, length: int) -> RemoteError:
        if length < KIND_BYTES:
            return RemoteError("EMPTY_FRAME", "a frame has at least its kind", penalise=True)
        message = f"a frame of {length} bytes where {self._max_frame_bytes} are allowed"
        return RemoteError("FRAME_TOO_LARGE", message, penalise=True)
