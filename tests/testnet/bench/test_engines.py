"""The comparison of engines: the shape of its results, and one short run over real processes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from primitives.errors import LocalError
from testnet.bench import engines, leader_loss
from testnet.bench.engine_results import (
    DecisionCosts,
    EngineResult,
    LoadPoint,
    build_table,
    name_bound,
    print_engines,
    write_page,
)
from testnet.bench.engines import EngineBench, bench_engines, compute_costs, parse_names, parse_sizes
from testnet.progress import SilentProgress
from testnet.workloads.options import LatencySummary

COSTS = DecisionCosts(
    decisions=10,
    messages=44.5,
    size_bytes=6_000.0,
    cpu_ms=9.5,
    cpu_share=0.3,
    machine_share=0.5,
    sync_p50_us=260.0,
)
LATENCY = LatencySummary(9.0, 12.0, 20.0, 30.0)
IDLE = LoadPoint(10.0, 10.0, 10.0, LATENCY, COSTS)
GOOD = LoadPoint(8_000.0, 7_900.0, 20.0, LATENCY, COSTS)
FULL = LoadPoint(16_000.0, 9_000.0, 15.0, LatencySummary(900.0, 950.0, 990.0, 999.0), COSTS)
RESULT = EngineResult("pbft", 4, 256, IDLE, (GOOD, FULL), 1_800.0)
ASKED_KEYS = [
    "engine",
    "validators",
    "tx_per_s",
    "latency_ms",
    "messages_per_decision",
    "bytes_per_decision",
    "cpu_ms_per_decision",
    "view_change_ms",
]


def test_json_has_the_promised_keys_first_and_points_of_the_rising_load() -> None:
    (row,) = build_table([RESULT])["results"]
    assert list(row)[: len(ASKED_KEYS)] == ASKED_KEYS
    assert row["tx_per_s"] == 9_000.0 and row["latency_ms"] == {"p50": 9.0, "p90": 12.0, "p99": 20.0, "max": 30.0}
    assert (row["messages_per_decision"], row["bytes_per_decision"]) == (44.5, 6_000.0)
    assert [point["offered_per_s"] for point in row["points"]] == [8_000.0, 16_000.0]
    assert row["points"][0]["commands_per_decision"] == 395.0
    assert [GOOD.is_saturated, FULL.is_saturated] == [False, True]


def test_what_bounds_an_engine_is_said() -> None:
    assert name_bound(FULL) == "syncs and round trips (50% of the cores busy, 30% in the members; sync p50 0.3 ms)"
    busy = replace(FULL, costs=replace(COSTS, machine_share=0.97))
    assert name_bound(busy).startswith("CPU (97% of the cores busy")


def test_the_page_holds_tables_and_plots_and_loads_nothing(tmp_path: Path) -> None:
    page = tmp_path / "engines.html"
    write_page([RESULT, EngineResult("other", 7, 256, IDLE, (GOOD,), 12.0)], page)
    text = page.read_text()
    assert text.count("<svg") == 8 and "k/s</text>" in text and "{{" not in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "<script" not in text
    with pytest.raises(LocalError, match="there is no directory"):
        write_page([RESULT], tmp_path / "missing" / "engines.html")


def test_tables_are_for_people_and_json_is_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_engines([RESULT], as_json=False)
    assert "pbft, 4 validators: rising load" in capsys.readouterr().out
    print_engines([RESULT], as_json=True)
    assert json.loads(capsys.readouterr().out)["results"][0]["engine"] == "pbft"


def test_costs_are_those_of_all_members_for_each_slot() -> None:
    names = ("slots_decided", "transport_frames", "transport_bytes", "cpu_us", "sync_p50_us")

    def status(*values: int) -> dict[str, int]:
        return dict(zip(names, values, strict=True))

    before = dict.fromkeys(("a", "b", "dead"), status(100, 100, 100, 100, 5))
    after = {"a": status(110, 200, 1_100, 50_100, 7), "b": status(109, 140, 1_100, 30_100, 9)}
    costs = compute_costs(before, after, 2.0, 0.5)
    assert 0 < costs.machine_share < 1
    assert (costs.decisions, costs.messages, costs.size_bytes, costs.cpu_ms) == (10, 14.0, 200.0, 8.0)
    with pytest.raises(LocalError, match="decided nothing"):
        compute_costs(before, before, 2.0, 0.0)


def test_options_that_make_no_sense_are_refused() -> None:
    assert parse_names("pbft, tendermint") == ("pbft", "tendermint") and parse_sizes("4,7") == (4, 7)
    for text in ("", ",", "pbft,pbft"):
        with pytest.raises(LocalError, match="--engines"):
            parse_names(text)
    for text in ("", "4,,7", "four", "4,-1", "99999"):
        with pytest.raises(LocalError, match="--validators"):
            parse_sizes(text)
    with pytest.raises(LocalError, match="no consensus engine 'paxos'"):
        EngineBench(("paxos",), (4,), 256, 5.0)
    with pytest.raises(LocalError, match="--payload-bytes"):
        EngineBench(("pbft",), (4,), 8, 5.0)


@pytest.mark.process
async def test_a_short_run_over_real_processes_fills_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    # Far more than any machine orders: saturated at once, so one load is all.
    monkeypatch.setattr(engines, "FIRST_COMMANDS_PER_S", 4_000_000.0)
    monkeypatch.setattr(engines, "WARM_UP_S", 0.5)
    monkeypatch.setattr(leader_loss, "ROUNDS_WATCHED", 1)
    with trio.fail_after(120):
        (result,) = await bench_engines(EngineBench(("pbft",), (4,), 256, 1.0), SilentProgress())
    (row,) = build_table([result])["results"]
    assert row["tx_per_s"] > 1_000 and len(row["points"]) == 1
    assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["max"]
    assert row["messages_per_decision"] > 20 and row["bytes_per_decision"] > 1_000
    assert row["cpu_ms_per_decision"] > 0 and math.isfinite(row["view_change_ms"])
    assert row["view_change_ms"] > 1_000, "nobody complains about a dead leader before its time is up"
