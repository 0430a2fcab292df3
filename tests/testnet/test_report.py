"""The report: spans of faults, figures out of samples, one page that needs nothing from outside."""

import re
from pathlib import Path
from typing import Any

from testnet.charts import MAX_POINTS, Line, Span, draw_chart, thin_points
from testnet.directory import append_json_line, read_network, save_load_result, write_json
from testnet.intervals import list_spans
from testnet.report import build_report, collect_samples, write_report
from tests.testnet.network_setup import create_small_network


def make_event(second: float, kind: str, *members: str, **more: Any) -> dict[str, Any]:
    return {"second": second, "kind": kind, "members": list(members), "detail": "", **more}


def test_a_kill_lasts_until_that_members_restart() -> None:
    spans = list_spans(
        [
            make_event(1, "kill", "s0v0", "s0v1"),
            make_event(2, "restart", "s0v1"),
            make_event(5, "restart", "s0v0"),
            make_event(9, "down"),
        ]
    )
    assert [(span.label, span.start, span.end) for span in spans] == [("kill: s0v0", 1, 5), ("kill: s0v1", 1, 2)]


def test_a_partition_lasts_until_heal_or_the_end_of_its_lease() -> None:
    events = [make_event(1, "partition", lease_s=60), make_event(8, "heal"), make_event(99, "down")]
    assert [(span.start, span.end) for span in list_spans(events)] == [(1, 8)]
    events = [make_event(1, "partition", lease_s=10), make_event(99, "down")]
    assert [(span.start, span.end) for span in list_spans(events)] == [(1, 11)]


def test_what_nothing_ended_lasts_to_the_end() -> None:
    events = [make_event(1, "pause", "s0v0"), make_event(7, "load ended")]
    assert [(span.kind, span.end) for span in list_spans(events)] == [("pause", 7)]


def make_sample(time_ms: int, uptime_ms: int, cpu_us: int, transactions: int) -> dict[str, Any]:
    return {
        "time_ms": time_ms,
        "member": "s0v0",
        "certified_height": 3,
        "view": 0,
        "uptime_ms": uptime_ms,
        "cpu_us": cpu_us,
        "uss_bytes": 90_000_000,
        "transactions_certified": transactions,
    }


def test_rates_come_from_neighbouring_samples_of_one_process() -> None:
    figures = collect_samples(
        [
            make_sample(1_000, 1_000, 0, 0),
            make_sample(3_000, 3_000, 500_000, 100),
            make_sample(5_000, 500, 100_000, 7),
        ],
        origin_ms=1_000,
    )
    assert figures["cpu_percent"] == {"s0v0": [[2.0, 25.0]]}, "none across a restart, where counters begin anew"
    assert figures["transactions_per_s"] == {"s0v0": [[2.0, 50.0]]}
    assert figures["uss_mb"]["s0v0"][0] == [0.0, 90.0]


def test_a_chart_holds_its_lines_and_spans() -> None:
    svg = draw_chart("Height", "blocks", [Line("s0v0 <b>", [(0, 0), (10, 5)])], [Span(2, 4, "kill", "kill: s0v0")])
    assert svg.count("<polyline") == 1
    assert "kill: s0v0" in svg
    assert "<b>" not in svg, "labels are escaped"
    assert "nothing was recorded" in draw_chart("Height", "blocks", [Line("s0v0", [])])


def test_long_series_are_thinned_and_keep_their_end() -> None:
    points = [(float(x), 1.0) for x in range(10 * MAX_POINTS)]
    thinned = thin_points(points)
    assert len(thinned) <= MAX_POINTS + 1
    assert thinned[-1] == points[-1]


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    directory = create_small_network(tmp_path)
    append_json_line(directory.events_path, {"time_ms": 5_000, "kind": "up", "members": [], "detail": "<script>"})
    append_json_line(directory.samples_path, make_sample(6_000, 1_000, 0, 0))
    append_json_line(directory.samples_path, make_sample(8_000, 3_000, 10, 5))
    check = {"name": "prefix", "ok": False, "detail": "s0v1 has another block"}
    write_json(directory.check_path, {"ok": False, "checks": [check]})
    latency = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}
    counts = {"submitted": 10, "certified": 9, "failed": 1, "unknown": 0}
    rates = {"tx_per_s": 5.0, "actions_per_s": 5.0, "cpu_us_per_action": 9.0, "uss_mb_max": 90.0}
    second = {"second": 0, "submitted": 5, "certified": 5, "actions": 5, "p50_ms": 1.0, "p99_ms": 2.0}
    result = {**counts, **rates, "latency_ms": latency, "details": {"backlog_s": 0.1}, "series": [second]}
    options = {"workload": "agents", "seed": 3}
    save_load_result(directory, 7_000, {"started_ms": 7_000, "options": options, "result": result})
    network = read_network(directory)
    table = build_report(network)
    text = write_report(network, table, None).read_text()
    assert (directory.path / "report.json").exists()
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import|https?://""", text)
    assert "<script>" not in text
    for expected in ("✗ prefix", "s0v1 has another block", str(network.seed), table["commit"], "backlog s"):
        assert expected in text
