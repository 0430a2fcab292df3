"""Four replicas over HotStuff on virtual time: what differs from PBFT in a whole node, and what must not."""

from __future__ import annotations

from random import Random

import pytest

from consensus.engine import EngineParameters, load_engine_factory
from node.wire import FrameKind
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster
from tests.node.toy_application import make_transaction

TERMS = EngineParameters(leader_rotation_slots=16)


def _start(size: int = 4, parameters: EngineParameters | None = None) -> Cluster:
    return Cluster(size, factory=load_engine_factory("hotstuff"), engine_parameters=parameters)


def _transactions(count: int, client: str, first: int = 1) -> list[bytes]:
    signer = TokenSigner(client)
    return [
        make_transaction(signer, first + number, f"{client}{first + number}".encode()) for number in range(count)
    ]


def _load(cluster: Cluster, rounds: int, members: tuple[int, ...]) -> None:
    for number in range(rounds):
        cluster.submit(members[number % len(members)], *_transactions(3, f"client {cluster.now_ms}"))
        cluster.run(110)


def test_a_transaction_at_an_idle_committee_takes_seven_hops() -> None:
    """To the leader, five to the decision, one to the certificate; the null that commits it is answered at once."""
    cluster = _start()
    cluster.boot()
    cluster.run(500)
    leader = cluster.statistics(0).primary
    height = max(cluster.heights())
    cluster.submit((leader + 1) % 4, *_transactions(1, "client"))
    took = cluster.run_until(lambda: min(cluster.heights()) == height + 1)
    assert took <= 8 * cluster.delay_ms + 5
    cluster.check_prefixes()


def test_an_idle_committee_makes_no_blocks_and_no_traffic() -> None:
    cluster = _start()
    cluster.boot()
    cluster.run(1_000)
    before = sum(cluster.frames.values())
    cluster.run(10_000)
    assert cluster.heights() == [1] * 4, "what commits a block is no block"
    assert sum(cluster.frames.values()) == before


def test_a_dead_member_costs_a_share_of_a_timeout_in_each_round_of_leaders() -> None:
    cluster = _start()
    cluster.boot()
    cluster.kill(3)
    cluster.submit(1, *_transactions(1, "first"))
    cluster.run_until(lambda: min(cluster.heights()[:3]) == 2)
    _load(cluster, 30, (0, 1, 2))
    assert max(cluster.heights()) >= 15, "3.3 s of load"
    cluster.start(3)
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 10_000)
    cluster.kill(0)
    height = max(cluster.heights())
    cluster.submit(1, *_transactions(3, "without 0"))
    cluster.run_until(lambda: min(cluster.heights()[1:]) > height)
    cluster.check_prefixes()


def test_terms_keep_a_leader_while_all_is_well() -> None:
    cluster = _start(parameters=TERMS)
    cluster.boot()
    _load(cluster, 40, (0, 1, 2, 3))
    assert max(cluster.heights()) >= 30
    assert cluster.statistics(0).view_changes == 0
    cluster.kill(cluster.statistics(0).primary)
    alive = [index for index, height in enumerate(cluster.heights()) if height >= 0]
    height = max(cluster.heights())
    cluster.submit(alive[0], *_transactions(1, "after the leader"))
    cluster.run_until(lambda: min(cluster.heights()[index] for index in alive) > height, 8_000)
    cluster.check_prefixes()


@pytest.mark.parametrize("seed", range(3))
def test_all_members_lose_power_and_go_on_from_their_own_disks(seed: int) -> None:
    rng = Random(seed)
    cluster = _start()
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


def test_a_split_in_two_halves_stops_it_and_healing_resumes_it() -> None:
    cluster = _start()
    cluster.boot()
    height = max(cluster.heights())
    cluster.drops = lambda sender, outgoing: (sender < 2) != (outgoing.member.index < 2)
    for index in range(4):
        cluster.submit(index, *_transactions(3, f"split {index}"))
    cluster.run(10_000)
    assert max(cluster.heights()) == height
    views = [cluster.statistics(index).view for index in range(4)]
    cluster.run(10_000)
    assert [cluster.statistics(index).view for index in range(4)] == views, "a half that cannot go on stays"
    cluster.drops = lambda sender, outgoing: False
    cluster.run_until(lambda: len(cluster.nodes[0].application.values) == 13, 10_000)
    cluster.check_prefixes()


def test_nulls_leave_nothing_in_the_vote_log() -> None:
    cluster = _start()
    cluster.start()
    _load(cluster, 20, (0, 1, 2, 3))
    cluster.run(3_000)
    for node in cluster.nodes:
        records = node.log.load()
        assert not {key[:1] for key in records} & {b"p", b"b", b"a", b"c"}
        assert len([key for key in records if key.startswith(b"eslot/")]) <= 2
    cluster.check_prefixes()


def test_payloads_overlap_under_load() -> None:
    """While one payload is on its way to its commit the next ones go out: every view carries one."""
    cluster = _start()
    cluster.boot()
    cluster.delay_ms = 60  # a view is longer than the gap between proposals
    before = cluster.frames.get(FrameKind.ENGINE, 0)
    deepest = 0
    for number in range(40):
        cluster.submit(number % 4, *_transactions(2, f"client {number}"))
        cluster.run(60)
        deepest = max(deepest, cluster.statistics(0).slots_in_flight)
    assert deepest >= 2
    assert cluster.frames[FrameKind.ENGINE] > before
    cluster.run_until(lambda: len(cluster.nodes[0].application.values) == 81, 10_000)
    cluster.check_prefixes()


def test_a_leader_that_ignores_others_is_left_before_its_term_ends() -> None:
    """Views of one leader are no change of leaders: overdue work stays overdue while its term goes on."""
    cluster = _start(parameters=EngineParameters(leader_rotation_slots=100_000))
    cluster.boot()
    leader = cluster.statistics(0).primary
    author = (leader + 1) % 4
    cluster.drops = lambda sender, outgoing: (
        outgoing.kind == FrameKind.BATCH and outgoing.member.index == leader and sender != leader
    )
    cluster.submit(author, *_transactions(1, "censored"))
    for number in range(60):
        cluster.submit(leader, *_transactions(1, f"favoured {number}"))
        cluster.run(110)
    assert cluster.nodes[leader].application.values.get(b"censored1") == b"v"
    assert cluster.statistics(author).primary != leader
    cluster.check_prefixes()
