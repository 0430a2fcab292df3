"""Coming back from the log: what is kept, what is announced again, and whose log it is."""

from __future__ import annotations

import pytest

from consensus.engine import EngineParameters
from consensus.hotstuff.messages import Propose, QuorumCertificate, Timeout, sign_status
from consensus.hotstuff.records import COMMIT, HIGHEST, STABLE
from primitives.errors import LocalError
from tests.consensus.hotstuff.crafting import FACTORY, PARAMETERS, Subject, World
from tests.consensus.tokens import TokenScheme


def _restore(subject: Subject, index: int, **changes: bytes) -> None:
    world = subject.world
    records = {**subject.log, **{name.encode(): value for name, value in changes.items()}}
    FACTORY.restore(world.committee, world.signers[index], TokenScheme(), PARAMETERS, None, records)


def test_a_decision_is_announced_again_until_it_is_certified() -> None:
    subject = World().subject(0)
    chain = subject.world.chain(1, 2, 3)
    subject.hear(*chain)
    assert [slot for slot, _ in subject.decided()] == [1, 2]
    subject.restart()
    assert [slot for slot, _ in subject.decided()] == [1, 2]
    subject.certify(1)
    subject.hear(*subject.world.chain(1, 2, 3, 4))
    assert STABLE in subject.log
    subject.restart()
    assert [slot for slot, _ in subject.decided()] == [2, 3]


def test_a_log_without_the_entries_asks_for_them() -> None:
    """The commit is known, what lies below is not: nothing is announced that may not be complete."""
    subject = World().subject(0)
    subject.hear(*subject.world.chain(1, 2, 3))
    subject.log = {key: value for key, value in subject.log.items() if not key.startswith(b"slot/")}
    subject.restart()
    assert subject.decided() == []
    assert COMMIT in subject.log


def test_the_view_follows_from_what_led_to_it() -> None:
    world = World()
    subject = world.subject(0)
    one, two = world.chain(1, 2)
    subject.hear(one, two)
    subject.restart()
    assert subject.view == 3
    subject.hear(world.certify_timeouts(4, dict.fromkeys(range(3), two)))
    assert subject.view == 5
    subject.hear(world.time_out(1, 5), world.time_out(2, 9))
    subject.restart()
    assert subject.view == 5
    subject.hear(world.time_out(1, 9), world.time_out(2, 9))
    assert subject.view == 10, "our own timeout was the third"
    subject.restart()
    assert subject.view == 10


def test_a_timeout_leaves_again_byte_for_byte_with_what_was_known_then() -> None:
    """It is frozen: a certificate that came later belongs to the next one."""
    world = World()
    subject = world.subject(0)
    one, two = world.chain(1, 2)
    subject.hear(one)
    subject.work()
    subject.hear(world.time_out(1, 5), world.time_out(2, 5))
    (before,) = dict.fromkeys(subject.sent(Timeout))
    assert before.highest == one
    subject.hear(two)
    subject.restart()
    assert set(subject.sent(Timeout)) <= {before}


def test_the_leader_sends_its_proposal_again() -> None:
    world = World()
    leader = world.subject(1)
    leader.work()
    leader.build(b"a")
    leader.restart()
    leader.hear(sign_status(world.committee, world.signers[3], 3, 1, 0, 0, 0))  # type: ignore[arg-type]
    (message,) = leader.sent(Propose)
    assert message.payload == b"a"


def test_records_of_certified_slots_go() -> None:
    subject = World().subject(0)
    subject.hear(*subject.world.chain(1, 2, 3))
    assert [key for key in sorted(subject.log) if key.startswith(b"slot/")]
    subject.certify(3)
    subject.hear(*subject.world.chain(1, 2, 3, 4))
    assert len([key for key in subject.log if key.startswith(b"slot/")]) == 1
    assert HIGHEST in subject.log


def test_others_records_are_refused() -> None:
    world = World()
    subject = world.subject(0)
    subject.hear(world.propose(1, b"a"))
    _restore(subject, 0)
    with pytest.raises(LocalError):
        _restore(subject, 1)
    with pytest.raises(LocalError):
        _restore(subject, 0, vote=b"garbage")
    with pytest.raises(LocalError):
        _restore(subject, 0, unheard=b"of")
    stranger = World(7)
    with pytest.raises(LocalError):
        FACTORY.restore(world.committee, stranger.signers[6], TokenScheme(), PARAMETERS, None, subject.log)


@pytest.mark.parametrize(
    "parameters",
    [
        EngineParameters(window_slots=0),
        EngineParameters(window_slots=1_000),
        EngineParameters(extra={"phases": 3}),
        EngineParameters(base_timeout_ms=0),
        EngineParameters(leader_rotation_slots=-1),
    ],
)
def test_senseless_parameters_are_refused(parameters: EngineParameters) -> None:
    world = World()
    with pytest.raises(LocalError):
        FACTORY.create(world.committee, world.signers[0], TokenScheme(), parameters, None)


def test_a_certificate_is_not_verified_twice() -> None:
    """Every timeout of a view brings the same lock: its q signatures are checked once."""
    world = World()
    subject = world.subject(0)
    one, _ = world.chain(1, 2)
    subject.hear(world.time_out(1, 5, one))
    before = subject.scheme.verifications
    subject.hear(world.time_out(3, 4, one))
    assert subject.scheme.verifications == before + 1
    other: QuorumCertificate = world.certify_block(one.block, (1, 2, 3))
    subject.hear(world.time_out(3, 9, other))
    assert subject.scheme.verifications == before + 2 + world.quorum
