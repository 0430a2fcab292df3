"""Domain separation: no two divisions of the same bytes share a hash."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from primitives.hashing import frame_part, frame_tag, hash_bytes, hash_tagged

tags = st.binary(max_size=8)
parts = st.lists(st.binary(max_size=8), max_size=4)


@given(tags, parts, tags, parts)
def test_tag_and_parts_are_framed_injectively(
    tag: bytes, some: list[bytes], other_tag: bytes, others: list[bytes]
) -> None:
    same = (tag, some) == (other_tag, others)
    assert (hash_tagged(tag, *some) == hash_tagged(other_tag, *others)) is same


@given(tags, parts)
def test_framing_by_hand_gives_the_same_hash(tag: bytes, some: list[bytes]) -> None:
    preimage = frame_tag(tag) + b"".join(frame_part(part) for part in some)
    assert hash_bytes(preimage) == hash_tagged(tag, *some)


def test_the_definition_is_fixed() -> None:
    assert hash_bytes(b"abc") == sha256(b"abc").digest()
    assert hash_tagged(b"t", b"", b"ab") == sha256(b"\x01t\0\0\0\0\0\0\0\x02ab").digest()
