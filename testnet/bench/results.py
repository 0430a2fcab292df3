"""What a bench found: the figures of a load, those of nodes and machine beside them, as JSON and as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from testnet.workloads.options import LoadResult

CERTIFIED_MEANS: Final = (
    "certified: 2f + 1 validators signed the block's header after executing it and syncing their votes to disk"
)
BESIDE: Final = ("sync_p50_us", "slots_per_s", "transport_writes_per_s", "signature_check_us")
"""Figures of the nodes and of the machine that belong beside those of a load."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """``result`` is what the headline figures come from; ``rows`` are all runs, by name."""

    bench: str
    result: LoadResult
    rows: Mapping[str, LoadResult]
    remarks: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The keys of ``load --json``, and ``BESIDE``."""
        plain = self.result.to_json()
        details = plain.pop("details")
        return {
            "bench": self.bench,
            **plain,
            **{name: details.get(name, 0.0) for name in BESIDE},
            "certified_means": CERTIFIED_MEANS,
            **self.remarks,
            "runs": {name: row.to_json() for name, row in self.rows.items()},
        }


def print_result(result: BenchResult, *, as_json: bool) -> None:
    """To standard output."""
    if as_json:
        sys.stdout.write(json.dumps(result.to_json()) + "\n")
        return
    from node.cli.output import print_line, print_table

    columns = (
        "run",
        "tx/s",
        "actions/s",
        "p50 ms",
        "p99 ms",
        "failed",
        "unknown",
        "CPU µs/action",
        "USS MB",
        "sync p50 µs",
        "slots/s",
        "writes/s",
        "check µs",
    )
    rows = [(name, *_list_figures(row)) for name, row in result.rows.items()]
    print_table(result.bench, columns, rows)
    for name, value in result.remarks.items():
        print_line(f"{name.replace('_', ' ')}: {value}")
    print_line("CPU is per action and validator of a shard, USS the largest of any process.")
    print_line("Check is the CPU time of one signature check meanwhile: by it machines compare.")
    print_line(CERTIFIED_MEANS + ".")


def _list_figures(row: LoadResult) -> tuple[Any, ...]:
    details = row.details
    return (
        f"{row.tx_per_s:,.0f}",
        f"{row.actions_per_s:,.0f}",
        f"{row.latency_ms.p50:,.0f}",
        f"{row.latency_ms.p99:,.0f}",
        row.failed,
        row.unknown,
        f"{row.cpu_us_per_action:,.0f}",
        f"{row.uss_mb_max:,.0f}",
        *(f"{details.get(name, 0.0):,.0f}" for name in BESIDE),
    )
