"""The price of a signature check is the median of what samples took, one check at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testnet.workloads import yardstick
from testnet.workloads.yardstick import CHECKS, Yardstick


def test_the_price_is_the_median_over_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: Iterator[int] = iter([0, 50 * CHECKS, 0, 60 * CHECKS, 0, 900 * CHECKS])
    monkeypatch.setattr(yardstick, "cpu_us", lambda: next(readings))
    measure = Yardstick()
    for _ in range(3):
        measure.sample()
    assert measure.check_us == 60.0


def test_every_check_is_of_a_signature_that_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool] = []
    real = yardstick.verify
    monkeypatch.setattr(yardstick, "verify", lambda *given: answers.append(real(*given)))
    Yardstick().sample()
    assert answers == [True] * CHECKS, "a refusal would be cheaper"


def test_without_samples_there_is_no_price() -> None:
    assert Yardstick().check_us == 0.0
