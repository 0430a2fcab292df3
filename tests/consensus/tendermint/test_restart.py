"""What a restarted engine takes back from its log, and what it refuses to read."""

from __future__ import annotations

import pytest

from consensus.engine import BuildPayload, EngineParameters, ObtainPayload, PayloadHeld, compute_payload_digest
from consensus.outbox import STABLE_KEY
from consensus.tendermint.messages import Precommit, Prevote, Propose, Status
from consensus.tendermint.records import CurrentRound, compute_slot_key
from consensus.tendermint.steps import NIL
from primitives.codec import encode
from primitives.errors import LocalError
from tests.consensus.tendermint.crafting import FACTORY, PARAMETERS, Subject, World
from tests.consensus.tokens import TokenScheme, make_signers

OTHER = b"\x22" * 32


def _restore(world: World, subject: Subject, records: dict[bytes, bytes], index: int | None = None) -> None:
    signer = world.signers[subject.index if index is None else index]
    FACTORY.restore(world.committee, signer, subject.scheme, subject.parameters, None, records)


def test_round_and_step_survive() -> None:
    world = World()
    subject = world.subject(0)
    subject.go_to(5)
    subject.hear(world.propose(5, b"a"))
    subject.restart()
    assert subject.round == 5
    assert subject.prevoted() == {5: compute_payload_digest(b"a")}
    subject.hear_polka(5, compute_payload_digest(b"a"))
    assert subject.precommitted() == {5: compute_payload_digest(b"a")}


def test_a_round_without_a_vote_begins_again() -> None:
    subject = World().subject(0)
    subject.go_to(4)
    subject.restart()
    subject.work()
    subject.expire("propose")
    assert (subject.round, subject.prevoted()) == (4, {4: NIL})


def test_votes_of_the_last_two_rounds_are_sent_again() -> None:
    world = World()
    subject = world.subject(0)
    subject.work()
    for round in range(3):
        subject.hear(*[world.prevote(sender, round, NIL) for sender in (1, 2)])
        subject.expire("propose")
        subject.hear(*[world.precommit(sender, round, NIL) for sender in (1, 2)])
        if round < 2:
            subject.expire("precommit")
    before = {encode(vote) for vote in (*subject.sent(Prevote), *subject.sent(Precommit)) if vote.round >= 1}
    subject.restart()
    again = {encode(vote) for vote in (*subject.sent(Prevote), *subject.sent(Precommit))}
    assert again == before
    assert len(before) == 4


def test_the_payload_of_what_we_voted_for_is_asked_for_again_as_proven() -> None:
    world = World()
    subject = world.subject(0)
    digest = subject.lock(0, b"a")
    subject.holds_payloads = False
    subject.restart()
    wishes = [wish for output in subject.outputs for wish in output.wishes]
    assert wishes == [ObtainPayload(1, digest, None, (1, 2, 3), True)]


def test_a_decision_is_announced_again() -> None:
    world = World()
    subject = world.subject(0)
    subject.hear(world.decide(0, OTHER), world.decide(0, OTHER, height=3))
    subject.restart()
    assert subject.decided() == [(1, OTHER), (3, OTHER)]
    assert subject.hear(world.propose(0, b"b", height=2))


def test_a_full_window_of_decisions_is_told_again_until_it_is_certified() -> None:
    """No height is open then, and nothing has happened in this life since which silence could be counted."""
    world = World()
    subject = world.subject(0, EngineParameters(window_slots=2))
    subject.hear(world.decide(0, OTHER), world.decide(0, OTHER, height=2))
    subject.restart()
    assert subject.decided() == [(1, OTHER), (2, OTHER)]
    told = len(subject.sent(Status))
    subject.expire("resend")
    assert len(subject.sent(Status)) == told + 1


def test_records_of_certified_heights_go_and_leave_the_certificate() -> None:
    world = World()
    subject = world.subject(0)
    subject.lock(0, b"a")
    subject.hear(world.decide(0, compute_payload_digest(b"a")))
    subject.certify(1)
    subject.hear(world.propose(0, b"b", height=2))
    assert STABLE_KEY in subject.log
    assert not [key for key in subject.log if key.startswith(b"slot/%016x/" % 1)]
    subject.restart()
    assert subject.engine.statistics().last_certified == 1


def test_votes_above_a_chain_that_lost_its_end_wait_for_their_height() -> None:
    """The log knows a vote for height 3, the chain's store nothing at all: height 3 comes with its vote."""
    world = World()
    subject = world.subject(0, EngineParameters(window_slots=4))
    for height in (1, 2):
        subject.hear(world.decide(0, OTHER, height))
    subject.hear(world.propose(0, b"a", height=3))
    digest = subject.prevoted()[0]
    records = {key: value for key, value in subject.log.items() if not key.endswith(b"/decided")}
    subject.log = records
    subject.restart()
    subject.hear(world.decide(0, OTHER), world.decide(0, OTHER, height=2))
    subject.hear(world.propose(0, b"b", height=3))
    assert {vote.digest for vote in subject.sent(Prevote) if vote.height == 3} == {digest}


def test_others_records_are_refused() -> None:
    world = World()
    subject = world.subject(0)
    subject.lock(0, b"a")
    with pytest.raises(LocalError):
        _restore(world, subject, subject.log, index=1)
    for key, value in (
        (b"nonsense", b""),
        (b"slot/1/round", encode(CurrentRound(1))),
        (b"slot/zz/round", encode(CurrentRound(1))),
        (compute_slot_key(1, b"unknown"), b""),
        (compute_slot_key(1, b"prevote-even"), b"\x00"),
        (compute_slot_key(2, b"prevote-even"), subject.log[compute_slot_key(1, b"prevote-even")]),
        (compute_slot_key(1, b"prevote-odd"), encode(world.prevote(0, 1, OTHER))),
        (
            compute_slot_key(1, b"proposal"),
            encode(world.proposal(0, OTHER).__class__(0, 1, OTHER, 9, bytes(64), -1)),
        ),
    ):
        with pytest.raises(LocalError):
            _restore(world, subject, {**subject.log, key: value})
    lonely = {key: value for key, value in subject.log.items() if not key.endswith(b"/valid")}
    with pytest.raises(LocalError):
        _restore(world, subject, lonely)


def test_senseless_parameters_are_refused() -> None:
    world = World()
    for parameters in (
        EngineParameters(window_slots=0),
        EngineParameters(window_slots=1_000),
        EngineParameters(extra={"colour": "red"}),
        EngineParameters(base_timeout_ms=0),
        EngineParameters(leader_schedule="nobody"),
    ):
        with pytest.raises(LocalError):
            FACTORY.create(world.committee, world.signers[0], TokenScheme(), parameters, None)
    with pytest.raises(LocalError):
        FACTORY.create(world.committee, make_signers(5)[4], TokenScheme(), PARAMETERS, None)


def test_a_schedule_that_refuses_to_rotate_is_left_alone() -> None:
    world = World()
    for schedule, proposers in (("round-robin", [1, 2, 3]), ("fixed", [0, 0, 0])):
        subject = world.subject(0, EngineParameters(window_slots=4, leader_schedule=schedule))
        seen = []
        for height in (1, 2, 3):
            seen.append(subject.engine.statistics().primary)
            subject.hear(world.decide(0, OTHER, height))
        assert seen == proposers


def _propose_height_1_round_3_without_its_payload(world: World) -> tuple[Subject, bytes]:
    """Locked in round 0, restarted, and the proposer of round 3 while the pins are still read."""
    subject = world.subject(0)
    digest = subject.lock(0, b"a")
    subject.holds_payloads = False
    subject.restart()
    subject.go_to(3)
    assert not subject.sent(Propose)
    return subject, digest


def test_a_valid_value_is_proposed_when_its_payload_is_here_again() -> None:
    subject, digest = _propose_height_1_round_3_without_its_payload(World())
    subject.feed(PayloadHeld(1, digest, b"a", True))
    assert [(propose.proposal.digest, propose.proposal.valid_round) for propose in subject.sent(Propose)] == [
        (digest, 0)
    ]
    assert subject.prevoted()[3] == digest


def test_a_proposer_that_waits_for_its_payload_does_not_wait_for_ever() -> None:
    subject, _ = _propose_height_1_round_3_without_its_payload(World())
    subject.expire("propose")
    assert subject.prevoted()[3] == NIL


def test_a_logged_proposal_is_the_only_one_of_its_round() -> None:
    """Even with the prevote that was logged beside it gone, and another payload at hand."""
    subject = World().subject(1)
    digest = subject.build(b"a")
    before = subject.sent(Propose)[0]
    subject.log = {key: value for key, value in subject.log.items() if b"prevote" not in key}
    subject.restart()
    subject.work()
    assert not [wish for output in subject.outputs for wish in output.wishes if isinstance(wish, BuildPayload)]
    assert [encode(again) for again in subject.sent(Propose)] == [encode(before)]
    assert subject.prevoted() == {0: digest}
