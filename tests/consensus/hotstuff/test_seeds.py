"""Safety and liveness of HotStuff over seeds: storms, crashes, torn outputs, partitions, twins, terms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.chaos import Plan, run_chaos
from tests.consensus.cluster import STORM, Cluster
from tests.consensus.hotstuff.under_test import HOTSTUFF

SEEDS = range(4)
PLANS = {
    "four": Plan(4, 0),
    "four with a twin": Plan(4, 1_000, twins=1),
    "four, one dead": Plan(4, 2_000, dead_in_the_end=1),
    "four, in terms of four": Plan(4, 3_000, rotation=4),
    "five": Plan(5, 4_000),
    "five, in terms of three, one dead": Plan(5, 5_000, rotation=3, dead_in_the_end=1),
    "seven with a twin, one dead": Plan(7, 6_000, twins=1, dead_in_the_end=1),
    "seven with two twins": Plan(7, 7_000, twins=2),
    "seven, in terms of three, two dead": Plan(7, 8_000, rotation=3, dead_in_the_end=2),
}


@pytest.mark.parametrize("name", PLANS)
def test_honest_members_agree_and_finish(name: str) -> None:
    failed = 0
    for seed in SEEDS:
        plan = replace(PLANS[name], seed=PLANS[name].seed + seed, under_test=HOTSTUFF)
        cluster = run_chaos(plan)
        assert not cluster.violations, f"{plan}: {cluster.violations}"
        assert cluster.is_done(), f"{plan}: nothing certified any more at {cluster.now_ms} ms"
        failed += max(host.engine.statistics().view_changes for host in cluster.hosts if host.engine)
    assert failed > 0, "no view ever failed: the storm did not bite"


def test_real_signatures_carry_a_failed_view() -> None:
    signers = [Ed25519Signer(derive_seed(b"cluster", index)) for index in range(4)]
    cluster = Cluster(4, 1, weather=STORM, signers=signers, scheme=Ed25519(), under_test=HOTSTUFF)
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    cluster.hosts[0].crash()
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    cluster.hosts[0].start()
    assert cluster.run_until(cluster.is_done, 20_000)
    assert not cluster.violations
    assert max(host.engine.statistics().view_changes for host in cluster.hosts if host.engine) > 0


def test_a_seed_replays_exactly() -> None:
    first, second = (run_chaos(Plan(4, 42, under_test=HOTSTUFF)) for _ in range(2))
    assert (first.now_ms, first.agreed, first.voted) == (second.now_ms, second.agreed, second.voted)


def test_a_committee_of_one_and_of_two_decide() -> None:
    for size in (1, 2):
        cluster = Cluster(size, under_test=HOTSTUFF)
        cluster.submit(5)
        assert cluster.run_until(cluster.is_done, 5_000)
        assert not cluster.violations
