"""Clocks of waiting batches: relayed, then a complaint; patience with leaders who are merely slow."""

from __future__ import annotations

from node.batches import BatchPool
from node.censorship import PATIENT_MS, CensorshipClock
from node.replica_setup import ReplicaLimits
from tests.node.held_batches import make_batch


def test_the_oldest_batch_is_relayed_then_overdue_and_a_new_leader_starts_anew() -> None:
    pool = BatchPool(4)
    limits = ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500)
    clock = CensorshipClock(pool, 4, 0, limits)
    batch = make_batch(1, 0)
    pool.hold(batch)
    assert clock.check(499).relay == ()
    assert clock.check(500).relay == (batch,)
    assert clock.check(600).relay == ()
    assert clock.check(1_500).overdue
    clock.on_view_changed(1_500)
    assert not clock.check(2_900).overdue
    assert clock.check(1_500 + 2 * 1_500).overdue


def test_after_a_silent_partition_all_own_batches_are_relayed_and_again_while_they_wait() -> None:
    pool = BatchPool(4)
    clock = CensorshipClock(pool, 4, 1, ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500))
    own = [make_batch(1, number) for number in range(3)]
    others = [make_batch(2, number) for number in range(3)]
    for batch in (*own, *others):
        pool.hold(batch)
    assert clock.check(500).relay == (*own, others[0])
    assert clock.check(1_999).relay == ()
    assert clock.check(2_000).relay == (*own, others[0])


def test_no_complaint_while_payloads_are_full_and_the_authors_turn_has_come() -> None:
    pool = BatchPool(4)
    clock = CensorshipClock(pool, 4, 0, ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500))
    waiting, executed = make_batch(1, 1), make_batch(1, 0)
    pool.hold(waiting)
    clock.on_block((executed,), True, 1_000)
    assert not clock.check(2_000).overdue
    clock.on_block((executed,), False, 2_000)
    assert clock.check(2_500).overdue


def test_a_view_that_changed_under_pressure_makes_patient_for_a_while() -> None:
    pool = BatchPool(4)
    clock = CensorshipClock(pool, 4, 0, ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500))
    pool.hold(make_batch(1, 0))
    assert not clock.check(800).overdue
    clock.on_view_changed(1_000)
    assert not clock.check(3_900).overdue, "others complained, and we were about to"
    assert clock.check(4_000).overdue
    clock.on_view_changed(4_000)
    assert not clock.check(9_900).overdue
    clock.check(4_000 + PATIENT_MS)
    pool.mark_executed(make_batch(1, 0), 1)
    pool.hold(make_batch(1, 1, received_ms=100_000))
    assert clock.check(101_500).overdue, "patience is what it was"


def test_a_view_that_changes_without_pressure_leaves_patience_as_it_is() -> None:
    pool = BatchPool(4)
    clock = CensorshipClock(pool, 4, 0, ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500))
    pool.hold(make_batch(1, 0))
    assert not clock.check(700).overdue
    clock.on_view_changed(700)
    assert clock.check(2_200).overdue
