"""Wishes, proposals and answers of one member, one by one."""

from __future__ import annotations

from consensus.engine import CancelWish, ObtainPayload, PayloadBuilt, compute_payload_digest
from consensus.hotstuff.messages import (
    CommitProof,
    Propose,
    QuorumCertificate,
    Stage,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
    repeat,
    sign_status,
)
from tests.consensus.hotstuff.crafting import ROOT, Subject, World


def _ask(subject: Subject, sender: int, view: int, lock: int, decided: int, stage: Stage) -> list[object]:
    """What a member that says this is answered."""
    subject.outputs.clear()
    subject.now_ms += 1_000
    world = subject.world
    subject.hear(sign_status(world.committee, world.signers[sender], sender, view, lock, decided, stage))
    return [type(message) for to, message in subject.sent_to() if to == sender]


def _obtained(subject: Subject) -> list[tuple[int, bool]]:
    wishes = [wish for output in subject.outputs for wish in output.wishes]
    return [(wish.slot, wish.proven) for wish in wishes if isinstance(wish, ObtainPayload)]


def test_a_payload_that_is_held_for_one_slot_is_not_held_for_another() -> None:
    """Its validity depends on the slot, and its bodies are pinned for that slot alone."""
    world = World()
    subject = world.subject(0)
    first = world.propose(1, b"payload of 1")
    subject.hear(first)
    subject.holds_payloads = False
    subject.hear(world.propose(2, b"payload of 1", world.certify_block(first.proposal.block)))
    assert _obtained(subject) == [(1, False), (2, False)]
    assert [block.slot for block in subject.voted()] == [1]


def test_what_a_quorum_vouches_for_skips_the_clock() -> None:
    world = World()
    subject = world.subject(0)
    subject.hear(world.propose(2, None, *world.chain(1)))
    assert _obtained(subject) == [(1, True)]


def test_the_wish_names_what_is_in_flight_below() -> None:
    world = World()
    leader = world.subject(3)
    leader.work()
    one, two = world.chain(1, 2)
    leader.hear(one, two)
    (wish,) = leader.wishes()
    assert (wish.slot, wish.ancestors, wish.allow_null) == (3, (one.block.digest, two.block.digest), True)
    leader.certify(1)
    assert len(leader.wishes()) == 1, "what was certified since may stay in the list"


def test_a_wish_ends_with_its_view() -> None:
    world = World()
    leader = world.subject(3)
    leader.work()
    (one,) = world.chain(1)
    leader.hear(one, world.certify_timeouts(2, dict.fromkeys(range(3), one)))
    (wish,) = leader.wishes()
    leader.hear(world.certify_timeouts(3, dict.fromkeys(range(3), one)))
    cancelled = [item.ticket for output in leader.outputs for item in output.wishes if isinstance(item, CancelWish)]
    assert cancelled == [wish.ticket]
    leader.feed(PayloadBuilt(wish.ticket, b"late"))
    assert not leader.sent(Propose)


def test_without_work_the_leader_repeats_at_once() -> None:
    world = World()
    leader = world.subject(2)
    (one,) = world.chain(1)
    leader.hear(one)
    (message,) = leader.sent(Propose)
    assert message.payload is None
    assert message.proposal.block == repeat(one.block, 2)
    assert leader.wishes() == []


def test_a_leader_that_lacks_entries_repeats_and_asks_for_them() -> None:
    """It cannot say what is in flight, so it would order batches twice."""
    world = World()
    leader = world.subject(3)
    leader.work()
    _, two = world.chain(1, 2)
    leader.hear(two)
    assert leader.wishes() == []
    assert [message.proposal.block for message in leader.sent(Propose)] == [repeat(two.block, 3)]


def test_with_a_full_window_the_leader_repeats() -> None:
    world = World()
    leader = world.subject(3)
    leader.work()
    chain = world.chain(1, 3, 5, 7)  # as many slots as the window has, none of them committed
    leader.hear(*chain, world.certify_timeouts(10, dict.fromkeys(range(3), chain[-1])))
    assert leader.view == 11
    assert leader.decided() == []
    assert [message.proposal.block for message in leader.sent(Propose)] == [repeat(chain[-1].block, 11)]


def test_who_is_behind_is_told_what_leads_on() -> None:
    world = World()
    subject = world.subject(2)  # leads none of the views that it comes to
    one, two, three = world.chain(1, 2, 3)
    subject.hear(one, two, three)
    assert _ask(subject, 3, 1, 0, 0, Stage.WAITING) == [CommitProof]
    subject.hear(world.certify_block(repeat(three.block, 6)))
    assert _ask(subject, 3, 1, 0, 0, Stage.WAITING) == [CommitProof, QuorumCertificate]
    assert _ask(subject, 3, 7, 6, 2, Stage.WAITING) == []
    subject.hear(world.certify_timeouts(8, dict.fromkeys(range(3), three)))
    assert _ask(subject, 3, 7, 6, 2, Stage.TIMED_OUT) == [TimeoutCertificate]
    assert _ask(subject, 3, 9, 6, 2, Stage.WAITING) == [TimeoutCertificate]
    assert _ask(subject, 3, 9, 6, 2, Stage.PROPOSED) == []


def test_a_proposal_is_passed_on_by_who_voted_for_it() -> None:
    world = World()
    voter = world.subject(0)
    message = world.propose(1, b"payload of 1")
    voter.hear(message)
    assert _ask(voter, 3, 1, 0, 0, Stage.WAITING) == [Propose]
    (passed_on,) = voter.sent(Propose)
    assert passed_on == Propose(message.proposal, None)
    late = world.subject(3)
    late.hear(passed_on)
    assert late.voted() == [message.proposal.block]
    undecided = world.subject(0)
    undecided.holds_payloads = False
    undecided.hear(message)
    assert _ask(undecided, 3, 1, 0, 0, Stage.WAITING) == [], "what we would not vote for we do not pass on"


def test_votes_are_repeated_to_who_collects_them_and_timeouts_to_all() -> None:
    world = World()
    subject = world.subject(0)
    subject.hear(world.propose(1, b"payload of 1"))
    assert _ask(subject, 2, 1, 0, 0, Stage.PROPOSED) == [Vote]
    assert _ask(subject, 3, 1, 0, 0, Stage.PROPOSED) == []
    subject.expire("view")
    assert _ask(subject, 3, 1, 0, 0, Stage.TIMED_OUT) == [Timeout, Vote]


def test_who_is_ahead_is_asked() -> None:
    subject = World().subject(0)
    assert _ask(subject, 1, 5, 4, 3, Stage.WAITING) == [Status]
    assert _ask(subject, 1, 1, 0, 0, Stage.WAITING) == []


def test_a_proposal_far_ahead_leads_there() -> None:
    world = World()
    subject = world.subject(0)
    (far,) = world.chain(98)
    subject.hear(world.propose(99, b"payload of 9", far))
    assert subject.view == 99
    assert [block.view for block in subject.voted()] == [99]


def test_a_leader_is_not_silent_once_it_is_heard() -> None:
    world = World()
    subject = world.subject(0)
    state = subject.engine._state  # type: ignore[attr-defined]
    subject.hear(world.certify_timeouts(1, dict.fromkeys((0, 2, 3), ROOT)))
    assert state.silent == {1}
    subject.hear(world.vote(1, world.propose(2, b"x").proposal.block))
    assert state.silent == set()
    subject.hear(world.time_out(2, 2), world.certify_timeouts(2))
    assert state.silent == set(), "it gave its view up with the others"


def test_an_oversized_payload_is_not_needed() -> None:
    world = World()
    subject = world.subject(0)
    huge = world.propose(1, bytes(subject.parameters.max_payload_bytes + 1))
    assert not subject.hear(huge)
    assert compute_payload_digest(b"") != huge.proposal.block.digest
