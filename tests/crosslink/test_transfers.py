"""The rules of a transfer, step by step, on toy shards under a real beacon."""

from __future__ import annotations

import pytest

from crosslink.messages import Purpose, RejectReason, TransferLock, TransferVerdict, Verdict, compute_xid
from crosslink.transfers import LockRequest, TransferMachine, TransferPhase
from tests.crosslink.toy_network import (
    CHAIN,
    FIRST_CASH,
    GOLD,
    MINIMUMS,
    PARAMETERS,
    STRANGER,
    USD,
    ToyLedger,
    ToyNetwork,
    address,
    decode_leaves,
    phases,
    request,
)

SENDER = (address(1), 0, USD)
RECIPIENT = (address(2), 0, USD)


def test_an_accepted_transfer_takes_three_registrations_and_then_nothing_is_in_flight() -> None:
    network = ToyNetwork(2)
    a, b = network.shards
    network.step({0: [request(1)]})
    assert a.ledger.cash[SENDER] == FIRST_CASH - 100
    assert phases(a.blocks[-1].events) == [TransferPhase.LOCKED]
    network.step()
    assert phases(b.blocks[-1].events) == [TransferPhase.JUDGED]
    assert b.ledger.pending[RECIPIENT] == 100 and b.ledger.cash[RECIPIENT] == FIRST_CASH
    network.step()
    assert phases(b.blocks[-1].events) == [TransferPhase.RELEASED]
    assert phases(a.blocks[-1].events) == [TransferPhase.SETTLED]
    assert a.blocks[-1].events[0].verdict is Verdict.ACCEPTED
    assert b.ledger.pending[RECIPIENT] == 0 and b.ledger.cash[RECIPIENT] == FIRST_CASH + 100
    assert network.beacon.summarise().open_transfers == 0
    assert a.machine.find_open(1, 0) is None


def test_a_credit_stays_pending_until_the_accepting_block_is_registered() -> None:
    network = ToyNetwork(2)
    b = network.shards[1]
    network.step({0: [request(1)]})
    b.make_block()
    for _ in range(3):  # the beacon advances without B's header
        network.beacon.make_block()
        network.push(1)
        assert b.make_block().events == ()
    assert b.machine.count_pending() == 1
    network.step()
    assert phases(b.make_block().events) == [TransferPhase.RELEASED]


def test_a_rejected_transfer_returns_to_the_owner_with_its_reason() -> None:
    network = ToyNetwork(2)
    a = network.shards[0]
    network.step({0: [request(1, recipient=STRANGER)]})
    network.step()
    network.step()
    event = a.blocks[-1].events[0]
    assert (event.verdict, event.reason) == (Verdict.REJECTED, RejectReason.UNKNOWN_ACCOUNT)
    assert a.ledger.cash[SENDER] == FIRST_CASH


def test_a_transfer_past_its_deadline_expires_and_only_the_verdict_refunds_it() -> None:
    network = ToyNetwork(2)
    a, b = network.shards
    network.shards[0].make_block([request(1, deadline=5)])
    data = network.submit(0)
    assert data is not None
    network.beacon.make_block([data])
    for _ in range(8):
        network.beacon.make_block()
    network.push(0)
    network.push(1)
    assert a.make_block().events == ()  # far past the deadline, and A does nothing by its own clock
    event = b.make_block().events[0]
    assert event.verdict is Verdict.EXPIRED
    network.step()
    network.step()
    assert a.ledger.cash[SENDER] == FIRST_CASH
    assert b.ledger.cash[RECIPIENT] == FIRST_CASH


def test_the_deadline_itself_still_accepts() -> None:
    network = ToyNetwork(2)
    network.step({0: [request(1, deadline=5)]})
    while network.beacon.height < 5:
        network.beacon.make_block()
    network.push(1)
    assert network.shards[1].make_block().events[0].verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (request(0), "UNKNOWN_SHARD"),
        (request(9), "UNKNOWN_SHARD"),
        (request(1, asset=3), "UNKNOWN_ASSET"),
        (request(1, 9), "BELOW_MINIMUM"),
        (request(1, deadline=3), "BAD_DEADLINE"),
        (request(1, deadline=61), "BAD_DEADLINE"),
        (request(1, FIRST_CASH + 1), "NOT_WITHDRAWABLE"),
        (request(1), "OK"),
        (request(1, 1, asset=GOLD), "OK"),
    ],
)
def test_a_lock_is_refused_with_the_code_of_its_fault(changed: LockRequest, code: str) -> None:
    network = ToyNetwork(2)
    assert network.shards[0].make_block([changed]).codes == (code,)


def test_one_account_has_a_sixteenth_of_the_window_and_top_ups_have_a_quarter_to_themselves() -> None:
    network = ToyNetwork(2)
    a = network.shards[0]
    share = PARAMETERS.window_per_account
    codes = a.make_block([request(1)] * (share + 1)).codes
    assert codes == ("OK",) * share + ("ACCOUNT_WINDOW_FULL",)
    for owner in range(10, 40):
        a.ledger.cash[address(owner), 0, USD] = 1_000
        a.ledger.minted[USD] += 1_000
    common = PARAMETERS.channel_window - PARAMETERS.topup_reserve
    codes = a.make_block([request(1, owner=owner) for owner in range(10, 40)]).codes
    assert codes.count("OK") == common - share
    assert set(codes[common - share :]) == {"WINDOW_FULL"}
    top_ups = [request(1, owner=owner, purpose=Purpose.TOP_UP) for owner in range(10, 40)]
    assert a.make_block(top_ups).codes.count("OK") == PARAMETERS.topup_reserve
    assert a.machine.count_open(1) == PARAMETERS.channel_window


def test_one_block_never_sends_more_than_can_be_registered() -> None:
    network = ToyNetwork(3)
    a = network.shards[0]
    for owner in range(10, 200):
        a.ledger.cash[address(owner), 0, USD] = 1_000
    capacity = PARAMETERS.messages_per_beacon_block // 2
    wanted = [request(1 + owner % 2, owner=owner, purpose=Purpose.TOP_UP) for owner in range(10, 200)]
    codes = a.make_block(wanted).codes
    assert codes.count("OK") == min(capacity, 2 * PARAMETERS.channel_window)
    assert set(codes) <= {"OK", "OUTBOX_FULL", "WINDOW_FULL"}


def test_no_lock_goes_to_a_stalled_shard_and_trade_goes_on() -> None:
    network = ToyNetwork(3)
    network.step()
    for _ in range(PARAMETERS.stall_after_blocks + 2):  # shard 2 is silent
        for shard in (0, 1):
            network.shards[shard].make_block()
        network.beacon.make_block([data for s in (0, 1) if (data := network.submit(s))])
        for shard in (0, 1):
            network.push(shard)
    deadline = network.beacon.height + 20
    block = network.shards[0].make_block([request(2, deadline=deadline), request(1, deadline=deadline)])
    assert block.codes == ("DESTINATION_STALLED", "OK")


def test_no_message_survives_a_transaction_that_is_rolled_back() -> None:
    network = ToyNetwork(2)
    a, b = network.shards
    a.machine.begin_block(1, 0, a.follower.view_at(0))
    before = a.machine.summarise_peers()
    savepoint = a.machine.savepoint()
    a.machine.apply_lock(request(1))
    a.machine.apply_lock(request(1, 5, asset=GOLD))
    a.machine.rollback(savepoint)
    assert a.machine.outbox == () and a.machine.summarise_peers() == before
    event = a.machine.apply_lock(request(1, 77))
    assert event.sequence == 0
    assert [leaf.amount for leaf in decode_leaves(a.machine.outbox)] == [77]
    assert b.machine.summarise_peers() == ToyNetwork(2).shards[1].machine.summarise_peers()


def make_machine() -> tuple[TransferMachine, ToyLedger]:
    network = ToyNetwork(2)
    machine = network.shards[0].machine
    machine.begin_block(1, 0, network.shards[0].follower.view_at(0))
    return machine, network.shards[0].ledger


def make_lock(sequence: int = 0, chain: bytes = CHAIN, destination: int = 0) -> TransferLock:
    return TransferLock(
        chain, 1, destination, sequence, address(1), 0, address(2), 0, USD, 100, 30, Purpose.TRANSFER
    )


@pytest.mark.parametrize(
    "message",
    [
        make_lock(sequence=1),
        make_lock(chain=bytes(32)),
        make_lock(destination=5),
        TransferVerdict(CHAIN, 1, 0, 0, compute_xid(CHAIN, 0, 1, 0), Verdict.EXPIRED, RejectReason.NONE, USD, 100),
    ],
    ids=["gap", "other chain", "other destination", "verdict on no lock"],
)
def test_a_poison_message_changes_nothing_and_stops_nothing(message: TransferLock | TransferVerdict) -> None:
    machine, ledger = make_machine()
    before = dict(ledger.cash)
    assert machine.consume(message) is None
    assert machine.outbox == () and ledger.cash == before and not ledger.pending


def test_verdicts_settle_in_order_or_not_at_all() -> None:
    network = ToyNetwork(2)
    a = network.shards[0]
    network.step({0: [request(1), request(1)]})
    a.machine.begin_block(2, 1, a.follower.view_at(1))
    verdicts = [
        TransferVerdict(CHAIN, 1, 0, n, compute_xid(CHAIN, 0, 1, n), Verdict.EXPIRED, RejectReason.NONE, USD, 100)
        for n in range(2)
    ]
    assert a.machine.consume(verdicts[1]) is None
    assert a.machine.consume(verdicts[0]) is not None and a.machine.consume(verdicts[1]) is not None


def test_a_replayed_lock_or_verdict_changes_nothing() -> None:
    network = ToyNetwork(2)
    network.step({0: [request(1)]})
    network.step()
    network.step()
    a, b = network.shards
    lock = decode_leaves(a.blocks[0].leaves)[0]
    verdict = decode_leaves(b.blocks[1].leaves)[0]
    for shard, message in ((b, lock), (a, verdict)):
        cash = dict(shard.ledger.cash)
        shard.machine.begin_block(99, 3, shard.follower.view_at(3))
        assert shard.machine.consume(message) is None
        assert shard.ledger.cash == cash


def test_an_asset_unknown_to_the_destination_is_rejected() -> None:
    network = ToyNetwork(2)
    b = network.shards[1]
    poor = TransferMachine(CHAIN, 1, [0], PARAMETERS, {GOLD: 1}, b.ledger)
    poor.begin_block(1, 0, b.follower.view_at(0))
    lock = TransferLock(CHAIN, 0, 1, 0, address(1), 0, address(2), 0, USD, 100, 30, Purpose.TRANSFER)
    event = poor.consume(lock)
    assert event is not None and event.reason is RejectReason.UNKNOWN_ASSET


def test_a_restored_machine_is_the_same_machine() -> None:
    network = ToyNetwork(3)
    network.step({0: [request(1), request(2)], 1: [request(0, 50)]})
    network.step({2: [request(0, 60, recipient=STRANGER)]})
    for shard in network.shards:
        ledger = ToyLedger({})
        twin = TransferMachine(CHAIN, shard.shard, range(3), PARAMETERS, MINIMUMS, ledger)
        twin.load(reversed(list(shard.records.items())))
        twin.restore_pending()
        assert twin.summarise_peers() == shard.machine.summarise_peers()
        assert twin.count_pending() == shard.machine.count_pending()
        assert ledger.pending == {key: amount for key, amount in shard.ledger.pending.items() if amount}
