"""Tendermint's rules, each as a check that raises ``AssertionError`` where a factory's engines break it.

``test_rules`` runs every check against the real engine, which must pass, and against the mutants in ``mutants``,
each of which some check must catch.
"""

from __future__ import annotations

import msgspec

from consensus.committee import Committee
from consensus.engine import (
    EngineFactory,
    EngineParameters,
    PeerConnected,
    TimerFired,
    WorkLevel,
    compute_payload_digest,
)
from consensus.tendermint.messages import DecisionCertificate, Precommit, Prevote, Propose, Status, sign_status
from consensus.tendermint.steps import NIL
from primitives.codec import encode
from primitives.signing import Signer
from tests.consensus.cluster import STORM, Cluster, EngineUnderTest
from tests.consensus.tendermint.contender import read_vote
from tests.consensus.tendermint.crafting import Subject, World
from tests.consensus.tokens import make_committee

QUORUMS = {4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 10: 7}
OTHER = b"\x22" * 32


def check_a_lock_holds(factory: EngineFactory) -> None:
    """Line 23: whoever is locked prevotes nil for another fresh value, in every later round, and its own for its
    own."""
    subject = World(factory=factory).subject(0)
    digest = subject.lock(0, b"a")
    assert subject.precommitted() == {0: digest}
    for round in (1, 2):
        subject.go_to(round)
        subject.hear(subject.world.propose(round, b"b"))
        assert subject.prevoted()[round] == NIL, "a locked member prevoted another value"
    subject.go_to(4)
    subject.hear(subject.world.propose(4, b"a"))
    assert subject.prevoted()[4] == digest


def check_a_later_polka_unlocks(factory: EngineFactory) -> None:
    """Lines 28-30: a proof of lock of the lock's round or later."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.lock(0, b"a")
    subject.go_to(2)
    other = compute_payload_digest(b"b")
    assert subject.hear(world.propose(2, b"b", world.prove(1, other)))
    assert subject.prevoted()[2] == other


def check_an_earlier_polka_does_not_unlock(factory: EngineFactory) -> None:
    """Line 29: a proof of lock from before our lock is answered with nil."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.go_to(1)
    subject.lock(1, b"a")
    subject.go_to(2)
    assert subject.hear(world.propose(2, b"b", world.prove(0, compute_payload_digest(b"b"))))
    assert subject.prevoted()[2] == NIL, "an old polka unlocked"


def check_a_forged_proof_does_not_unlock(factory: EngineFactory) -> None:
    """Line 28: the prevotes of a proof of lock are signed, for this round and value, or they are nothing."""
    world = World(factory=factory)
    other = compute_payload_digest(b"b")
    good = world.prove(1, other)
    bent = msgspec.structs.replace(good, signatures=(bytes(64), *good.signatures[1:]))
    precommits = tuple(world.precommit(member, 1, other).signature for member in good.signers)
    for proof in (bent, msgspec.structs.replace(good, signatures=precommits)):
        subject = world.subject(0)
        subject.lock(0, b"a")
        subject.go_to(2)
        subject.hear(world.propose(2, b"b", proof))
        assert 2 not in subject.prevoted(), "a forged proof of lock was taken"
        subject.hear(world.propose(2, b"b", good))
        assert subject.prevoted()[2] == other, "a forged proof kept out the good one"


def check_quorums_count_distinct_members(factory: EngineFactory) -> None:
    """Lines 36 and 49: q distinct members prevote, q precommit, for every n; a message said twice counts once."""
    for size, quorum in QUORUMS.items():
        world = World(size, factory)
        subject = world.subject(0)
        propose = world.propose(0, b"a")
        digest = propose.proposal.digest
        subject.hear(propose)
        for members, sender in enumerate(range(1, size), start=1):
            assert bool(subject.precommitted()) == (members >= quorum), f"n = {size}: {members} members prevoted"
            subject.hear(*[world.prevote(sender, 0, digest)] * 2)
        for members, sender in enumerate(range(1, size), start=1):
            assert bool(subject.decided()) == (members >= quorum), f"n = {size}: {members} members precommitted"
            subject.hear(*[world.precommit(sender, 0, digest)] * 2)
        assert subject.decided() == [(1, digest)]


def check_only_matching_votes_count(factory: EngineFactory) -> None:
    """Lines 36 and 49: votes count by value and round, not by number."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.propose(0, b"a"))
    digest = subject.prevoted()[0]
    subject.hear(world.prevote(1, 0, digest), world.prevote(2, 0, OTHER))
    assert not subject.precommitted()
    for sender, vote in ((1, digest), (2, OTHER), (3, NIL)):
        subject.hear(world.precommit(sender, 0, vote))
    assert not subject.decided()


def check_votes_are_durable_before_they_leave(factory: EngineFactory) -> None:
    """What is voted or proposed is in the log first, also where members crash between persisting and sending."""
    for seed in range(3):
        cluster = Cluster(4, seed, weather=STORM, under_test=EngineUnderTest(factory, read_vote))
        cluster.submit(4)
        cluster.run(200)
        cluster.hosts[seed].die_after_persist = True
        cluster.run(400)
        if cluster.hosts[seed].engine is None:
            cluster.hosts[seed].start()
        cluster.submit(2)
        cluster.run(3_000)
        assert not cluster.violations, cluster.violations


def check_a_restart_repeats_the_same_votes(factory: EngineFactory) -> None:
    """A vote of this height, round and type is cast once; after a restart it is that one, byte for byte."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.propose(0, b"a"))
    before = subject.sent(Prevote)[0]
    subject.restart()
    assert {encode(vote) for vote in subject.sent(Prevote)} == {encode(before)}
    subject.hear(world.propose(0, b"b"))
    subject.work()
    subject.expire("propose")
    assert {encode(vote) for vote in subject.sent(Prevote)} == {encode(before)}, "another vote after a restart"
    subject.hear_polka(0, before.digest)
    precommit = subject.sent(Precommit)[0]
    subject.restart()
    subject.hear(*[world.prevote(sender, 0, NIL) for sender in (1, 2, 3)])
    assert {encode(vote) for vote in subject.sent(Precommit)} == {encode(precommit)}
    late = world.subject(0)
    late.work()
    late.expire("propose")
    assert late.prevoted() == {0: NIL}
    late.restart()
    late.hear(world.propose(0, b"a"))
    assert late.prevoted() == {0: NIL}, "what was prevoted nil before a restart got a vote after it"


def check_a_restarted_proposer_repeats_its_proposal(factory: EngineFactory) -> None:
    """Line 19 happens once per round, across restarts."""
    subject = World(factory=factory).subject(1)
    digest = subject.build(b"a")
    before = subject.sent(Propose)[0]
    subject.restart()
    subject.work()
    assert not [wish for output in subject.outputs for wish in output.wishes if hasattr(wish, "ticket")]
    subject.hear(_make_status(subject.world.committee, subject.world.signers[2]))
    assert {encode(again) for again in subject.sent(Propose)} == {encode(before)}
    assert subject.prevoted() == {0: digest}


def check_a_lock_survives_a_restart(factory: EngineFactory) -> None:
    """Lines 38-39 are remembered: the lock refuses, and the valid value is proposed again with its proof."""
    world = World(factory=factory)
    subject = world.subject(0)
    digest = subject.lock(0, b"a")
    subject.restart()
    subject.go_to(1)
    subject.hear(world.propose(1, b"b"))
    assert subject.prevoted()[1] == NIL, "a restart forgot the lock"
    subject.go_to(3)
    assert len(subject.sent(Propose)) == 1, "no valid value was proposed again"
    propose = subject.sent(Propose)[0]
    assert (propose.proposal.round, propose.proposal.digest, propose.proposal.valid_round) == (3, digest, 0)
    assert propose.proof is not None and propose.proof.round == 0


def check_a_later_lock_survives_a_restart(factory: EngineFactory) -> None:
    """Line 39: a lock that moved to a later round does not fall back to the first one."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.lock(0, b"a")
    other = compute_payload_digest(b"b")
    subject.go_to(2)
    subject.hear(world.propose(2, b"b", world.prove(1, other)))
    subject.hear_polka(2, other)
    assert subject.precommitted()[2] == other
    subject.restart()
    subject.go_to(4)
    subject.hear(world.propose(4, b"a", world.prove(1, compute_payload_digest(b"a"))))
    assert subject.prevoted()[4] == NIL, "a restart brought the older lock back"


def check_only_the_proposer_proposes(factory: EngineFactory) -> None:
    """Lines 22 and 28: proposer(h, round) moves on with every round and every height."""
    world = World(factory=factory)
    subject = world.subject(0)
    assert not subject.hear(world.propose(0, b"a", sender=2)), "a proposal of somebody else was taken"
    assert not subject.prevoted()
    assert subject.hear(world.propose(0, b"a"))
    proposers = {(height, round): world.proposer(round, height) for height in (1, 2) for round in (0, 1)}
    assert proposers == {(1, 0): 1, (1, 1): 2, (2, 0): 2, (2, 1): 3}
    subject.hear(world.decide(0, compute_payload_digest(b"a")))
    assert subject.engine.statistics().primary == 2


def check_timeouts_grow_are_capped_and_shrink(factory: EngineFactory) -> None:
    """Lines 21, 35, 48: each of the three grows with the round, up to a cap, and is the first again in the next
    height."""
    world = World(factory=factory)
    subject = world.subject(0, EngineParameters(window_slots=4, base_timeout_ms=100, max_timeout_ms=400))
    subject.work()
    delays: dict[str, list[int | None]] = {"propose": [], "prevote": [], "precommit": []}
    for round in range(5):
        _fire_early(subject, "propose", delays)
        subject.expire("propose")
        subject.hear(world.prevote(1, round, NIL), world.prevote(2, round, OTHER))
        _fire_early(subject, "prevote", delays)
        subject.hear(world.prevote(3, round, NIL), world.precommit(1, round, NIL), world.precommit(2, round, NIL))
        _fire_early(subject, "precommit", delays)
        subject.expire("precommit")
    assert subject.round == 5
    assert delays["propose"] == [100, 200, 400, 400, 400], delays
    assert delays["prevote"] == delays["precommit"] == [25, 50, 100, 100, 100], delays
    subject.hear(world.decide(5, OTHER))
    subject.certify(1)
    _fire_early(subject, "propose", delays)
    assert delays["propose"][-1] == 100


def _fire_early(subject: Subject, timer: str, delays: dict[str, list[int | None]]) -> None:
    """A timer that fires before it is due is set again: for how long is written down."""
    output = subject.feed(TimerFired(timer))
    delays[timer].append(next((order.delay_ms for order in output.timers if order.timer == timer), None))


def check_later_rounds_pull_us_along(factory: EngineFactory) -> None:
    """Lines 55-56: f + 1 members in a later round take us there, fewer do not, and of fewer rounds neither."""
    for size in (4, 7):
        world = World(size, factory)
        subject = world.subject(0)
        needed = world.committee.faults + 1
        for members, sender in enumerate(range(1, needed + 1), start=1):
            subject.hear(world.prevote(sender, 5, NIL), world.precommit(sender, 5, NIL))
            assert subject.round == (5 if members >= needed else 0), f"n = {size}: {members} members"
        assert subject.log, "the new round is logged"


def check_nil_votes_end_a_round(factory: EngineFactory) -> None:
    """Lines 44-48 and 65-67: a quorum of nil prevotes precommits nil, any quorum of precommits starts the clock."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.work()
    subject.expire("propose")
    assert subject.prevoted() == {0: NIL}
    subject.hear_polka(0, NIL)
    assert subject.precommitted() == {0: NIL}, "nil prevotes did not count"
    subject.hear(world.precommit(1, 0, NIL), world.precommit(2, 0, OTHER))
    subject.expire("precommit")
    assert subject.round == 1, "nil precommits did not count"


def check_a_split_vote_ends_too(factory: EngineFactory) -> None:
    """Lines 34-35 and 61-64: a quorum that prevoted different things is waited for, but not for ever."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.propose(0, b"a"), world.prevote(1, 0, NIL), world.prevote(2, 0, OTHER))
    assert not subject.precommitted()
    subject.expire("prevote")
    assert subject.precommitted() == {0: NIL}


def check_the_valid_value_is_proposed_again(factory: EngineFactory) -> None:
    """Lines 15-16 and 42-43: a proposer that knows a valid value proposes that, with its round and proof, also
    where it did not precommit it."""
    world = World(factory=factory)
    subject = world.subject(2)  # proposes in round 1
    subject.work()
    subject.hear(
        world.propose(0, b"a"), world.prevote(0, 0, NIL), world.prevote(1, 0, compute_payload_digest(b"a"))
    )
    subject.expire("prevote")
    assert subject.precommitted() == {0: NIL}
    subject.hear(world.prevote(3, 0, compute_payload_digest(b"a")))
    subject.hear(*[world.precommit(sender, 0, NIL) for sender in (0, 1, 3)])
    subject.expire("precommit")
    assert len(subject.sent(Propose)) == 1, "no valid value was proposed again"
    propose = subject.sent(Propose)[0]
    assert (propose.payload, propose.proposal.valid_round) == (b"a", 0)
    assert propose.proof is not None and propose.proof.signers == (1, 2, 3)
    assert subject.prevoted()[1] == compute_payload_digest(b"a")


def check_a_valid_value_outlives_many_rounds(factory: EngineFactory) -> None:
    """Lines 15-16 and 28: long after the prevotes of its round were forgotten, we propose the valid value, and
    prevote it ourselves."""
    world = World(factory=factory)
    for restarts in (False, True):
        subject = world.subject(0)
        digest = subject.lock(0, b"a")
        subject.go_to(10)
        if restarts:
            subject.restart()
        subject.go_to(11)
        assert [propose.proposal.valid_round for propose in subject.sent(Propose)] == [0]
        assert subject.prevoted()[11] == digest, "a proposer waits for its own proposal for ever"


def check_an_invalid_payload_gets_nil(factory: EngineFactory) -> None:
    """Lines 23 and 26: nothing halts, and nobody votes for it; not even with a polka would we lock it."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.propose(0, b"invalid"))
    assert subject.prevoted() == {0: NIL}
    subject.hear_polka(0, compute_payload_digest(b"invalid"))
    assert compute_payload_digest(b"invalid") not in subject.precommitted().values()


def check_a_certificate_decides_in_any_round(factory: EngineFactory) -> None:
    """Lines 49-54: q precommits of whatever round decide, and the next height begins."""
    for round in (0, 1, 7):
        world = World(factory=factory)
        subject = world.subject(0)
        subject.go_to(1)
        assert subject.hear(world.decide(round, OTHER)), f"the certificate of round {round} was not wanted"
        assert subject.decided() == [(1, OTHER)]
        assert subject.hear(world.propose(0, b"b", height=2)), "the next height has not begun"


def check_late_precommits_are_sent_again(factory: EngineFactory) -> None:
    """What one member decided alone, all certify, without a round failing."""
    cluster = Cluster(4, under_test=EngineUnderTest(factory, read_vote))
    cluster.filter = lambda sender, receiver, message: not isinstance(message, Precommit) or receiver.name == "m0"
    cluster.submit(2)
    cluster.run(100)
    assert cluster.hosts[0].decided and not cluster.hosts[1].decided, "the scene is not set"
    cluster.filter = lambda sender, receiver, message: not isinstance(message, Precommit | Prevote)
    assert cluster.run_until(cluster.is_done, 850), "nobody sent the decision"
    assert {host.engine.statistics().view_changes for host in cluster.hosts if host.engine} == {0}


def check_lost_votes_are_sent_again(factory: EngineFactory) -> None:
    """No timeout runs before a quorum prevoted (line 34): where votes are lost only sending them again helps."""
    cluster = Cluster(4, under_test=EngineUnderTest(factory, read_vote))
    cluster.filter = lambda sender, receiver, message: not isinstance(message, Prevote | Precommit | Status)
    cluster.submit(2)
    cluster.run(100)
    assert not any(host.decided for host in cluster.hosts), "the scene is not set"
    cluster.filter = lambda sender, receiver, message: True
    assert cluster.run_until(cluster.is_done, 850), "nobody sent the votes again"


def check_a_dead_proposer_costs_one_round(factory: EngineFactory) -> None:
    """The next proposer takes over after timeoutPropose and timeoutPrecommit, again and again as heights pass."""
    cluster = Cluster(4, under_test=EngineUnderTest(factory, read_vote))
    cluster.hosts[1].crash()
    for _ in range(5):
        cluster.submit(2)
        assert cluster.run_until(cluster.is_done, 3_000), "a dead proposer stops everything"


def check_a_split_committee_heals(factory: EngineFactory) -> None:
    """Members that were apart for many rounds find together soon after, wherever their rounds are."""
    cluster = Cluster(4, under_test=EngineUnderTest(factory, read_vote))
    cluster.partition(("m0", "m1"), ("m2", "m3"))
    cluster.submit(2)
    cluster.run(30_000)
    cluster.partition(("m0", "m1", "m2"), ("m3",))
    cluster.heal()
    assert cluster.run_until(cluster.is_done, 15_000), "the halves do not find together"
    cluster.hosts[3].crash()
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 15_000)
    assert not cluster.violations


def check_contradictions_are_evidence(factory: EngineFactory) -> None:
    """The first of two stands; both signed copies are kept, once per round and member, and prove it to anybody."""
    world = World(factory=factory)
    subject = world.subject(0)
    first, second = world.propose(0, b"a"), world.propose(0, b"b")
    subject.hear(first, second, second)
    subject.hear(world.prevote(2, 0, OTHER), world.prevote(2, 0, NIL), world.prevote(2, 0, first.proposal.digest))
    subject.hear(world.precommit(3, 0, OTHER), world.precommit(3, 0, NIL))
    found = [(evidence.kind, evidence.culprit) for evidence in subject.evidence()]
    assert found == [("conflicting-proposal", 1), ("conflicting-prevote", 2), ("conflicting-precommit", 3)]
    assert set(subject.evidence()[0].messages) == {encode(first.proposal), encode(second.proposal)}
    assert subject.prevoted() == {0: first.proposal.digest}, "a second proposal replaced the first"
    for evidence in subject.evidence():
        position = factory.verify_evidence(evidence, world.committee, subject.scheme, subject.parameters)
        assert (position.slot, position.view) == (1, 0)


def check_floods_are_bounded(factory: EngineFactory) -> None:
    """One sender's early messages are limited in rounds, heights and bytes, and the newest rounds are kept."""
    payload = bytes(100_000)
    world = World(factory=factory)
    subject = world.subject(0, EngineParameters(window_slots=4, max_payload_bytes=len(payload)))
    for round in range(1, 400):
        if world.proposer(round) == 2:
            subject.hear(world.propose(round, payload))
        subject.hear(world.prevote(2, round, OTHER), world.precommit(2, round, OTHER))
    assert subject.round == 0
    for height in range(2, 40):
        for round in range(3):
            if world.proposer(round, height) == 2:
                subject.hear(world.propose(round, payload, height=height))
    assert subject.engine.statistics().buffered_bytes <= 4 * len(payload)
    assert not subject.hear(world.precommit(3, 0, OTHER, height=6)), "a vote above the window was kept"
    assert not subject.hear(world.decide(0, OTHER, height=5)), "a decision above the window was taken"
    assert not subject.hear(world.propose(0, payload + b"x")), "an oversized payload was taken"
    assert subject.hear(world.prevote(3, 399, OTHER)), "the newest rounds were dropped"
    assert subject.round == 399


def check_nothing_is_voted_above_the_window(factory: EngineFactory) -> None:
    """Heights run ahead of certification by L and no further."""
    world = World(factory=factory)
    subject = world.subject(0, EngineParameters(window_slots=2))
    for height in (1, 2):
        subject.hear(world.decide(0, OTHER, height))
    subject.hear(world.propose(0, b"a", height=3))
    subject.work()
    assert not subject.prevoted()
    subject.certify(1)
    assert subject.prevoted() == {0: compute_payload_digest(b"a")}, "what came early was lost"


def check_domains_are_separate(factory: EngineFactory) -> None:
    """A signature is good for one phase, chain, round and height only."""
    world = World(factory=factory)
    subject = world.subject(0)
    vote, precommit = world.prevote(2, 0, OTHER), world.precommit(2, 0, OTHER)
    others = (
        precommit,
        world.prevote(2, 1, OTHER),
        world.prevote(2, 0, OTHER, height=2),
        world.prevote(3, 0, OTHER),
    )
    for other in others:
        bent = msgspec.structs.replace(vote, signature=other.signature)
        assert not subject.hear(bent), "a signature was good for something else"
    abroad = World(factory=factory)
    abroad.committee = make_committee(4, chain=b"\x01" * 32)
    assert not subject.hear(abroad.prevote(2, 0, OTHER)), "another chain's vote was taken"
    propose = world.propose(0, b"a")
    moved = msgspec.structs.replace(
        world.proposal(1, propose.proposal.digest), signature=propose.proposal.signature
    )
    assert not subject.hear(Propose(moved, b"a", None)), "a proposal moved to another round"
    assert subject.hear(vote)


def check_idle_members_stay_quiet(factory: EngineFactory) -> None:
    """Without work no payload is wished for, no timeout runs, no round ends; and one voice alone wakes nobody."""
    cluster = Cluster(4, under_test=EngineUnderTest(factory, read_vote))
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 1_000)
    cluster.run(200)
    sent = []
    cluster.trace = lambda host, output: sent.extend(output.send)
    cluster.run(60_000)
    assert not sent, "idle members talk"
    subject = World(factory=factory).subject(0)
    subject.hear(subject.world.prevote(2, 0, NIL))
    assert not [order for order in subject.timers() if order.delay_ms is not None], "one voice started a timer"
    subject.hear(subject.world.prevote(3, 0, NIL))
    assert [order.timer for order in subject.timers()] == ["propose", "resend"]


def check_reconnected_peers_get_our_votes(factory: EngineFactory) -> None:
    """After a reconnect the peer has our status and our stored votes, byte for byte."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.lock(0, b"a")
    before = {encode(vote) for vote in (*subject.sent(Prevote), *subject.sent(Precommit))}
    subject.outputs.clear()
    subject.feed(PeerConnected(2))
    assert {encode(vote) for vote in (*subject.sent(Prevote), *subject.sent(Precommit))} == before
    assert [status.height for status in subject.sent(Status)] == [1]
    assert {send.to for output in subject.outputs for send in output.send} == {2}


def check_lagging_members_are_served(factory: EngineFactory) -> None:
    """A status from below is answered with decision certificates; one from ahead is answered with a question."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.hear(world.decide(0, OTHER))
    subject.hear(_make_status(world.committee, world.signers[2]))
    assert [certificate.height for certificate in subject.sent(DecisionCertificate)] == [1]
    subject.hear(world.decide(0, OTHER, height=2))
    subject.certify(1)
    subject.now_ms += 1_000
    subject.hear(_make_status(world.committee, world.signers[2]))
    served = [certificate.height for certificate in subject.sent(DecisionCertificate)]
    assert served == [1, 1, 2], "what is certified is not served any more"
    subject.outputs.clear()
    subject.now_ms += 1_000
    subject.hear(_make_status(world.committee, world.signers[2], height=4))
    assert [status.height for status in subject.sent(Status)] == [3]
    assert not subject.sent(DecisionCertificate)


def check_who_is_a_round_behind_is_shown_the_way_out(factory: EngineFactory) -> None:
    """A faulty member may precommit to us alone and fall silent: the others need its vote to leave the round."""
    world = World(factory=factory)
    subject = world.subject(0)
    subject.work()
    subject.expire("propose")
    subject.hear(*[world.prevote(sender, 0, NIL) for sender in (2, 3)])
    subject.hear(world.precommit(2, 0, NIL), world.precommit(3, 0, NIL))
    subject.expire("precommit")
    assert subject.round == 1
    subject.outputs.clear()
    subject.now_ms += 1_000
    subject.hear(_make_status(world.committee, world.signers[2]))
    assert {vote.sender for vote in subject.sent(Precommit) if vote.round == 0} == {0, 3}
    assert {send.to for output in subject.outputs for send in output.send} == {2}


def check_overdue_work_is_pending_work(factory: EngineFactory) -> None:
    """A complaint needs nothing special: the proposer's round ends by timeoutPropose, the next member proposes."""
    subject = World(factory=factory).subject(2)
    subject.work(WorkLevel.OVERDUE)
    subject.expire("propose")
    assert subject.prevoted() == {0: NIL}


def _make_status(committee: Committee, signer: Signer, height: int = 1) -> Status:
    return sign_status(committee, signer, 2, 0, height, height - 1, False)
