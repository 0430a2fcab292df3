"""All rules, run against an engine and reported.

    report = run_conformance(MyFactory())
    assert report.is_ok, report.describe()

``RULES`` maps a rule's name to its function, so that tests can run one at a time: ``check_rule(factory, name)``.
A rule is broken where it raises ``RuleBroken``, and where the engine raises anything at all.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Final

from consensus.engine import EngineFactory
from node.clock import monotonic_us
from primitives.errors import LocalError
from testnet.conformance import adversary, crashes, ordinary, outages
from testnet.conformance.candidate import Candidate
from testnet.conformance.world import RuleBroken

Rule = Callable[[Candidate], None]
_PREFIX: Final = "check_"


def _collect(*modules: ModuleType) -> Mapping[str, Rule]:
    """Rules in the order in which the modules define them."""
    return MappingProxyType(
        {
            name.removeprefix(_PREFIX).replace("_", "-"): rule
            for module in modules
            for name, rule in vars(module).items()
            if name.startswith(_PREFIX)
        }
    )


RULES: Final = _collect(ordinary, outages, crashes, adversary)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """``complaint`` is ``None`` where the engine keeps the rule."""

    rule: str
    complaint: str | None
    took_ms: int


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What became of every rule that was asked for."""

    results: tuple[RuleResult, ...]

    @property
    def is_ok(self) -> bool:
        """Whether all were kept."""
        return all(result.complaint is None for result in self.results)

    def describe(self) -> str:
        """A line for each rule, the complaint below it."""
        return "\n".join(describe_result(result) for result in self.results)


def describe_result(result: RuleResult) -> str:
    """``ok`` or ``BROKEN``, the time, the rule, and why."""
    verdict = "ok    " if result.complaint is None else "BROKEN"
    line = f"{verdict} {result.took_ms:>6} ms  {result.rule}"
    return line if result.complaint is None else f"{line}\n       {result.complaint}"


def _describe_raised(error: Exception) -> str:
    """What was raised, and the innermost places."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[::-1]
    )
    return f"it raises {error!r} at {places}"


def check_rule(factory: EngineFactory, name: str, changes: Mapping[str, Any] | None = None) -> None:
    """Run one rule; raises ``RuleBroken``, or whatever the engine raised. ``changes`` are fields of
    ``EngineParameters`` that hold in every committee of the rule."""
    if name not in RULES:
        raise LocalError(f"no rule {name!r}; there are: {', '.join(RULES)}")
    RULES[name](Candidate(factory, changes or {}))


def run_conformance(
    factory: EngineFactory,
    rules: Iterable[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    on_result: Callable[[RuleResult], None] = lambda result: None,
) -> ConformanceReport:
    """Run all rules (or those named), each to its own end; ``on_result`` hears of each as it ends."""
    results = []
    for name in RULES if rules is None else rules:
        started_us = monotonic_us()
        complaint: str | None = None
        try:
            check_rule(factory, name, changes)
        except RuleBroken as broken:
            complaint = str(broken)
        except LocalError:
            raise  # Parameters that the engine refuses, or a rule that does not exist: the caller's mistake.
        except Exception as error:
            complaint = _describe_raised(error)
        results.append(RuleResult(name, complaint, (monotonic_us() - started_us) // 1_000))
        on_result(results[-1])
    return ConformanceReport(tuple(results))
