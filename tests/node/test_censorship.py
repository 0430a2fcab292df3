"""Clocks of waiting batches: relayed, then a complaint; patience with leaders who are merely slow."""

from __future__ import annotations

from node.batches import BatchPool
from node.censorship import HALF_LIFE_MS, MAX_PATIENCE, CensorshipClock
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
    clock.on_leader_changed(1_500)
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


def test_patience_doubles_with_each_change_of_leader_up_to_a_cap_and_halves_with_time() -> None:
    pool = BatchPool(4)
    clock = CensorshipClock(pool, 4, 0, ReplicaLimits(relay_after_ms=500, overdue_after_ms=1_500))
    pool.hold(make_batch(1, 0))
    now_ms = 0
    for patience in (2, 4, MAX_PATIENCE, MAX_PATIENCE):
        clock.on_leader_changed(now_ms)
        assert not clock.check(now_ms + patience * 1_500 - 1).overdue
        now_ms += patience * 1_500
        assert clock.check(now_ms).overdue
    later_ms = now_ms - MAX_PATIENCE * 1_500 + HALF_LIFE_MS
    pool.mark_executed(make_batch(1, 0), 1)
    pool.hold(make_batch(1, 1, received_ms=later_ms))
    assert not clock.check(later_ms + MAX_PATIENCE // 2 * 1_500 - 1).overdue
    assert clock.check(later_ms + MAX_PATIENCE // 2 * 1_500).overdue
    clock.on_leader_changed(later_ms + 3 * HALF_LIFE_MS)
    assert clock.check(later_ms + 3 * HALF_LIFE_MS + 2 * 1_500).overdue, "from what was left of it, which is one"
