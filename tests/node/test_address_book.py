"""Address records: only the member itself can write one, the newest wins, and floods are not multiplied."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.address_book import (
    MAX_RECORDS_PER_FRAME,
    MIN_CHANGE_INTERVAL_MS,
    Address,
    AddressBook,
    AddressRecord,
    decode_records,
    encode_records,
    sign_record,
)
from node.members import Member
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import Ed25519, Ed25519Signer

CHAIN = b"c" * 32
SIGNERS = [Ed25519Signer(bytes([number]) * 32) for number in (1, 2)]
MEMBERS = [Member(0, index, signer.public_key) for index, signer in enumerate(SIGNERS)]
HERE = Address("10.0.0.1", 7000)
THERE = Address("10.0.0.2", 7001)


def make_book() -> AddressBook:
    return AddressBook(CHAIN, MEMBERS, Ed25519())


def sign(address: Address, sequence: int, *, index: int = 0, chain: bytes = CHAIN) -> AddressRecord:
    return sign_record(chain, MEMBERS[index], address, sequence, SIGNERS[index])


def test_the_newest_record_wins_in_any_order() -> None:
    book = make_book()
    assert book.offer(sign(THERE, 2), 0)
    assert not book.offer(sign(HERE, 1), 10_000)
    assert not book.offer(sign(THERE, 2), 10_000)
    assert book.address_of(MEMBERS[0]) == THERE
    assert book.offer(sign(HERE, 3), 10_000)
    assert book.address_of(MEMBERS[0]) == HERE
    assert book.records() == [sign(HERE, 3)]


def test_the_operators_word_holds_until_the_member_signs_something_newer() -> None:
    book = make_book()
    book.offer(sign(HERE, 5), 0)
    assert book.set_local(MEMBERS[0], THERE)
    assert not book.set_local(MEMBERS[0], THERE)
    assert not book.offer(sign(HERE, 5), 10_000)
    assert book.address_of(MEMBERS[0]) == THERE
    assert book.offer(sign(HERE, 6), 10_000)
    assert book.address_of(MEMBERS[0]) == HERE


def test_a_member_that_changes_too_often_is_not_believed_for_a_while() -> None:
    book = make_book()
    assert book.offer(sign(HERE, 1), 0)
    assert not book.offer(sign(THERE, 2), MIN_CHANGE_INTERVAL_MS - 1)
    assert book.offer(sign(THERE, 2), MIN_CHANGE_INTERVAL_MS)


def test_only_the_member_itself_on_this_chain_can_write_its_record() -> None:
    forged = sign_record(CHAIN, MEMBERS[0], HERE, 1, SIGNERS[1])
    moved = AddressRecord(0, 0, THERE.host, HERE.port, 1, sign(HERE, 1).signature)
    for record in (forged, moved, sign(HERE, 1, chain=b"d" * 32)):
        book = make_book()
        with pytest.raises(RemoteError, match="BAD_SIGNATURE") as caught:
            book.offer(record, 0)
        assert caught.value.penalise
        assert book.address_of(MEMBERS[0]) is None


def test_an_unknown_member_is_refused_without_penalty() -> None:
    with pytest.raises(RemoteError, match="UNKNOWN_MEMBER") as caught:
        make_book().offer(AddressRecord(9, 9, "10.0.0.1", 1, 1, bytes(64)), 0)
    assert not caught.value.penalise


@pytest.mark.parametrize(
    "address",
    [
        Address("example.org", 80),
        Address("0.0.0.0", 80),
        Address("224.0.0.1", 80),
        Address("::", 80),
        Address("1" * 100, 80),
        Address("", 80),
        Address("10.0.0.1", 0),
        Address("10.0.0.1", 65_536),
    ],
)
def test_what_cannot_be_dialled_is_refused_even_if_signed(address: Address) -> None:
    with pytest.raises(RemoteError, match="BAD_ADDRESS"):
        make_book().offer(sign(address, 1), 0)


def test_records_survive_the_wire_in_bounded_frames() -> None:
    records = [sign(HERE, number) for number in range(1, MAX_RECORDS_PER_FRAME + 3)]
    bodies = encode_records(records)
    assert len(bodies) == 2
    assert [record for body in bodies for record in decode_records(body)] == records
    with pytest.raises(RemoteError, match="TOO_LARGE"):
        decode_records(encode(records))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_records_or_a_remote_error(data: bytes) -> None:
    with contextlib.suppress(RemoteError):
        decode_records(data)


def test_hosts_of_members_are_known() -> None:
    book = make_book()
    book.offer(sign(HERE, 1), 0)
    assert book.has_host(HERE.host)
    assert not book.has_host(THERE.host)
