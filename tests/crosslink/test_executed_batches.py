"""Executed batches are skipped until they expire, and then by their expiry."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslink.block import BlockBatch
from crosslink.executed_batches import ExecutedBatches
from primitives.errors import LocalError
from primitives.hashing import hash_tagged

LIFETIME = 8


def make_batch(number: int, expiry: int) -> BlockBatch:
    return BlockBatch(hash_tagged(b"batch", bytes([number])), expiry, ())


def test_a_repeat_is_skipped_in_the_same_block_and_in_later_ones() -> None:
    executed = ExecutedBatches(LIFETIME)
    batch = make_batch(1, 5)
    assert executed.filter(1, [batch, batch]) == (batch,)
    for height in range(2, 8):
        assert executed.filter(height, [batch]) == ()
    assert len(executed) == 0, "after its expiry the digest is forgotten, and the expiry keeps it out"


def test_expired_batches_and_those_that_would_stay_too_long_are_skipped_unrecorded() -> None:
    executed = ExecutedBatches(LIFETIME)
    assert executed.filter(10, [make_batch(1, 9), make_batch(2, 10 + LIFETIME + 1)]) == ()
    assert len(executed) == 0 and executed.take_changes() == {}
    assert len(executed.filter(10, [make_batch(3, 10), make_batch(4, 10 + LIFETIME)])) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(-2, LIFETIME + 2)), max_size=4), max_size=40))
def test_no_batch_runs_twice_and_the_records_restore_the_same_state(plan: list[list[tuple[int, int]]]) -> None:
    executed = ExecutedBatches(LIFETIME)
    records: dict[bytes, bytes] = {}
    ran: list[bytes] = []
    expiries: dict[int, int] = {}
    for height, block in enumerate(plan, start=1):
        # A digest commits to its expiry: a number has one for good.
        batches = [make_batch(n, expiries.setdefault(n, height + ahead)) for n, ahead in block]
        twin = ExecutedBatches(LIFETIME)
        twin.load(records.items())
        fresh = executed.filter(height, batches)
        assert twin.filter(height, batches) == fresh
        changes = executed.take_changes()
        assert twin.take_changes() == changes
        ran += [batch.digest for batch in fresh]
        for key, value in changes.items():
            if value is None:
                del records[key]
            else:
                records[key] = value
        assert len(records) == len(executed)
    assert len(ran) == len(set(ran))


def test_damaged_records_are_refused() -> None:
    for key, value in (
        (b"batch/short", bytes(8)),
        (b"batch/" + bytes(32), b"1"),
        (b"other/" + bytes(32), bytes(8)),
    ):
        with pytest.raises(LocalError):
            ExecutedBatches(LIFETIME).load([(key, value)])
