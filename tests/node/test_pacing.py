"""Proposals lie a gap apart, and a longer one while transactions queue for verification."""

from __future__ import annotations

from node.pacing import PRESSED_TENTHS, PRESSED_TRANSACTIONS, Pacing

GAP_MS = 100
PRESSED_GAP_MS = GAP_MS * PRESSED_TENTHS // 10


def test_with_little_waiting_the_next_proposal_is_a_gap_away() -> None:
    pacing = Pacing(GAP_MS, lambda: PRESSED_TRANSACTIONS - 1)
    assert pacing.gap_ms == GAP_MS
    assert [pacing.compute_wait(since_ms) for since_ms in (0, 60, 100, 10_000)] == [100, 40, 0, 0]


def test_under_load_it_is_a_longer_gap_away() -> None:
    pacing = Pacing(GAP_MS, lambda: PRESSED_TRANSACTIONS)
    assert pacing.gap_ms == PRESSED_GAP_MS > GAP_MS
    assert pacing.compute_wait(GAP_MS) == PRESSED_GAP_MS - GAP_MS
    assert pacing.compute_wait(PRESSED_GAP_MS) == 0


def test_once_the_load_is_gone_nothing_waits_for_the_longer_gap() -> None:
    waiting = PRESSED_TRANSACTIONS
    pacing = Pacing(GAP_MS, lambda: waiting)
    assert pacing.compute_wait(GAP_MS + 1) > 0
    waiting = 0
    assert pacing.compute_wait(GAP_MS + 1) == 0
