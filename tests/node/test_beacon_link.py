"""A beacon and a shard on virtual time: registration, following, gaps, silent submitters."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from consensus.evidence import Jurisdiction
from crosslink.beacon import BeaconApplication
from crosslink.block import BlockInput, BlockResult
from crosslink.follower import BeaconFollower
from crosslink.header import InboxCursor
from crosslink.inbox import WHOLE_BLOCK
from crosslink.summary import EMPTY_SUMMARY, compute_summary_root
from node.events import Outgoing
from node.replica_setup import FollowsBeacon, Role, ServesShards
from node.wire import FrameKind
from primitives.codec import encode
from primitives.identifiers import BEACON_SHARD
from primitives.parameters import ProtocolParameters
from tests.consensus.tokens import TokenScheme, TokenSigner
from tests.node.replica_cluster import FAST_LIMITS, Cluster, World
from tests.node.toy_application import ToyApplication, make_transaction

PARAMETERS = ProtocolParameters(bucket_count=16)


class ToyShard(ToyApplication):
    """The toy with an empty but well-formed summary; consumes all that it refers to, which is nothing for it, and
    remembers the beacon references it executed with."""

    def __init__(self, scheme: TokenScheme, follower: BeaconFollower) -> None:
        super().__init__(scheme)
        self.follower = follower
        self.references: list[int] = []

    def execute(self, block: BlockInput) -> BlockResult:
        self.references.append(block.beacon_ref.height)
        result = super().execute(block)
        return replace(
            result,
            summary=encode(EMPTY_SUMMARY),
            summary_root=compute_summary_root(EMPTY_SUMMARY),
            inbox_cursor=InboxCursor(block.beacon_ref.height, WHOLE_BLOCK, 0),
        )


class Pair:
    """A beacon and one shard, four members each."""

    def __init__(self, *, delay_ms: int = 2) -> None:
        world = World()
        limits = replace(FAST_LIMITS, proposal_gap_ms=50)
        self.beacon = Cluster(
            delay_ms=delay_ms,
            limits=limits,
            parameters=PARAMETERS,
            signers=[TokenSigner(f"beacon {index}") for index in range(4)],
            world=world,
            shard=BEACON_SHARD,
            make_application=self._make_beacon,
        )
        self.shard = Cluster(
            delay_ms=delay_ms, limits=limits, parameters=PARAMETERS, world=world, make_application=self._make_shard
        )

    def _make_beacon(self, index: int) -> tuple[Any, Role]:
        committees = {0: self.shard.committee}
        judges = {cluster.committee.shard: self._make_judge(cluster) for cluster in (self.shard, self.beacon)}
        application = BeaconApplication(bytes(32), committees, PARAMETERS, self.beacon.scheme, judges)
        return application, ServesShards((self.shard.committee,), application)

    def _make_judge(self, cluster: Cluster) -> Jurisdiction:
        return Jurisdiction(cluster.committee, cluster.factory, cluster.engine_parameters)

    def _make_shard(self, index: int) -> tuple[Any, Role]:
        follower = BeaconFollower(0, self.beacon.committee, PARAMETERS, self.shard.scheme)
        application = ToyShard(TokenScheme(), follower)
        return application, FollowsBeacon(follower, self.beacon.committee)

    def boot(self) -> None:
        self.beacon.start()
        self.shard.start()
        self.shard.run_until(lambda: min(self.shard.heights() + self.beacon.heights()) >= 1)

    def registered(self) -> int:
        """The shard's registered height, as the slowest beacon member sees it."""
        return min(
            node.application.registry.tip(0).height for node in self.beacon.nodes if node.replica is not None
        )

    def followed(self) -> list[int]:
        return [self.shard.statistics(index).beacon_height for index in range(4)]

    def trade(self, count: int) -> None:
        for number in range(count):
            data = make_transaction(TokenSigner("client"), self.shard.now_ms, b"k%d" % number)
            self.shard.submit(number % 4, data)
            self.shard.run(60)


def test_certified_headers_are_registered_and_followed() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(20)
    certified = max(pair.shard.heights())
    pair.shard.run_until(lambda: pair.registered() >= certified)
    pair.shard.run_until(lambda: min(pair.followed()) == max(pair.beacon.heights()))
    assert len(set(pair.followed())) == 1
    pair.shard.check_prefixes()
    pair.beacon.check_prefixes()


def test_blocks_refer_to_the_newest_followed_beacon_block() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(20)
    references = pair.shard.nodes[0].application.references
    assert references == sorted(references)
    assert references[-1] >= 2


def test_an_idle_network_registers_what_there_is_and_falls_silent() -> None:
    pair = Pair()
    pair.boot()
    pair.shard.run_until(lambda: pair.registered() >= 1)
    pair.shard.run(2_000)
    heights = pair.beacon.heights()
    pair.shard.run(5_000)
    assert pair.beacon.heights() == heights


def test_each_registration_takes_one_submission_most_of_the_time() -> None:
    """Turns keep the members from all submitting, and the beacon from ordering the same headers four times."""
    pair = Pair()
    pair.boot()
    pair.trade(40)
    sent = pair.shard.frames[FrameKind.SUBMISSION]
    assert sent <= pair.beacon.heights()[0] + 4


def test_a_silent_submitter_delays_but_does_not_prevent() -> None:
    pair = Pair()
    pair.boot()
    pair.shard.drops = lambda sender, outgoing: outgoing.kind == FrameKind.SUBMISSION and sender in (0, 1)
    pair.trade(30)
    certified = max(pair.shard.heights())
    pair.shard.run_until(lambda: pair.registered() >= certified, 10_000)


def test_lost_pushes_are_asked_for() -> None:
    pair = Pair()
    pair.boot()
    rng = Random(1)

    def drop(sender: int, outgoing: Outgoing) -> bool:
        return outgoing.kind == FrameKind.BEACON_BLOCK and rng.random() < 0.6

    pair.beacon.drops = drop
    pair.trade(40)
    pair.shard.run_until(lambda: min(pair.followed()) == max(pair.beacon.heights()), 20_000)
    assert pair.shard.frames[FrameKind.BEACON_REQUEST] > 0


def test_a_member_that_was_away_follows_and_catches_up() -> None:
    pair = Pair()
    pair.boot()
    pair.shard.kill(3)
    pair.trade(40)
    behind = max(pair.shard.heights())
    pair.shard.start(3)
    pair.shard.run_until(lambda: pair.shard.heights()[3] >= behind)
    assert pair.shard.nodes[3].application.references[-1] > 1
    pair.shard.check_prefixes()


def test_a_restarted_beacon_serves_old_blocks_from_its_store() -> None:
    pair = Pair()
    pair.boot()
    pair.shard.kill(3)
    pair.trade(30)
    pair.shard.run(2_000)
    for index in range(4):
        pair.beacon.kill(index)
    pair.beacon.start()
    pair.shard.start(3)
    pair.shard.run_until(lambda: pair.followed()[3] == max(pair.followed()) > 1, 20_000)


def test_a_shard_trades_on_without_its_beacon() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(5)
    for index in range(4):
        pair.beacon.kill(index)
    height = max(pair.shard.heights())
    pair.trade(10)
    pair.shard.run_until(lambda: min(pair.shard.heights()) >= height + 8)
    pair.beacon.start()
    certified = max(pair.shard.heights())
    pair.shard.run_until(lambda: pair.registered() >= certified, 20_000)
