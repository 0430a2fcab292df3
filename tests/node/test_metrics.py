"""The rules of metrics: read when scraped, labelled by member, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from node.metrics import MAX_KEYS, Metrics


@dataclass(frozen=True, slots=True)
class Inner:
    depth: int = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    height: int = 7
    syncing: bool = True
    name: str = "text"
    peers: tuple[str, ...] = ("a", "b")
    dropped: Mapping[str, int] = field(default_factory=lambda: {"slow": 2, "full": 1})
    inner: Inner = field(default_factory=Inner)
    missing: Inner | None = None


def read_samples(metrics: Metrics) -> dict[str, str]:
    lines = metrics.render().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_sources_are_read_at_each_scrape() -> None:
    metrics = Metrics("s0v1", "shard0")
    heights = iter((1, 2))
    metrics.add_source("replica", lambda: Snapshot(height=next(heights)))
    name = 'rialto_replica_height{committee="shard0",member="s0v1"}'
    assert [float(read_samples(metrics)[name]) for _ in range(2)] == [1, 2]


def test_a_snapshot_is_exported_field_by_field() -> None:
    metrics = Metrics("s0v1", "shard0")
    metrics.add_source("pump", Snapshot)
    metrics.add_source("follower", lambda: None)
    labels = 'committee="shard0",member="s0v1"'
    found = {name: value for name, value in read_samples(metrics).items() if name.startswith("rialto_pump")}
    assert found == {
        f"rialto_pump_height{{{labels}}}": "7.0",
        f"rialto_pump_syncing{{{labels}}}": "1.0",
        f"rialto_pump_peers_count{{{labels}}}": "2.0",
        'rialto_pump_dropped{committee="shard0",key="full",member="s0v1"}': "1.0",
        'rialto_pump_dropped{committee="shard0",key="slow",member="s0v1"}': "2.0",
        f"rialto_pump_inner_depth{{{labels}}}": "4.0",
    }


def test_observations_become_histograms() -> None:
    metrics = Metrics("bv0", "beacon")
    metrics.observe_sync(duration_us=250)
    metrics.observe_certification(duration_ms=120)
    metrics.observe_certification(duration_ms=30)
    samples = read_samples(metrics)
    labels = 'committee="beacon",member="bv0"'
    bucket = 'rialto_certification_seconds_bucket{committee="beacon",le="0.05",member="bv0"}'
    assert float(samples[bucket]) == 1
    assert float(samples[f"rialto_certification_seconds_count{{{labels}}}"]) == 2
    assert float(samples[f"rialto_vote_sync_seconds_sum{{{labels}}}"]) == pytest.approx(0.00025)


def test_a_table_that_grows_without_end_is_cut() -> None:
    metrics = Metrics("s0v1", "shard0")
    metrics.add_source("transport", lambda: Snapshot(dropped={str(number): 1 for number in range(5_000)}))
    rows = [name for name in read_samples(metrics) if name.startswith("rialto_transport_dropped")]
    assert len(rows) == MAX_KEYS


def test_two_nodes_in_one_process_do_not_mix() -> None:
    first, second = Metrics("s0v0", "shard0"), Metrics("s0v1", "shard0")
    first.observe_sync(3)
    assert 'member="s0v0"' not in second.render().decode()


def test_a_component_has_one_source_and_a_name_that_prometheus_takes() -> None:
    metrics = Metrics("s0v1", "shard0")
    metrics.add_source("store", Snapshot)
    for name in ("store", "", "Store", "a-b"):
        with pytest.raises(AssertionError):
            metrics.add_source(name, Snapshot)
