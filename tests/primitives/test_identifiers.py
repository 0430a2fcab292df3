"""Addresses and member names are written one way and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primitives.errors import RemoteError
from primitives.identifiers import (
    ADDRESS_BYTES,
    BEACON_SHARD,
    compute_address,
    format_address,
    format_committee,
    format_member,
    parse_address,
)


@given(st.binary(min_size=ADDRESS_BYTES, max_size=ADDRESS_BYTES))
def test_addresses_are_read_back_in_any_case_and_without_prefix(address: bytes) -> None:
    text = format_address(address)
    assert text == text.lower()
    for spelling in (text, text[2:], "0X" + text[2:].upper()):
        assert parse_address(spelling) == address


@given(st.text(max_size=50))
@pytest.mark.parametrize("prefix", ["", "0x"])
def test_other_text_is_refused_as_a_bad_address(prefix: str, text: str) -> None:
    try:
        address = parse_address(prefix + text)
    except RemoteError as error:
        assert error.code == "BAD_ADDRESS"
        return
    assert format_address(address)[2:] == (prefix + text).lower().removeprefix("0x")


@pytest.mark.parametrize("text", ["0x" + "00 " * 13 + "0", "0x" + " " * 40, "0x" + "0" * 39, "０" * 40])
def test_blanks_and_foreign_digits_are_no_address(text: str) -> None:
    with pytest.raises(RemoteError, match="BAD_ADDRESS"):
        parse_address(text)


def test_an_address_depends_on_the_whole_key() -> None:
    assert len(compute_address(bytes(32))) == ADDRESS_BYTES
    assert compute_address(bytes(32)) != compute_address(bytes(31) + b"\x01")


def test_members_are_called_as_on_the_command_line() -> None:
    assert format_member(0, 2) == "s0v2"
    assert format_member(BEACON_SHARD, 1) == "bv1"
    assert format_committee(3) == "shard3"
    assert format_committee(BEACON_SHARD) == "beacon"
