"""The mempool and the pool of batches: bounds, turns, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.batches import BatchPool
from node.mempool import Mempool, TransactionStatus
from node.replica_setup import ReplicaLimits
from primitives.errors import RemoteError
from tests.consensus.tokens import TokenScheme, TokenSigner
from tests.node.held_batches import make_batch
from tests.node.toy_application import ToyApplication, ToyTransaction, make_transaction

LIMITS = ReplicaLimits(mempool_transactions=80, mempool_bytes=1 << 20, sender_transactions=40)
TOY = ToyApplication(TokenScheme())


def _add(mempool: Mempool, sender: str, nonce: int, *, priority: bool = False) -> ToyTransaction:
    data = make_transaction(TokenSigner(sender), nonce)
    transaction = replace(TOY.decode(data), priority=priority)
    mempool.validate_room(transaction)
    mempool.add(transaction, data)
    return transaction


def test_senders_take_turns_and_each_keeps_its_order() -> None:
    mempool = Mempool(LIMITS)
    for nonce in range(1, 6):
        _add(mempool, "busy", nonce)
    _add(mempool, "quiet", 1)
    taken = [transaction for transaction, _ in mempool.take(1 << 20, 4)]
    busy, quiet = TokenSigner("busy").public_key, TokenSigner("quiet").public_key
    assert [transaction.sender for transaction in taken] == [busy, quiet, busy, busy]
    assert [transaction.nonce for transaction in taken if transaction.sender == busy] == [1, 2, 3]
    assert mempool.pending_count == 2
    assert len(mempool) == 6


def test_a_batch_is_bounded_in_bytes_but_never_empty() -> None:
    mempool = Mempool(LIMITS)
    for nonce in range(1, 4):
        _add(mempool, "sender", nonce)
    assert len(mempool.take(1, 10)) == 1
    assert len(mempool.take(1 << 20, 10)) == 2


def test_one_sender_cannot_fill_it_and_all_together_cannot_overfill_it() -> None:
    mempool = Mempool(LIMITS)
    for nonce in range(1, 41):
        _add(mempool, "greedy", nonce)
    with pytest.raises(RemoteError, match="SENDER_BUSY"):
        _add(mempool, "greedy", 41)
    for number in range(30):
        _add(mempool, f"sender {number}", 1)
    with pytest.raises(RemoteError, match="BUSY"):
        _add(mempool, "one more", 1)
    _add(mempool, "a cancel", 1, priority=True)


def test_what_was_executed_elsewhere_is_not_batched_here() -> None:
    mempool = Mempool(LIMITS)
    first, second = _add(mempool, "sender", 1), _add(mempool, "sender", 2)
    mempool.settle([first.id])
    assert [transaction.id for transaction, _ in mempool.take(1 << 20, 10)] == [second.id]
    mempool.expire([second.id])
    assert mempool.status(first.id) is TransactionStatus.UNKNOWN
    assert mempool.status(second.id) is TransactionStatus.EXPIRED
    assert mempool.statistics().bytes == 0
    assert mempool.pending_bytes == 0


def test_payloads_take_authors_in_turn_oldest_first() -> None:
    pool = BatchPool(4)
    for number in range(5):
        pool.hold(make_batch(0, number))
    pool.hold(make_batch(2, 0))
    chosen = pool.select(2, set(), 400, 1)
    assert [(batch.author, batch.body.sequence) for batch in chosen.batches] == [(2, 0), (0, 0), (0, 1), (0, 2)]
    assert chosen.is_full
    rest = pool.select(0, {batch.digest for batch in chosen.batches}, 400, 1)
    assert [batch.body.sequence for batch in rest.batches] == [3, 4]
    assert not rest.is_full


def test_an_author_over_quota_is_refused_and_others_are_not() -> None:
    pool = BatchPool(4)
    for number in range(4):
        pool.validate_quota(1, 1 << 20)
        pool.hold(make_batch(1, number, size=1 << 20))
    with pytest.raises(RemoteError, match="OVER_QUOTA"):
        pool.validate_quota(1, 1)
    pool.validate_quota(2, 1 << 20)


def test_what_expires_or_is_executed_leaves_no_trace_in_the_counts() -> None:
    pool = BatchPool(4)
    batches = [make_batch(0, 0, expiry=5), make_batch(1, 0, expiry=9), make_batch(2, 0)]
    for batch in batches:
        pool.hold(batch)
    assert pool.expire(5) == (batches[0],)
    pool.mark_executed(batches[1], 6)
    assert pool.find(batches[1].digest) is batches[1]
    pool.forget_executed(6)
    assert pool.find(batches[1].digest) is None
    assert pool.candidate_count == 1
    assert pool.statistics().bytes == 100
