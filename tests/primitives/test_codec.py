"""The canonical codec: golden bytes, a second decoder, and the refusal of every other form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primitives.codec import Digest, Signed, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError

OWN = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())
MAX_BYTES = 4096


class Transfer(Wire, frozen=True, tag=1):
    """A struct with a field of each kind that travels."""

    number: Unsigned
    digest: Digest
    change: Signed
    label: str
    counts: tuple[Unsigned, ...]
    memo: bytes | None = None


class Inner(Wire, frozen=True):
    """A struct inside another."""

    number: Unsigned
    data: bytes


class Notice(Wire, frozen=True, tag=2):
    """A second member of the union."""

    inner: Inner


Message = Transfer | Notice
KINDS: dict[str, Any] = {
    "unsigned": Unsigned,
    "signed": Signed,
    "bytes": bytes,
    "transfer": Message,
    "notice": Message,
}

transfers = st.builds(
    Transfer,
    number=st.integers(0, 2**63 - 1),
    digest=st.binary(min_size=32, max_size=32),
    change=st.integers(-(2**63) + 1, 2**63 - 1),
    label=st.text(max_size=40),
    counts=st.lists(st.integers(0, 2**63 - 1), max_size=20).map(tuple),
    memo=st.none() | st.binary(max_size=300),
)
notices = st.builds(Notice, st.builds(Inner, st.integers(0, 300), st.binary(max_size=20)))
messages = transfers | notices


def build(kind: str, value: Any) -> Any:
    """The value that a committed vector describes."""
    match kind:
        case "unsigned" | "signed":
            return value
        case "bytes":
            return bytes.fromhex(value)
        case "transfer":
            number, digest, change, label, counts, memo = value
            return Transfer(
                number=number,
                digest=bytes.fromhex(digest),
                change=change,
                label=label,
                counts=tuple(counts),
                memo=None if memo is None else bytes.fromhex(memo),
            )
        case "notice":
            return Notice(Inner(value[0][0], bytes.fromhex(value[0][1])))
        case _:
            raise AssertionError(kind)


def flatten(message: Transfer | Notice) -> list[Any]:
    """What another MessagePack decoder finds in the message's bytes."""
    match message:
        case Transfer():
            return [
                1,
                message.number,
                message.digest,
                message.change,
                message.label,
                list(message.counts),
                message.memo,
            ]
        case Notice():
            return [2, [message.inner.number, message.inner.data]]


def assert_refused(kind: Any, data: bytes, max_bytes: int = MAX_BYTES) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        decode(kind, data, max_bytes=max_bytes)
    assert caught.value.code in {"TOO_LARGE", "MALFORMED", "NOT_CANONICAL"}
    assert caught.value.penalise
    return caught.value


@pytest.mark.parametrize("case", OWN["accepted"], ids=lambda case: case["kind"])
def test_golden_bytes(case: dict[str, Any]) -> None:
    value = build(case["kind"], case["value"])
    data = bytes.fromhex(case["bytes"])
    assert encode(value) == data
    assert decode(KINDS[case["kind"]], data, max_bytes=MAX_BYTES) == value


@pytest.mark.parametrize("case", OWN["refused"], ids=lambda case: case["name"])
def test_other_forms_are_refused(case: dict[str, Any]) -> None:
    assert_refused(KINDS[case["kind"]], bytes.fromhex(case["bytes"]))


@given(messages)
def test_messages_survive_the_wire_and_read_the_same_in_msgpack(message: Transfer | Notice) -> None:
    data = encode(message)
    decoded: Transfer | Notice = decode(Message, data, max_bytes=MAX_BYTES)
    assert decoded == message
    assert encode(decoded) == data
    assert msgpack.unpackb(data, raw=False) == flatten(message)
    assert msgpack.packb(flatten(message), use_bin_type=True) == data


@given(messages, st.data())
def test_a_changed_byte_gives_another_value_or_remote_error(
    message: Transfer | Notice, data: st.DataObject
) -> None:
    raw = bytearray(encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded: Transfer | Notice = decode(Message, bytes(raw), max_bytes=MAX_BYTES)
    except RemoteError:
        return
    assert decoded != message
    assert encode(decoded) == bytes(raw)


@given(st.binary(max_size=300))
def test_garbage_is_decoded_or_refused_and_never_raises_anything_else(data: bytes) -> None:
    for kind in (Message, Notice, dict[str, int], Any):
        try:
            value: Any = decode(kind, data, max_bytes=MAX_BYTES)
        except RemoteError:
            continue
        assert encode(value) == data


@given(messages, st.binary(min_size=1, max_size=5))
def test_trailing_bytes_are_refused(message: Transfer | Notice, rest: bytes) -> None:
    assert_refused(Message, encode(message) + rest)


@given(messages, st.integers(1, 20))
def test_truncated_messages_are_refused(message: Transfer | Notice, missing: int) -> None:
    assert_refused(Message, encode(message)[:-missing])


def test_the_size_bound_is_inclusive_and_comes_before_decoding() -> None:
    data = encode(bytes(100))
    assert decode(bytes, data, max_bytes=len(data)) == bytes(100)
    assert assert_refused(bytes, data, len(data) - 1).code == "TOO_LARGE"
    assert assert_refused(bytes, b"\xc1" * 11, 10).code == "TOO_LARGE"


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0", b"\xdc\x00\x01", b"\xdd\x00\x00\xff\xff"])
@pytest.mark.parametrize("kind", [Any, Message, list[Any]], ids=["any", "message", "list"])
def test_deep_nesting_is_malformed(opening: bytes, kind: Any) -> None:
    assert assert_refused(kind, opening * 100_000 + b"\x00", 1_000_000).code == "MALFORMED"


def test_absurd_lengths_cost_no_memory() -> None:
    for header in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        for kind in (Any, list[int], tuple[int, ...], dict[str, int], bytes):
            assert_refused(kind, header)


def test_string_keys_are_sorted_whatever_the_order_of_insertion() -> None:
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1}) == b"\x82\xa1a\x02\xa1b\x01"
    assert assert_refused(dict[str, int], b"\x82\xa1b\x01\xa1a\x02").code == "NOT_CANONICAL"
    assert assert_refused(dict[str, int], b"\x82\xa1a\x01\xa1a\x02").code == "NOT_CANONICAL"
