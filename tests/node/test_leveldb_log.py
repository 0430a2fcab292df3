"""The rules that tell a torn write from damage in LevelDB's logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.leveldb_log import BLOCK_BYTES, HEADER_BYTES, check_logs, compute_masked_crc, hides_records
from primitives.errors import LocalError


def make_record(data: bytes, kind: int = 1) -> bytes:
    """A record as ``doc/log_format.md`` of LevelDB describes it."""
    crc = compute_masked_crc(bytes([kind]) + data)
    return crc.to_bytes(4, "little") + len(data).to_bytes(2, "little") + bytes([kind]) + data


def unmask(masked: int) -> int:
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_checksum_is_the_published_crc32c(data: bytes, crc: int) -> None:
    """RFC 3720 §B.4, and the check value of the CRC catalogue."""
    assert unmask(compute_masked_crc(data)) == crc


payloads = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(payloads=payloads, cut=st.integers(0, 250))
def test_a_log_cut_anywhere_is_a_torn_write(payloads: list[bytes], cut: int) -> None:
    block = b"".join(make_record(payload) for payload in payloads)
    assert not hides_records(block[: max(0, len(block) - cut)])


@settings(max_examples=60, deadline=None)
@given(payloads=payloads, data=st.data())
def test_a_length_that_reaches_beyond_the_end_is_damage(payloads: list[bytes], data: st.DataObject) -> None:
    records = [make_record(payload) for payload in payloads]
    victim = data.draw(st.integers(0, len(records) - 1))
    damaged = bytearray(records[victim])
    damaged[4:6] = data.draw(st.integers(1_500, 65_535)).to_bytes(2, "little")
    assert hides_records(b"".join([*records[:victim], damaged, *records[victim + 1 :]]))


def test_zeros_after_the_last_record_are_a_torn_write_and_before_it_are_damage() -> None:
    record = make_record(b"vote")
    assert not hides_records(record + bytes(100))
    assert hides_records(record + bytes(HEADER_BYTES) + record)


def test_only_the_last_incomplete_block_is_looked_at(tmp_path: Path) -> None:
    record = make_record(b"vote" * 10)
    (tmp_path / "CURRENT").write_text("MANIFEST-000001\n")
    (tmp_path / "MANIFEST-000001").write_bytes(record)
    log = tmp_path / "000002.log"
    log.write_bytes(b"\xff" * BLOCK_BYTES + record)
    check_logs(tmp_path)
    log.write_bytes(b"\xff" * BLOCK_BYTES + bytes([*record[:4], 255, 255, *record[6:]]))
    with pytest.raises(LocalError, match=r"000002.log: a damaged record hides"):
        check_logs(tmp_path)
    log.unlink()
    with pytest.raises(LocalError, match="its write-ahead log is missing"):
        check_logs(tmp_path)
