"""Safety and liveness of Tendermint over seeds: storms, crashes, torn outputs, partitions, twins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from tests.consensus.chaos import Plan, run_chaos
from tests.consensus.cluster import STORM, Cluster
from tests.consensus.tendermint.contender import TENDERMINT

SEEDS = range(5)
PLANS = {
    "four": Plan(4, 0),
    "four with a twin": Plan(4, 1_000, twins=1),
    "four, one dead": Plan(4, 2_000, dead_in_the_end=1),
    "four, rotating slowly": Plan(4, 3_000, rotation=3),
    "five, one dead": Plan(5, 5_000, dead_in_the_end=1),
    "seven with a twin, one dead": Plan(7, 6_000, twins=1, dead_in_the_end=1),
    "seven with two twins": Plan(7, 7_000, twins=2),
}
PINNED = {
    # The prevotes of a valid value's round were forgotten when its proposer's turn came, and it waited for ever.
    "a proposer forgot its own polka": Plan(5, 5_068, rotation=1, dead_in_the_end=1),
}


@pytest.mark.parametrize("name", PLANS)
def test_honest_members_agree_and_finish(name: str) -> None:
    failed_rounds = 0
    for seed in SEEDS:
        plan = replace(PLANS[name], seed=PLANS[name].seed + seed, under_test=TENDERMINT)
        cluster = run_chaos(plan)
        assert not cluster.violations, f"{plan}: {cluster.violations}"
        assert cluster.is_done(), f"{plan}: nothing certified any more at {cluster.now_ms} ms"
        failed_rounds += max(host.engine.statistics().view_changes for host in cluster.hosts if host.engine)
    assert failed_rounds > 0, "no round ever failed: the storm did not bite"


@pytest.mark.parametrize("name", PINNED)
def test_seeds_that_once_failed(name: str) -> None:
    cluster = run_chaos(replace(PINNED[name], under_test=TENDERMINT))
    assert not cluster.violations
    assert cluster.is_done()


def test_real_signatures_carry_a_failed_round() -> None:
    signers = [Ed25519Signer(derive_seed(b"cluster", index)) for index in range(4)]
    cluster = Cluster(4, 1, weather=STORM, signers=signers, scheme=Ed25519(), under_test=TENDERMINT)
    cluster.hosts[1].crash()
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    assert max(host.engine.statistics().view_changes for host in cluster.hosts if host.engine) > 0
    cluster.hosts[1].start()
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 20_000)
    assert not cluster.violations


def test_a_seed_replays_exactly() -> None:
    first, second = (run_chaos(Plan(4, 42, under_test=TENDERMINT)) for _ in range(2))
    assert (first.now_ms, first.agreed, first.voted) == (second.now_ms, second.agreed, second.voted)
