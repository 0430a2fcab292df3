"""The stores of early and of signed messages: who may leave how much, and what is kept of it."""

from __future__ import annotations

from consensus.tally import Standing
from consensus.tendermint.backlog import Backlog
from consensus.tendermint.round_book import FUTURE_ROUNDS, PAST_ROUNDS, RoundBook
from consensus.tendermint.steps import NIL
from tests.consensus.tendermint.crafting import World

WORLD = World()
A = b"\x0a" * 32


def test_backlog_keeps_the_newest_round_of_each_type_and_height() -> None:
    backlog = Backlog(4, 1_000)
    for round in (1, 3, 2):
        backlog.add(WORLD.prevote(2, round, A, height=5))
        backlog.add(WORLD.precommit(2, round, A, height=5))
    backlog.add(WORLD.prevote(1, 0, A, height=5))
    backlog.add(WORLD.prevote(1, 0, A, height=4))
    backlog.add(WORLD.prevote(1, 0, A, height=6))
    assert not backlog.admits(WORLD.prevote(2, 3, NIL, height=5))
    taken = backlog.take(5)
    assert [(type(message).__name__, sender) for sender, message in taken] == [
        ("Prevote", 1),
        ("Prevote", 2),
        ("Precommit", 2),
    ]
    assert {message.round for sender, message in taken if sender == 2} == {3}
    assert [message.height for _, message in backlog.take(6)] == [6]
    assert backlog.buffered_bytes == 0


def test_backlog_gives_each_sender_its_own_share() -> None:
    backlog = Backlog(4, 1_000)
    for height in range(2, 10):
        for round in range(4):
            backlog.add(WORLD.propose(round, bytes(1_000), height=height))
    shares = [Backlog(4, 1_000)._limit_bytes] * 4
    assert backlog.buffered_bytes <= sum(shares)
    assert not backlog.admits(WORLD.propose(1, bytes(1_000), height=30))
    assert backlog.admits(WORLD.prevote(2, 0, A, height=3))


def test_book_keeps_the_newest_future_rounds_of_a_sender() -> None:
    book = RoundBook(3)
    dropped = []
    for round in range(1, FUTURE_ROUNDS + 3):
        assert book.needs_vote(WORLD.prevote(2, round, A))
        dropped.append(book.make_room(2, round))
        book.add_vote(WORLD.prevote(2, round, A))
    assert dropped == [None] * FUTURE_ROUNDS + [1, 2]
    assert not book.needs_vote(WORLD.prevote(2, 1, A)), "older than all that is kept"
    assert book.needs_vote(WORLD.prevote(3, 1, A)), "another sender has room of its own"
    assert book.peek(1) is None and book.peek(3) is not None


def test_book_forgets_old_rounds_and_keeps_late_precommits() -> None:
    book = RoundBook(3)
    book.add_vote(WORLD.precommit(1, 0, A))
    book.enter(PAST_ROUNDS)
    assert book.needs_vote(WORLD.precommit(2, 0, A))
    assert not book.needs_vote(WORLD.prevote(2, 0, A)), "line 28 has its proof"
    book.enter(PAST_ROUNDS + 1)
    assert book.peek(0) is None
    assert not book.needs_vote(WORLD.precommit(2, 0, A))


def test_book_needs_no_vote_after_a_quorum() -> None:
    book = RoundBook(3)
    for sender in (0, 1, 2):
        assert book.needs_vote(WORLD.prevote(sender, 0, A))
        assert book.add_vote(WORLD.prevote(sender, 0, A)) is Standing.COUNTED
    assert not book.needs_vote(WORLD.prevote(3, 0, A))
    assert book.needs_vote(WORLD.prevote(2, 0, NIL)), "a contradiction is evidence"
    polka = book.find_polka(1, 0, A)
    assert polka is not None and polka.signers == (0, 1, 2)
    assert book.find_polka(1, 0, NIL) is None and book.find_decision(1, 0, A) is None
