"""The queue of signatures to check: whose turn it is."""

from __future__ import annotations

import gc

from node.batches import BatchPool, HeldBatch
from node.mempool import Mempool
from node.replica_setup import ReplicaLimits
from node.verification import CHUNK, BatchChecked, VerificationQueue
from node.wire import BatchBody
from tests.consensus.tokens import TokenScheme, TokenSigner
from tests.node.toy_application import ToyApplication, make_transaction

LIMITS = ReplicaLimits()


class _Queue:
    def __init__(self) -> None:
        self.pool = BatchPool(4)
        self.queue = VerificationQueue(
            ToyApplication(TokenScheme()), Mempool(LIMITS), self.pool, LIMITS, lambda: 0, lambda identifier: None
        )

    def add(self, author: int, number: int, transactions: int, *, expiry: int = 100) -> HeldBatch:
        signer = TokenSigner(f"client-{author}-{number}")
        raw = tuple(make_transaction(signer, nonce) for nonce in range(1, transactions + 1))
        digest = bytes([author, number]) * 16
        batch = HeldBatch(digest, BatchBody(author, number, expiry, raw), b"".join(raw), 0)
        self.pool.hold(batch)
        self.queue.add_batch(batch)
        return batch

    def finish(self) -> list[tuple[int, int]]:
        """(author, number) of the batches, in the order in which they were done."""
        done: list[tuple[int, int]] = []
        while self.queue.busy:
            for outcome in self.queue.work():
                assert isinstance(outcome, BatchChecked)
                assert outcome.error is None
                done.append((outcome.batch.author, outcome.batch.body.sequence))
        return done


def test_authors_take_turns_so_one_that_sends_too_much_waits_for_itself() -> None:
    queue = _Queue()
    for number in range(4):
        queue.add(1, number, 3 * CHUNK)
    queue.add(2, 0, 1)
    queue.add(2, 1, 1)
    queue.add(3, 0, CHUNK + 1)
    assert queue.finish() == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)]


def test_what_waits_is_counted_down_to_nothing() -> None:
    queue = _Queue()
    queue.add(1, 0, 3 * CHUNK)
    queue.add(2, 0, 1)
    assert queue.queue.count_waiting() == 3 * CHUNK + 1
    queue.queue.work()
    assert queue.queue.count_waiting() == 2 * CHUNK + 1
    queue.finish()
    assert queue.queue.count_waiting() == 0


def test_what_was_urgent_or_expired_costs_no_turn_and_no_work() -> None:
    queue = _Queue()
    urgent = queue.add(1, 0, 2)
    queue.add(1, 1, 1, expiry=5)
    queue.add(2, 0, 1)
    queue.add(1, 2, 1)
    queue.add(2, 1, 1)
    queue.queue.add_urgent(urgent)
    queue.pool.expire(5)
    assert queue.finish() == [(1, 0), (1, 2), (2, 0), (2, 1)]
    assert queue.queue.verified_total == 5


def test_an_author_that_comes_back_takes_the_end_of_the_line() -> None:
    queue = _Queue()
    for number in range(2):
        queue.add(1, number, 1)
    for number in range(2):
        queue.add(2, number, 1)
    assert queue.finish() == [(1, 0), (2, 0), (1, 1), (2, 1)]
    queue.add(2, 2, 1)
    queue.add(1, 2, 1)
    queue.add(2, 3, 1)
    assert queue.finish() == [(2, 2), (1, 2), (2, 3)]


def test_what_is_kept_of_a_refused_batch_is_garbage_that_the_collector_finds() -> None:
    queue = _Queue()
    batch = HeldBatch(b"\x01" * 32, BatchBody(1, 0, 100, (b"no transaction",)), b"", 0)
    queue.pool.hold(batch)
    queue.queue.add_batch(batch)
    (outcome,) = queue.queue.work()
    assert isinstance(outcome, BatchChecked)
    assert outcome.error is not None
    # The error's traceback leads back to the outcomes, so reference counts alone never free it.
    assert gc.is_tracked(outcome)
