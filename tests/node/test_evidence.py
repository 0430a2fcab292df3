"""Evidence is kept once, survives restarts, and is delivered until the beacon has recorded it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.certificate import attest
from consensus.engine import Evidence, Record
from consensus.evidence import DOUBLE_ATTESTATION, Jurisdiction, SignatureMeter, decode_item, verify_item
from crosslink.offences import OffenceRecord
from crosslink.records import Offence
from node.chain import Chain
from node.effects_draft import EffectsDraft
from node.events import Outgoing
from node.evidence import FIRST_RETRY_MS, MAX_RETRY_MS, EvidenceLocker
from node.evidence_views import list_kept, list_recorded, view_kept
from node.memory_store import MemoryStore
from node.rpc.service import Page
from node.wire import FrameKind
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from tests.consensus.crafting import FACTORY, PARAMETERS
from tests.consensus.crafting import World as Committee4
from tests.consensus.tokens import TokenScheme
from tests.node.replica_cluster import Cluster
from tests.node.test_beacon_link import Pair

WORLD = Committee4()
ONE, OTHER, THIRD = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32


class Locker:
    """A locker over a store; ``keep`` and the like write at once."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.reopen()

    def reopen(self) -> None:
        judge = Jurisdiction(WORLD.committee, FACTORY, PARAMETERS)
        self.scheme = TokenScheme()
        self.locker = EvidenceLocker(self.store, Chain(self.store).evidence(), judge, self.scheme)

    def apply(self, change: Callable[[EffectsDraft], None]) -> list[str]:
        draft = EffectsDraft()
        change(draft)
        for write in draft.writes:
            self.store.write(write.records, sync=write.sync)
        return draft.alarms

    def keep(self, evidence: Evidence) -> list[str]:
        return self.apply(lambda draft: self.locker.keep(evidence, draft))


def double_attestation(culprit: int, height: int, second: bytes = OTHER) -> Evidence:
    pair = [attest(WORLD.committee, WORLD.signers[culprit], height, digest) for digest in (ONE, second)]
    return Evidence(DOUBLE_ATTESTATION, culprit, tuple(map(encode, pair)))


def double_prepare(culprit: int) -> Evidence:
    votes = [encode(WORLD.prepare(culprit, 0, 3, digest)) for digest in (ONE, OTHER)]
    return Evidence("conflicting-prepare", culprit, tuple(votes))


def test_of_one_member_the_first_offence_of_each_kind_counts() -> None:
    kept = Locker()
    assert kept.keep(double_attestation(1, 5)) == ["evidence against member 1: double-attestation"]
    kept.scheme.verifications = 0
    assert kept.keep(double_attestation(1, 5, THIRD)) == []
    assert kept.keep(double_attestation(1, 6)) == []
    assert kept.scheme.verifications == 0, "what is dropped costs nothing"
    kept.keep(double_prepare(1))
    kept.keep(double_attestation(2, 5))
    assert [(entry.item.culprit, entry.item.kind, entry.item.slot) for entry in kept.locker.list_items()] == [
        (1, DOUBLE_ATTESTATION, 5),
        (1, "conflicting-prepare", 3),
        (2, DOUBLE_ATTESTATION, 5),
    ]


def test_what_is_kept_and_what_is_recorded_survives_a_restart() -> None:
    kept = Locker()
    kept.keep(double_attestation(1, 5))
    kept.keep(double_prepare(2))
    kept.apply(lambda draft: kept.locker.settle(1, DOUBLE_ATTESTATION, draft))
    before = kept.locker.list_items()
    kept.reopen()
    assert kept.locker.list_items() == before
    assert [entry.is_recorded for entry in before] == [True, False]
    due = kept.locker.find_due(0)
    assert due is not None and due.culprit == 2
    assert kept.locker.find_due(0) is None


def test_damaged_evidence_is_refused_at_the_start() -> None:
    kept = Locker()
    kept.keep(double_attestation(1, 5))
    ((key, value),) = kept.store.scan(b"v", b"w")
    kept.store.write([Record(key, value[:-1])])
    with pytest.raises(LocalError):
        kept.reopen()


def test_pending_evidence_is_due_at_once_and_then_ever_more_rarely() -> None:
    kept = Locker()
    kept.keep(double_attestation(1, 5))
    due, now_ms = [], 0
    while now_ms < 10 * MAX_RETRY_MS:
        if kept.locker.find_due(now_ms) is not None:
            due.append(now_ms)
        now_ms += 100
    gaps = [later - earlier for earlier, later in zip(due, due[1:], strict=False)]
    assert due[0] == 0 and gaps[0] == FIRST_RETRY_MS
    assert gaps == sorted(gaps) and gaps[-1] == MAX_RETRY_MS


def test_an_offence_that_others_reported_needs_no_delivery_also_when_we_see_it_later() -> None:
    kept = Locker()
    committee = WORLD.committee
    offence = Offence(0, 0, 0, 1, committee.members[1], DOUBLE_ATTESTATION, 9, 0, bytes(32))
    kept.apply(lambda draft: kept.locker.note_offence(offence, draft))
    kept.apply(lambda draft: kept.locker.note_offence(Offence(1, 0, 0, 2, b"", "x", 9, 0, bytes(32)), draft))
    kept.keep(double_attestation(1, 5))
    assert kept.locker.find_due(0) is None
    kept.reopen()
    assert kept.locker.find_due(0) is None
    assert kept.locker.recorded_count == 1


def test_evidence_that_convinces_nobody_else_is_kept_for_people_and_never_sent() -> None:
    kept = Locker()
    for kind in ("bad-manners", "bad-manners"):
        kept.keep(Evidence(kind, 3, (b"one", b"two")))
    kept.apply(lambda draft: kept.locker.keep_divergence(0, (b"ours", b"theirs"), draft))
    assert kept.locker.count == 2
    assert kept.locker.list_items() == () and kept.locker.find_due(0) is None
    assert [item.kind for item in Chain(kept.store).evidence()] == ["bad-manners", "divergence"]


# --- to the beacon -------------------------------------------------------------------------------------------


def lie(cluster: Cluster, liar: int, *, also_to: range = range(4)) -> None:
    """Member ``liar`` attests a second header at the certified height."""
    height = cluster.heights()[0]
    second = attest(cluster.committee, cluster.signers[liar], height, b"x" * 32)
    for index in also_to:
        if index != liar:
            source, target = cluster.nodes[liar].member, cluster.nodes[index].member
            cluster.deliver(source, target, FrameKind.ATTESTATION, encode(second))


def recorded(pair: Pair) -> list[list[tuple[int, int, str]]]:
    """What each running beacon member has recorded: (shard, culprit, kind)."""
    return [
        [
            (record.offence.shard, record.offence.culprit, record.offence.kind)
            for record in node.application.offences.list_records()
        ]
        for node in pair.beacon.nodes
        if node.replica is not None
    ]


def test_a_liar_is_recorded_at_every_beacon_member_and_then_nobody_reports_it_again() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(4)
    lie(pair.shard, 3)
    pair.shard.run_until(lambda: recorded(pair) == [[(0, 3, DOUBLE_ATTESTATION)]] * 4, 5_000)
    pair.shard.run_until(
        lambda: all(pair.shard.statistics(index).evidence_recorded == 1 for index in range(3)), 5_000
    )
    sent = pair.shard.frames[FrameKind.SUBMISSION]
    pair.shard.run(2 * MAX_RETRY_MS)
    assert pair.shard.frames[FrameKind.SUBMISSION] - sent <= 8, "headers go on, evidence does not"


def test_a_liar_in_the_beacon_is_recorded_there_too() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(4)
    lie(pair.beacon, 2)
    pair.shard.run_until(
        lambda: all((pair.beacon.committee.shard, 2, DOUBLE_ATTESTATION) in found for found in recorded(pair)),
        5_000,
    )
    pair.shard.run_until(lambda: pair.beacon.statistics(0).evidence_recorded == 1, 70_000)


def test_delivery_goes_on_after_lost_frames_and_a_restart_of_the_only_witness() -> None:
    pair = Pair()
    pair.boot()
    pair.trade(4)
    blocked = True

    def drops(sender: int, outgoing: Outgoing) -> bool:
        return blocked and outgoing.kind == FrameKind.SUBMISSION

    pair.shard.drops = drops
    lie(pair.shard, 3, also_to=range(1))
    pair.shard.run(500)
    assert pair.shard.statistics(0).evidence == 1
    assert [pair.shard.statistics(index).evidence for index in (1, 2)] == [0, 0]
    pair.shard.kill(0)
    pair.shard.run(100)
    pair.shard.start(0)
    pair.shard.run(1_000)
    assert recorded(pair) == [[]] * 4
    blocked = False
    pair.shard.run_until(lambda: recorded(pair) == [[(0, 3, DOUBLE_ATTESTATION)]] * 4, MAX_RETRY_MS)
    pair.shard.check_prefixes()
    pair.beacon.check_prefixes()


# --- at the API ----------------------------------------------------------------------------------------------


def test_the_api_pages_what_is_kept_and_shows_one_item_that_anybody_can_verify() -> None:
    kept = Locker()
    for culprit in (1, 2, 3):
        kept.keep(double_attestation(culprit, 5))
    items = kept.locker.list_items()
    first = list_kept(items, WORLD.committee, Page(None, 2))
    second = list_kept(items, WORLD.committee, Page(first["next"], 2))
    shown = [*first["evidence"], *second["evidence"]]
    assert [entry["culprit"] for entry in shown] == ["s0v1", "s0v2", "s0v3"] and second["next"] is None
    item = view_kept(items, WORLD.committee, 2)
    assert item is not None and len(item["messages"]) == 2
    decoded = decode_item(bytes.fromhex(item["bytes"]))
    judge = Jurisdiction(WORLD.committee, FACTORY, PARAMETERS)
    verify_item(decoded, judge, SignatureMeter(TokenScheme(), 2))
    assert view_kept(items, WORLD.committee, 4) is None
    with pytest.raises(RemoteError):
        list_kept(items, WORLD.committee, Page("x", 2))


def test_the_beacons_record_is_shown_as_of_a_height() -> None:
    offence = Offence(0, 0, 0, 1, WORLD.committee.members[1], DOUBLE_ATTESTATION, 9, 0, bytes(32))
    records = [OffenceRecord(offence, 4), OffenceRecord(offence, 7)]
    for height, count in ((3, 0), (4, 1), (7, 2)):
        assert len(list_recorded(records, height, Page(None, 50))["evidence"]) == count
    page = list_recorded(records, 9, Page(None, 1))
    assert page["next"] == "1" and page["evidence"][0]["recorded_at"] == 4
