"""What benches print: the keys of a load with those of the nodes beside them, and nothing else in JSON mode."""

from __future__ import annotations

import json

import pytest

from primitives.errors import LocalError
from testnet.bench.crossing import summarise
from testnet.bench.results import BESIDE, BenchResult, print_result
from testnet.workloads.options import LatencySummary, LoadResult

RESULT = LoadResult(
    submitted=10,
    certified=9,
    failed=1,
    unknown=0,
    tx_per_s=3.5,
    actions_per_s=7.0,
    latency_ms=LatencySummary(1.0, 2.0, 3.0, 4.0),
    cpu_us_per_action=55.5,
    uss_mb_max=99.0,
    details={
        "sync_p50_us": 900.0,
        "slots_per_s": 8.0,
        "transport_writes_per_s": 40.0,
        "signature_check_us": 61.5,
        "uss_mb_growth_max": 0.5,
    },
)
BENCH = BenchResult("single", RESULT, {"512 in flight": RESULT}, {"remark": 1})


def test_json_has_the_keys_of_a_load_of_the_nodes_and_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(BENCH, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    load_keys = RESULT.to_json().keys() - {"details"}
    assert load_keys | set(BESIDE) | {"bench", "certified_means", "runs", "remark"} == printed.keys()
    assert {key: printed[key] for key in BESIDE} == {
        "sync_p50_us": 900.0,
        "slots_per_s": 8.0,
        "transport_writes_per_s": 40.0,
        "signature_check_us": 61.5,
    }
    assert printed["runs"]["512 in flight"]["details"]["uss_mb_growth_max"] == 0.5


def test_the_table_says_what_certified_means(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(BENCH, as_json=False)
    printed = capsys.readouterr().out
    assert "certified: 2f + 1 validators" in printed.replace("\n", " ")


def test_crossing_latencies_are_summarised_and_their_absence_is_an_error() -> None:
    assert summarise([1_000] * 99 + [5_000]) == LatencySummary(1_000.0, 1_000.0, 1_000.0, 5_000.0)
    with pytest.raises(LocalError, match="no transfer was settled"):
        summarise([])
