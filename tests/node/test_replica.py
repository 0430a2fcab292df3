"""Four replicas over PBFT on virtual time: what a committee must do, and survive."""

from __future__ import annotations

from random import Random

import pytest

from node.mempool import TransactionStatus
from node.replica import open_replica
from node.wire import FrameKind
from primitives.errors import LocalError
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster
from tests.node.toy_application import find_id, make_transaction

CLIENT = TokenSigner("client")


def _transactions(count: int, client: str = "client", first: int = 1) -> list[bytes]:
    signer = TokenSigner(client)
    return [
        make_transaction(signer, first + number, f"{client}{first + number}".encode()) for number in range(count)
    ]


def test_a_submitted_transaction_is_accepted_then_certified_everywhere() -> None:
    cluster = Cluster()
    cluster.boot()
    (data,) = _transactions(1)
    cluster.run(200)
    cluster.submit(2, data)
    took = cluster.run_until(lambda: min(cluster.heights()) == 2)
    assert took <= 30
    assert cluster.nodes[2].replies[0].results[0].code == "ACCEPTED"
    for node in cluster.nodes:
        assert node.application.values[b"client1"] == b"v"
        assert node.replica is not None
        assert node.replica.transaction_state(find_id(data)) is TransactionStatus.CERTIFIED
    cluster.check_prefixes()


def test_an_idle_committee_makes_no_blocks_and_hardly_any_traffic() -> None:
    cluster = Cluster()
    cluster.boot()
    cluster.run(1_000)
    before = sum(cluster.frames.values())
    cluster.run(5_000)
    assert cluster.heights() == [1, 1, 1, 1]
    assert sum(cluster.frames.values()) - before == 0


def test_a_committee_of_one_certifies() -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.submit(0, *_transactions(40))
    cluster.run_until(lambda: cluster.statistics(0).executed_transactions == 40)
    assert cluster.heights()[0] >= 1


def test_every_client_signature_is_verified_once_per_member() -> None:
    cluster = Cluster()
    cluster.start()
    for index in range(4):
        cluster.submit(index, *_transactions(100, f"client {index}"))
    cluster.run_until(lambda: all(len(node.application.values) == 401 for node in cluster.nodes))
    assert [node.application.verified for node in cluster.nodes] == [400] * 4
    cluster.check_prefixes()


def test_one_dead_of_four_does_not_stop_the_others() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.kill(0)
    cluster.submit(1, *_transactions(50))
    cluster.run_until(lambda: all(len(cluster.nodes[index].application.values) == 51 for index in (1, 2, 3)))
    cluster.run_until(lambda: min(cluster.heights()[1:]) == max(cluster.heights()))
    cluster.check_prefixes()


def test_two_dead_of_four_stop_it_and_their_return_resumes_it() -> None:
    cluster = Cluster()
    cluster.boot()
    height = max(cluster.heights())
    cluster.kill(2)
    cluster.kill(3)
    cluster.submit(1, *_transactions(5, "late"))
    cluster.run(10_000)
    assert max(cluster.heights()) == height
    cluster.start(2, 3)
    cluster.run_until(lambda: min(cluster.heights()) > height, 60_000)
    cluster.check_prefixes()


@pytest.mark.parametrize("seed", range(6))
def test_all_members_lose_power_and_go_on_from_their_own_disks(seed: int) -> None:
    rng = Random(seed)
    cluster = Cluster()
    cluster.start()
    for round_number in range(4):
        for index in range(4):
            cluster.submit(index, *_transactions(20, f"c{index}", 1 + 20 * round_number))
        cluster.run(rng.randint(5, 400))
        certified = max(cluster.heights())
        for index in range(4):
            cluster.kill(index, rng)
        cluster.start()
        cluster.submit(0, *_transactions(1, f"after {round_number}"))
        cluster.run_until(lambda floor=certified: min(cluster.heights()) > floor, 60_000)  # type: ignore[misc]
        cluster.check_prefixes()


def test_a_restarted_member_catches_up_by_ranges() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.kill(3)
    for number in range(60):
        cluster.submit(number % 3, *_transactions(3, f"client {number}"))
        cluster.run(110)
    behind = max(cluster.heights())
    assert behind > 40
    cluster.start(3)
    cluster.run_until(lambda: cluster.heights()[3] >= behind, 10_000)
    assert cluster.statistics(3).catch_up.ranges_received >= 2
    assert cluster.nodes[3].application.values == cluster.nodes[0].application.values
    cluster.check_prefixes()


def test_a_member_that_returns_under_load_votes_again() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.kill(3)
    for number in range(40):
        cluster.submit(number % 3, *_transactions(3, f"client {number}"))
        cluster.run(110)
    cluster.start(3)
    for number in range(40):
        cluster.submit(number % 3, *_transactions(3, f"more {number}"))
        cluster.run(110)
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 10_000)
    cluster.kill(0)
    cluster.submit(1, *_transactions(3, "without 0"))
    height = max(cluster.heights())
    cluster.run_until(lambda: min(cluster.heights()[1:]) > height)
    cluster.check_prefixes()


def test_missing_bodies_are_fetched_before_the_vote() -> None:
    cluster = Cluster()
    cluster.boot()
    until_ms = cluster.now_ms + 200
    cluster.drops = lambda sender, outgoing: (
        outgoing.kind == FrameKind.BATCH and outgoing.member.index == 3 and cluster.now_ms < until_ms
    )
    cluster.submit(1, *_transactions(30))
    cluster.run_until(lambda: min(cluster.heights()) >= 2)
    assert cluster.frames[FrameKind.BODY_REQUEST] >= 1
    cluster.check_prefixes()


def test_a_lost_last_attestation_is_sent_again() -> None:
    """A block that is decided but not certified: pitfall 16."""
    cluster = Cluster()
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.ATTESTATION and cluster.now_ms < 2_000
    cluster.start()
    cluster.run(900)
    assert cluster.heights() == [0] * 4
    assert cluster.statistics(0).height == 1
    cluster.run_until(lambda: min(cluster.heights()) == 1, 3_000)


def test_whoever_missed_a_certificate_gets_it() -> None:
    cluster = Cluster()
    cluster.drops = lambda sender, outgoing: (
        outgoing.kind == FrameKind.ATTESTATION and outgoing.member.index == 2 and cluster.now_ms < 60_000
    )
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) == 1, 5_000)
    assert cluster.frames[FrameKind.CERTIFICATE] >= 1


def test_a_censoring_leader_is_replaced() -> None:
    """Member 0 leads and never hears of member 1's batches, by anybody."""
    cluster = Cluster()
    cluster.start()
    # The leader stays alive for everybody else: it only does not propose what member 1 wrote.
    leader = cluster.nodes[0].replica
    assert leader is not None
    select = leader._parts.pool.select

    def censor(first, excluded, max_bytes, height):  # type: ignore[no-untyped-def]
        own = {batch.digest: None for batch in leader._parts.pool.of_author(1)}
        return select(
            first,
            {**excluded, **own}.keys() if isinstance(excluded, dict) else set(excluded) | set(own),
            max_bytes,
            height,
        )

    leader._parts.pool.select = censor  # type: ignore[method-assign]
    cluster.submit(1, *_transactions(1, "censored"))
    for number in range(200):
        cluster.submit(2, *_transactions(1, f"other {number}"))
        cluster.run(50)
        if b"censored1" in cluster.nodes[2].application.values:
            break
    assert b"censored1" in cluster.nodes[2].application.values
    assert cluster.statistics(2).view >= 1
    cluster.check_prefixes()


def test_divergence_halts_with_both_headers_kept() -> None:
    cluster = Cluster()
    cluster.nodes[3].salt = b"a bug on this machine"
    cluster.start()
    cluster.submit(0, *_transactions(1))
    cluster.run(3_000)
    assert cluster.nodes[3].halted is not None
    assert [node.halted for node in cluster.nodes[:3]] == [None] * 3
    replica = cluster.nodes[3].replica
    assert replica is not None
    (evidence,) = replica._parts.chain.evidence()
    assert evidence.kind == "divergence"
    assert len(evidence.messages) == 2


def test_two_against_two_halts_all() -> None:
    cluster = Cluster()
    cluster.nodes[2].salt = cluster.nodes[3].salt = b"a bug on these machines"
    cluster.start()
    cluster.submit(0, *_transactions(1))
    cluster.run(3_000)
    assert all(node.halted is not None for node in cluster.nodes)


def test_a_member_without_its_vote_log_refuses_to_start() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) == 1)
    stale = cluster.nodes[3].log.load()
    cluster.submit(0, *_transactions(1, "more"))
    cluster.run_until(lambda: min(cluster.heights()) == 2)
    cluster.kill(3)
    cluster.nodes[3].log = type(cluster.nodes[3].log)()
    with pytest.raises(LocalError, match="vote log is missing"):
        open_replica(cluster.make_setup(3))
    cluster.nodes[3].log = type(cluster.nodes[3].log)(stale)
    with pytest.raises(LocalError, match="old copy"):
        open_replica(cluster.make_setup(3))


def test_nothing_stays_pinned_once_it_is_certified_and_synced() -> None:
    cluster = Cluster()
    cluster.start()
    for number in range(30):
        cluster.submit(number % 4, *_transactions(5, f"client {number}"))
        cluster.run(110)
    cluster.run(3_000)
    for node in cluster.nodes:
        kinds = {key[:1] for key in node.log.load()}
        assert not kinds & {b"p", b"b", b"a", b"c"}, kinds
        assert cluster.statistics(node.index).pinned_bodies == 0
    cluster.check_prefixes()


def test_a_proposers_clock_may_only_delay_votes() -> None:
    """Pitfall 8: admission defers, it never makes a payload invalid."""
    cluster = Cluster()
    cluster.nodes[0].skew_ms = 900
    cluster.start()
    took = cluster.run_until(lambda: min(cluster.heights()) == 1)
    assert 350 <= took <= 600
    assert cluster.statistics(1).view == 0
