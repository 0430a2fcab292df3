"""Finding damage that LevelDB takes for a torn write.

LevelDB's logs (its write-ahead logs and its manifest) are blocks of 32 KiB holding records of a 4-byte masked
CRC-32C, a 2-byte length (little endian), a 1-byte type and the data (``doc/log_format.md`` of LevelDB). A record
that would reach beyond the end of the file is taken for the last, half-written one of a crash and dropped without
a word, also with ``paranoid_checks``. But a single flipped bit in the length of *any* record in the last block
looks the same, and hides every synced record behind it: votes that we sent. So before LevelDB opens (and
rewrites) its logs, this module tells the two apart. Behind a torn write there is nothing; behind a flipped length
there is the rest of that very record, up to the end of the file, or another intact record.

What does not live here: damage that LevelDB reports itself, and records lost by truncating the file exactly
between two of them, which leaves no trace (``node.plyvel_store`` counts batches for that).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from primitives.errors import LocalError

BLOCK_BYTES: Final = 32 << 10
HEADER_BYTES: Final = 7
_LAST_TYPE: Final = 4
_MASK_DELTA: Final = 0xA282EAD8
_POLYNOMIAL: Final = 0x82F63B78
"""CRC-32C (Castagnoli), reflected; RFC 3720 §B.4."""


def _build_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _build_table()


def compute_masked_crc(data: bytes) -> int:
    """CRC-32C of ``data``, rotated and offset as LevelDB stores it (``util/crc32c.h``)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def check_logs(directory: Path) -> None:
    """Raise ``LocalError`` where a log in a closed database is missing or damaged in a way LevelDB hides."""
    try:
        current = (directory / "CURRENT").read_bytes()
        manifest = directory / current.decode("ascii").removesuffix("\n")
        logs = sorted(directory.glob("*.log"))
        tails = [(path, _read_last_block(path)) for path in (manifest, *logs)]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise LocalError(f"{directory}: its list of files is missing or damaged ({error})") from None
    if not logs:
        raise LocalError(f"{directory}: its write-ahead log is missing")
    for path, tail in tails:
        if hides_records(tail):
            raise LocalError(f"{path}: a damaged record hides the ones behind it")


def _read_last_block(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size - size % BLOCK_BYTES)
        return file.read()


def hides_records(block: bytes) -> bool:
    """Whether LevelDB would drop something from this last, incomplete block that is no torn write."""
    position = 0
    while len(block) - position >= HEADER_BYTES:
        length = int.from_bytes(block[position + 4 : position + 6], "little")
        unwritten = length == 0 and block[position + 6] == 0
        end = position + HEADER_BYTES + length
        if unwritten or end > len(block):
            return _holds_record(block, position)
        position = end
    return False


def _holds_record(block: bytes, start: int) -> bool:
    """Whether any intact record lies at or after ``start``; the first one's length is taken from the file's end."""
    if _is_intact(block, start, len(block)):
        return True
    for position in range(start + 1, len(block) - HEADER_BYTES + 1):
        length = int.from_bytes(block[position + 4 : position + 6], "little")
        end = position + HEADER_BYTES + length
        if end <= len(block) and _is_intact(block, position, end):
            return True
    return False


def _is_intact(block: bytes, start: int, end: int) -> bool:
    kind = block[start + 6]
    if not 0 < kind <= _LAST_TYPE:
        return False
    stored = int.from_bytes(block[start : start + 4], "little")
    return compute_masked_crc(block[start + 6 : end]) == stored
