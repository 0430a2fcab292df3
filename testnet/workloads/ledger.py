"""The ledger of a load: what became of every transaction, and how long it took.

Theory of operation. A transaction is *outstanding* from the moment it is signed. It ends as

- certified: a certified block has its receipt, whatever the receipt's code;
- failed: it can never be certified: refused for good by a node that never had it, expired, or skipped by its block;
- unknown: the load ended before anybody could say. Losing a connection decides nothing.

Latency runs from the *intended* send time to the moment we learn of the certificate, so a sender that is held up
counts the wait of everything behind it (coordinated omission). What was due during the warm-up, or after the end,
counts among the transactions and not among the measurements.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import trio
from hdrh.histogram import HdrHistogram

from testnet.workloads.options import LatencySummary, LoadSecond
from testnet.workloads.wallets import Signed

MAX_LATENCY_US: Final = 3_600_000_000
SIGNIFICANT_DIGITS: Final = 3


@dataclass(slots=True, eq=False)
class Outstanding:
    """A signed transaction whose fate is open. Times are seconds of the load's clock.

    ``intended_s`` is when it was to be sent; ``sent_s`` when it was last, and ``sent_to``
    whom; ``in_doubt``: some node may have it.
    """

    ledger: Ledger
    signed: Signed
    intended_s: float
    sent_s: float = 0.0
    sent_to: str = ""
    sends: int = 0
    in_doubt: bool = False

    @property
    def shard(self) -> int:
        return self.signed.plan.shard

    @property
    def actions(self) -> int:
        return self.signed.plan.action_count

    @property
    def is_open(self) -> bool:
        """Whether its fate is still unknown."""
        return self.signed.id in self.ledger.outstanding

    def fail(self, reason: str) -> None:
        """It can never be certified."""
        self.ledger.fail(self.signed.id, reason)


@dataclass(slots=True)
class _Second:
    submitted: int = 0
    certified: int = 0
    actions: int = 0
    latencies_ms: list[float] = field(default_factory=list)


class Ledger:
    """Accounts for one stream of transactions. ``measured`` is the interval whose figures are reported."""

    def __init__(self, measured: tuple[float, float]) -> None:
        self.outstanding: dict[str, Outstanding] = {}
        self.submitted = 0
        self.certified = 0
        self.failed = 0
        self.unknown = 0
        self.codes: Counter[str] = Counter()
        """Of receipts."""
        self.refusals: Counter[str] = Counter()
        """Why transactions failed without one."""
        self.in_flight: Counter[int] = Counter()
        """Outstanding transactions by shard."""
        self.certified_by_shard: Counter[int] = Counter()
        self.measured_transactions = 0
        self.measured_actions: Counter[int] = Counter()
        """Actions certified within the interval, by shard."""
        self.last_measured_s = measured[0]
        """When the last certificate within the interval came."""
        self._room = trio.lowlevel.ParkingLot()
        self._measured = measured
        self._histogram = HdrHistogram(1, MAX_LATENCY_US, SIGNIFICANT_DIGITS)
        self._seconds: dict[int, _Second] = {}

    def open(self, signed: Signed, intended_s: float) -> Outstanding:
        """Take in a transaction that is about to be sent."""
        entry = Outstanding(self, signed, intended_s)
        self.outstanding[signed.id] = entry
        self.submitted += 1
        self.in_flight[entry.shard] += 1
        self._second(intended_s).submitted += 1
        return entry

    async def wait_room(self, shard: int, window: int) -> None:
        """Return once fewer than ``window`` transactions are outstanding on ``shard``."""
        while self.in_flight[shard] >= window:
            await self._room.park()

    def certify(self, identity: str, code: str, now_s: float) -> Outstanding | None:
        """A certified block holds it; ``None`` where it is not outstanding (not ours, or known already)."""
        entry = self._close(identity)
        if entry is None:
            return None
        self.certified += 1
        self.certified_by_shard[entry.shard] += 1
        self.codes[code] += 1
        start_s, end_s = self._measured
        if start_s <= now_s <= end_s:
            self.last_measured_s = now_s
            self.measured_transactions += 1
            self.measured_actions[entry.shard] += entry.actions
        latency_s = max(0.0, now_s - entry.intended_s)
        if start_s <= entry.intended_s <= end_s:
            self._histogram.record_value(min(MAX_LATENCY_US, max(1, round(latency_s * 1e6))))
        second = self._second(now_s)
        second.certified += 1
        second.actions += entry.actions
        second.latencies_ms.append(latency_s * 1_000)
        return entry

    def fail(self, identity: str, reason: str) -> None:
        """It can never be certified."""
        if self._close(identity) is not None:
            self.failed += 1
            self.refusals[reason] += 1

    def give_up(self) -> None:
        """The load is over: whatever is still outstanding stays unknown."""
        for identity in list(self.outstanding):
            self._close(identity)
            self.unknown += 1

    def summarise_latency(self) -> LatencySummary:
        """Milliseconds; all 0 where nothing was measured."""
        histogram = self._histogram
        if not histogram.get_total_count():
            return LatencySummary(0.0, 0.0, 0.0, 0.0)
        p50, p90, p99 = (histogram.get_value_at_percentile(percent) / 1_000 for percent in (50, 90, 99))
        return LatencySummary(p50, p90, p99, histogram.get_max_value() / 1_000)

    def list_seconds(self) -> tuple[LoadSecond, ...]:
        """One entry for every second from the first to the last that saw anything."""
        if not self._seconds:
            return ()
        rows = []
        for number in range(max(0, min(self._seconds)), max(self._seconds) + 1):
            second = self._seconds.get(number, _Second())
            ordered = sorted(second.latencies_ms)
            rows.append(
                LoadSecond(
                    second=number,
                    submitted=second.submitted,
                    certified=second.certified,
                    actions=second.actions,
                    p50_ms=_pick(ordered, 50),
                    p99_ms=_pick(ordered, 99),
                )
            )
        return tuple(rows)

    def _close(self, identity: str) -> Outstanding | None:
        entry = self.outstanding.pop(identity, None)
        if entry is not None:
            self.in_flight[entry.shard] -= 1
            self._room.unpark_all()
        return entry

    def _second(self, time_s: float) -> _Second:
        number = int(time_s)
        second = self._seconds.get(number)
        if second is None:
            second = self._seconds[number] = _Second()
        return second


def _pick(ordered: list[float], percent: int) -> float:
    """The value at a percentile of sorted values (nearest rank); 0 where there are none."""
    if not ordered:
        return 0.0
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 3)
