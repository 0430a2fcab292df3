"""The rules of the clock."""

from __future__ import annotations

from node.clock import monotonic_ms, monotonic_us, wall_ms


def test_monotonic_readings_never_go_back_and_agree_on_the_unit() -> None:
    before, micro, after = monotonic_ms(), monotonic_us(), monotonic_ms()
    assert before <= micro // 1_000 <= after


def test_wall_time_counts_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < wall_ms() < 10_000_000_000_000
