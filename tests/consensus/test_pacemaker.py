"""Patience, how its kind is chosen, and timers."""

from __future__ import annotations

import pytest

from consensus import registry
from consensus.engine import EngineParameters, SetTimer
from consensus.pacemaker import ExponentialPacemaker, TimerSet, create_pacemaker
from primitives.errors import LocalError


def test_patience_stays_at_the_cap_through_a_long_outage() -> None:
    pacemaker = ExponentialPacemaker(1_000, 8_000)
    for _ in range(10_000):
        pacemaker.on_view_failed()
    assert pacemaker.timeout_ms == 8_000


@pytest.mark.parametrize(("base_ms", "max_ms"), [(0, 10), (20, 10)])
def test_senseless_timeouts_are_refused(base_ms: int, max_ms: int) -> None:
    with pytest.raises(LocalError):
        ExponentialPacemaker(base_ms, max_ms)


def _watch_failures(name: str, steps: str) -> list[int]:
    """The timeout before each step: ``f`` a failed view, ``p`` progress."""
    pacemaker = create_pacemaker(EngineParameters(pacemaker=name, base_timeout_ms=100, max_timeout_ms=700))
    seen = []
    for step in steps:
        seen.append(pacemaker.timeout_ms)
        if step == "f":
            pacemaker.on_view_failed()
        else:
            pacemaker.on_progress()
    return seen


def test_each_kind_grows_and_shrinks_in_its_own_way() -> None:
    assert _watch_failures("exponential", "ffffpp") == [100, 200, 400, 700, 700, 100]
    assert _watch_failures("linear", "ffffpp") == [100, 200, 300, 400, 500, 100]
    assert _watch_failures("gradual", "ffpfpppp") == [100, 200, 400, 200, 400, 200, 100, 100]


@pytest.mark.parametrize("name", registry.list_registered(registry.PACEMAKERS))
def test_every_kind_starts_at_the_base_and_reaches_the_cap(name: str) -> None:
    seen = _watch_failures(name, "f" * 50)
    assert seen[0] == 100 and seen[-1] == 700 and seen == sorted(seen)
    assert _watch_failures(name, "f" * 1_000 + "p" * 20)[-1] == 100, "long failing is never forgiven"


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LocalError, match="no pacemaker 'hasty'; installed: exponential, gradual, linear"):
        create_pacemaker(EngineParameters(pacemaker="hasty"))
    with pytest.raises(LocalError, match="jitter"):
        create_pacemaker(EngineParameters(pacemaker_options={"jitter": 1}))


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
