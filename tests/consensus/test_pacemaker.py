"""Patience and timers."""

from __future__ import annotations

import pytest

from consensus.engine import SetTimer
from consensus.pacemaker import Pacemaker, TimerSet
from primitives.errors import LocalError


def test_patience_stays_at_the_cap_through_a_long_outage() -> None:
    pacemaker = Pacemaker(1_000, 8_000)
    for _ in range(10_000):
        pacemaker.on_view_failed()
    assert pacemaker.timeout_ms == 8_000


@pytest.mark.parametrize(("base_ms", "max_ms"), [(0, 10), (20, 10)])
def test_senseless_timeouts_are_refused(base_ms: int, max_ms: int) -> None:
    with pytest.raises(LocalError):
        Pacemaker(base_ms, max_ms)


def test_a_deadline_that_moves_away_orders_nothing() -> None:
    timers = TimerSet()
    assert timers.update({"view": 100}, 0) == (SetTimer("view", 100),)
    assert timers.update({"view": 500}, 50) == ()
    timers.on_fired("view")
    assert timers.update({"view": 500}, 100) == (SetTimer("view", 400),)


def test_a_deadline_that_comes_nearer_is_ordered_anew() -> None:
    timers = TimerSet()
    timers.update({"view": 500}, 0)
    assert timers.update({"view": 100}, 50) == (SetTimer("view", 50),)


def test_a_timer_that_is_not_wanted_is_cancelled_once() -> None:
    timers = TimerSet()
    timers.update({"view": 500}, 0)
    assert timers.update({"view": None}, 1) == (SetTimer("view", None),)
    assert timers.update({"view": None}, 2) == ()
