"""The oracle's reporters: every 250 ms each of them says what the workload's prices are.

Reports are a stream of their own beside the load: they are due on a grid, observed at the grid's wall-clock time
so that each is exactly one interval newer than the one before, and a late one is left out rather than sent late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from shards.transactions import Observation, OracleReport
from testnet.workloads.ledger import Ledger
from testnet.workloads.plan import PlannedTransaction, Workload
from testnet.workloads.submission import Submitter
from testnet.workloads.wallets import Wallets

INTERVAL_MS: Final = 250
"""The shortest that the venue takes from one reporter."""
MAX_WAITING: Final = 64
"""Reports of one shard under way; while it does not certify, more would only fill its mempools."""


class OracleFeed:
    """Reports for one shard by its ``reporters``. ``now`` is the ledger's clock, ``elapsed`` the load's: prices
    stand still before the load starts, and reports must not."""

    def __init__(
        self,
        shard: int,
        reporters: Sequence[bytes],
        workload: Workload,
        wallets: Wallets,
        ledger: Ledger,
        submitter: Submitter,
        *,
        now: Callable[[], float],
        elapsed: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._reporters = tuple(reporters)
        self._workload = workload
        self._wallets = wallets
        self._ledger = ledger
        self._submitter = submitter
        self._now = now
        self._elapsed = elapsed
        self._wall_ms = wall_ms
        self._reported_ms = 0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            observed_ms = self._wall_ms() // INTERVAL_MS * INTERVAL_MS
            if observed_ms > self._reported_ms and self._ledger.in_flight[self._shard] < MAX_WAITING:
                self._reported_ms = observed_ms
                self.report(observed_ms)
            await trio.sleep((INTERVAL_MS - self._wall_ms() % INTERVAL_MS) / 1_000)

    def report(self, observed_ms: int) -> None:
        """Have every reporter's report sent."""
        prices = self._workload.compute_oracle_prices(self._shard, self._elapsed())
        if not prices:
            return
        observations = tuple(
            Observation(market=market, ticks=ticks, observed_ms=observed_ms)
            for market, ticks in sorted(prices.items())
        )
        now_s = self._now()
        for reporter in self._reporters:
            plan = PlannedTransaction(now_s, self._shard, reporter, (OracleReport(observations=observations),))
            self._submitter.put(self._ledger.open(self._wallets.sign(plan), now_s))
