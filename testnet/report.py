"""``rialto testnet report``: what happened to a network, as one JSON object and as one page with plots.

Everything comes from the network's directory, so a network that is down can be reported too: samples that members
gave of themselves, the log of kills and partitions, results of loads, the last check. The page holds all that it
shows; nothing is loaded from outside.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from node.clock import wall_ms
from node.durable_files import PUBLIC_FILE_MODE, replace_file
from primitives.errors import LocalError
from testnet.charts import Line, Span, draw_chart
from testnet.directory import Network, read_json, read_json_lines
from testnet.intervals import list_spans

PAGE_NAME: Final = "report.html"
TABLE_NAME: Final = "report.json"
TEMPLATE_NAME: Final = "report.html"
MAX_EVENTS_SHOWN: Final = 200
_MS_PER_S: Final = 1_000


def build_report(network: Network) -> dict[str, Any]:
    """Everything that the page shows, JSON-ready; times in seconds since the network first came up."""
    directory = network.directory
    events = read_json_lines(directory.events_path)
    samples = read_json_lines(directory.samples_path)
    times = [row["time_ms"] for row in (*events[:1], *samples[:1])]
    origin_ms = min(times, default=wall_ms())
    loads = [read_json(path) for path in sorted(directory.loads_path.glob("*.json"))]
    return {
        "name": network.name,
        "seed": network.seed,
        "chain": network.chain.hex(),
        "commit": find_commit(),
        "generated_ms": wall_ms(),
        "started_ms": origin_ms,
        "members": list(network.names),
        "engines": {
            "beacon": network.genesis.beacon.engine,
            **{f"shard{shard.shard}": shard.engine for shard in network.genesis.shards},
        },
        "events": [{**event, "second": _second(event["time_ms"], origin_ms)} for event in events],
        "samples": collect_samples(samples, origin_ms),
        "loads": [{**load, "second": _second(load["started_ms"], origin_ms)} for load in loads],
        "check": read_json(directory.check_path) if directory.check_path.exists() else None,
    }


Figures = dict[str, dict[str, list[list[float]]]]
"""figure → member → [[second, value]…]."""


def collect_samples(samples: Sequence[Mapping[str, Any]], origin_ms: int) -> Figures:
    """What members said about themselves. CPU is the share of one core between two samples, in per cent."""
    figures: Figures = {name: {} for name in ("height", "view", "transactions_per_s", "cpu_percent", "uss_mb")}
    last: dict[str, Mapping[str, Any]] = {}
    for sample in samples:
        member = str(sample["member"])
        second = _second(sample["time_ms"], origin_ms)
        plain = {
            "height": sample.get("certified_height"),
            "view": sample.get("view"),
            "uss_mb": None if sample.get("uss_bytes") is None else sample["uss_bytes"] / 1e6,
        }
        before = last.get(member)
        if before is not None and (sample.get("uptime_ms") or 0) > (before.get("uptime_ms") or 0):
            span_ms = max(1, sample["time_ms"] - before["time_ms"])
            plain["cpu_percent"] = (sample["cpu_us"] - before["cpu_us"]) / span_ms / 10
            done = sample["transactions_certified"] - before["transactions_certified"]
            plain["transactions_per_s"] = done * _MS_PER_S / span_ms
        last[member] = sample
        for name, value in plain.items():
            if value is not None:
                figures[name].setdefault(member, []).append([second, round(value, 3)])
    return figures


def find_commit() -> str:
    """The commit of the code that runs, else its version."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return f"version {version('rialto')}"
    except PackageNotFoundError:
        return "unknown"


def write_report(network: Network, table: Mapping[str, Any], output: Path | None) -> Path:
    """Write the page to ``output`` (default: the network's directory) and the JSON beside it; returns the page."""
    page = output or network.directory.path / PAGE_NAME
    if not page.parent.is_dir():
        raise LocalError(f"--output: there is no directory {page.parent}")
    replace_file(page.with_suffix(".json"), json.dumps(table).encode() + b"\n", PUBLIC_FILE_MODE)
    replace_file(page, render_page(table).encode(), PUBLIC_FILE_MODE)
    return page


# --- the page ----------------------------------------------------------------------------------------------


def render_page(table: Mapping[str, Any]) -> str:
    """The whole page."""
    template = Path(__file__).with_name(TEMPLATE_NAME).read_text()
    spans = list_spans(table["events"])
    facts = {
        "seed": table["seed"],
        "commit": table["commit"],
        "chain": table["chain"],
        "engines": ", ".join(f"{committee}: {engine}" for committee, engine in table["engines"].items()),
        "members": ", ".join(table["members"]),
    }
    body = [
        _render_table(("", ""), [(name, str(value)) for name, value in facts.items()]),
        "<h2>Verdicts</h2>",
        _render_check(table["check"]),
        *(_render_load(load) for load in table["loads"]),
        "<h2>Over time</h2><p class=legend>Shaded: <b class=kill>killed</b>, <b class=partition>partitioned</b>, "
        "<b class=pause>paused</b>, <b class=load>under load</b>.</p>",
        *_draw_samples(table["samples"], table["members"], spans),
        *(_draw_load(load, spans) for load in table["loads"]),
        "<h2>What was done</h2>",
        _render_events(table["events"]),
    ]
    return template.replace("{{title}}", escape(f"Rialto network {table['name']}")).replace(
        "{{body}}", "\n".join(body)
    )


def _render_check(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return "<p>not checked (rialto testnet check)</p>"
    rows = [(("✓ " if row["ok"] else "✗ ") + row["name"], row["detail"]) for row in check["checks"]]
    return _render_table(("check", "finding"), rows)


def _render_load(load: Mapping[str, Any]) -> str:
    result, options = load["result"], load["options"]
    latency = result["latency_ms"]
    rows = [
        ("submitted / certified / failed / unknown",
         " / ".join(f"{result[name]:,}" for name in ("submitted", "certified", "failed", "unknown"))),
        ("throughput", f"{result['tx_per_s']:,.1f} transactions/s, {result['actions_per_s']:,.1f} actions/s"),
        ("latency p50 / p90 / p99 / max",
         " / ".join(f"{latency[name]:,.0f}" for name in ("p50", "p90", "p99", "max")) + " ms"),
        ("CPU per action and validator", f"{result['cpu_us_per_action']:,.0f} µs"),
        ("most unique memory of a validator", f"{result['uss_mb_max']:,.0f} MB"),
        *((str(name).replace("_", " "), str(value)) for name, value in result["details"].items()),
    ]  # fmt: skip
    heading = f"Load: {options['workload']}, from second {load['second']:.0f}, seed {options['seed']}"
    return f"<h2>{escape(heading)}</h2>" + _render_table(("", ""), rows)


def _draw_samples(samples: Mapping[str, Any], members: Sequence[str], spans: Sequence[Span]) -> list[str]:
    charts = (
        ("Certified height", "blocks", "height"),
        ("Certified transactions, as each member counts them", "per second", "transactions_per_s"),
        ("View", "number", "view"),
        ("CPU of each process", "% of one core", "cpu_percent"),
        ("Unique memory of each process", "MB", "uss_mb"),
    )
    return [
        draw_chart(title, unit, [Line(member, samples[name].get(member, ())) for member in members], spans)
        for title, unit, name in charts
    ]


def _draw_load(load: Mapping[str, Any], spans: Sequence[Span]) -> str:
    series, start = load["result"].get("series") or (), load["second"]

    def line(label: str, name: str) -> Line:
        return Line(label, [(start + row["second"], row[name]) for row in series])

    workload = load["options"]["workload"]
    return draw_chart(
        f"Throughput of load {workload}",
        "transactions per second",
        [line("submitted", "submitted"), line("certified", "certified")],
        spans,
    ) + draw_chart(
        f"Latency of load {workload}, submission to certified",
        "ms",
        [line("p50", "p50_ms"), line("p99", "p99_ms")],
        spans,
    )


def _render_events(events: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (f"{event['second']:.1f} s", event["kind"], ", ".join(event["members"]), event["detail"])
        for event in events[-MAX_EVENTS_SHOWN:]
    ]
    return _render_table(("when", "what", "members", ""), rows)


def _render_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads) if any(heads) else ""
    lines = ("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _second(time_ms: int, origin_ms: int) -> float:
    return round((time_ms - origin_ms) / _MS_PER_S, 3)
