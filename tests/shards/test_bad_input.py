"""Everything that is wrong with a transaction has a stable code and a sentence, and never any other exception."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.errors import RemoteError
from shards.amounts import format_cash, format_units, parse_cash, parse_price, parse_size
from shards.codes import EXPLANATIONS, ResultCode
from shards.transactions import (
    MAX_TRANSACTION_BYTES,
    Action,
    Cancel,
    CancelAll,
    Observation,
    OracleReport,
    OrderKind,
    Place,
    Side,
    SignedTransaction,
    compute_id,
    decode_transaction,
    sign_transaction,
)
from tests.shards.toy_shard import BUY, CHAIN, ToyShard, make_parameters, place, signer_of

SHARD = ToyShard(make_parameters({"ann": 10**9}), paranoid=False)


def sign(*actions: Action, chain: bytes = CHAIN, shard: int = 0, nonce: int = 1) -> bytes:
    _, data = sign_transaction(
        signer_of("ann"), chain=chain, shard=shard, nonce=nonce, valid_until_ms=2**41, actions=actions
    )
    return data


def refusal(data: bytes) -> str:
    with pytest.raises(RemoteError) as caught:
        SHARD.application.verify(SHARD.application.decode(data))
    assert caught.value.message
    return caught.value.code


def test_a_signed_transaction_decodes_and_verifies() -> None:
    data = sign(place(BUY, 1_000, 1))
    transaction = SHARD.application.decode(data)
    SHARD.application.verify(transaction)
    assert transaction.id == compute_id(data)
    assert transaction.size_bytes == len(data)


def test_every_code_has_one_sentence_that_explains_it() -> None:
    assert set(EXPLANATIONS) == set(ResultCode)
    assert all(sentence.endswith(".") for sentence in EXPLANATIONS.values())


def test_garbage_is_malformed() -> None:
    assert refusal(b"\xc1garbage") == "MALFORMED"


def test_a_second_encoding_of_the_same_value_is_refused() -> None:
    data = sign(CancelAll())
    # Nonce 1 in two bytes instead of one.
    position = data.index(b"\x01\xcf", 80)
    assert refusal(data[:position] + b"\xcc\x01" + data[position + 1 :]) == "NOT_CANONICAL"


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    assert refusal(bytes(MAX_TRANSACTION_BYTES + 1)) == "TOO_LARGE"


def test_another_chain_and_another_shard_are_refused() -> None:
    assert refusal(sign(CancelAll(), chain=bytes(32))) == "WRONG_CHAIN"
    assert refusal(sign(CancelAll(), shard=1)) == "WRONG_SHARD"


def test_a_changed_byte_breaks_the_signature() -> None:
    data = sign(place(BUY, 1_000, 1))
    changed = data[:-70] + bytes([data[-70] ^ 1]) + data[-69:]
    assert refusal(changed) in {"BAD_SIGNATURE", "MALFORMED"}
    assert refusal(data[:-1] + bytes([data[-1] ^ 1])) == "BAD_SIGNATURE"


def test_a_key_that_does_not_own_the_account_is_refused() -> None:
    data = sign(CancelAll())
    other = signer_of("bob").public_key
    assert refusal(data.replace(signer_of("ann").public_key, other)) == "WRONG_KEY"


@pytest.mark.parametrize(
    "action",
    [
        Place(0, BUY, OrderKind.GTT, 1, 1),
        Place(0, BUY, OrderKind.LIMIT, 1, 1, expiry_ms=5),
        Place(0, BUY, OrderKind.LIMIT, 0, 1),
        Place(0, BUY, OrderKind.LIMIT, 1, 0),
        Place(0, BUY, OrderKind.LIMIT, 2**40, 1),
        Place(0, 7, OrderKind.LIMIT, 1, 1),  # type: ignore[arg-type]
        Cancel(0),
        Cancel(0, 1, 1),
        CancelAll(None, 99),
        OracleReport(()),
    ],
)
def test_actions_that_mean_nothing_are_malformed(action: Action) -> None:
    assert refusal(sign(action)) == "MALFORMED"


def test_reports_share_a_transaction_with_nothing_else() -> None:
    assert refusal(sign(OracleReport((Observation(0, 1, 1),)), CancelAll())) == "MALFORMED"


def test_too_many_actions_are_malformed() -> None:
    assert refusal(sign(*[CancelAll()] * 33)) == "MALFORMED"


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_bytes_decode_or_raise_a_remote_error(data: bytes) -> None:
    with suppress(RemoteError):
        decode_transaction(data, CHAIN, 0)


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_never_gives_another_valid_transaction(index: int, value: int) -> None:
    data = bytearray(sign(place(BUY, 1_000, 1), Cancel(0, 5)))
    index %= len(data)
    if data[index] == value:
        return
    data[index] = value
    with pytest.raises(RemoteError):
        SHARD.application.verify(SHARD.application.decode(bytes(data)))


def test_admission_says_what_execution_would() -> None:
    shard = ToyShard(make_parameters({"ann": 10**9, "poor": 0}, action_fee=5))

    def admit(transaction: SignedTransaction) -> str:
        try:
            shard.application.admit(transaction, shard.time_ms)
        except RemoteError as error:
            return error.code
        return "OK"

    order = place(BUY, 1_000, 1)
    assert admit(shard.tx("ann", order, nonce=1)) == "OK"
    assert admit(shard.tx("ann", order, subaccount=3)) == "NO_FUNDS"
    assert admit(shard.tx("poor", order)) == "NO_FUNDS"
    assert admit(shard.tx("poor", CancelAll())) == "NO_FUNDS"
    assert admit(shard.tx("ann", CancelAll(), subaccount=3)) == "OK"
    assert admit(shard.report("oracle", 1_000)) == "OK"
    assert admit(shard.tx("nobody", order)) == "NO_ACCOUNT"
    assert admit(shard.tx("ann", order, valid_until_ms=shard.time_ms - 1)) == "EXPIRED"
    shard.act("ann", order, nonce=1)
    assert admit(shard.tx("ann", order, nonce=1)) == "NONCE_USED"


def test_prices_and_sizes_convert_exactly_or_not_at_all() -> None:
    assert parse_price("60000.1", "0.10") == 600_001
    assert parse_size("0.123", "0.001") == 123
    assert parse_cash("1.5") == 1_500_000
    assert format_units(600_001, "0.10") == "60000.10"
    assert format_units(5, "1") == "5"
    assert format_cash(-1) == "-0.000001"
    for text, code in (
        ("60000.15", "OFF_TICK"),
        ("1e5", "BAD_AMOUNT"),
        ("-5", "BAD_AMOUNT"),
        ("0", "BAD_AMOUNT"),
        (".5", "BAD_AMOUNT"),
        ("5.", "BAD_AMOUNT"),
        ("٣", "BAD_AMOUNT"),
        ("9" * 41, "BAD_AMOUNT"),
    ):
        with pytest.raises(RemoteError) as caught:
            parse_price(text, "0.10")
        assert caught.value.code == code, text
    with pytest.raises(RemoteError) as caught:
        parse_size("0.0005", "0.001")
    assert caught.value.code == "OFF_LOT"


@given(st.integers(1, 2**62), st.sampled_from(["0.10", "0.01", "0.001", "1", "5", "0.00000001"]))
@settings(max_examples=100, deadline=None)
def test_formatting_and_parsing_are_inverse(units: int, step: str) -> None:
    text = format_units(units, step)
    if len(text) <= 40:
        assert parse_price(text, step) == units


def test_sides_keep_their_numbers() -> None:
    assert (int(Side.BUY), int(Side.SELL)) == (0, 1)
