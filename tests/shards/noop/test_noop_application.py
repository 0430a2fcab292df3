"""The no-op application: opaque records, counted by length, each executed once within the replay window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslink.block import BlockBatch, BlockInput, BlockResult, Readiness
from crosslink.header import NO_BEACON_REF, START_CURSOR
from crosslink.summary import EMPTY_SUMMARY, compute_summary_root, decode_summary
from primitives.errors import LocalError, RemoteError
from primitives.hashing import ZERO_DIGEST, hash_bytes
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters
from shards.noop.application import GENESIS_TOTALS, SEEN_PREFIX, TOTALS_KEY, NoopApplication
from shards.noop.parameters import NoopParameters, format_noop_parameters, is_noop, parse_noop_parameters
from shards.noop.records import compute_record_id, decode_noop_receipt

PROTOCOL = ProtocolParameters(bucket_count=64)
PARAMETERS = NoopParameters(command_bytes=16, max_record_bytes=64, replay_blocks=3)


class Chain:
    """One member's application, and what its store would hold."""

    def __init__(self, parameters: NoopParameters = PARAMETERS) -> None:
        self.application = NoopApplication(parameters, PROTOCOL, None)
        self.store = dict(self.application.genesis_records())
        self.height = 0

    def execute(self, *batches: Sequence[bytes]) -> BlockResult:
        self.height += 1
        block = BlockInput(
            self.height,
            1_000 + self.height,
            NO_BEACON_REF,
            1_000,
            START_CURSOR,
            NO_BEACON_REF,
            tuple(self.make_batch(number, records) for number, records in enumerate(batches)),
        )
        result = self.application.execute(block)
        for key, value in result.changes.items():
            if value is None:
                del self.store[key]
            else:
                self.store[key] = value
        return result

    def make_batch(self, number: int, records: Sequence[bytes]) -> BlockBatch:
        digest = hash_bytes(b"%d/%d" % (self.height, number))
        return BlockBatch(digest, self.height + 100, tuple(map(self.application.decode, records)))


def record(number: int, commands: int = 1) -> bytes:
    return number.to_bytes(16, "big") * commands


def read_codes(result: BlockResult) -> list[tuple[str, int]]:
    receipts = [decode_noop_receipt(receipt.encoded) for receipt in result.receipts]
    assert [receipt.position for receipt in receipts] == list(range(len(receipts)))
    assert [receipt.transaction for receipt in result.receipts] == [receipt.transaction for receipt in receipts]
    return [(receipt.code, receipt.commands) for receipt in receipts]


# --- records -----------------------------------------------------------------------------------------------


def test_commands_are_counted_by_the_length_of_their_record() -> None:
    application = Chain().application
    decoded = application.decode(record(7, commands=3))
    assert (decoded.commands, decoded.size_bytes, decoded.id) == (3, 48, compute_record_id(record(7, 3)))
    application.verify(decoded)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "BAD_SIZE"), (bytes(15), "BAD_SIZE"), (bytes(17), "BAD_SIZE"), (bytes(80), "TOO_LARGE")],
)
def test_other_lengths_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(RemoteError) as refused:
        Chain().application.decode(data)
    assert refused.value.code == code


@given(st.binary(max_size=100))
@settings(max_examples=50)
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    try:
        decoded = Chain().application.decode(data)
    except RemoteError:
        assert len(data) % 16 or not 0 < len(data) <= 64
        return
    assert decoded.commands * 16 == len(data)


# --- execution ---------------------------------------------------------------------------------------------


def test_a_block_counts_its_records_and_commits_to_their_order() -> None:
    first, second = Chain(), Chain()
    one = first.execute([record(1), record(2, 2)], [record(3)])
    other = second.execute([record(2, 2), record(1)], [record(3)])
    totals = first.application.totals
    assert (totals.records, totals.commands, totals.size_bytes) == (3, 4, 64)
    assert read_codes(one) == [("OK", 1), ("OK", 2), ("OK", 1)]
    assert one.state_root != other.state_root
    assert one.receipts_root == compute_root([receipt.encoded for receipt in one.receipts])
    assert Chain().execute([record(1), record(2, 2)], [record(3)]).state_root == one.state_root


def test_it_sends_nothing_and_holds_nothing() -> None:
    result = Chain().execute([record(1)])
    assert result.outbox == () and result.outbox_root == compute_root([])
    assert decode_summary(result.summary) == EMPTY_SUMMARY
    assert result.summary_root == compute_summary_root(EMPTY_SUMMARY)


def test_an_empty_block_changes_nothing() -> None:
    chain = Chain()
    before = chain.execute([record(1)]).state_root
    after = chain.execute()
    assert (after.state_root, dict(after.changes), after.receipts) == (before, {}, ())


def test_a_record_has_effect_once_within_the_window_and_again_after_it() -> None:
    chain = Chain()
    assert read_codes(chain.execute([record(1), record(1)])) == [("OK", 1), ("DUPLICATE", 0)]
    for _ in range(PARAMETERS.replay_blocks):
        assert read_codes(chain.execute([record(1)])) == [("DUPLICATE", 0)]
    assert chain.application.totals.records == 1
    assert read_codes(chain.execute([record(1)])) == [("OK", 1)]
    assert chain.application.totals.records == 2


def test_the_window_is_state_and_leaves_it_when_it_has_passed() -> None:
    chain = Chain()
    chain.execute([record(1), record(2)])
    assert sum(key.startswith(SEEN_PREFIX) for key in chain.store) == 1
    for number in range(10):
        chain.execute([record(100 + number)])
    assert sum(key.startswith(SEEN_PREFIX) for key in chain.store) == PARAMETERS.replay_blocks + 1


def test_what_was_executed_is_not_admitted_again() -> None:
    chain = Chain()
    decoded = chain.application.decode(record(1))
    chain.application.admit(decoded, 0)
    chain.execute([record(1)])
    with pytest.raises(RemoteError, match="executed in block 1") as refused:
        chain.application.admit(decoded, 0)
    assert refused.value.code == "DUPLICATE"


def test_a_batch_that_is_ordered_twice_is_executed_once() -> None:
    chain = Chain()
    batch = chain.make_batch(0, [record(1)])
    block = BlockInput(1, 1_001, NO_BEACON_REF, 1_000, START_CURSOR, NO_BEACON_REF, (batch, batch))
    assert read_codes(chain.application.execute(block)) == [("OK", 1)]


def test_without_a_beacon_it_never_wants_a_block() -> None:
    assert Chain().application.readiness(1_000_000, 0) is Readiness.IDLE


# --- state -------------------------------------------------------------------------------------------------


def test_a_member_that_loads_the_state_goes_on_like_one_that_never_stopped() -> None:
    chain = Chain()
    chain.execute([record(1)], [record(2, 3)])
    root = chain.execute([record(3)]).state_root
    again = Chain()
    assert again.application.load(chain.store.items()) == root
    again.height, again.store = chain.height, dict(chain.store)
    assert again.application.totals == chain.application.totals
    for batches in ([record(1), record(9)], [record(2, 3)], [], [record(1)]):
        assert again.execute(batches).state_root == chain.execute(batches).state_root


def test_genesis_is_a_state_of_its_own() -> None:
    application = Chain().application
    assert application.totals == GENESIS_TOTALS
    assert application.load(application.genesis_records()) not in (ZERO_DIGEST, b"")


@pytest.mark.parametrize(
    "damage",
    [
        {TOTALS_KEY: b"\x93\x01"},
        {TOTALS_KEY: None},
        {SEEN_PREFIX + b"\x01": bytes(32)},
        {SEEN_PREFIX + bytes(8): bytes(31)},
        {SEEN_PREFIX + bytes(8): b""},
        {b"account/1": b"x"},
    ],
)
def test_damaged_records_are_no_state(damage: dict[bytes, bytes | None]) -> None:
    chain = Chain()
    chain.execute([record(1)])
    records: dict[bytes, Any] = {**chain.store, **damage}
    with pytest.raises(LocalError, match="no-op"):
        chain.application.load([item for item in records.items() if item[1] is not None])


# --- parameters --------------------------------------------------------------------------------------------


def test_parameters_read_back_as_they_were_written() -> None:
    table = format_noop_parameters(PARAMETERS)
    assert is_noop(table) and parse_noop_parameters(table, PROTOCOL) == PARAMETERS
    assert parse_noop_parameters({"kind": "noop"}, PROTOCOL) == NoopParameters()
    assert not is_noop({}) and not is_noop({"kind": "venue"})


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"command_byte": 1}, "unknown field `command_byte`"),
        ({"command_bytes": 0}, ">= 1"),
        ({"command_bytes": 64, "max_record_bytes": 63}, "at least one command"),
        ({"max_record_bytes": 1 << 20}, "<= "),
        ({"replay_blocks": 1 << 20}, "<= 4096"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        parse_noop_parameters({"kind": "noop", **table}, PROTOCOL)


def test_a_record_fits_into_a_payload() -> None:
    small = ProtocolParameters(max_payload_bytes=100_000, max_batch_bytes=10_000)
    with pytest.raises(LocalError, match=r"must not exceed parameters\.max_payload_bytes"):
        parse_noop_parameters({"kind": "noop"}, small)
