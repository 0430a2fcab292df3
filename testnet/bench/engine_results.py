"""What ``rialto bench engines`` found, as JSON, as tables and as a page with plots.

What does not live here: measuring (``testnet.bench.engines``, ``testnet.bench.leader_loss``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from node.durable_files import PUBLIC_FILE_MODE, replace_file
from primitives.errors import LocalError
from testnet.bench.results import CERTIFIED_MEANS
from testnet.charts import Line, draw_chart
from testnet.report import TEMPLATE_NAME, find_commit
from testnet.workloads.options import LatencySummary

SATURATED_BELOW: Final = 0.9
BUSY_SHARE: Final = 0.9
"""Above this the machine ran out of processor."""
REMARKS: Final = (
    "tx/s counts commands. Latency runs from the intended send time to the certificate, so a command that left "
    "late counts its wait (coordinated omission).",
    "The first figures are of an idle network (one record at a time): messages and bytes are all frames between "
    "members, CPU is of all members together, a decision is one slot.",
    "View change: the leader is killed; the longest time without a certified block until the committee is steady.",
    CERTIFIED_MEANS[0].upper() + CERTIFIED_MEANS[1:] + ".",
)


@dataclass(frozen=True, slots=True)
class DecisionCosts:
    """Of all members together, divided by the slots that were decided meanwhile."""

    decisions: int
    messages: float
    size_bytes: float
    cpu_ms: float
    cpu_share: float
    """Of all the machine's cores, in the members alone."""
    machine_share: float
    """The same for whatever ran on the machine: the members, the client, the kernel, and others."""
    sync_p50_us: float


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One offered load, in commands per second."""

    offered_per_s: float
    certified_per_s: float
    decisions_per_s: float
    latency_ms: LatencySummary
    costs: DecisionCosts

    @property
    def is_saturated(self) -> bool:
        """Whether a tenth of what was offered, or more, was not certified in time."""
        return self.certified_per_s < SATURATED_BELOW * self.offered_per_s

    @property
    def commands_per_decision(self) -> float:
        """How many commands shared a slot."""
        return round(self.certified_per_s / self.decisions_per_s, 1) if self.decisions_per_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """An entry of ``points``."""
        return {
            "offered_per_s": self.offered_per_s,
            "certified_per_s": self.certified_per_s,
            "latency_ms": asdict(self.latency_ms),
            "commands_per_decision": self.commands_per_decision,
            "messages_per_decision": self.costs.messages,
            "bytes_per_decision": self.costs.size_bytes,
            "cpu_ms_per_decision": self.costs.cpu_ms,
            "cpu_share": self.costs.cpu_share,
            "machine_share": self.costs.machine_share,
            "sync_p50_us": self.costs.sync_p50_us,
        }


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One engine with one size of committee. ``idle`` is the light load, ``points`` the rising one."""

    engine: str
    validators: int
    payload_bytes: int
    idle: LoadPoint
    points: tuple[LoadPoint, ...]
    view_change_ms: float

    @property
    def best(self) -> LoadPoint:
        """The point with the highest throughput."""
        return max(self.points, key=lambda point: point.certified_per_s)

    def to_json(self) -> dict[str, Any]:
        """An entry of ``results``."""
        idle = self.idle
        return {
            "engine": self.engine,
            "validators": self.validators,
            "tx_per_s": self.best.certified_per_s,
            "latency_ms": asdict(idle.latency_ms),
            "messages_per_decision": idle.costs.messages,
            "bytes_per_decision": idle.costs.size_bytes,
            "cpu_ms_per_decision": idle.costs.cpu_ms,
            "view_change_ms": self.view_change_ms,
            "payload_bytes": self.payload_bytes,
            "sync_p50_us": idle.costs.sync_p50_us,
            "bound_by": name_bound(self.best),
            "points": [point.to_json() for point in self.points],
        }


def name_bound(best: LoadPoint) -> str:
    """What the machine ran out of at the highest throughput: its cores, or else the waits between them."""
    costs = best.costs
    figures = (
        f"{costs.machine_share:.0%} of the cores busy, {costs.cpu_share:.0%} in the members; "
        f"sync p50 {costs.sync_p50_us / 1_000:.1f} ms"
    )
    return f"{'CPU' if costs.machine_share >= BUSY_SHARE else 'syncs and round trips'} ({figures})"


def build_table(results: Sequence[EngineResult]) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    return {
        "results": [result.to_json() for result in results],
        "commit": find_commit(),
        "certified_means": CERTIFIED_MEANS,
    }


_COLUMNS: Final = (
    "engine", "validators", "tx/s", "idle p50 ms", "idle p99 ms", "messages", "bytes", "CPU ms", "view change ms",
    "bound by",
)  # fmt: skip


def _list_cells(result: EngineResult) -> tuple[Any, ...]:
    idle = result.idle
    return (
        result.engine,
        result.validators,
        f"{result.best.certified_per_s:,.0f}",
        f"{idle.latency_ms.p50:,.1f}",
        f"{idle.latency_ms.p99:,.1f}",
        f"{idle.costs.messages:,.1f}",
        f"{idle.costs.size_bytes:,.0f}",
        f"{idle.costs.cpu_ms:,.1f}",
        f"{result.view_change_ms:,.0f}",
        name_bound(result.best),
    )


_POINT_COLUMNS: Final = (
    "offered/s", "certified/s", "p50 ms", "p90 ms", "p99 ms", "per decision", "messages", "bytes", "CPU ms",
    "cores",
)  # fmt: skip


def _list_point_cells(point: LoadPoint) -> tuple[Any, ...]:
    costs = point.costs
    return (
        f"{point.offered_per_s:,.0f}",
        f"{point.certified_per_s:,.0f}",
        f"{point.latency_ms.p50:,.1f}",
        f"{point.latency_ms.p90:,.1f}",
        f"{point.latency_ms.p99:,.1f}",
        f"{point.commands_per_decision:,.0f}",
        f"{costs.messages:,.0f}",
        f"{costs.size_bytes:,.0f}",
        f"{costs.cpu_ms:,.1f}",
        f"{costs.cpu_share:.0%}",
    )


def print_engines(results: Sequence[EngineResult], *, as_json: bool) -> None:
    """To standard output."""
    if as_json:
        sys.stdout.write(json.dumps(build_table(results)) + "\n")
        return
    from node.cli.output import print_line, print_table

    for result in results:
        title = f"{result.engine}, {result.validators} validators: rising load"
        print_table(title, _POINT_COLUMNS, [_list_point_cells(point) for point in result.points])
    print_table("engines", _COLUMNS, [_list_cells(result) for result in results])
    for remark in REMARKS:
        print_line(remark)


# --- the page ----------------------------------------------------------------------------------------------


def write_page(results: Sequence[EngineResult], path: Path) -> None:
    """Write the page; it holds all that it shows. Raises ``LocalError``."""
    if not path.parent.is_dir():
        raise LocalError(f"--html: there is no directory {path.parent}")
    replace_file(path, render_page(results).encode(), PUBLIC_FILE_MODE)


def render_page(results: Sequence[EngineResult]) -> str:
    """Tables and plots of all results."""
    template = Path(__file__).parents[1].joinpath(TEMPLATE_NAME).read_text()
    parts = [
        f"<p>commit {escape(find_commit())}</p>",
        *(f"<p>{escape(remark)}</p>" for remark in REMARKS),
        _render_table(_COLUMNS, [_list_cells(result) for result in results]),
    ]
    for validators in sorted({result.validators for result in results}):
        chosen = [result for result in results if result.validators == validators]
        parts.append(f"<h2>{validators} validators</h2>")
        parts += _draw(chosen)
        for result in chosen:
            rows = [_list_point_cells(point) for point in result.points]
            parts.append(f"<h2>{escape(result.engine)}</h2>" + _render_table(_POINT_COLUMNS, rows))
    return template.replace("{{title}}", "Rialto: consensus engines compared").replace("{{body}}", "\n".join(parts))


def _draw(results: Sequence[EngineResult]) -> list[str]:
    def lines(read: Any) -> list[Line]:
        return [
            Line(result.engine, [(point.offered_per_s / 1_000, read(point)) for point in result.points])
            for result in results
        ]

    charts = (
        ("Certified against offered", "commands per second", lambda point: point.certified_per_s),
        ("Latency against offered load, median", "ms", lambda point: point.latency_ms.p50),
        ("Latency against offered load, 99th percentile", "ms", lambda point: point.latency_ms.p99),
        ("CPU of all members for each decision", "ms", lambda point: point.costs.cpu_ms),
    )
    return [draw_chart(title, unit, lines(read), (), x_unit="k/s") for title, unit, read in charts]


def _render_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = ("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def subtract_counters(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> int:
    """By how much a counter of a member's status has grown."""
    return int(after[name]) - int(before[name])
