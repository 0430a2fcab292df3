"""Append-only files for values that are too large for LevelDB: each is written once, synced once, and never moved.

LevelDB writes a value to its log, again to a table, and again whenever tables are merged; a body of half a
megabyte that is pinned in one database and kept in the other cost ten times its size in writes, and 12 ms of
processor time a megabyte against one here (measured). So both databases keep only a *pointer* to large bodies.

    home/bodies/00000001.segment, …      values one behind the other, nothing between them

Theory of operation. ``append`` writes values to the newest segment, ``sync`` makes them durable; whoever stores a
pointer syncs first, so a pointer never leads to bytes that a crash can take back. A crash in between leaves bytes
that nobody points to. A process never appends to a segment of an earlier one, so a torn end is never in the way.

A segment goes when no pointer leads into it. Pointers are counted: ``append`` and ``retain`` add one, ``release``
takes one away, and after every start the count begins anew with all pointers that the databases hold. A pointer is
released only once its deletion is itself durable: one that a crash brings back must still find its bytes.

What does not live here: which values are large, and who points to them (``node.body_store``).
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from node.durable_files import create_directory, sync_directory
from primitives.errors import LocalError

SEGMENT_BYTES: Final = 64 << 20
"""A full segment is followed by a new one: the unit in which space is given back."""
MAX_OPEN_SEGMENTS: Final = 8
"""Open for reading at one moment."""
_SUFFIX: Final = ".segment"
_FIRST_BYTE: Final = 0xC1
"""The one byte that MessagePack never uses: no encoded body begins with it."""
_POINTER = Struct(">BQQII")
POINTER_BYTES: Final = _POINTER.size


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a value lies; ``checksum`` is its CRC-32."""

    segment: int
    offset: int
    size_bytes: int
    checksum: int

    def encode(self) -> bytes:
        """What a database holds in place of the value."""
        return _POINTER.pack(_FIRST_BYTE, self.segment, self.offset, self.size_bytes, self.checksum)


def decode_pointer(data: bytes) -> Pointer | None:
    """The pointer in a database's value; ``None`` where the value is the body itself."""
    if len(data) != POINTER_BYTES or data[0] != _FIRST_BYTE:
        return None
    _, segment, offset, size_bytes, checksum = _POINTER.unpack(data)
    return Pointer(segment, offset, size_bytes, checksum)


class BodySegments:
    """The segments of one home. Not for use by two threads at once, except for ``read``."""

    def __init__(self, path: Path) -> None:
        """Open the directory, made where it is absent; raises ``LocalError``."""
        self._path = path.resolve()
        create_directory(self._path)
        numbers = [_read_number(name) for name in sorted(os.listdir(self._path))]
        self._uses: dict[int, int] = dict.fromkeys([number for number in numbers if number is not None], 0)
        self._newest = max(self._uses, default=0)
        self._file: int | None = None
        self._size = 0
        self._is_dirty = False
        self._failed = False
        self._readers: OrderedDict[int, int] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """What the segments take on the disk."""
        return sum([self._locate(number).stat().st_size for number in self._uses])

    # --- writing -------------------------------------------------------------------------------------------

    def append(self, value: bytes) -> Pointer:
        """Write ``value``, to be pointed to once; durable after the next ``sync``. Raises ``LocalError`` where the
        disk refuses, then and ever after."""
        self._require_healthy()
        try:
            if self._file is None or self._size >= SEGMENT_BYTES:
                self._start_segment()
            assert self._file is not None, "a segment was started"
            _write_whole(self._file, value)
        except OSError as error:
            raise self._fail(error) from error
        pointer = Pointer(self._newest, self._size, len(value), zlib.crc32(value))
        self._size += len(value)
        self._is_dirty = True
        self.retain(pointer)
        return pointer

    def sync(self) -> None:
        """Make everything durable that was appended; raises ``LocalError``."""
        self._require_healthy()
        if not self._is_dirty or self._file is None:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._fail(error) from error
        self._is_dirty = False

    def _start_segment(self) -> None:
        self.sync()
        if self._file is not None:
            os.close(self._file)
        self._newest += 1
        self._size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.open(self._locate(self._newest), flags, 0o600)
        self._uses[self._newest] = 0
        sync_directory(self._path)

    def _require_healthy(self) -> None:
        if self._failed:
            raise LocalError(f"{self._path}: a write failed before; the process must end")

    def _fail(self, error: OSError) -> LocalError:
        self._failed = True
        return LocalError(
            f"{self._path}: the disk refused a write ({error.strerror}): make room or replace it, then start again"
        )

    # --- reading -------------------------------------------------------------------------------------------

    def read(self, pointer: Pointer) -> bytes:
        """The value; raises ``LocalError`` where it is missing or damaged."""
        try:
            value = os.pread(self._open_reader(pointer.segment), pointer.size_bytes, pointer.offset)
        except OSError as error:
            raise LocalError(
                f"{self._locate(pointer.segment)}: cannot be read ({error.strerror}): {_REMEDY}"
            ) from error
        if len(value) != pointer.size_bytes or zlib.crc32(value) != pointer.checksum:
            raise LocalError(f"{self._locate(pointer.segment)}: a body in it is damaged: {_REMEDY}")
        return value

    def _open_reader(self, segment: int) -> int:
        reader = self._readers.get(segment)
        if reader is None:
            reader = self._readers[segment] = os.open(self._locate(segment), os.O_RDONLY)
            if len(self._readers) > MAX_OPEN_SEGMENTS:
                os.close(self._readers.popitem(last=False)[1])
        else:
            self._readers.move_to_end(segment)
        return reader

    # --- giving back ---------------------------------------------------------------------------------------

    def retain(self, pointer: Pointer) -> None:
        """One more pointer leads there."""
        self._uses[pointer.segment] = self._uses.get(pointer.segment, 0) + 1

    def release(self, pointers: Iterable[Pointer]) -> None:
        """These pointers are gone for good; segments that nobody points into any more go with them."""
        for pointer in pointers:
            self._uses[pointer.segment] -= 1
            if not self._uses[pointer.segment] and not self._is_growing(pointer.segment):
                self._remove(pointer.segment)

    def sweep(self) -> None:
        """All pointers were counted: remove what an earlier process left behind."""
        for segment in [number for number, uses in self._uses.items() if not uses and not self._is_growing(number)]:
            self._remove(segment)

    def _is_growing(self, segment: int) -> bool:
        return self._file is not None and segment == self._newest

    def _remove(self, segment: int) -> None:
        del self._uses[segment]
        reader = self._readers.pop(segment, None)
        if reader is not None:
            os.close(reader)
        self._locate(segment).unlink(missing_ok=True)

    def close(self) -> None:
        """Also when closed already."""
        for reader in self._readers.values():
            os.close(reader)
        self._readers.clear()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _locate(self, number: int) -> Path:
        return self._path / f"{number:08d}{_SUFFIX}"


_REMEDY: Final = "restore the directory, or treat it like a lost vote log (docs/operators.md)"


def _read_number(name: str) -> int | None:
    stem = name.removesuffix(_SUFFIX)
    return int(stem) if stem != name and stem.isdecimal() else None


def _write_whole(file: int, value: bytes) -> None:
    rest = memoryview(value)
    while rest:
        rest = rest[os.write(file, rest) :]
