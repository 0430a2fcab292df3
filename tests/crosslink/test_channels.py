"""The channel state machine under random steps: counters, sums, records, savepoints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crosslink.channels import ChannelTable, PendingCredit
from crosslink.messages import (
    Message,
    Purpose,
    RejectReason,
    TransferLock,
    TransferVerdict,
    Verdict,
    compute_xid,
    encode_message,
)
from crosslink.tips import UNREGISTERED, RegisteredTip
from crosslink.transfers import TransferMachine
from primitives.errors import LocalError
from tests.crosslink.toy_network import (
    CHAIN,
    FIRST_CASH,
    GOLD,
    MINIMUMS,
    PARAMETERS,
    STRANGER,
    USD,
    ToyLedger,
    address,
    decode_leaves,
    request,
)

BEACON_HEIGHT = 10
FATES = {"accept": Verdict.ACCEPTED, "reject": Verdict.REJECTED, "expire": Verdict.EXPIRED}


@dataclass
class OwnTip:
    """A registry in which everybody is up to date and our own tip is at ``height``."""

    height: int

    def tip(self, shard: int) -> RegisteredTip:
        return RegisteredTip(height=self.height) if shard == 0 else UNREGISTERED


class ChannelMachine(RuleBasedStateMachine):
    """Shard 0 with one peer, shard 1, which is played by the rules."""

    @initialize()
    def start(self) -> None:
        cash = {(address(owner), 0, asset): FIRST_CASH for owner in (1, 2, 3) for asset in MINIMUMS}
        self.ledger = ToyLedger(cash)
        self.machine = TransferMachine(CHAIN, 0, [1], PARAMETERS, MINIMUMS, self.ledger)
        self.records: dict[bytes, bytes] = {}
        self.height = 0
        self.received = 0
        self.settled = 0
        self.locks: list[TransferLock] = []
        self.released = Counter[int]()
        self.accepted_at: list[int] = []
        self.begin()

    def begin(self) -> None:
        self.height += 1
        self.machine.begin_block(self.height, BEACON_HEIGHT, OwnTip(0))

    @rule(registered=st.integers(0, 3))
    def next_block(self, registered: int) -> None:
        for message in decode_leaves(self.machine.outbox):
            if isinstance(message, TransferLock):
                self.locks.append(message)
        for key, value in self.machine.take_changes().items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        self.height += 1
        known = max(0, self.height - 1 - registered)
        self.machine.begin_block(self.height, BEACON_HEIGHT, OwnTip(known))
        freed = self.machine.release()
        assert len(freed) == sum(height <= known for height in self.accepted_at)
        self.accepted_at = [height for height in self.accepted_at if height > known]

    @rule(owner=st.integers(1, 3), amount=st.integers(1, 300_000), asset=st.sampled_from([USD, GOLD]))
    def lock(self, owner: int, amount: int, asset: int) -> None:
        wanted = request(1, amount, owner=owner, asset=asset)
        before = self.ledger.cash[address(owner), 0, asset]
        if self.machine.validate_lock(wanted) is None:
            self.machine.apply_lock(wanted)
            assert self.ledger.cash[address(owner), 0, asset] == before - amount

    @rule(amounts=st.lists(st.integers(10, 1_000), max_size=4))
    def fail_after_locks(self, amounts: list[int]) -> None:
        cash, peers, outbox = dict(self.ledger.cash), self.machine.summarise_peers(), self.machine.outbox
        savepoint = self.machine.savepoint()
        for amount in amounts:
            if self.machine.validate_lock(request(1, amount)) is None:
                self.machine.apply_lock(request(1, amount))
        self.machine.rollback(savepoint)
        self.ledger.cash = cash
        assert (self.machine.summarise_peers(), self.machine.outbox) == (peers, outbox)

    @rule(amount=st.integers(1, 1_000), fate=st.sampled_from(sorted(FATES)), lag=st.integers(-1, 1))
    def receive(self, amount: int, fate: str, lag: int) -> None:
        if self.machine.outbox:
            return  # an inbox comes before every transaction
        lock = TransferLock(
            chain=CHAIN,
            source=1,
            destination=0,
            sequence=max(0, self.received + lag),
            owner=address(7),
            owner_subaccount=0,
            recipient=STRANGER if fate == "reject" else address(2),
            recipient_subaccount=0,
            asset=USD,
            amount=amount,
            deadline=BEACON_HEIGHT - (fate == "expire"),
            purpose=Purpose.TRANSFER,
        )
        event = self.machine.consume(lock)
        if lock.sequence != self.received:
            assert event is None
            return
        assert event is not None
        assert event.verdict is FATES[fate]
        self.received += 1
        if event.verdict is Verdict.ACCEPTED:
            self.accepted_at.append(self.height)

    @precondition(lambda self: self.settled < len(self.locks) and not self.machine.outbox)
    @rule(verdict=st.sampled_from(list(Verdict)), times=st.integers(1, 2))
    def settle(self, verdict: Verdict, times: int) -> None:
        lock = self.locks[self.settled]
        reason = RejectReason.BLOCKED if verdict is Verdict.REJECTED else RejectReason.NONE
        message: Message = TransferVerdict(
            chain=CHAIN,
            source=1,
            destination=0,
            sequence=lock.sequence,
            xid=compute_xid(CHAIN, 0, 1, lock.sequence),
            verdict=verdict,
            reason=reason,
            asset=lock.asset,
            amount=lock.amount,
        )
        before = self.ledger.cash[lock.owner, 0, lock.asset]
        results = [self.machine.consume(message) for _ in range(times)]
        assert results[0] is not None and not any(results[1:]), "settled once, whatever is replayed"
        back = 0 if verdict is Verdict.ACCEPTED else lock.amount
        assert self.ledger.cash[lock.owner, 0, lock.asset] == before + back
        self.settled += 1

    @invariant()
    def sums_and_counters_agree(self) -> None:
        (peer,) = self.machine.summarise_peers()
        assert peer.next_ack == self.settled <= peer.next_send
        assert peer.next_recv == self.received
        assert peer.open_count == peer.next_send - peer.next_ack <= PARAMETERS.channel_window
        for sums in peer.amounts:
            escrow = sums.sent - sums.refunded - sums.burned
            assert escrow >= 0
            held = self.ledger.held(sums.asset)
            assert held + sums.sent - sums.refunded - sums.released == self.ledger.minted[sums.asset]

    @invariant()
    def records_restore_the_state_of_the_last_block(self) -> None:
        table = ChannelTable([1])
        table.load(self.records.items())
        assert len(table.channels[1].open) == table.channels[1].next_send - table.channels[1].next_ack


TestChannelMachine = ChannelMachine.TestCase
TestChannelMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_damaged_channel_records_are_refused() -> None:
    table = ChannelTable([1, 2])
    lock = TransferLock(CHAIN, 0, 1, 0, address(1), 0, address(2), 0, USD, 100, 30, Purpose.TRANSFER)
    table.add_open(lock, encode_message(lock))
    table.add_pending(4, PendingCredit(2, 0, address(2), 0, USD, 5))
    records = {key: value for key, value in table.take_changes().items() if value is not None}
    fresh = ChannelTable([1, 2])
    fresh.load(records.items())
    assert fresh.channels[1].next_send == 1 and len(fresh.pending) == 1
    for key, value in records.items():
        with pytest.raises(LocalError):
            fresh.load([(key, value[:-1])])
    missing = {key: value for key, value in records.items() if not key.startswith(b"crosslink/o")}
    with pytest.raises(LocalError):
        fresh.load(missing.items())
    with pytest.raises(LocalError):
        ChannelTable([2]).load(records.items())
    with pytest.raises(LocalError):
        fresh.load([(b"crosslink/z", b"")])
