"""View changes, timers, statuses and restarts, one engine at a time."""

from __future__ import annotations

import pytest

from consensus.engine import (
    NULL_DIGEST,
    EngineParameters,
    ObtainPayload,
    PeerConnected,
    SetTimer,
    TimerFired,
    Work,
    WorkLevel,
)
from consensus.pbft.messages import Commit, CommitCertificate, NewView, Prepare, Status, ViewChange, sign_status
from consensus.pbft.view_change import BUDGET_PERIOD_MS, VIEW_CHANGES_PER_PERIOD
from primitives.codec import encode
from primitives.errors import LocalError
from tests.consensus.cluster import Cluster
from tests.consensus.crafting import FACTORY, Subject, World

DIGEST = b"\x0a" * 32


def _status(world: World, sender: int, view: int, stable: int, phases: tuple[int, ...]) -> Status:
    return sign_status(world.committee, world.signers[sender], sender, view, stable, phases)


def _enter_view_1(world: World, subject: Subject) -> None:
    senders = [sender for sender in range(4) if sender != subject.index][:3]
    assert subject.hear(world.start_view(1, [world.change_view(sender, 1) for sender in senders], []))


# --- joining and asking ------------------------------------------------------------------------------------


def test_one_complaint_moves_nobody_and_f_plus_one_do() -> None:
    world = World()
    backup = world.subject(1)
    backup.hear(world.change_view(2, 5))
    assert not backup.sent(ViewChange)
    backup.hear(world.change_view(3, 7))
    assert [message.view for message in backup.sent(ViewChange)] == [5]


def test_only_the_newest_view_change_of_a_sender_counts() -> None:
    world = World()
    backup = world.subject(1)
    for view in (3, 9, 4):
        backup.hear(world.change_view(2, view))
    assert not backup.hear(world.change_view(2, 9))
    backup.hear(world.change_view(3, 8))
    assert [message.view for message in backup.sent(ViewChange)] == [8]


def test_view_changes_are_repeated_byte_for_byte() -> None:
    backup = World().subject(1)
    backup.prepare_slot(1, b"a")
    backup.expire("view")
    for _ in range(3):
        backup.expire("resend")
    backup.restart()
    messages = {encode(message) for message in backup.sent(ViewChange)}
    assert len(messages) == 1


def test_no_vote_after_asking_for_another_view() -> None:
    world = World()
    backup = world.subject(1)
    backup.hear(world.pre_prepare(0, 0, 1, b"a"))
    backup.expire("view")
    for sender in (2, 3):
        assert not backup.hear(world.prepare(sender, 0, 1, backup.sent(Prepare)[0].digest))
    assert not backup.hear(world.pre_prepare(0, 0, 2, b"b"))
    assert not backup.sent(Commit)


def test_commits_still_decide_after_asking_for_another_view() -> None:
    world = World()
    backup = world.subject(1)
    backup.expire("view")
    backup.feed(Work(WorkLevel.OVERDUE))
    for sender in (0, 2, 3):
        assert backup.hear(world.commit(sender, 0, 1, DIGEST))
    assert backup.decided() == [(1, DIGEST)]


def test_an_overdue_complaint_is_made_once_per_view_timer() -> None:
    world = World()
    backup = world.subject(2)
    backup.feed(Work(WorkLevel.OVERDUE))
    assert len(backup.sent(ViewChange)) == 1
    _enter_view_1(world, backup)
    backup.feed(Work(WorkLevel.OVERDUE))
    assert len(backup.sent(ViewChange)) == 1, "the new leader gets its time"
    backup.expire("complaint")
    assert [message.view for message in backup.sent(ViewChange)] == [1, 2]


def test_the_new_view_timer_starts_at_a_quorum_and_doubles() -> None:
    world = World()
    backup = world.subject(3, EngineParameters(base_timeout_ms=1_000, max_timeout_ms=3_000))
    backup.feed(Work(WorkLevel.PENDING))
    backup.expire("view")
    delays = []
    for view in (1, 2):
        for sender in (0, 1):
            output_count = len(backup.outputs)
            backup.hear(world.change_view(sender, view))
            for output in backup.outputs[output_count:]:
                delays += [order.delay_ms for order in output.timers if order.timer == "new-view"]
        backup.expire("new-view")
    assert [delay for delay in delays if delay is not None] == [2_000, 3_000]


def test_progress_keeps_the_view_timer_from_firing() -> None:
    world = World()
    backup = world.subject(1)
    backup.feed(Work(WorkLevel.PENDING))
    for height in range(1, 6):
        backup.now_ms += 900
        backup.certify(height)
        backup.feed(TimerFired("view"))
    assert not backup.sent(ViewChange)
    backup.expire("view")
    assert len(backup.sent(ViewChange)) == 1


def test_timers_go_off_when_nothing_is_open() -> None:
    backup = World().subject(1)
    backup.feed(Work(WorkLevel.PENDING))
    backup.feed(Work(WorkLevel.IDLE))
    assert set(backup.outputs[-1].timers) == {SetTimer("view", None), SetTimer("resend", None)}


def test_a_flood_of_view_changes_is_verified_a_few_times_a_second() -> None:
    world = World()
    backup = world.subject(1)
    spent = backup.scheme.verifications
    for view in range(1, 101):
        backup.hear(world.change_view(2, view, [world.prove(0, 1, DIGEST)]))
    assert backup.scheme.verifications - spent <= 100 + VIEW_CHANGES_PER_PERIOD * (2 + world.quorum)
    backup.now_ms += BUDGET_PERIOD_MS
    backup.hear(world.change_view(2, 200))
    backup.hear(world.change_view(3, 200))
    assert backup.sent(ViewChange)[-1].view == 200


# --- new views ---------------------------------------------------------------------------------------------


def test_gaps_are_filled_with_null_above_the_highest_checkpoint() -> None:
    world = World()
    leader = world.subject(1)
    leader.hear(world.change_view(0, 1, [world.prove(0, 4, DIGEST)], world.certify(2)))
    leader.hear(world.change_view(2, 1, [world.prove(0, 2, b"\x0b" * 32)]))
    (new_view,) = leader.sent(NewView)
    assert [(proposal.slot, proposal.digest) for proposal in new_view.proposals] == [
        (3, NULL_DIGEST),
        (4, DIGEST),
    ]


def test_a_new_view_is_entered_at_once_and_bodies_follow() -> None:
    world = World()
    backup = world.subject(2)
    view_changes = [world.change_view(0, 1, [world.prove(0, 1, DIGEST)])]
    view_changes += [world.change_view(sender, 1) for sender in (1, 3)]
    backup.hear(world.start_view(1, view_changes, [(1, DIGEST)]))
    assert backup.engine.statistics().view == 1 and not backup.sent(Prepare)
    (wish,) = [wish for wish in backup.outputs[-1].wishes if isinstance(wish, ObtainPayload)]
    assert (wish.slot, wish.digest, wish.payload, wish.proven) == (1, DIGEST, None, True)
    assert set(wish.sources) == {0, 1}, "those who prepared it, and not ourselves"
    assert backup.hear(world.pre_prepare(1, 1, 2, b"next")), "other slots go on"
    assert [vote.slot for vote in backup.sent(Prepare)] == [2]


@pytest.mark.parametrize("fault", ["proof", "certificate", "sender", "view", "window"])
def test_a_new_view_with_a_bad_part_is_evidence(fault: str) -> None:
    world, liar = World(), World()
    liar.signers = list(reversed(liar.signers))
    change = {
        "proof": world.change_view(0, 1, [liar.prove(0, 1, DIGEST)]),
        "certificate": world.change_view(0, 1, [], liar.certify(1)),
        "sender": liar.change_view(0, 1),
        "view": world.change_view(0, 2),
        "window": world.change_view(0, 1, [world.prove(0, 9, DIGEST)]),
    }[fault]
    backup = world.subject(2)
    carried = [(proof.proposal.slot, proof.proposal.digest) for proof in change.prepared]
    backup.hear(world.start_view(1, [change, world.change_view(1, 1), world.change_view(3, 1)], carried))
    assert backup.engine.statistics().view == 0
    assert [found.kind for found in backup.evidence()] == ["invalid-new-view"]


def test_view_changes_seen_before_are_not_verified_again() -> None:
    world = World()
    backup = world.subject(2)
    changes = [world.change_view(sender, 1, [world.prove(0, 1, DIGEST)]) for sender in (0, 1, 3)]
    for change in changes:
        backup.hear(change)
    spent = backup.scheme.verifications
    backup.hear(world.start_view(1, changes, [(1, DIGEST)]))
    assert backup.scheme.verifications - spent == 2, "the new view and its one proposal"


def test_members_behind_the_checkpoint_leave_its_slots_alone() -> None:
    world = World()
    backup = world.subject(2)
    changes = [world.change_view(0, 1, [], world.certify(3)), world.change_view(1, 1), world.change_view(3, 1)]
    backup.hear(world.start_view(1, changes, []))
    assert not backup.hear(world.pre_prepare(1, 1, 3, b"a")), "slot 3 is settled elsewhere"
    assert backup.hear(world.pre_prepare(1, 1, 4, b"a"))


def test_votes_that_overtake_their_new_view_are_kept() -> None:
    world = World()
    backup = world.subject(2)
    pre_prepare = world.pre_prepare(1, 1, 1, b"a")
    backup.hear(world.prepare(3, 1, 1, pre_prepare.proposal.digest))
    backup.hear(pre_prepare)
    _enter_view_1(world, backup)
    assert [vote.view for vote in backup.sent(Prepare)] == [1]
    assert [vote.view for vote in backup.sent(Commit)] == [1]


# --- statuses ----------------------------------------------------------------------------------------------


def test_a_status_is_answered_to_its_sender_alone() -> None:
    world = World()
    backup = world.subject(1)
    backup.prepare_slot(1, b"a")
    backup.hear(_status(world, 3, 0, 0, ()))
    answers = backup.outputs[-1].send
    assert {send.to for send in answers} == {3}
    kinds = [type(FACTORY.decode_message(send.message, world.committee)[1]) for send in answers]
    assert kinds == [Prepare, Commit]
    backup.hear(_status(world, 3, 0, 0, ()))
    assert not backup.outputs[-1].send, "at most one answer per gap"


def test_what_the_peer_has_is_not_sent_again() -> None:
    world = World()
    backup = world.subject(1)
    digest = backup.prepare_slot(1, b"a")
    for sender in (0, 2):
        backup.hear(world.commit(sender, 0, 1, digest))
    backup.hear(_status(world, 3, 0, 0, (3,)))
    assert not backup.outputs[-1].send
    backup.hear(_status(world, 2, 7, 0, (2,)))
    assert [message.slot for message in backup.sent(CommitCertificate)] == [1], "whatever view the peer is in"


def test_a_peer_in_an_old_view_gets_the_new_view() -> None:
    world = World()
    backup = world.subject(2)
    _enter_view_1(world, backup)
    backup.hear(_status(world, 3, 0, 0, ()))
    assert [message.view for message in backup.sent(NewView)] == [1]


def test_a_reconnected_peer_is_told_where_we_stand() -> None:
    backup = World().subject(1)
    backup.prepare_slot(1, b"a")
    backup.expire("view")
    backup.feed(PeerConnected(2))
    assert [send.to for send in backup.outputs[-1].send] == [2, 2]
    assert backup.sent(Status)[-1].phases == (2,)


# --- restarts ----------------------------------------------------------------------------------------------


def test_a_restarted_member_is_where_it_was() -> None:
    world = World()
    backup = world.subject(2)
    digest = backup.prepare_slot(1, b"a")
    for sender in (0, 1):
        backup.hear(world.commit(sender, 0, 1, digest))
    backup.hear(world.pre_prepare(0, 0, 2, b"b"))
    _enter_view_1(world, backup)
    backup.feed(Work(WorkLevel.OVERDUE))
    backup.expire("complaint")
    before = backup.engine.statistics()
    backup.restart()
    assert backup.engine.statistics().view == before.view == 1
    assert backup.decided() == [(1, digest)], "told again, for the replica may not have applied it"
    assert backup.sent(ViewChange)[-1].view == 2


def test_a_settled_slot_is_not_voted_again_though_the_chain_lost_it() -> None:
    world = World()
    backup = world.subject(1)
    backup.prepare_slot(1, b"a")
    backup.certify(1)
    backup.prepare_slot(2, b"b")  # the next vote takes the deletions along
    assert not [key for key in backup.log if b"%016x" % 1 in key]
    backup.restart()
    assert backup.engine.statistics().last_certified == 1
    assert not backup.hear(world.pre_prepare(0, 0, 1, b"other"))


def test_a_foreign_log_is_refused() -> None:
    world = World()
    backup = world.subject(1)
    backup.prepare_slot(1, b"a")
    others = [{b"nonsense": b""}, {b"view": b"\xff"}, {b"slot/1/prepare": b""}, {b"slot/x/prepare": b""}]
    for records in [*others, {b"view": encode((1, 1))}]:
        with pytest.raises(LocalError):
            FACTORY.restore(world.committee, world.signers[1], backup.scheme, backup.parameters, None, records)
    with pytest.raises(LocalError):
        FACTORY.restore(world.committee, world.signers[2], backup.scheme, backup.parameters, None, backup.log)


def test_a_network_with_one_dead_of_four_goes_on_and_with_two_waits() -> None:
    cluster = Cluster(4)
    cluster.hosts[0].crash()
    cluster.submit(4)
    assert cluster.run_until(cluster.is_done, 10_000)
    cluster.hosts[1].crash()
    cluster.submit(1)
    assert not cluster.run_until(cluster.is_done, 20_000)
    cluster.hosts[0].start()
    assert cluster.run_until(cluster.is_done, 20_000)
    assert not cluster.violations
