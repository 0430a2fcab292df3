"""Bounds: nothing in a member grows without limit, whatever its peers and its disk do.

The limits are stated here on purpose, in numbers of their own: a change elsewhere that lets something grow must be
noticed. What does not live here: memory in bytes, which the real processes are measured for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost

MAX_VOTE_LOG_RECORDS: Final = 4_000
"""A window of slots with all their records, and pins of the blocks between two syncs of the chain store."""
MAX_PINNED_BODIES: Final = 2_000
MAX_SLOTS_IN_FLIGHT: Final = 16
MAX_HELD_BATCHES: Final = 4_096
SAMPLES_A_LOOK: Final = 10


class BoundsChecker(Checker):
    """Looks at the statistics of every live honest host, at one sample of a few: they cost as much as an event, and
    what grows without a bound still does a little later."""

    name = "bounds"

    def __init__(self, verdicts: Verdicts) -> None:
        super().__init__(verdicts)
        self._samples = 0

    def on_sample(self, hosts: Sequence[SimulatedHost]) -> None:
        self._samples += 1
        if self._samples % SAMPLES_A_LOOK:
            return
        for host in hosts:
            if host.replica is None:
                continue
            statistics = host.replica.statistics()
            self._require(host, "records in the vote log", host.disk.vote_log.size, MAX_VOTE_LOG_RECORDS)
            self._require(host, "pinned bodies", statistics.pinned_bodies, MAX_PINNED_BODIES)
            self._require(host, "slots in flight", statistics.slots_in_flight, MAX_SLOTS_IN_FLIGHT)
            self._require(host, "batches", statistics.batches.batches, MAX_HELD_BATCHES)
            self._require(host, "dropped frames", host.dropped_frames, 0)

    def _require(self, host: SimulatedHost, what: str, count: int, limit: int) -> None:
        if count > limit:
            self.fail(host.name, f"{count} {what} where {limit} are the limit")
