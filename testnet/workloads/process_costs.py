"""What the validators' processes cost meanwhile: CPU time and unique memory, read from the system by pid.

Counted by process, so a member that is killed and restarted is counted with both. Works for a network on this
machine, which is what a testnet is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from primitives.identifiers import BEACON_SHARD
from testnet.directory import Network
from testnet.processes import find_process

USS_EVERY: Final = 2
"""Every second sample also reads the memory, which costs the kernel a walk over each process's pages."""
GROWTH_READINGS: Final = 6
"""A minute of them."""


@dataclass(frozen=True, slots=True)
class ActionCosts:
    """CPU seconds of the validators of all user shards, and the actions that each of them executed, added up."""

    cpu_s: float
    executions: int

    def since(self, earlier: ActionCosts) -> ActionCosts:
        """What was spent and done in between."""
        return ActionCosts(self.cpu_s - earlier.cpu_s, self.executions - earlier.executions)

    @property
    def cpu_us_per_action(self) -> float:
        """CPU per action and validator, in µs; 0 where nothing was done."""
        return round(self.cpu_s * 1e6 / self.executions, 1) if self.executions else 0.0


def compute_growth(readings: Sequence[float]) -> float:
    """From the median of the first readings to that of the last, up to ``GROWTH_READINGS`` each.

    One reading says little: while LevelDB compacts, the tables that it reads are mapped and count as unique memory.
    """
    count = min(GROWTH_READINGS, max(1, len(readings) // 2))
    return statistics.median(readings[-count:]) - statistics.median(readings[:count])


def _find_largest_growth(readings_of: Mapping[str, Sequence[float]]) -> float:
    return round(max((compute_growth(readings) for readings in readings_of.values()), default=0.0), 1)


def read_private_mb(pid: int) -> tuple[float, float]:
    """(unique memory, the part of it that was written to), in 10**6 bytes. Raises ``psutil.NoSuchProcess``.

    One reading for both: the kernel walks over all pages of the process for each.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    private = {line.split()[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Private_")}
    return sum(private.values()), private.get("Private_Dirty:", 0.0)


class ProcessMeter:
    """Call ``sample`` every few seconds between ``begin`` and ``end``; totals are of the user shards' members,
    the beacon's are kept apart."""

    def __init__(self, network: Network) -> None:
        self._members = network.members
        self._cpu_s: dict[tuple[str, int], tuple[float, float]] = {}
        """First and last reading of each process."""
        self._processes: dict[str, psutil.Process] = {}
        self._samples = 0
        self.uss_mb: dict[str, list[float]] = {}
        """Every reading of each member's unique memory, in 10**6 bytes."""
        self.dirty_mb: dict[str, list[float]] = {}
        """The part of it that the system cannot take back and read again from a file."""

    def sample(self, *, memory: bool | None = None) -> None:
        """Read every living member's clock, and now and then its memory."""
        self._samples += 1
        with_memory = self._samples % USS_EVERY == 1 if memory is None else memory
        for member in self._members:
            self._sample_member(member.name, with_memory)

    def compute_cpu_s(self, shard: int) -> float:
        """CPU seconds of the members of a shard (or the beacon) since ``begin``, system time included."""
        names = {member.name for member in self._members if member.shard == shard}
        return sum(last - first for (name, _), (first, last) in self._cpu_s.items() if name in names)

    def read_costs(self, actions: Mapping[int, int]) -> ActionCosts:
        """Up to the last sample; ``actions`` by shard."""
        shards = sorted({member.shard for member in self._members} - {BEACON_SHARD})
        spent_s = sum(self.compute_cpu_s(shard) for shard in shards)
        return ActionCosts(spent_s, sum(actions.get(shard, 0) * self._count(shard) for shard in shards))

    @property
    def uss_mb_max(self) -> float:
        """The largest unique memory of any member of a user shard or the beacon."""
        return round(max((max(readings) for readings in self.uss_mb.values()), default=0.0), 1)

    @property
    def uss_mb_growth_max(self) -> float:
        """By how much the member that grew most has grown."""
        return _find_largest_growth(self.uss_mb)

    @property
    def dirty_mb_growth_max(self) -> float:
        """The same without pages of files that are mapped."""
        return _find_largest_growth(self.dirty_mb)

    def begin(self) -> None:
        """Forget what was counted: the warm-up is over."""
        self._cpu_s.clear()
        self.sample(memory=False)

    def _count(self, shard: int) -> int:
        return sum(member.shard == shard for member in self._members)

    def _sample_member(self, name: str, with_memory: bool) -> None:
        try:
            process = self._find(name)
            if process is None:
                return
            times = process.cpu_times()
            spent_s = times.user + times.system
            key = (name, process.pid)
            # A process that appears while we count began at nothing, and all that it spent counts.
            known = self._cpu_s.get(key)
            born_now = known is None and any(member == name for member, _ in self._cpu_s)
            first_s = known[0] if known else (0.0 if born_now else spent_s)
            self._cpu_s[key] = (first_s, spent_s)
            if with_memory:
                unique_mb, dirty_mb = read_private_mb(process.pid)
                self.uss_mb.setdefault(name, []).append(unique_mb)
                self.dirty_mb.setdefault(name, []).append(dirty_mb)
        except psutil.Error:
            self._processes.pop(name, None)

    def _find(self, name: str) -> psutil.Process | None:
        known = self._processes.get(name)
        if known is not None and known.is_running() and known.status() != psutil.STATUS_ZOMBIE:
            return known
        self._processes.pop(name, None)
        home = next(member.home for member in self._members if member.name == name)
        running = find_process(home)
        if running is None:
            return None
        process = self._processes[name] = psutil.Process(running.pid)
        return process
