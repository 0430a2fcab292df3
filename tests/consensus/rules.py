"""The rules that naive PBFTs break, each as a check that raises ``AssertionError`` where it is broken.

The numbers are those of the list of pitfalls in the documentation of the consensus. ``test_pitfalls`` runs every
check against the real engine, which must pass, and against its mutants in ``mutants``, which must not.
"""

from __future__ import annotations

from consensus.engine import EngineParameters, Work, WorkLevel
from consensus.pacemaker import ExponentialPacemaker
from consensus.pbft.messages import Commit, NewView, Prepare, ViewChange
from primitives.codec import encode
from tests.consensus.cluster import STORM, Cluster
from tests.consensus.crafting import World
from tests.consensus.tokens import make_committee

QUORUMS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 10: 7}
OTHER = b"\x22" * 32


def check_view_change_tells_what_is_prepared() -> None:
    """1: P is not empty, so a prepared payload survives its view."""
    subject = World().subject(1)
    digest = subject.prepare_slot(1, b"a")
    subject.expire("view")
    (view_change,) = subject.sent(ViewChange)
    assert [proof.proposal.digest for proof in view_change.prepared] == [digest]


def check_highest_view_proof_wins() -> None:
    """2: O takes the highest-view proof, in whatever order the view changes came."""
    old, new = b"\x0a" * 32, b"\x0b" * 32
    for first, second in ((0, 1), (1, 0)):
        world = World()
        leader = world.subject(3)
        proofs = {0: world.prove(0, 1, old), 1: world.prove(1, 1, new)}
        for sender in (first, second):
            leader.hear(world.change_view(sender, 3, [proofs[sender]]))
        (new_view,) = leader.sent(NewView)
        assert [(proposal.slot, proposal.digest) for proposal in new_view.proposals] == [(1, new)]


def check_backups_recompute_the_proposals() -> None:
    """2: a new view whose O does not follow from its V is evidence, and is not entered."""
    world = World()
    backup = world.subject(2)
    view_changes = [world.change_view(0, 1, [world.prove(0, 1, b"\x0a" * 32)])]
    view_changes += [world.change_view(sender, 1) for sender in (1, 3)]
    for carried in ([(1, OTHER)], [], [(1, b"\x0a" * 32), (2, OTHER)]):
        backup.hear(world.start_view(1, view_changes, carried))
        assert backup.engine.statistics().view == 0, "a wrong new view was entered"
        assert backup.evidence()[-1].kind == "invalid-new-view"
    backup.hear(world.start_view(1, view_changes, [(1, b"\x0a" * 32)]))
    assert backup.engine.statistics().view == 1


def check_quorums_count_distinct_members() -> None:
    """3: q distinct members prepare, the proposer once and by its proposal; q commit; for every n."""
    for size, quorum in QUORUMS.items():
        if size < 4:
            continue
        world = World(size)
        backup = world.subject(1)
        backup.hear(world.pre_prepare(0, 0, 1, b"a"))
        digest = backup.sent(Prepare)[0].digest
        backup.hear(world.prepare(0, 0, 1, digest))  # the proposer's, which adds nothing
        for members, sender in enumerate(range(2, size), start=2):
            assert bool(backup.sent(Commit)) == (members >= quorum), f"n = {size}: {members} members prepared"
            backup.hear(world.prepare(sender, 0, 1, digest))
        for members, sender in enumerate((0, *range(2, size)), start=1):
            assert bool(backup.decided()) == (members >= quorum), f"n = {size}: {members} members committed"
            backup.hear(world.commit(sender, 0, 1, digest))
        assert backup.decided() == [(1, digest)]


def check_proofs_last_until_certified() -> None:
    """4: a proof outlives the moving window and another view, in memory and in the log."""
    _check_proof_lasts(restarts=0)
    _check_proof_lasts(restarts=1)


def _check_proof_lasts(restarts: int) -> None:
    world = World()
    backup = world.subject(2)
    backup.prepare_slot(1, b"a")
    digest = backup.prepare_slot(2, b"b")
    backup.certify(1)
    backup.hear(world.start_view(1, [world.change_view(sender, 1) for sender in (0, 1, 3)], []))
    assert backup.engine.statistics().view == 1
    for _ in range(restarts):
        backup.restart()
    for sender in (0, 1):
        backup.hear(world.change_view(sender, 3))
    proven = [(proof.proposal.slot, proof.proposal.digest) for proof in backup.sent(ViewChange)[-1].prepared]
    # Without a certificate in its log a restarted member may still prove the slot that is settled.
    assert [(slot, value) for slot, value in proven if slot > 1] == [(2, digest)]


def check_votes_are_durable_before_they_leave() -> None:
    """5: whatever leaves is in the log already."""
    for seed in range(3):
        cluster = Cluster(4, seed, weather=STORM)
        cluster.submit(6)
        cluster.run_until(cluster.is_done, 20_000)
        assert not cluster.violations, cluster.violations


def check_a_restart_repeats_the_same_vote() -> None:
    """5: after a restart the stored vote is sent, and never another for its view, slot and phase."""
    world = World()
    backup = world.subject(1)
    backup.hear(world.pre_prepare(0, 0, 1, b"a"))
    before = [encode(vote) for vote in backup.sent(Prepare)]
    backup.restart()
    backup.hear(world.pre_prepare(0, 0, 1, b"b"))
    assert [encode(vote) for vote in backup.sent(Prepare)] == before


def check_votes_depend_on_messages_alone() -> None:
    """8: neither our own mempool nor our clock has a say."""
    for level in WorkLevel:
        for now_ms in (0, 10**12):
            world = World()
            backup = world.subject(1)
            backup.now_ms = now_ms
            if level is not WorkLevel.OVERDUE:
                backup.feed(Work(level))
            backup.hear(world.pre_prepare(0, 0, 1, b"a"))
            assert len(backup.sent(Prepare)) == 1


def check_floods_are_bounded() -> None:
    """10: one sender's early messages are limited in reach and in bytes."""
    payload = bytes(100_000)
    world = World()
    backup = world.subject(1, EngineParameters(window_slots=4, max_payload_bytes=len(payload)))
    for view in range(1, 5):
        for slot in range(1, 9):
            backup.hear(world.pre_prepare(2, view, slot, payload))
            backup.hear(world.commit(2, view, slot, OTHER))
    assert backup.engine.statistics().buffered_bytes <= 3 * len(payload)
    assert not backup.hear(world.commit(2, 0, 1_000, OTHER)), "a vote far above the window was kept"
    assert not backup.hear(world.commit(2, 1_000, 1, OTHER)), "a vote of a far view was kept"
    assert not backup.hear(world.pre_prepare(0, 0, 1, payload + b"x")), "an oversized payload was taken"


def check_first_proposal_stands() -> None:
    """11: a second proposal is kept beside the first, as evidence, and replaces nothing."""
    world = World()
    backup = world.subject(1)
    first, second = world.pre_prepare(0, 0, 1, b"a"), world.pre_prepare(0, 0, 1, b"b")
    backup.hear(first)
    backup.hear(second)
    backup.hear(second)
    assert {vote.digest for vote in backup.sent(Prepare)} == {first.proposal.digest}
    (evidence,) = backup.evidence()
    assert (evidence.kind, evidence.culprit) == ("conflicting-pre-prepare", 0)
    assert evidence.messages == (encode(first.proposal), encode(second.proposal))
    for sender in (2, 3):
        backup.hear(world.prepare(sender, 0, 1, first.proposal.digest))
    assert [vote.digest for vote in backup.sent(Commit)] == [first.proposal.digest]


def check_only_matching_votes_count() -> None:
    """12: votes count by value, not by number."""
    world = World()
    backup = world.subject(1)
    backup.hear(world.pre_prepare(0, 0, 1, b"a"))
    for sender in (2, 3):
        backup.hear(world.prepare(sender, 0, 1, OTHER))
    assert not backup.sent(Commit)
    for sender, digest in ((0, backup.sent(Prepare)[0].digest), (2, OTHER), (3, b"\x33" * 32)):
        backup.hear(world.commit(sender, 0, 1, digest))
    assert not backup.decided()


def check_domains_are_separate() -> None:
    """13: a signature is good for one phase, chain and position only."""
    world = World()
    backup = world.subject(1)
    vote = world.prepare(2, 0, 1, OTHER)
    commit = world.commit(2, 0, 1, OTHER)
    assert not backup.hear(resign(commit, signature=vote.signature)), "a prepare passed as a commit"
    assert not backup.hear(resign(vote, signature=commit.signature)), "a commit passed as a prepare"
    moved = world.prepare(2, 0, 2, OTHER)
    assert not backup.hear(resign(vote, signature=moved.signature)), "a vote moved to another slot"
    abroad = World()
    abroad.committee = make_committee(4, chain=b"\x01" * 32)
    assert not backup.hear(abroad.prepare(2, 0, 1, OTHER)), "another chain's vote was taken"
    assert backup.hear(vote)


def check_timeouts_grow_are_capped_and_shrink() -> None:
    """15: patience doubles per failed view, has a cap, and is the base again after progress."""
    pacemaker = ExponentialPacemaker(100, 800)
    seen = []
    for _ in range(6):
        seen.append(pacemaker.timeout_ms)
        pacemaker.on_view_failed()
    assert seen == [100, 200, 400, 800, 800, 800]
    pacemaker.on_progress()
    assert pacemaker.timeout_ms == 100


def check_a_split_over_views_heals() -> None:
    """15: q members who left, for whatever views, start the new-view timer, or a split would last for ever."""
    world = World()
    straggler = world.subject(3)
    straggler.feed(Work(WorkLevel.PENDING))
    straggler.expire("view")
    straggler.hear(world.change_view(0, 1))
    straggler.hear(world.change_view(2, 2))
    straggler.expire("new-view")
    assert [view_change.view for view_change in straggler.sent(ViewChange)] == [1, 2]


def check_late_commits_are_sent_again() -> None:
    """16: what one member decided alone, all certify, without anybody's view changing."""
    cluster = Cluster(4)
    cluster.filter = lambda sender, receiver, message: not isinstance(message, Commit) or receiver.name == "m0"
    cluster.submit(2)
    cluster.run(100)
    assert cluster.hosts[0].decided and not cluster.hosts[1].decided, "the scene is not set"
    cluster.filter = lambda sender, receiver, message: True
    assert cluster.run_until(cluster.is_done, 850), "nobody sent the commits again"
    assert {host.engine.statistics().view for host in cluster.hosts if host.engine} == {0}


def resign(message: Prepare | Commit, signature: bytes) -> Prepare | Commit:
    """The same message under another signature."""
    return type(message)(message.view, message.slot, message.digest, message.sender, signature)
