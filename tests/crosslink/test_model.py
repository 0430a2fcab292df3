"""Three shards and a beacon under seeded random loads and delays: I1, I2, I3 at every beacon height, exactly once,
and quiescence in the end.

Everything that may vary does: when shards make blocks and how far they look at the beacon, which headers a
submission carries, in which order submissions arrive and how often, wrong bodies that race right ones, rejected
recipients, deadlines that pass.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from crosslink.messages import Message, Purpose, TransferLock, Verdict, compute_xid
from crosslink.submission import SubmittedHeader, encode_submission
from crosslink.transfers import LockRequest, TransferPhase
from primitives.errors import RemoteError
from tests.crosslink.toy_network import (
    CHAIN,
    MINIMUMS,
    STRANGER,
    ToyNetwork,
    address,
    certify,
    decode_leaves,
    request,
)

SHARDS = 3
STEPS = 160
CALM_STEPS = 40


class Model:
    """One seeded run and everything that happened in it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.network = ToyNetwork(SHARDS)
        self.waiting: list[bytes] = []
        self.fake_bodies_refused = 0
        self.codes: Counter[str] = Counter()

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
        for _ in range(CALM_STEPS):
            self.network.step()
            self.check_height()

    def step(self) -> None:
        network, random = self.network, self.random
        for shard in network.shards:
            if random.random() < 0.6:
                low, high = shard.reference.height, shard.follower.head.height
                shard.make_block(self.draw_requests(shard.shard), random.randint(low, max(low, high)))
            if random.random() < 0.5:
                self.submit(shard.shard)
        if random.random() < 0.7:
            self.make_beacon_block()
        for number in range(SHARDS):
            if random.random() < 0.5:
                network.push(number)

    def draw_requests(self, source: int) -> list[LockRequest]:
        random = self.random
        return [
            request(
                random.choice([s for s in range(SHARDS) if s != source]),
                random.randint(1, 5_000),
                owner=random.randint(1, 3),
                recipient=STRANGER if random.random() < 0.15 else address(random.randint(1, 6)),
                deadline=self.network.shards[source].follower.head.height + random.randint(3, 20),
                asset=random.choice(list(MINIMUMS)),
                purpose=random.choice(list(Purpose)),
            )
            for _ in range(random.randint(0, 4))
        ]

    def submit(self, number: int) -> None:
        """Part of what is not registered, perhaps twice or from the wrong place; wrong bodies race it."""
        shard, random = self.network.shards[number], self.random
        if not shard.blocks:
            return
        first = self.network.registered(number) + 1
        if random.random() < 0.2:
            first += random.randint(-2, 2)
        first = min(max(1, first), len(shard.blocks))
        last = random.randint(first, len(shard.blocks))
        signers = tuple(sorted(random.sample(range(4), 3)))
        self.waiting += [shard.build_submission(first, last, signers)] * random.randint(1, 2)
        if random.random() < 0.3:
            self.try_wrong_body(number, first, last)

    def try_wrong_body(self, number: int, first: int, last: int) -> None:
        shard = self.network.shards[number]
        blocks = shard.blocks[first - 1 : last]
        foreign = self.network.shards[(number + 1) % SHARDS].blocks
        leaves = next((block.leaves for block in foreign if block.leaves), (b"\x00",))
        wrong = [SubmittedHeader(block.header, leaves) for block in blocks]
        data = encode_submission(wrong, blocks[-1].summary, certify(blocks[-1].header, shard.committee))
        with pytest.raises(RemoteError):
            self.network.beacon.application.decode(data)
        self.fake_bodies_refused += 1

    def make_beacon_block(self) -> None:
        self.random.shuffle(self.waiting)
        count = self.random.randint(0, len(self.waiting))
        chosen, self.waiting = self.waiting[:count], self.waiting[count:]
        taken, refused = self.network.beacon.screen(chosen)
        self.codes.update(refused)
        self.codes.update(self.network.beacon.make_block(taken).codes)
        self.check_height()

    # --- the invariants ------------------------------------------------------------------------------------

    def check_height(self) -> None:
        """I1 and I2 over the registered tips, from the beacon's own figures and from the summaries."""
        application = self.network.beacon.application
        totals = self.network.beacon.summarise()
        assert totals.conserved
        for record in totals.assets:
            assert record.in_flight >= 0
            assert record.held + record.in_flight == record.minted - record.burned
        for source in range(SHARDS):
            assert application.registry.refusal(source) is None
            for destination in range(SHARDS):
                self.check_channel(source, destination)

    def check_channel(self, source: int, destination: int) -> None:
        registry = self.network.beacon.application.registry
        ours = [peer for peer in registry.summary(source).peers if peer.peer == destination]
        theirs = [peer for peer in registry.summary(destination).peers if peer.peer == source]
        flow = registry.flow(source, destination)
        if ours:
            next_recv = theirs[0].next_recv if theirs else 0
            assert ours[0].next_ack <= next_recv <= ours[0].next_send
            assert (flow.locks, flow.verdicts) == (ours[0].next_send, next_recv)
            assert ours[0].open_count <= self.network.parameters.channel_window

    def check_real_money(self) -> None:
        """I1 over what the ledgers really hold, which no summary can hide."""
        for asset in MINIMUMS:
            held = sum(shard.ledger.held(asset) for shard in self.network.shards)
            minted = sum(shard.ledger.minted[asset] for shard in self.network.shards)
            assert held == minted
            assert not any(any(shard.ledger.pending.values()) for shard in self.network.shards)

    def check_exactly_once(self) -> Counter[str]:
        """Every lock was judged once, settled once, and released once if accepted (I3)."""
        messages: list[Message] = []
        steps: Counter[tuple[bytes, TransferPhase]] = Counter()
        verdicts: dict[bytes, Verdict] = {}
        for shard in self.network.shards:
            for block in shard.blocks:
                messages += decode_leaves(block.leaves)
                steps.update((event.xid, event.phase) for event in block.events)
                for event in block.events:
                    if event.verdict is not None:
                        assert verdicts.setdefault(event.xid, event.verdict) is event.verdict
        locks = [message for message in messages if isinstance(message, TransferLock)]
        assert len(messages) == 2 * len(locks)
        for lock in locks:
            xid = compute_xid(CHAIN, lock.source, lock.destination, lock.sequence)
            accepted = verdicts[xid] is Verdict.ACCEPTED
            expected = dict.fromkeys(TransferPhase, 1)
            expected[TransferPhase.RELEASED] = int(accepted)
            assert {phase: steps[xid, phase] for phase in TransferPhase} == expected
        return Counter(verdict.name for verdict in verdicts.values())


@pytest.mark.parametrize("seed", range(12))
def test_money_is_conserved_and_every_transfer_ends_exactly_once(seed: int) -> None:
    model = Model(seed)
    model.run()
    totals = model.network.beacon.summarise()
    assert totals.open_transfers == 0
    assert all(record.in_flight == 0 for record in totals.assets)
    model.check_real_money()
    ended = model.check_exactly_once()
    # A run that did not meet its troubles would prove nothing.
    assert ended["ACCEPTED"] and ended["REJECTED"] and ended["EXPIRED"]
    assert model.fake_bodies_refused and model.codes["OK"]
    assert model.codes["STALE"] and model.codes["GAP"] + model.codes["OVERLAP"]


def test_a_dead_destination_keeps_its_transfers_open_and_stops_nobody_else() -> None:
    network = ToyNetwork(SHARDS)
    network.step()
    network.shards[0].make_block([request(2, deadline=20), request(1, deadline=20)])
    for _ in range(60):  # shard 2 is dead
        for number in (0, 1):
            network.shards[number].make_block()
        network.beacon.make_block([data for n in (0, 1) if (data := network.submit(n))])
        for number in (0, 1):
            network.push(number)
        assert network.beacon.summarise().conserved
    assert network.shards[0].machine.count_open(1) == 0
    assert network.shards[0].machine.count_open(2) == 1, "A never refunds by its own clock"
    network.push(2)  # healed: the deadline is long past
    for _ in range(3):
        network.step()
    assert network.beacon.summarise().open_transfers == 0
    assert all(record.in_flight == 0 for record in network.beacon.summarise().assets)


def test_two_runs_of_one_seed_are_the_same_chain() -> None:
    runs = [Model(77), Model(77)]
    for model in runs:
        model.run()
    first, second = (model.network for model in runs)
    assert [block.header for block in first.beacon.blocks] == [block.header for block in second.beacon.blocks]
