"""What every checker is, and what it finds: violations.

Checkers look at everything that hosts do and share no code with the engines. Each one overrides what it cares
about. What does not live here: any rule (``agreement``, ``votes``, ``money``, ``bounds``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.engine import Record
from node.events import BlockCertified, Outgoing
from testnet.simulator.host import SimulatedHost
from testnet.simulator.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which checker says so, when, about whom."""

    checker: str
    at_us: int
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"[{self.checker}] {self.at_us / 1_000_000:.6f} s, {self.subject}: {self.sentence}"


class Verdicts:
    """Where checkers put what they find."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.violations: list[Violation] = []
        self._scheduler = scheduler

    @property
    def now_us(self) -> int:
        """Virtual time."""
        return self._scheduler.now_us

    def report(self, checker: str, subject: str, sentence: str) -> None:
        """Keep a violation; the run ends at the first."""
        self.violations.append(Violation(checker, self.now_us, subject, sentence))
        self._scheduler.is_stopped = True


class Checker:
    """Sees nothing and finds nothing; a base to override. Called for honest hosts only."""

    name = "none"

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    def fail(self, subject: str, sentence: str) -> None:
        """Report a violation."""
        self._verdicts.report(self.name, subject, sentence)

    def on_started(self, host: SimulatedHost) -> None:
        """A process did everything that follows from its start alone."""

    def on_commit(self, host: SimulatedHost, records: Sequence[Record]) -> None:
        """A group commit is durable."""

    def on_send(self, host: SimulatedHost, outgoing: Outgoing) -> None:
        """A frame leaves."""

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None:
        """A host tells its subscribers of a certified block; its store holds it."""

    def on_sample(self, hosts: Sequence[SimulatedHost]) -> None:
        """Once in a while, with all hosts."""

    def on_quiescence(self, hosts: Sequence[SimulatedHost]) -> None:
        """At the end: everything is healed and settled; ``hosts`` are the live honest ones."""
