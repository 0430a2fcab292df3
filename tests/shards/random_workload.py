"""Seeded random blocks that reach every kind of action and most refusals: food for the property tests."""

from __future__ import annotations

import random

from crosslink.messages import Purpose, RejectReason, TransferLock, TransferVerdict, Verdict, compute_xid
from crosslink.tips import RegisteredTip
from shards.genesis import QUOTE, FeeTier, ShardParameters
from shards.transactions import (
    Action,
    Amend,
    Cancel,
    CancelAll,
    CrossTransfer,
    FaucetMint,
    Mode,
    OrderKind,
    Place,
    Side,
    SignedTransaction,
    SubaccountTransfer,
    Transfer,
)
from tests.shards.toy_shard import CHAIN, ToyShard, address_of, make_market, make_parameters

NAMES = tuple(f"trader{index}" for index in range(7))
REPORTERS = ("oracle0", "oracle1", "oracle2")
CENTRE = 1_000


def make_random_parameters() -> ShardParameters:
    """Two small markets with low margins, so that liquidations and bad debt happen."""
    markets = (
        make_market(
            0, initial_ppm=50_000, maintenance_ppm=30_000, band_ppm=200_000, mark_band_ppm=100_000,
            size_threshold_lots=400, open_interest_lower=100 * QUOTE, open_interest_upper=5_000 * QUOTE,
            liquidate_whole_below=40 * QUOTE,
        ),
        make_market(1, initial_ppm=100_000, maintenance_ppm=50_000, min_notional=2 * QUOTE),
    )  # fmt: skip
    return make_parameters(
        dict.fromkeys(NAMES, 100 * QUOTE),
        markets=markets,
        tiers=(FeeTier(taker_ppm=500, maker_ppm=-200), FeeTier(taker_ppm=300, maker_ppm=100)),
        action_fee=10,
        free_cancels=3,
        insurance=10 * QUOTE,
        max_paid=2 * QUOTE,
        reporters=REPORTERS,
    )


class RandomWorkload:
    """Drives one shard; all randomness comes from the seed."""

    def __init__(self, seed: int, shard: ToyShard) -> None:
        self.random = random.Random(seed)
        self.shard = shard
        self.prices = [CENTRE, CENTRE]
        self.next_recv = 0
        self.next_ack = 0
        self.registered = 0

    def run_block(self) -> None:
        """Move the prices and the beacon, then execute a block of random transactions."""
        rng, shard = self.random, self.shard
        self._move_beacon()
        shock = rng.random() < 0.08
        for market in range(2):
            step = rng.randint(-160, 160) if shock else rng.randint(-6, 6)
            self.prices[market] = max(300, min(3_000, self.prices[market] + step))
        transactions: list[SignedTransaction] = []
        if rng.random() < 0.9:
            for name in REPORTERS[: rng.choice((2, 3, 3, 3, 3))]:
                transactions.append(shard.report(name, *(price + rng.randint(-2, 2) for price in self.prices)))
        for _ in range(rng.randint(0, 9)):
            transactions.append(self._transaction())
        if transactions and rng.random() < 0.1:
            transactions.append(rng.choice(transactions))
        rng.shuffle(transactions)
        step_ms = rng.choice((1, 100, 400, 1_000, 1_000, 2_500, 20_000))
        shard.run(*transactions, step_ms=step_ms)

    def _transaction(self) -> SignedTransaction:
        rng, shard = self.random, self.shard
        name = rng.choice(NAMES)
        if rng.random() < 0.05:
            mint = FaucetMint(address_of(rng.choice(NAMES)), rng.randint(0, 2), 0, rng.randint(1, 30 * QUOTE))
            return shard.tx(rng.choice(("faucet", "faucet", name)), mint)
        if rng.random() < 0.2:
            return shard.tx(name, *self._cancels(name), subaccount=rng.choice((0, 0, 0, 1)))
        actions = [self._action(name) for _ in range(rng.choice((1, 1, 2, 4)))]
        return shard.tx(
            name,
            *actions,
            mode=rng.choice((Mode.ATOMIC, Mode.BEST_EFFORT, Mode.BEST_EFFORT)),
            subaccount=rng.choice((0, 0, 0, 1)),
        )

    def _cancels(self, name: str) -> list[Action]:
        rng = self.random
        if rng.random() < 0.3:
            return [CancelAll(rng.choice((None, 0, 1)), 0)]
        return [
            Cancel(market, self._client_id(name, market)) for market in rng.choices((0, 1), k=rng.randint(1, 3))
        ]

    def _client_id(self, name: str, market: int) -> int:
        """Mostly of an open order."""
        open_ids = [client_id for client_id in self.shard.orders(name, market) if client_id]
        return self.random.choice(open_ids) if open_ids and self.random.random() < 0.8 else 12

    def _action(self, name: str) -> Action:
        rng = self.random
        draw = rng.random()
        market = rng.choice((0, 0, 1))
        if draw < 0.6:
            return self._place(market)
        if draw < 0.72:
            return self._amend(name, market)
        if draw < 0.82:
            return Cancel(market, self._client_id(name, market))
        if draw < 0.85:
            return CancelAll(rng.choice((None, market)), rng.choice((0, 0, self.shard.nonces.get(name, 0))))
        if draw < 0.9:
            return Transfer(address_of(rng.choice(NAMES)), rng.randint(0, 1), 0, rng.randint(1, 20 * QUOTE))
        if draw < 0.95:
            return SubaccountTransfer(rng.randint(0, 2), rng.choice((0, 0, 0, 1)), rng.randint(1, 20 * QUOTE))
        return CrossTransfer(
            rng.choice((1, 1, 1, 9)), address_of(name), 0, 0, rng.randint(1, 20 * QUOTE),
            self.shard.follower.height + rng.choice((1, 300, 300, 300)), rng.choice(tuple(Purpose)),
        )  # fmt: skip

    def _amend(self, name: str, market: int) -> Amend:
        rng = self.random
        client_id = self._client_id(name, market)
        price, lots = self.shard.orders(name, market).get(client_id, (CENTRE, 10))
        if rng.random() < 0.5:
            return Amend(market, client_id, price, rng.randint(1, lots + 5))
        return Amend(market, client_id, self._price(market), rng.randint(1, 2 * lots))

    def _place(self, market: int) -> Place:
        rng = self.random
        kind = rng.choice((OrderKind.LIMIT, *OrderKind))
        expiry_ms = self.shard.time_ms + rng.randint(-500, 20_000) if kind is OrderKind.GTT else 0
        return Place(
            market if rng.random() < 0.99 else 7,
            rng.choice(tuple(Side)),
            kind,
            self._price(market),
            rng.choice((rng.randint(1, 30), rng.randint(1, 300), rng.randint(100, 900))),
            rng.choice((0, rng.randint(1, 12))),
            rng.random() < 0.15,
            expiry_ms,
        )

    def _price(self, market: int) -> int:
        rng = self.random
        spread = rng.choice((3, 10, 30, 350))
        return max(1, self.prices[market] + rng.randint(-spread, spread))

    def _move_beacon(self) -> None:
        """Sometimes: our blocks are registered, locks for us arrive, ours get their verdicts."""
        rng, follower = self.random, self.shard.follower
        if rng.random() < 0.5:
            return
        messages: list[TransferLock | TransferVerdict] = []
        if rng.random() < 0.5:
            messages.append(self._incoming_lock())
        channel = self.shard.application.machine
        while rng.random() < 0.7:
            lock = channel.find_open(1, self.next_ack)
            if lock is None:
                break
            messages.append(self._verdict(lock))
        follower.deliver(*messages)
        if rng.random() < 0.7:
            self.registered = self.shard.height
        follower.tips[follower.height] = {
            0: RegisteredTip(height=self.registered, beacon_ref_height=follower.height),
            1: RegisteredTip(height=1, beacon_ref_height=follower.height),
        }

    def _incoming_lock(self) -> TransferLock:
        rng = self.random
        sequence, self.next_recv = self.next_recv, self.next_recv + 1
        return TransferLock(
            CHAIN, 1, 0, sequence, address_of("stranger"), 0,
            address_of(rng.choice((*NAMES, "newcomer"))), rng.choice((0, 0, 1, 99)),
            rng.choice((0, 0, 0, 3)), rng.randint(1, 30 * QUOTE),
            self.shard.follower.height + rng.choice((0, 50)), Purpose.TRANSFER,
        )  # fmt: skip

    def _verdict(self, lock: TransferLock) -> TransferVerdict:
        verdict = self.random.choice(tuple(Verdict))
        reason = RejectReason.UNKNOWN_ASSET if verdict is Verdict.REJECTED else RejectReason.NONE
        self.next_ack += 1
        return TransferVerdict(
            CHAIN, 1, 0, lock.sequence, compute_xid(CHAIN, 0, 1, lock.sequence), verdict, reason,
            lock.asset, lock.amount,
        )  # fmt: skip
