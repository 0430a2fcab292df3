"""HotStuff's rules, each as a check that raises ``AssertionError`` where a factory's engines break it.

``test_rules`` runs every check against the real engine, which must pass, and against its mutants in ``mutants``,
which must not.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from consensus.engine import EngineFactory, WorkLevel, compute_payload_digest
from consensus.hotstuff.messages import (
    CommitProof,
    EntryRequest,
    Propose,
    QuorumCertificate,
    Status,
    Timeout,
    Vote,
    compute_block_id,
    compute_entry_id,
    entry_of,
    extend,
    repeat,
    sign_entry_response,
    sign_status,
)
from primitives.codec import encode
from tests.consensus.chaos import Plan, run_chaos
from tests.consensus.cluster import STORM, Cluster
from tests.consensus.hotstuff.crafting import PARAMETERS, ROOT, World
from tests.consensus.hotstuff.under_test import HOTSTUFF
from tests.consensus.tokens import make_committee

QUORUMS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 10: 7}


def _cluster(factory: EngineFactory, size: int = 4, **options: object) -> Cluster:
    return Cluster(size, under_test=replace(HOTSTUFF, factory=factory), **options)  # type: ignore[arg-type]


# --- voting ------------------------------------------------------------------------------------------------


def check_one_vote_per_view(factory: EngineFactory) -> None:
    """The first proposal of a view stands; a second one is evidence, and no vote."""
    subject = World(factory=factory).subject(0)
    first, second = (subject.world.propose(1, payload) for payload in (b"a", b"b"))
    subject.hear(first, second, first)
    assert subject.voted() == [first.proposal.block]
    assert [(item.kind, item.culprit) for item in subject.evidence()] == [("conflicting-proposal", 1)]


def check_no_vote_in_a_view_that_was_given_up(factory: EngineFactory) -> None:
    """A timeout for v says: no votes up to v."""
    subject = World(factory=factory).subject(0)
    subject.work()
    subject.expire("view")
    assert [timeout.view for timeout in subject.sent(Timeout)] == [1]
    subject.hear(subject.world.propose(1, b"a"))
    assert not subject.voted()


def check_no_vote_in_a_lower_view(factory: EngineFactory) -> None:
    """Views only rise, also where a lower one is justified."""
    world = World(factory=factory)
    subject = world.subject(0)
    (first,) = world.chain(1)
    late = world.propose(2, b"late", first)
    (abandoned,) = world.chain(2)
    subject.hear(world.propose(3, b"c", abandoned), late)
    assert [block.view for block in subject.voted()] == [3]


def check_a_vote_needs_a_justified_proposal(factory: EngineFactory) -> None:
    """The certificate of v − 1; or q timeouts of v − 1, none with a higher lock than the proposal's certificate."""
    world = World(factory=factory)
    one, two = world.chain(1, 2)
    lower_locks = world.certify_timeouts(3, {0: ROOT, 1: one, 2: ROOT})
    higher_lock = world.certify_timeouts(3, {0: ROOT, 1: one, 2: two})
    of_another_view = world.certify_timeouts(2, {0: ROOT, 1: one, 2: ROOT})
    for timeouts, is_justified in (
        (None, False),
        (of_another_view, False),
        (higher_lock, False),
        (lower_locks, True),
    ):
        subject = world.subject(3)
        subject.hear(world.propose(4, b"d", one, timeouts))
        assert bool(subject.voted()) == is_justified, timeouts
    subject = world.subject(2)
    subject.hear(world.propose(3, b"c", two))
    assert [block.view for block in subject.voted()] == [3]


def check_a_proposal_extends_what_it_justifies(factory: EngineFactory) -> None:
    """Its parent is the certified block, its slot the next one above, or that one's with the same payload."""
    world = World(factory=factory)
    (one,) = world.chain(1)
    good = extend(one.block, 2, compute_payload_digest(b"x"))
    bad = [
        msgspec.structs.replace(good, slot=3),
        msgspec.structs.replace(good, parent=compute_block_id(ROOT.block)),
        msgspec.structs.replace(good, prior=bytes(32)),
        msgspec.structs.replace(repeat(one.block, 2), digest=good.digest),
    ]
    for block in bad:
        subject = world.subject(0)
        subject.hear(world.propose_block(block, b"x", one, None, 2))
        assert not subject.voted(), block
    subject = world.subject(0)
    subject.hear(world.propose_block(good, b"x", one, None, 2))
    assert subject.voted() == [good]


def check_timeout_certificates_are_verified(factory: EngineFactory) -> None:
    """Locks that nobody reported, signed by nobody, justify nothing and lead nowhere."""
    world = World(factory=factory)
    one, two = world.chain(1, 2)
    honest = world.certify_timeouts(3, {0: ROOT, 1: one, 2: two})
    forged = msgspec.structs.replace(honest, certified_views=(0, 0, 0))
    subject = world.subject(3)
    subject.hear(world.propose(4, b"d", one, forged))
    assert not subject.voted()
    assert subject.view == 1


def check_certificates_are_verified(factory: EngineFactory) -> None:
    """A certificate with one vote of another block is none."""
    world = World(factory=factory)
    (one,) = world.chain(1)
    wrong = world.vote(2, extend(ROOT.block, 1, bytes(32))).signature
    forged = QuorumCertificate(one.block, one.signers, (*one.signatures[:2], wrong))
    subject = world.subject(0)
    subject.hear(world.propose(2, b"b", forged))
    subject.hear(world.time_out(1, 5, forged))
    assert not subject.voted()
    assert subject.view == 1


def check_a_vote_waits_for_its_payload(factory: EngineFactory) -> None:
    """No vote before payload and bodies are durable here, none for an invalid one; views go on meanwhile."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.holds_payloads = False
    proposal = world.propose(1, b"a")
    subject.hear(proposal)
    assert not subject.voted()
    subject.hear(world.propose(2, None, world.certify_block(proposal.proposal.block)))
    assert not subject.voted(), "a repeated payload is not here either"
    assert subject.view == 2
    other = world.subject(0)
    other.hear(world.propose(1, b"invalid"))
    assert not other.voted()


def check_the_window_bounds_votes(factory: EngineFactory) -> None:
    """No vote for a slot above certified + L until that moves; repetitions below are voted for, so that a window
    which views full of gaps have filled is committed all the same."""
    world = World(factory=factory)
    _, three = world.chain(1, 3)
    above, repetition = world.propose(4, b"payload of 9", three), world.propose(4, None, three)
    for proposal, certified, votes in ((above, 0, 0), (above, 1, 1), (repetition, 0, 1)):
        subject = world.subject(2, replace(PARAMETERS, window_slots=2))
        subject.hear(proposal)
        if certified:
            assert not subject.voted()
            subject.certify(certified)
        assert len(subject.voted()) == votes, (proposal, certified)


# --- certificates and commits ------------------------------------------------------------------------------


def check_quorums_count_distinct_members(factory: EngineFactory) -> None:
    """q distinct members certify a block, q give a view up; for every n."""
    for size, quorum in QUORUMS.items():
        if size < 4:
            continue
        world = World(size, factory)
        collector, quitter = world.subject(2), world.subject(2)
        proposal = world.propose(1, b"a")
        collector.hear(proposal)
        assert len(collector.voted()) <= 1
        for members, sender in enumerate(world.others(2), start=2):
            assert (collector.view > 1) == (members > quorum), f"n = {size}: {members - 1} members voted"
            collector.hear(world.vote(sender, proposal.proposal.block))
            collector.hear(world.vote(sender, proposal.proposal.block))
        for members, sender in enumerate(world.others(2), start=1):
            # With f + 1 timeouts of others our own joins them.
            joined = members - 1 >= world.committee.faults + 1
            assert (quitter.view > 1) == (members - 1 + joined >= quorum), f"n = {size}: {members - 1} gave up"
            quitter.hear(world.time_out(sender, 1))
            quitter.hear(world.time_out(sender, 1))


def check_only_matching_votes_count(factory: EngineFactory) -> None:
    """Votes for two blocks of a view are no quorum for either; a member that votes for both is accused."""
    world = World(factory=factory)
    subject = world.subject(2)
    block, other = (world.propose(1, payload).proposal.block for payload in (b"a", b"b"))
    subject.hear(world.vote(0, block), world.vote(1, block), world.vote(3, other), world.vote(1, other))
    assert subject.view == 1
    assert [(item.kind, item.culprit) for item in subject.evidence()] == [("conflicting-vote", 1)]


def check_commits_need_consecutive_views(factory: EngineFactory) -> None:
    """b and its child certified, but with a view between them, commit nothing; the next pair commits both."""
    world = World(factory=factory)
    subject = world.subject(0)
    one, three, four = world.chain(1, 3, 4)
    subject.hear(one, three)
    assert subject.view == 4
    assert not subject.decided()
    subject.hear(four)
    assert [slot for slot, _ in subject.decided()] == [1, 2]


def check_a_repetition_commits_its_slot(factory: EngineFactory) -> None:
    """A payload and one repetition in the next view decide it, and use up one slot."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(*world.chain(1, 2, payloads=False))
    assert [slot for slot, _ in subject.decided()] == [1]


def check_a_commit_proof_decides_in_any_view(factory: EngineFactory) -> None:
    """Who missed everything decides by the proof alone, once the entries below are known."""
    world = World(factory=factory)
    subject = world.subject(0)
    two, three, four = world.chain(2, 3, 4)
    subject.hear(CommitProof(three, four))
    assert subject.view == 5
    assert not subject.decided(), "slot 1 is not known here"
    (request,) = subject.sent(EntryRequest)
    assert request.entry == compute_entry_id(entry_of(two.block))
    wrong = sign_entry_response(world.committee, world.signers[1], 1, (entry_of(three.block),))
    right = sign_entry_response(world.committee, world.signers[1], 1, (entry_of(two.block),))
    assert not subject.hear(wrong)
    subject.hear(right)
    assert subject.decided() == [(1, two.block.digest), (2, three.block.digest)]


# --- locks, and the log ------------------------------------------------------------------------------------


def check_timeouts_report_the_lock(factory: EngineFactory) -> None:
    """The highest certificate seen, also after a restart, also where it came with a proposal that got no vote."""
    for restarts in range(2):
        world = World(factory=factory)
        subject = world.subject(0)
        one, two = world.chain(1, 2)
        subject.hear(world.propose(2, b"payload of 2", one))
        subject.hear(world.propose(3, b"payload of 3", two))
        assert [block.view for block in subject.voted()] == [2, 3]
        for _ in range(restarts):
            subject.restart()
        subject.hear(world.time_out(1, 9), world.time_out(2, 9))
        assert [timeout.highest for timeout in subject.sent(Timeout)] == [two], f"after {restarts} restarts"


def check_a_restart_repeats_the_same_vote(factory: EngineFactory) -> None:
    """The stored bytes leave again, and no vote for another block of the view."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.propose(1, b"a"))
    before = [encode(vote) for vote in subject.sent(Vote)]
    assert before
    subject.restart()
    subject.hear(world.propose(1, b"b"))
    subject.hear(sign_status(world.committee, world.signers[2], 2, 1, 0, 0, 0))  # type: ignore[arg-type]
    after = [encode(vote) for vote in subject.sent(Vote)]
    assert after
    assert set(after) == set(before)


def check_a_restart_keeps_what_was_given_up(factory: EngineFactory) -> None:
    """A restart after a timeout sends the same timeout and votes in that view no more."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.work()
    subject.expire("view")
    before = [encode(timeout) for timeout in subject.sent(Timeout)]
    subject.restart()
    subject.hear(world.propose(1, b"a"))
    assert not subject.voted()
    assert {encode(timeout) for timeout in subject.sent(Timeout)} == set(before)


def check_a_leader_proposes_once_per_view(factory: EngineFactory) -> None:
    """After a restart the same proposal leaves, and no other."""
    world = World(factory=factory)
    leader = world.subject(1)
    leader.work()
    leader.build(b"a")
    (before,) = leader.sent(Propose)
    leader.restart()
    leader.work()
    leader.hear(sign_status(world.committee, world.signers[2], 2, 1, 0, 0, 0))  # type: ignore[arg-type]
    assert not leader.wishes()
    assert {message.proposal for message in leader.sent(Propose)} == {before.proposal}


def check_votes_are_durable_before_they_leave(factory: EngineFactory) -> None:
    """Whatever is signed is in the log before it is sent, in a storm as well."""
    for seed in range(3):
        cluster = _cluster(factory, seed=seed, weather=STORM)
        cluster.submit(6)
        cluster.run_until(cluster.is_done, 20_000)
        assert not cluster.violations, cluster.violations


def check_leaders_extend_the_highest_certificate(factory: EngineFactory) -> None:
    """A leader learns locks from timeouts and extends the highest, with the timeouts that say so."""
    world = World(factory=factory)
    leader = world.subject(3)
    leader.work()
    (one,) = world.chain(1)
    leader.hear(world.time_out(0, 2, one), world.time_out(1, 2, one), world.time_out(2, 2, one))
    assert leader.view == 3
    leader.build(b"c")
    (message,) = leader.sent(Propose)
    assert message.proposal.justify == one
    assert message.proposal.timeouts is not None
    assert message.proposal.timeouts.view == 2
    assert message.proposal.block.slot == 2


def check_nothing_is_signed_below_the_first_view(factory: EngineFactory) -> None:
    """A member that forgot its log signs nothing below the view that it was told, also in its next life."""
    for restarts in range(2):
        world = World(factory=factory)
        subject = world.subject(2, first_view=3)
        for _ in range(restarts):
            subject.restart()
        one, two = world.chain(1, 2)
        subject.hear(world.propose(1, b"payload of 1"))
        subject.hear(world.propose(2, b"payload of 2", one, sender=2))
        assert not subject.voted()
        subject.work()
        assert not subject.wishes(), "it may not even propose in view 2"
        subject.hear(world.propose(3, b"payload of 3", two))
        assert [block.view for block in subject.voted()] == [3]
        waiting = world.subject(0, first_view=3)
        waiting.work()
        waiting.expire("view")
        assert [timeout.view for timeout in waiting.sent(Timeout)] == [3]


# --- liveness ----------------------------------------------------------------------------------------------


def check_one_payload_is_decided_and_then_all_is_silent(factory: EngineFactory) -> None:
    """A payload is committed by two views and no more work; then no timer runs and nobody speaks."""
    cluster = _cluster(factory)
    cluster.run(10)
    cluster.submit(1)
    assert cluster.run_until(cluster.is_done, 500)
    assert [host.certified for host in cluster.hosts] == [1] * 4
    cluster.run(100)
    sent: list[object] = []
    cluster.filter = lambda sender, receiver, message: bool(sent.append(message)) or True
    cluster.run(60_000)
    assert not sent
    assert {host.engine.statistics().view for host in cluster.hosts if host.engine} == {3}


def check_f_plus_1_timeouts_are_joined(factory: EngineFactory) -> None:
    """One of f + 1 is honest, so its view is worth giving up; f are not enough. Also for views further on."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.time_out(1, 5))
    assert not subject.sent(Timeout)
    subject.hear(world.time_out(2, 7))
    assert [timeout.view for timeout in subject.sent(Timeout)] == [5]
    assert subject.view == 5
    subject.hear(world.time_out(1, 7))
    assert [timeout.view for timeout in subject.sent(Timeout)] == [5, 7]
    assert subject.view == 8, "three gave view 7 up"


def check_a_split_over_views_heals(factory: EngineFactory) -> None:
    """q members who gave up, for whatever views, step up one by one: who is ahead may have nobody to follow it."""
    world = World(factory=factory)
    straggler = world.subject(0)
    straggler.work()
    straggler.expire("view")
    straggler.hear(world.time_out(1, 1), world.time_out(2, 3))
    assert straggler.view == 1
    straggler.expire("step")
    assert [timeout.view for timeout in straggler.sent(Timeout)] == [1, 2]


def check_a_dead_collector_loses_no_block(factory: EngineFactory) -> None:
    """Votes that only a dead leader got come out with the timeouts, and make the certificate for everybody."""
    cluster = _cluster(factory)
    cluster.run(10)
    cluster.hosts[2].crash()
    cluster.submit(1)
    cluster.run(20)
    proposed = {host.name: host.engine.statistics().slots_in_flight for host in cluster.hosts if host.engine}
    assert set(proposed.values()) == {1}, "the scene is not set: m1 proposes, m2 should collect"
    digests = {digest for host in cluster.hosts for digest in host.pinned}
    assert cluster.run_until(cluster.is_done, 20_000)
    assert {cluster.hosts[0].chain[0].digest} == digests, "the first block was abandoned"


def check_a_dead_member_costs_little_after_its_first_view(factory: EngineFactory) -> None:
    """Work goes on at a good pace: a silent leader's views are short, its votes go to everybody."""
    cluster = _cluster(factory)
    cluster.hosts[3].crash()
    cluster.submit(1)
    assert cluster.run_until(cluster.is_done, 20_000)
    started_ms = cluster.now_ms
    for _ in range(10):
        cluster.submit(1)
        assert cluster.run_until(cluster.is_done, 20_000)
    assert cluster.now_ms - started_ms < 10 * cluster.parameters.base_timeout_ms // 3


def check_a_lost_commit_is_sent_again(factory: EngineFactory) -> None:
    """What one member decided alone, all decide, without anybody's view failing."""
    cluster = _cluster(factory)
    cluster.filter = lambda sender, receiver, message: not isinstance(message, CommitProof)
    cluster.submit(1)
    cluster.run(100)
    deciders = [host.name for host in cluster.hosts if host.decided]
    assert deciders == ["m3"], "the scene is not set: m3 leads view 3 and sees the commit"
    cluster.filter = lambda sender, receiver, message: True
    assert cluster.run_until(cluster.is_done, 850), "nobody sent the commit again"
    assert {host.engine.statistics().view_changes for host in cluster.hosts if host.engine} == {0}


def check_lost_messages_are_sent_again(factory: EngineFactory) -> None:
    """A proposal or a vote that got lost is repaired before a view fails."""
    for lost in (Propose, Vote):
        cluster = _cluster(factory)
        cluster.filter = lambda sender, receiver, message, lost=lost: not isinstance(message, lost)
        cluster.submit(1)
        cluster.run(50)
        cluster.filter = lambda sender, receiver, message: True
        assert cluster.run_until(cluster.is_done, 1_500), f"no {lost.__name__} was sent again"
        assert {host.engine.statistics().view_changes for host in cluster.hosts if host.engine} == {0}


def check_storms_end(factory: EngineFactory) -> None:
    """After crashes, partitions and losses everything is certified, one member being dead, and nobody contradicts
    himself or another."""
    for seed in range(2_000, 2_006):
        under_test = replace(HOTSTUFF, factory=factory)
        cluster = run_chaos(Plan(4, seed, dead_in_the_end=1, under_test=under_test))
        assert not cluster.violations, cluster.violations
        assert cluster.is_done(), f"seed {seed}: nothing certified any more"


def check_overdue_work_ends_a_term(factory: EngineFactory) -> None:
    """With terms, a leader that orders other people's work only is given up when its term lasted for T."""
    world = World(factory=factory)
    subject = world.subject(0, replace(PARAMETERS, leader_rotation_slots=8))
    subject.work(WorkLevel.OVERDUE)
    subject.now_ms = PARAMETERS.base_timeout_ms
    subject.hear(world.propose(1, b"a", sender=0))
    subject.expire("complaint")
    assert [timeout.view for timeout in subject.sent(Timeout)] == [7], "the whole term is given up"


# --- bounds ------------------------------------------------------------------------------------------------


def check_floods_are_bounded(factory: EngineFactory) -> None:
    """One vote and one timeout of each member are kept, however many views it invents."""
    world = World(factory=factory)
    subject = world.subject(0)
    for view in range(10, 300):
        block = extend(ROOT.block, view, view.to_bytes(32, "big"))
        subject.hear(world.vote(3, block), world.time_out(3, view))
    engine: object = subject.engine
    votes, timeouts = engine._ordering.votes, engine._views.newest  # type: ignore[attr-defined]
    assert len(votes) <= 1
    assert len(timeouts) <= 1
    assert subject.view == 1


def check_entries_are_bounded(factory: EngineFactory) -> None:
    """Certified blocks of endless branches and far slots do not fill memory or log."""
    world = World(factory=factory)
    subject = world.subject(0)
    for view in range(1, 200):
        subject.hear(world.certify_block(extend(ROOT.block, view, view.to_bytes(32, "big"))))
    subject.hear(*world.chain(*range(200, 230)))
    state = subject.engine._state  # type: ignore[attr-defined]
    assert len(state.tree) <= 16 + 2 * PARAMETERS.window_slots
    assert len([key for key in subject.log if key.startswith(b"slot/")]) <= 16 + 2 * PARAMETERS.window_slots + 1
    assert len(subject.engine._ordering.recent) <= 8  # type: ignore[attr-defined]


def check_domains_are_separate(factory: EngineFactory) -> None:
    """A signature is good for one phase, chain and position only."""
    world = World(factory=factory)
    subject = world.subject(2)
    block = world.propose(1, b"a").proposal.block
    vote = world.vote(0, block)
    as_proposal = world.propose(1, b"a").proposal.signature
    assert not subject.hear(msgspec.structs.replace(world.vote(1, block), signature=as_proposal))
    moved = world.vote(0, extend(ROOT.block, 2, block.digest))
    assert not subject.hear(msgspec.structs.replace(vote, signature=moved.signature))
    abroad = World(factory=factory)
    abroad.committee = make_committee(4, chain=b"\x01" * 32)
    assert not subject.hear(abroad.vote(0, block))
    timeout = world.time_out(0, 4)
    (one,) = world.chain(1)
    assert not subject.hear(msgspec.structs.replace(timeout, highest=one)), "another lock under one signature"
    assert subject.hear(vote)


def check_statuses_are_answered_sparingly(factory: EngineFactory) -> None:
    """Ten answers a second to one member, whatever it asks."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(*world.chain(1, 2, 3))
    subject.outputs.clear()
    status = sign_status(world.committee, world.signers[3], 3, 1, 0, 0, 0)  # type: ignore[arg-type]
    request_everything = [status] * 50
    subject.hear(*request_everything)
    assert len([to for to, message in subject.sent_to() if not isinstance(message, Status)]) <= 3
