"""Assertions of a scenario: a shard goes on, stands still, or has settled by some moment.

They are looked at each time the checkers sample, so within a tenth of a second. What does not live here: what must
hold of every run (the other checkers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from testnet.simulator.agreement import AgreementChecker
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost
from testnet.simulator.money import MoneyChecker
from testnet.simulator.plan import Assertion, Expectation
from testnet.simulator.scheduler import US_PER_S


@dataclass(slots=True)
class _Watch:
    assertion: Assertion
    height: int | None = None
    is_done: bool = False


class AssertionChecker(Checker):
    """Watches all assertions of one plan."""

    name = "assertion"

    def __init__(
        self,
        verdicts: Verdicts,
        assertions: Sequence[Assertion],
        agreement: AgreementChecker,
        money: MoneyChecker | None,
    ) -> None:
        super().__init__(verdicts)
        self._verdicts = verdicts
        self._watches = [_Watch(assertion) for assertion in assertions]
        self._agreement = agreement
        self._money = money

    def on_sample(self, hosts: Sequence[SimulatedHost]) -> None:
        now_us = self._verdicts.now_us
        for watch in self._watches:
            assertion = watch.assertion
            if watch.is_done or now_us < assertion.from_us:
                continue
            height = self._agreement.certified_height(assertion.shard)
            if watch.height is None:
                watch.height = height
            self._look(watch, height - watch.height, is_over=now_us >= assertion.until_us)

    def _look(self, watch: _Watch, blocks: int, *, is_over: bool) -> None:
        assertion = watch.assertion
        span = f"between {assertion.from_us / US_PER_S:g} and {assertion.until_us / US_PER_S:g} s"
        subject = f"shard {assertion.shard}"
        watch.is_done = is_over
        match assertion.expectation:
            case Expectation.CERTIFIES:
                watch.is_done |= blocks >= assertion.blocks
                if is_over and blocks < assertion.blocks:
                    self.fail(subject, f"certified {blocks} blocks {span}, not {assertion.blocks}")
            case Expectation.STANDS:
                if blocks:
                    self.fail(subject, f"certified {blocks} blocks {span}, where it must stand still")
            case Expectation.SETTLED:
                count = 0 if self._money is None else self._money.count_open()
                if is_over and count:
                    self.fail("network", f"{count} transfers are open {span}")
            case _:
                assert_never(assertion.expectation)
