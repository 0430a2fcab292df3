"""Scenario files: what a person wants to happen, in TOML, read into a plan for each seed.

    [network]                       # fields of plan.Shape
    kind = "toy"
    members = 4
    [load]
    gap_ms = 25
    [run]
    safety_s = 12
    outside = ["s0v3"]              # who is left behind in the liveness phase, and how
    fate = "dead"
    [[faults]]                      # of plan.Strike; "all", "shard0" and "beacon" name groups
    at_s = 2
    for_s = 5
    fault = "split"
    struck = ["s0v0", "s0v1"]
    others = ["s0v2", "s0v3"]
    [[liars]]                       # of plan.Role
    member = "s0v2"
    lie = "withhold"
    percent = 50
    [[assertions]]
    committee = "shard0"
    expect = "stands"
    from_s = 2.5
    until_s = 7

What does not live here: what faults, lies and assertions mean (``plan``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from node.durable_files import read_file
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from testnet.simulator.network import CALM, Weather
from testnet.simulator.plan import (
    Assertion,
    Expectation,
    Fate,
    Fault,
    Kind,
    Load,
    Plan,
    Role,
    Shape,
    Strike,
)
from testnet.simulator.scheduler import US_PER_MS, US_PER_S

MAX_FILE_BYTES: Final = 1 << 20
SHIPPED: Final = Path(__file__).parents[1] / "scenarios"
SUFFIX: Final = ".toml"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class _Run(_Section, frozen=True):
    safety_s: float = 6.0
    liveness: bool = True
    outside: tuple[str, ...] = ()
    fate: Fate = Fate.DEAD
    real_signatures: bool = False


class _LoadTable(_Section, frozen=True):
    gap_ms: float = 25.0
    max_transactions: int = Load().max_transactions


class _FaultTable(_Section, frozen=True):
    at_s: float
    for_s: float
    fault: Fault
    struck: tuple[str, ...]
    others: tuple[str, ...] = ()
    amount: int = 0


class _AssertionTable(_Section, frozen=True):
    expect: Expectation
    from_s: float
    until_s: float
    committee: str = "shard0"
    blocks: int = 1


class _Scenario(_Section, frozen=True):
    network: Shape = Shape(Kind.TOY)
    run: _Run = _Run()
    load: _LoadTable = _LoadTable()
    weather: Weather = CALM
    faults: tuple[_FaultTable, ...] = ()
    liars: tuple[Role, ...] = ()
    assertions: tuple[_AssertionTable, ...] = ()


def find_scenario(name: str) -> Path:
    """A file, or a shipped scenario by its name; raises ``LocalError`` that lists those."""
    path = Path(name)
    if path.suffix == SUFFIX or path.exists():
        return path
    shipped = SHIPPED / (name + SUFFIX)
    if not shipped.exists():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob(f"*{SUFFIX}")))
        raise LocalError(f"no scenario {name!r}: give a file, or one of {known}")
    return shipped


def read_scenario(path: Path, engine: str | None = None) -> Plan:
    """The plan of a file, for seed 0, with ``engine`` in place of its own; raises ``LocalError`` with the place."""
    try:
        table = tomllib.loads(read_file(path, MAX_FILE_BYTES).decode())
        scenario = msgspec.convert(table, type=_Scenario)
        _refuse_unknown("network", Shape, [table.get("network", {})])
        _refuse_unknown("weather", Weather, [table.get("weather", {})])
        _refuse_unknown("liars", Role, table.get("liars", []))
        plan = _build_plan(scenario, engine)
        plan.check()
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, LocalError) as error:
        raise LocalError(f"{path}: {error}") from None
    return plan


def _refuse_unknown(name: str, kind: type, tables: Sequence[Mapping[str, Any]]) -> None:
    known = {field.name for field in fields(kind)}
    unknown = sorted({key for table in tables for key in table} - known)
    if unknown:
        raise LocalError(f"{name}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _build_plan(scenario: _Scenario, engine: str | None) -> Plan:
    shape = scenario.network if engine is None else replace(scenario.network, engine=engine)
    run = scenario.run
    return Plan(
        seed=0,
        shape=shape,
        safety_us=_to_us(run.safety_s),
        weather=scenario.weather,
        load=Load(int(scenario.load.gap_ms * US_PER_MS), scenario.load.max_transactions),
        strikes=tuple(
            [
                Strike(
                    _to_us(table.at_s),
                    _to_us(table.for_s),
                    table.fault,
                    _expand(table.struck, shape),
                    _expand(table.others, shape),
                    table.amount,
                )
                for table in scenario.faults
            ]
        ),
        roles=tuple(scenario.liars),
        outside=_expand(run.outside, shape),
        fate=run.fate,
        has_liveness=run.liveness,
        has_real_signatures=run.real_signatures,
        assertions=tuple(
            [
                Assertion(
                    table.expect,
                    _find_shard(table.committee),
                    _to_us(table.from_s),
                    _to_us(table.until_s),
                    table.blocks,
                )
                for table in scenario.assertions
            ]
        ),
    )


def _to_us(seconds: float) -> int:
    return round(seconds * US_PER_S)


def _find_shard(committee: str) -> int:
    if committee == "beacon":
        return BEACON_SHARD
    number = committee.removeprefix("shard")
    if not number.isdecimal():
        raise LocalError(f"{committee!r} is no committee: shard0, shard1, …, beacon")
    return int(number)


def _expand(names: Sequence[str], shape: Shape) -> tuple[str, ...]:
    """Members by name, groups by theirs."""
    committees = shape.list_members()
    expanded: dict[str, Any] = {}
    for name in names:
        if name == "all":
            expanded.update(dict.fromkeys([member for group in committees.values() for member in group]))
        elif name == "beacon" or name.startswith("shard"):
            expanded.update(dict.fromkeys(committees.get(_find_shard(name), ())))
        else:
            expanded[name] = None
    return tuple(expanded)
