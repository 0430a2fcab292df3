"""When a wish for a payload is answered, and with what."""

from __future__ import annotations

from consensus.engine import NULL_PAYLOAD, BuildPayload
from node.batches import BatchPool
from node.dissemination import BatchMaker
from node.mempool import Mempool
from node.pacing import Pacing
from node.proposer import BuiltPayload, Proposer
from node.replica_setup import ReplicaLimits
from primitives.parameters import ProtocolParameters
from tests.consensus.tokens import TokenScheme, TokenSigner, make_committee, make_signers
from tests.node.toy_application import ToyApplication, make_transaction

GAP_MS = 100
LIMITS = ReplicaLimits()
PACING = Pacing(GAP_MS, lambda: 0)
ANCESTOR = b"\x01" * 32


class NoBeacon:
    """Nothing is followed."""

    follows = False
    height = 0

    def hash_at(self, height: int) -> bytes:
        return bytes(32)


class Bench:
    """A proposer with a mempool to fill; height 4 is executed."""

    def __init__(self) -> None:
        committee, parameters = make_committee(4), ProtocolParameters()
        self.mempool, self.pool = Mempool(LIMITS), BatchPool(4)
        maker = BatchMaker(
            committee, make_signers(4)[0], 0, self.mempool, self.pool, parameters, LIMITS, PACING, first_sequence=1
        )
        self.proposer = Proposer(committee, maker, self.pool, NoBeacon(), parameters, PACING, lambda: 0)
        self._nonce = 0

    def submit(self) -> None:
        self._nonce += 1
        data = make_transaction(TokenSigner("client"), self._nonce)
        self.mempool.add(ToyApplication(TokenScheme()).decode(data), data)

    def ask(self, slot: int, now_ms: int, *, allow_null: bool, wanted: bool = False) -> BuiltPayload | None:
        ancestors = (ANCESTOR,) * (slot - 5)
        self.proposer.open(BuildPayload(slot, slot, ancestors, allow_null))
        return self.proposer.build(4, lambda digests: {}, wanted, now_ms)


def test_with_a_slot_in_flight_only_a_full_payload_is_an_answer() -> None:
    bench = Bench()
    bench.submit()
    assert bench.ask(6, 1_000, allow_null=False) is None
    assert bench.ask(5, 1_000, allow_null=False) is not None


def test_a_wish_that_allows_null_is_answered_at_once() -> None:
    bench = Bench()
    answer = bench.ask(6, 1_000, allow_null=True)
    assert answer is not None
    assert answer.data == NULL_PAYLOAD
    assert bench.proposer.wish is None
    assert bench.ask(6, 1_000, allow_null=False) is None
    assert bench.proposer.wish is not None


def test_what_waits_goes_into_a_block_that_is_made_in_any_case() -> None:
    """Also with slots in flight, but never sooner than the gap after the last payload."""
    bench = Bench()
    bench.submit()
    first = bench.ask(5, 1_000, allow_null=False)
    assert first is not None
    assert first.data
    bench.submit()
    too_soon = bench.ask(6, 1_000 + GAP_MS - 1, allow_null=True)
    assert too_soon is not None
    assert too_soon.data == NULL_PAYLOAD
    in_time = bench.ask(6, 1_000 + GAP_MS, allow_null=True)
    assert in_time is not None
    assert in_time.data


def test_nulls_do_not_delay_payloads() -> None:
    bench = Bench()
    for now_ms in range(1_000, 1_050):
        assert bench.ask(6, now_ms, allow_null=True) is not None
    bench.submit()
    answer = bench.ask(6, 1_050, allow_null=True)
    assert answer is not None
    assert answer.data


def test_the_block_that_the_application_wants_is_made_once() -> None:
    """One in flight will do; asked for with nothing in flight it is made without any batch."""
    bench = Bench()
    in_flight = bench.ask(6, 1_000, allow_null=True, wanted=True)
    assert in_flight is not None
    assert in_flight.data == NULL_PAYLOAD
    wanted = bench.ask(5, 1_000, allow_null=False, wanted=True)
    assert wanted is not None
    assert wanted.data
