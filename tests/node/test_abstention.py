"""Who lost its votes signs nothing until everything that it may have voted for is settled; then it is back."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from consensus.certificate import attest
from consensus.engine import EngineParameters, Record, load_engine_factory
from crosslink.block import Readiness
from node.effects_draft import EffectsDraft
from node.events import Outgoing
from node.memory_store import MemoryStore, MemoryVoteLog
from node.recall_frames import RecallRequest, RecallResponse
from node.recollection import WISH_GAP_MS, WISH_MS, WISH_VIEWS, WISH_WINDOWS, Recollection
from node.replica import open_replica
from node.standing import FORGOTTEN, STANDING_KEY, StandingKind, build_standing_record, decode_standing
from node.wire import FrameKind, decode_frame
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster, Node
from tests.node.toy_application import make_transaction

WINDOW = 4
PARAMETERS = EngineParameters(window_slots=WINDOW)
VOTES = (FrameKind.ENGINE, FrameKind.ATTESTATION)
ENGINES = ["pbft", "tendermint", "hotstuff"]


class Watched(Cluster):
    """A cluster with a small window that counts what each member signs and lets a test cut frames."""

    def __init__(self, engine: str = "pbft", size: int = 4, **options: Any) -> None:
        super().__init__(size, engine_parameters=PARAMETERS, factory=load_engine_factory(engine), **options)
        self.signed = [0] * size
        self.cut: Any = lambda sender, outgoing: False
        self.drops = self._watch

    def _watch(self, sender: int, outgoing: Outgoing) -> bool:
        self.signed[sender] += outgoing.kind in VOTES
        return bool(self.cut(sender, outgoing))

    def trade(self, blocks: int, through: int = 0) -> None:
        """Let clients of member ``through`` make about so many blocks."""
        for number in range(blocks):
            data = make_transaction(TokenSigner("client"), self.now_ms, b"key%d" % number)
            self.submit(through, data)
            self.run(60)

    def lose_log(self, index: int, *, marked: bool = True) -> None:
        """The vote log is gone; ``marked`` is what ``rialto node rebuild --forget-votes`` leaves."""
        self.nodes[index].log = MemoryVoteLog()
        if marked:
            self.nodes[index].log.write([build_standing_record(FORGOTTEN)])

    def lose_home(self, index: int) -> None:
        self.nodes[index].store = MemoryStore()
        self.nodes[index].log = MemoryVoteLog()

    def standing(self, index: int) -> str:
        replica = self.nodes[index].replica
        assert replica is not None
        return replica.standing[0]

    def run_until_back(self, index: int, within_ms: int = 60_000) -> None:
        self.run_until(lambda: self.standing(index) == "voting", within_ms)


def read_standing(node: Node) -> Any:
    return decode_standing(node.log.load()[STANDING_KEY])


# --- asking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_brand_new_network_starts_at_once(engine: str) -> None:
    cluster = Watched(engine)
    cluster.start()
    took = cluster.run_until(lambda: min(cluster.heights()) >= 1)
    assert took < 500
    assert [read_standing(node).kind for node in cluster.nodes] == [StandingKind.VOTING] * 4


def test_members_that_come_one_by_one_start_when_a_quorum_is_up_and_the_last_joins_at_once() -> None:
    cluster = Watched()
    cluster.start(0)
    cluster.run(1_000)
    cluster.start(1)
    cluster.run(1_000)
    assert cluster.signed == [0] * 4 and cluster.standing(0) == "asking"
    cluster.start(2)
    cluster.run_until(lambda: cluster.heights()[:3] == [1] * 3, 2_000)
    cluster.trade(10)
    cluster.start(3)
    cluster.run_until_back(3, 500)
    assert cluster.nodes[3].alarms == []


def test_a_committee_of_one_asks_nobody() -> None:
    cluster = Watched(size=1)
    cluster.boot()
    assert cluster.standing(0) == "voting"


def test_nothing_is_signed_before_q_less_one_others_have_answered() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(4)
    cluster.kill(3)
    answered = {0}
    cluster.cut = lambda sender, outgoing: outgoing.kind == FrameKind.RECALL_RESPONSE and sender not in answered
    cluster.signed[3] = 0
    cluster.start(3)
    cluster.trade(4)
    assert cluster.standing(3) == "asking" and cluster.signed[3] == 0
    assert cluster.heights()[3] > 1, "what others certify is executed meanwhile"
    answered.add(1)
    cluster.run_until_back(3, 1_000)
    cluster.trade(2)
    assert cluster.signed[3] > 0


def test_an_intact_log_votes_again_after_every_restart_of_the_whole_committee() -> None:
    cluster = Watched()
    cluster.boot()
    rng = Random(1)
    for _ in range(4):
        cluster.trade(5)
        for index in range(4):
            cluster.kill(index, rng)
        cluster.start()
        for index in range(4):
            cluster.run_until_back(index, 2_000)
    assert [node.alarms for node in cluster.nodes] == [[]] * 4
    cluster.check_prefixes()


def test_a_log_stays_the_newest_when_the_chain_store_is_rebuilt() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(20)
    cluster.kill(3)
    cluster.nodes[3].store = MemoryStore()
    cluster.start(3)
    cluster.run_until_back(3, 5_000)
    assert cluster.nodes[3].alarms == []


def test_executing_again_what_the_store_lost_does_not_make_the_log_older() -> None:
    """A member that is on its way up again when it dies has still voted for all that its log says."""
    cluster = Watched()
    cluster.boot()
    cluster.trade(60)
    cluster.kill(3)
    cluster.nodes[3].store = MemoryStore()
    cluster.cut = lambda sender, outgoing: outgoing.kind == FrameKind.RANGE and cluster.statistics(3).height > 0
    cluster.with_limits(ranges_in_flight=1)
    cluster.start(3)
    cluster.run(2_000)
    assert 0 < cluster.statistics(3).height < max(cluster.heights()), "the scene is not set"
    cluster.cut = lambda sender, outgoing: False
    cluster.kill(3)
    cluster.start(3)
    cluster.run_until_back(3, 5_000)
    assert cluster.nodes[3].alarms == []


def test_who_lost_votes_is_no_witness() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(4)
    for index in (1, 2, 3):
        cluster.kill(index)
    cluster.lose_log(3)
    cluster.start(3)
    cluster.start(2)
    cluster.run(3_000)
    assert cluster.standing(2) == "asking", "member 0 answered; member 3 proves nothing"
    cluster.start(1)
    cluster.run_until_back(2, 2_000)


# --- noticing a loss ----------------------------------------------------------------------------------------------


def test_a_fresh_home_under_a_key_that_voted_abstains() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.kill(3)
    cluster.lose_home(3)
    cluster.signed[3] = 0
    cluster.start(3)
    cluster.run(1_000)
    assert cluster.standing(3) == "abstaining" and cluster.signed[3] == 0
    assert "something that we signed" in cluster.nodes[3].alarms[0]


def test_the_others_remember_who_voted_after_they_were_all_restarted() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.run(1_000)
    for index in range(4):
        cluster.kill(index)
    cluster.lose_home(3)
    cluster.start()
    cluster.run(500)
    assert cluster.standing(3) == "abstaining"


def test_an_old_copy_of_a_whole_home_is_noticed() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.kill(3)
    old_log = dict(cluster.nodes[3].log.load())
    old_store = [(key, value) for key, value in cluster.nodes[3].store.scan(b"", b"\xff")]
    cluster.start(3)
    cluster.trade(6)
    cluster.kill(3)
    cluster.nodes[3].log = MemoryVoteLog(old_log)
    cluster.nodes[3].store = MemoryStore()
    cluster.nodes[3].store.write([Record(key, value) for key, value in old_store], sync=True)
    cluster.signed[3] = 0
    cluster.start(3)
    cluster.run(200)
    assert cluster.standing(3) == "abstaining" and cluster.signed[3] == 0
    cluster.trade(20)
    cluster.run_until_back(3)
    cluster.check_prefixes()


def test_nobody_is_talked_into_having_forgotten_something() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(4)
    cluster.kill(3)
    forged = attest(cluster.committee, cluster.signers[2], 500, b"x" * 32)
    lies = [
        (forged, b""),
        (attest(cluster.committee, cluster.signers[3], 1, b"x" * 32), b"\x00"),
        (type(forged)(500, b"x" * 32, 3, forged.signature), b""),
    ]
    cluster.cut = lambda sender, outgoing: outgoing.kind == FrameKind.RECALL_RESPONSE
    cluster.start(3)
    replica = cluster.nodes[3].replica
    assert replica is not None
    nonce = replica._parts.abstention._nonce
    for attestation, message in lies[:1] + lies[2:]:
        answer = RecallResponse(nonce, False, 0, None, attestation, message)
        source, target = cluster.nodes[2].member, cluster.nodes[3].member
        cluster.deliver(source, target, FrameKind.RECALL_RESPONSE, encode(answer))
    cluster.run(50)
    assert cluster.standing(3) == "asking" and cluster.nodes[3].alarms == []
    cluster.cut = lambda sender, outgoing: False
    cluster.run_until_back(3, 1_000)


def test_a_liar_names_no_view_that_could_not_be_logged() -> None:
    answer = RecallResponse(1, False, 2**62, None, None, b"")
    with pytest.raises(RemoteError, match="MALFORMED"):
        decode_frame(FrameKind.RECALL_RESPONSE, encode(answer))


def test_a_lost_or_old_log_is_refused_with_the_command_to_run() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(4)
    cluster.kill(3)
    old = MemoryVoteLog({key: value for key, value in cluster.nodes[3].log.load().items() if key == b"i"})
    for log in (MemoryVoteLog(), old):
        cluster.nodes[3].log = log
        with pytest.raises(LocalError, match="rialto node rebuild --forget-votes"):
            open_replica(cluster.make_setup(3))


# --- abstaining and returning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loses", ["log", "home"])
def test_it_returns_after_two_windows_above_all_views_and_votes(engine: str, loses: str) -> None:
    cluster = Watched(engine)
    cluster.boot()
    cluster.trade(8)
    cluster.kill(3)
    if loses == "log":
        cluster.lose_log(3)
    else:
        cluster.lose_home(3)
    height = max(cluster.heights())
    views = [cluster.statistics(index).view for index in range(3)]
    cluster.signed[3] = 0
    cluster.start(3)
    cluster.run_until(
        lambda: cluster.nodes[3].alarms != [] and read_standing(cluster.nodes[3]).until_height > 0, 2_000
    )
    standing = read_standing(cluster.nodes[3])
    assert standing.until_height >= height + 2 * WINDOW and standing.first_view >= max(views) + 2
    while cluster.standing(3) == "abstaining":
        assert cluster.signed[3] == 0, "nothing is signed"
        assert cluster.statistics(3).is_abstaining
        cluster.trade(1)
    assert cluster.heights()[3] >= standing.until_height
    cluster.run_until_back(3)
    cluster.kill(2)
    before = max(cluster.heights())
    cluster.trade(10)
    cluster.run_until(lambda: max(cluster.heights()) > before, 30_000)  # Its votes are needed, and given.
    assert cluster.signed[3] > 0
    cluster.check_prefixes()


@pytest.mark.parametrize("engine", ENGINES)
def test_it_returns_in_a_committee_that_has_nothing_to_order(engine: str) -> None:
    cluster = Watched(engine)
    cluster.boot()
    cluster.run(1_000)
    cluster.kill(3)
    cluster.lose_log(3)
    cluster.start(3)
    cluster.run_until_back(3, WISH_MS)
    heights = cluster.heights()
    cluster.run(10_000)
    assert max(cluster.heights()) <= max(heights) + 1, "and then all is quiet again"


def test_with_one_more_down_the_committee_waits_and_goes_on_when_that_one_is_back() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    for index in (2, 3):
        cluster.kill(index)
    cluster.lose_log(3)
    cluster.start(3)
    before = max(cluster.heights())
    cluster.trade(5)
    cluster.run(20_000)
    assert max(cluster.heights()) == before and read_standing(cluster.nodes[3]).until_height == 0
    cluster.start(2)
    cluster.run_until_back(3)
    cluster.run_until(lambda: min(cluster.heights()) > before)
    cluster.check_prefixes()


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_of_it_the_member_stays_safe_and_returns(seed: int) -> None:
    rng = Random(seed)
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.kill(3)
    cluster.lose_log(3)
    for _ in range(12):
        cluster.start(3)
        cluster.trade(rng.randint(0, 3))
        cluster.run(rng.randint(1, 400))
        if cluster.nodes[3].replica is not None:
            cluster.kill(3, rng)
    cluster.start(3)
    cluster.trade(12)
    cluster.run_until_back(3)
    assert [node.halted for node in cluster.nodes] == [None] * 4
    cluster.check_prefixes()


def test_a_chain_store_that_loses_its_end_after_the_return_is_caught_up_before_the_next_vote() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.kill(3)
    cluster.lose_log(3)
    cluster.start(3)
    cluster.trade(20)
    cluster.run_until_back(3)
    until = read_standing(cluster.nodes[3]).until_height
    cluster.kill(3)
    store = cluster.nodes[3].store = MemoryStore()
    cluster.signed[3] = 0
    cluster.cut = lambda sender, outgoing: outgoing.kind == FrameKind.RANGE
    cluster.start(3)
    cluster.run(3_000)
    assert store is cluster.nodes[3].store and cluster.standing(3) == "abstaining" and cluster.signed[3] == 0
    cluster.cut = lambda sender, outgoing: False
    cluster.run_until(lambda: cluster.heights()[3] >= until, 10_000)
    cluster.run_until_back(3)


def test_the_engines_old_records_go_when_it_returns() -> None:
    cluster = Watched()
    cluster.boot()
    cluster.trade(6)
    cluster.kill(3)
    assert any(key[:1] == b"e" for key in cluster.nodes[3].log.load())
    cluster.nodes[3].log.write([build_standing_record(FORGOTTEN), Record(b"eslot/rubbish", b"")])
    cluster.start(3)
    cluster.trade(20)
    cluster.run_until_back(3)
    assert b"eslot/rubbish" not in cluster.nodes[3].log.load()


# --- wishes -----------------------------------------------------------------------------------------------------


def test_a_member_that_wishes_all_the_time_gets_little_work_out_of_the_others() -> None:
    memory = Recollection(MemoryStore(), WINDOW)
    certified, view, blocks, views = 100, 5, 0, 0
    for now_ms in range(0, 2 * WISH_GAP_MS, 250):
        memory.note_wishes(1, RecallRequest(1, 2**40, 2**40), certified, view, now_ms)
        match memory.compute_readiness(certified, view, now_ms):
            case Readiness.OVERDUE:
                view, views = view + 1, views + 1
                certified, blocks = certified + 1, blocks + 1
            case Readiness.PENDING:
                certified, blocks = certified + 1, blocks + 1
            case Readiness.IDLE:
                pass
    assert views == 2 * WISH_VIEWS
    assert blocks <= 2 * WISH_WINDOWS * WINDOW + 2


def test_what_members_said_is_remembered_across_a_restart() -> None:
    store = MemoryStore()
    memory = Recollection(store, WINDOW)
    cluster = Watched()
    for height in (4, 9, 7):
        memory.note_attestation(attest(cluster.committee, cluster.signers[2], height, bytes(32)))
    draft = EffectsDraft()
    memory.write(draft)
    for write in draft.writes:
        store.write(write.records)
    told = Recollection(store, WINDOW).answer(2, RecallRequest(3, 0, 0), 0, None, is_abstaining=False)
    assert told.attestation is not None and told.attestation.height == 9
    assert (
        Recollection(store, WINDOW).answer(1, RecallRequest(3, 0, 0), 0, None, is_abstaining=False).attestation
        is None
    )
