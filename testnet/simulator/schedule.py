"""Schedule files: a plan as JSON, with what it broke, so that anybody replays it.

    {"format": 1, "commit": "…", "plan": {…}, "violations": ["…"], "trace_hash": "…"}

Times are µs from the start; enumerations are written by their values. What does not live here: scenarios that
people write (``scenario``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from node.durable_files import read_file
from primitives.errors import LocalError
from testnet.simulator.plan import Plan

FORMAT: Final = 1
MAX_FILE_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a file holds. ``violations`` and ``trace_hash`` are of the run that wrote it, at ``commit``."""

    format: int
    commit: str
    plan: Plan
    violations: tuple[str, ...] = ()
    trace_hash: str = ""


def encode_schedule(schedule: Schedule) -> bytes:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(schedule), indent=1) + b"\n"


def decode_schedule(data: bytes, where: str) -> Schedule:
    """The schedule in ``data``; raises ``LocalError`` with ``where``."""
    try:
        schedule = msgspec.json.decode(data, type=Schedule)
    except msgspec.MsgspecError as error:
        raise LocalError(f"{where}: no schedule: {error}") from None
    if schedule.format != FORMAT:
        raise LocalError(f"{where}: format {schedule.format}; this program reads {FORMAT}")
    try:
        schedule.plan.check()
    except LocalError as error:
        raise LocalError(f"{where}: {error}") from None
    return schedule


def encode_plan(plan: Plan) -> bytes:
    """For other processes: compact JSON."""
    return msgspec.json.encode(plan)


def decode_plan(data: bytes) -> Plan:
    """What ``encode_plan`` gave."""
    return msgspec.json.decode(data, type=Plan)


def read_schedule(path: Path) -> Schedule:
    """The schedule in a file; raises ``LocalError``."""
    return decode_schedule(read_file(path, MAX_FILE_BYTES), str(path))


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Replace the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_schedule(replace(schedule, format=FORMAT)))
