"""The normal case, one engine at a time."""

from __future__ import annotations

import pytest

from consensus.engine import (
    NULL_DIGEST,
    BuildPayload,
    CancelWish,
    EngineParameters,
    ObtainPayload,
    PayloadBuilt,
    PayloadHeld,
    Work,
    WorkLevel,
)
from consensus.pbft.messages import Commit, CommitCertificate, Prepare, PrePrepare
from primitives.errors import LocalError
from tests.consensus.cluster import Cluster
from tests.consensus.crafting import FACTORY, World
from tests.consensus.tokens import TokenScheme, TokenSigner


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_committees_of_any_size_decide(size: int) -> None:
    cluster = Cluster(size)
    cluster.submit(9)
    assert cluster.run_until(cluster.is_done, 2_000)
    assert not cluster.violations


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_committees_change_views(size: int) -> None:
    cluster = Cluster(size, overdue_ms=200)
    for host in cluster.hosts:
        host.build = lambda: None  # type: ignore[method-assign]
    cluster.submit(1)
    cluster.run(5_000)
    assert min(host.engine.statistics().view for host in cluster.hosts if host.engine) >= 1


def test_a_primary_of_one_decides_alone() -> None:
    subject = World(1).subject(0)
    digest = subject.propose(b"a")
    assert subject.decided() == [(1, digest)]


def test_nothing_is_voted_before_the_payload_is_held() -> None:
    world = World()
    backup = world.subject(1)
    backup.holds_payloads = False
    pre_prepare = world.pre_prepare(0, 0, 1, b"a")
    backup.hear(pre_prepare)
    for sender in (2, 3):
        backup.hear(world.prepare(sender, 0, 1, pre_prepare.proposal.digest))
    assert not backup.sent(Prepare) and not backup.sent(Commit)
    backup.feed(PayloadHeld(1, pre_prepare.proposal.digest, b"a", valid=True))
    assert len(backup.sent(Prepare)) == len(backup.sent(Commit)) == 1


def test_an_invalid_payload_gets_no_vote() -> None:
    world = World()
    backup = world.subject(1)
    backup.holds_payloads = False
    pre_prepare = world.pre_prepare(0, 0, 1, b"a")
    backup.hear(pre_prepare)
    backup.feed(PayloadHeld(1, pre_prepare.proposal.digest, b"a", valid=False))
    assert not backup.sent(Prepare)


def test_a_null_payload_needs_no_fetching() -> None:
    world = World()
    backup = world.subject(1)
    backup.hear(world.pre_prepare(0, 0, 1, b""))
    assert [vote.digest for vote in backup.sent(Prepare)] == [NULL_DIGEST]
    assert not [wish for output in backup.outputs for wish in output.wishes if isinstance(wish, ObtainPayload)]


def test_proposals_of_others_are_not_needed() -> None:
    world = World()
    backup = world.subject(1)
    assert not backup.hear(world.pre_prepare(2, 0, 1, b"a"))
    assert backup.hear(world.pre_prepare(0, 0, 1, b"a"))
    assert not backup.hear(world.pre_prepare(0, 0, 1, b"a"))


def test_slots_decide_in_any_order() -> None:
    world = World()
    backup = world.subject(1)
    for slot in (3, 1, 2):
        digest = backup.prepare_slot(slot, b"%d" % slot)
        for sender in (0, 2):
            backup.hear(world.commit(sender, 0, slot, digest))
    assert [slot for slot, _ in backup.decided()] == [3, 1, 2]


def test_no_vote_above_the_window() -> None:
    world = World()
    backup = world.subject(1)
    backup.prepare_slot(5, b"early")
    assert not backup.sent(Prepare)
    backup.certify(1)
    assert [vote.slot for vote in backup.sent(Prepare)] == [5], "what came early is taken up"


def test_late_votes_cost_no_verification() -> None:
    world = World()
    backup = world.subject(1)
    digest = backup.prepare_slot(1, b"a")
    spent = backup.scheme.verifications
    assert not backup.hear(world.prepare(3, 0, 1, digest))
    for sender in (0, 2):
        backup.hear(world.commit(sender, 0, 1, digest))
    assert not backup.hear(world.commit(3, 0, 1, digest))
    assert backup.scheme.verifications == spent + 2


def test_contradicting_votes_are_evidence_once() -> None:
    world = World()
    backup = world.subject(1)
    for digest in (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32):
        backup.hear(world.commit(2, 0, 1, digest))
        backup.hear(world.prepare(3, 0, 1, digest))
    assert [(found.kind, found.culprit) for found in backup.evidence()] == [
        ("conflicting-commit", 2),
        ("conflicting-prepare", 3),
    ]


def test_a_commit_certificate_decides_in_any_view() -> None:
    world = World()
    backup = world.subject(1)
    digest = b"\x07" * 32
    signatures = tuple(world.commit(member, 9, 2, digest).signature for member in (0, 2, 3))
    assert backup.hear(CommitCertificate(9, 2, digest, (0, 2, 3), signatures))
    assert backup.decided() == [(2, digest)]
    forged = CommitCertificate(9, 3, digest, (0, 2, 3), signatures)
    assert not backup.hear(forged)


def test_the_primary_pipelines_up_to_the_window() -> None:
    primary = World().subject(0)
    for slot in range(1, 5):
        primary.propose(b"%d" % slot)
    wishes = [wish for output in primary.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]
    assert [(wish.slot, len(wish.ancestors)) for wish in wishes] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    primary.certify(1)
    assert [wish.slot for wish in primary.outputs[-1].wishes if isinstance(wish, BuildPayload)] == [5]


def test_idle_members_propose_nothing_and_run_no_timer() -> None:
    world = World()
    for index in range(4):
        subject = world.subject(index)
        assert not subject.outputs[0].wishes and not subject.outputs[0].timers


def test_a_wish_is_cancelled_when_its_slot_is_settled() -> None:
    primary = World().subject(0)
    primary.feed(Work(WorkLevel.PENDING))
    primary.certify(1)
    first, second = primary.outputs[-1].wishes
    assert isinstance(first, CancelWish) and isinstance(second, BuildPayload) and second.slot == 2
    primary.feed(PayloadBuilt(first.ticket, b"late"))
    assert not primary.sent(PrePrepare)


def test_rotation_hands_the_next_slot_to_the_next_member() -> None:
    world = World()
    parameters = EngineParameters(window_slots=4, leader_rotation_slots=1)
    second = world.subject(2, parameters)
    second.feed(Work(WorkLevel.PENDING))
    assert not second.outputs[-1].wishes, "slot 1 is member 1's"
    second.hear(world.pre_prepare(1, 0, 1, b"a"))
    wishes = [wish for output in second.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]
    assert [wish.slot for wish in wishes] == [2]


def test_senseless_parameters_and_strangers_are_refused() -> None:
    world = World()
    for signer, window in ((world.signers[0], 0), (world.signers[0], 10_000), (TokenSigner("stranger"), 4)):
        with pytest.raises(LocalError):
            FACTORY.create(world.committee, signer, TokenScheme(), EngineParameters(window_slots=window), None)
    subject = world.subject(0, EngineParameters(max_payload_bytes=10))
    with pytest.raises(LocalError):
        subject.propose(bytes(11))
