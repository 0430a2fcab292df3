"""Safety and liveness of PBFT over seeds: storms, crashes, torn outputs, partitions, twins, rotation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.chaos import Plan, run_chaos
from tests.consensus.cluster import STORM, Cluster

SEEDS = range(12)
PLANS = {
    "four": Plan(4, 0),
    "four with a twin": Plan(4, 1_000, twins=1),
    "four, one dead": Plan(4, 2_000, dead_in_the_end=1),
    "four, rotating": Plan(4, 3_000, rotation=2),
    "five": Plan(5, 4_000),
    "five, rotating, one dead": Plan(5, 5_000, rotation=1, dead_in_the_end=1),
    "seven with a twin, one dead": Plan(7, 6_000, twins=1, dead_in_the_end=1),
    "seven with two twins": Plan(7, 7_000, twins=2),
    "seven, rotating, two dead": Plan(7, 8_000, rotation=3, dead_in_the_end=2),
}


@pytest.mark.parametrize("name", PLANS)
def test_honest_members_agree_and_finish(name: str) -> None:
    views = 0
    for seed in SEEDS:
        plan = replace(PLANS[name], seed=PLANS[name].seed + seed)
        cluster = run_chaos(plan)
        assert not cluster.violations, f"{plan}: {cluster.violations}"
        assert cluster.is_done(), f"{plan}: nothing certified any more at {cluster.now_ms} ms"
        views += max(host.engine.statistics().view for host in cluster.hosts if host.engine)
    assert views > 0, "no view ever failed: the storm did not bite"


def test_real_signatures_carry_a_view_change() -> None:
    signers = [Ed25519Signer(derive_seed(b"cluster", index)) for index in range(4)]
    cluster = Cluster(4, 1, weather=STORM, signers=signers, scheme=Ed25519())
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    cluster.hosts[0].crash()
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    cluster.hosts[0].start()
    assert cluster.run_until(cluster.is_done, 20_000)
    assert not cluster.violations
    assert {host.engine.statistics().view > 0 for host in cluster.hosts if host.engine} == {True}


def test_a_seed_replays_exactly() -> None:
    first, second = (run_chaos(Plan(4, 42)) for _ in range(2))
    assert (first.now_ms, first.agreed, first.voted) == (second.now_ms, second.agreed, second.voted)
