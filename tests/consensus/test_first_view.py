"""An engine that is told of views in which it may have signed what it does not know signs nothing below them."""

from __future__ import annotations

from consensus.engine import Started
from consensus.pbft.messages import Commit, NewView, Prepare, ViewChange
from tests.consensus.crafting import FACTORY, PARAMETERS, Subject, World
from tests.consensus.tokens import TokenScheme


def open_subject(world: World, index: int, first_view: int) -> Subject:
    scheme, certificate = TokenScheme(), world.certify(40)
    engine = FACTORY.create(world.committee, world.signers[index], scheme, PARAMETERS, certificate, first_view)
    subject = Subject(world, index, engine, scheme, PARAMETERS)
    subject.feed(Started())
    return subject


def test_it_asks_for_the_first_view_with_nothing_prepared_and_votes_for_nothing_below() -> None:
    world = World()
    subject = open_subject(world, 2, first_view=6)
    (change,) = subject.sent(ViewChange)
    assert (change.view, change.prepared) == (6, ()) and change.certificate is not None
    assert change.certificate.height == 40
    for view in (0, 5):
        subject.hear(world.pre_prepare(view % 4, view, 41, b"payload"))
    assert not subject.sent(Prepare) and not subject.sent(Commit)
    assert subject.engine.statistics().asked_view == 6


def test_it_joins_at_its_first_view_or_above_and_votes_there() -> None:
    world = World()
    subject = open_subject(world, 3, first_view=6)
    changes = [world.change_view(sender, 6, certificate=world.certify(40)) for sender in (0, 1, 2)]
    assert subject.hear(world.start_view(6, changes, []))
    assert subject.engine.statistics().view == 6
    assert subject.hear(world.pre_prepare(2, 6, 41, b"payload"))
    assert [vote.view for vote in subject.sent(Prepare)] == [6]


def test_a_restart_before_the_first_view_changes_nothing() -> None:
    world = World()
    subject = open_subject(world, 3, first_view=6)
    (change,) = subject.sent(ViewChange)
    subject.restart()
    assert subject.sent(ViewChange)[-1] == change
    subject.hear(world.pre_prepare(1, 5, 41, b"payload"))
    assert not subject.sent(Prepare)


def test_as_the_leader_of_its_first_view_it_starts_it_with_the_others() -> None:
    world = World()
    subject = open_subject(world, 2, first_view=6)
    for sender in (0, 1):
        subject.hear(world.change_view(sender, 6, certificate=world.certify(40)))
    assert [message.view for message in subject.sent(NewView)] == [6]
