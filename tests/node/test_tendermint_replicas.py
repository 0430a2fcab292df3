"""Whole replicas with Tendermint, which orders one height after the other: who lacks one holds up the others."""

from __future__ import annotations

from random import Random

from consensus.tendermint.engine import TendermintFactory
from node.events import Outgoing
from node.wire import FrameKind
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster
from tests.node.toy_application import make_transaction


def _start(**options) -> Cluster:
    cluster = Cluster(factory=TendermintFactory(), **options)
    cluster.boot()
    return cluster


def _make(name: str) -> bytes:
    return make_transaction(TokenSigner(name), 1, name.encode())


def _certify_one(cluster: Cluster, name: str, by: int, within_ms: int = 30_000) -> None:
    tip = max(cluster.heights())
    cluster.submit(by, _make(name))
    alive = [node.index for node in cluster.nodes if node.replica is not None]
    cluster.run_until(lambda: min(cluster.heights()[index] for index in alive) > tip, within_ms)


def test_proposers_come_in_turn() -> None:
    cluster = _start()
    proposers = []
    for number in range(5):
        proposers.append(cluster.statistics(0).primary)
        _certify_one(cluster, f"t{number}", by=number % 4, within_ms=1_000)
    assert proposers == [2, 3, 0, 1, 2]
    cluster.check_prefixes()


def test_a_dead_member_and_its_return() -> None:
    cluster = _start()
    cluster.kill(2, Random(7))
    for number in range(6):
        _certify_one(cluster, f"t{number}", by=0)
    cluster.start(2)
    cluster.run_until(lambda: len(set(cluster.heights())) == 1)
    _certify_one(cluster, "back", by=2)
    cluster.check_prefixes()


def test_two_halves_find_together() -> None:
    cluster = _start()
    cluster.drops = lambda sender, outgoing: (sender < 2) != (outgoing.member.index < 2)
    tip = max(cluster.heights())
    cluster.submit(0, _make("left"))
    cluster.submit(3, _make("right"))
    cluster.run(20_000)
    assert max(cluster.heights()) == tip, "half a committee certified"
    cluster.drops = lambda sender, outgoing: False
    cluster.run_until(lambda: min(cluster.heights()) > tip)
    _certify_one(cluster, "after", by=1)
    cluster.check_prefixes()


def test_a_member_that_missed_a_certified_block_catches_up_for_the_next() -> None:
    """Three certified a block that the fourth heard nothing of, and told it so once, in vain. Then one of the three
    dies: the fourth member's vote is needed, and the engine that could serve it the decision has restarted."""
    cluster = _start()
    cluster.drops = lambda sender, outgoing: outgoing.member.index == 1
    cluster.submit(0, _make("missed"))
    cluster.run_until(lambda: cluster.heights()[0] == cluster.heights()[2] == cluster.heights()[3] == 2)
    cluster.run(2_000)
    for index in (2, 3):
        cluster.kill(index)
        cluster.start(index)
    cluster.run(2_000)
    cluster.kill(0)
    cluster.drops = lambda sender, outgoing: False
    assert cluster.heights()[1] == 1
    _certify_one(cluster, "next", by=3, within_ms=20_000)


def test_the_certified_height_is_told_again_while_work_waits() -> None:
    cluster = _start()
    cluster.kill(2)
    cluster.kill(3)
    cluster.run(2_000)
    told: list[int] = []

    def count(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind == FrameKind.STATUS:
            told.append(sender)
        return False

    cluster.drops = count
    cluster.run(5_000)
    assert not told, "idle members say it once"
    cluster.submit(0, _make("waits"))
    cluster.run(5_000)
    assert told.count(0) >= 3
