"""When our own batches leave: at once while nothing is proposed, else in time for the next proposal."""

from __future__ import annotations

from node.batches import MAX_AUTHOR_BATCHES, BatchPool
from node.dissemination import LEAD_MS, BatchMaker
from node.mempool import Mempool
from node.pacing import Pacing
from node.replica_setup import ReplicaLimits
from primitives.parameters import ProtocolParameters
from tests.consensus.tokens import TokenScheme, TokenSigner, make_committee, make_signers
from tests.node.toy_application import ToyApplication, make_transaction

GAP_MS = 100
LIMITS = ReplicaLimits(flush_ms=50)
PACING = Pacing(GAP_MS, lambda: 0)
TOY = ToyApplication(TokenScheme())


class _Author:
    def __init__(self, max_batch_bytes: int = 1 << 16) -> None:
        committee, signers = make_committee(4), make_signers(4)
        self.mempool = Mempool(LIMITS)
        parameters = ProtocolParameters(max_batch_bytes=max_batch_bytes)
        self.maker = BatchMaker(
            committee, signers[0], 0, self.mempool, BatchPool(4), parameters, LIMITS, PACING, first_sequence=1
        )
        self._nonce = 0

    def submit(self) -> None:
        self._nonce += 1
        data = make_transaction(TokenSigner("client"), self._nonce)
        self.mempool.add(TOY.decode(data), data)


def test_with_nothing_to_send_there_is_nothing_to_wait_for() -> None:
    assert _Author().maker.compute_delay(0) is None


def test_a_lone_transaction_leaves_at_once() -> None:
    author = _Author()
    author.submit()
    assert author.maker.compute_delay(1_000) == 0


def test_while_others_propose_a_batch_leaves_just_before_the_next_proposal() -> None:
    author = _Author()
    author.maker.note_proposal(1_000)
    author.submit()
    assert author.maker.compute_delay(1_010) == GAP_MS - LEAD_MS - 10
    assert author.maker.compute_delay(1_000 + GAP_MS) == 0


def test_two_batches_lie_apart_when_proposals_are_late() -> None:
    author = _Author()
    author.submit()
    assert author.maker.make(0, 2_000) is not None
    author.submit()
    assert author.maker.compute_delay(2_010) == LIMITS.flush_ms - 10


def test_a_full_batch_waits_for_nobody() -> None:
    author = _Author(max_batch_bytes=100)
    author.maker.note_proposal(1_000)
    author.submit()
    author.submit()
    assert author.maker.compute_delay(1_000) == 0


def test_an_author_stops_while_half_of_its_share_is_unexecuted() -> None:
    author = _Author()
    for _ in range(MAX_AUTHOR_BATCHES // 2):
        author.submit()
        assert author.maker.make(0, 0) is not None
    author.submit()
    assert author.maker.is_blocked
    assert author.maker.compute_delay(10_000) is None
