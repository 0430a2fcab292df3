"""Seeded blocks of hostile but well-formed input: every field at its bounds, prices that leap over the whole range.

Where ``random_workload`` looks like trading, this looks like an attack: nothing here is plausible, and all of it
passes the decoder. No exception may come out of ``execute``, because it would halt every replica at one block.
"""

from __future__ import annotations

import random

from crosslink.messages import Purpose, RejectReason, TransferLock, TransferVerdict, Verdict, compute_xid
from crosslink.tips import RegisteredTip
from shards.genesis import QUOTE, FeeTier, ShardParameters
from shards.transactions import (
    MAX_LOTS,
    MAX_TICKS,
    Action,
    Amend,
    Cancel,
    CancelAll,
    CrossTransfer,
    FaucetMint,
    Mode,
    Observation,
    OracleReport,
    OrderKind,
    Place,
    Side,
    SignedTransaction,
    SubaccountTransfer,
    Transfer,
)
from tests.shards.toy_shard import CHAIN, ToyShard, address_of, make_market, make_parameters

NAMES = tuple(f"trader{index}" for index in range(5))
SENDERS = (*NAMES, "faucet", "oracle0", "oracle1", "stranger")
REPORTERS = ("oracle0", "oracle1")
MAX_UNSIGNED = 2**63 - 1


def make_hostile_parameters(seed: int) -> ShardParameters:
    """Markets with tiny and with huge units, thin margins, and accounts that own nearly all there may be."""
    rng = random.Random(seed)
    markets = (
        make_market(0, tick_size="0.1", lot_size="0.01", initial_ppm=20_000, maintenance_ppm=10_000,
                    funding_cap_ppm=1_000_000, impact_notional=1),
        make_market(1, tick_size="0.001", lot_size="0.001", initial_ppm=2, maintenance_ppm=1, band_ppm=999_999,
                    mark_band_ppm=999_999, open_interest_lower=1, open_interest_upper=2, liquidation_fee_ppm=10**6,
                    funding_cap_ppm=1_000_000, impact_notional=1),
        make_market(2, tick_size="1000000", lot_size="1", size_threshold_lots=1, impact_notional=1),
    )  # fmt: skip
    wealth = rng.choice((100 * QUOTE, 2**40, 2**57))
    return make_parameters(
        dict.fromkeys(NAMES, wealth),
        markets=markets,
        tiers=(FeeTier(taker_ppm=rng.choice((500, 10**6)), maker_ppm=-500),),
        action_fee=rng.choice((0, 10)),
        free_cancels=3,
        insurance=rng.choice((0, QUOTE, 2**50)),
        max_paid=rng.choice((1, 2**50)),
        reporters=REPORTERS,
    )


class HostileWorkload:
    """Drives one shard; all randomness comes from the seed."""

    def __init__(self, seed: int, shard: ToyShard) -> None:
        self.random = random.Random(seed)
        self.shard = shard
        self.price = 1_000
        self.next_recv = 0
        self.next_ack = 0

    def run_block(self) -> None:
        """Move the price and the beacon, then execute a block."""
        rng, shard = self.random, self.shard
        self._move_beacon()
        if rng.random() < 0.25:
            self.price = rng.choice((1, 2, 1_000, 2**20, 2**39, MAX_TICKS, rng.randint(1, MAX_TICKS)))
        step_ms = rng.choice((1, 250, 1_000, 1_000, 60_000, 7_200_000))
        transactions = [self._report(name, step_ms) for name in REPORTERS if rng.random() < 0.97]
        transactions += [self._transaction() for _ in range(rng.randint(0, 8))]
        if transactions and rng.random() < 0.2:
            transactions.append(rng.choice(transactions))
        rng.shuffle(transactions)
        shard.run(*transactions, step_ms=step_ms)

    def _report(self, name: str, step_ms: int) -> SignedTransaction:
        observed = self.shard.time_ms + step_ms + self.random.choice((0, 0, 0, 250, 1_001))
        reports = tuple(
            OracleReport(tuple(Observation(number, self.price, observed) for number in range(3)))
            for _ in range(self.random.choice((1, 1, 1, 1, 1, 2, 32)))
        )
        return self.shard.tx(name, *reports, mode=self.random.choice(tuple(Mode)))

    def _transaction(self) -> SignedTransaction:
        rng, shard = self.random, self.shard
        name = rng.choice(SENDERS)
        count = rng.choice((1, 1, 2, 8, 32))
        nonce = rng.choice((0, 2**20 + 100_000, MAX_UNSIGNED)) if rng.random() < 0.05 else None
        highest = shard.nonces.get(name, 0) + 1 if nonce is None else nonce
        if rng.random() < 0.05:
            actions: list[Action] = [OracleReport((Observation(0, MAX_TICKS, MAX_UNSIGNED),))] * count
        else:
            actions = [self._action(highest) for _ in range(count)]
        return shard.tx(
            name,
            *actions,
            mode=rng.choice(tuple(Mode)),
            nonce=nonce,
            subaccount=rng.choice((0, 0, 0, 1, 15)),
            valid_until_ms=shard.time_ms + rng.choice((*[3_600_000] * 9, 0, 3_600_001, MAX_UNSIGNED // 2)),
        )

    def _action(self, nonce: int) -> Action:
        rng = self.random
        kinds = (self._place, self._place, self._place, self._amend, self._cancel, self._move_money)
        return rng.choice(kinds)(nonce)

    def _market(self) -> int:
        return self.random.choice((0, 0, 1, 1, 2, 3, 2**16 - 1))

    def _ticks(self) -> int:
        rng = self.random
        near = max(1, min(MAX_TICKS, self.price + rng.randint(-self.price // 50 - 1, self.price // 50 + 1)))
        return rng.choice((near, near, near, near, self.price, 1, MAX_TICKS))

    def _lots(self) -> int:
        rng = self.random
        return rng.choice((1, 2, rng.randint(1, 1_000), 2 ** rng.randint(0, 39), MAX_LOTS))

    def _client_id(self) -> int:
        return self.random.choice((1, 2, 3, 4, 5, MAX_UNSIGNED))

    def _place(self, nonce: int) -> Action:
        rng = self.random
        kind = rng.choice((OrderKind.LIMIT, OrderKind.LIMIT, *OrderKind))
        expiry_ms = 0
        if kind is OrderKind.GTT:
            expiry_ms = rng.choice((1, self.shard.time_ms + 1_500, MAX_UNSIGNED))
        return Place(
            self._market(), rng.choice(tuple(Side)), kind, self._ticks(), self._lots(),
            rng.choice((0, 0, self._client_id())), rng.random() < 0.25, expiry_ms,
        )  # fmt: skip

    def _amend(self, nonce: int) -> Action:
        return Amend(self._market(), self._client_id(), self._ticks(), self._lots())

    def _cancel(self, nonce: int) -> Action:
        rng = self.random
        if rng.random() < 0.5:
            return CancelAll(rng.choice((None, self._market())), rng.choice((0, 0, 0, nonce)))
        if rng.random() < 0.5:
            return Cancel(self._market(), seq=rng.choice((1, 2, 5, MAX_UNSIGNED)))
        return Cancel(self._market(), client_id=self._client_id())

    def _amount(self) -> int:
        rng = self.random
        return rng.choice((1, rng.randint(1, 100 * QUOTE), 2 ** rng.randint(0, 62), 2**61, 2**62))

    def _move_money(self, nonce: int) -> Action:
        rng = self.random
        recipient = rng.choice((address_of(rng.choice(SENDERS)), bytes(20), rng.randbytes(20)))
        subaccount = rng.choice((0, 1, 15))
        asset = rng.choice((0, 0, 0, 0, 1, 2**16 - 1))
        match rng.randint(0, 3):
            case 0:
                return Transfer(recipient, subaccount, asset, self._amount())
            case 1:
                return SubaccountTransfer(subaccount, asset, self._amount())
            case 2:
                return FaucetMint(recipient, subaccount, asset, self._amount())
            case _:
                ahead = rng.choice((0, 199, 200, 20_000, 20_001, MAX_UNSIGNED - 10_000))
                return CrossTransfer(
                    rng.choice((0, 1, 1, 1, 2, 2**16 - 1)), recipient, subaccount, asset, self._amount(),
                    self.shard.follower.height + ahead, rng.choice(tuple(Purpose)),
                )  # fmt: skip

    def _move_beacon(self) -> None:
        """Locks of any amount arrive, ours get their verdicts, our blocks are registered."""
        rng, follower = self.random, self.shard.follower
        if rng.random() < 0.4:
            return
        messages: list[TransferLock | TransferVerdict] = []
        for _ in range(rng.choice((0, 1, 3))):
            messages.append(self._incoming_lock())
        machine = self.shard.application.machine
        while rng.random() < 0.8 and (lock := machine.find_open(1, self.next_ack)) is not None:
            self.next_ack += 1
            verdict = rng.choice(tuple(Verdict))
            reason = RejectReason.BLOCKED if verdict is Verdict.REJECTED else RejectReason.NONE
            xid = compute_xid(CHAIN, 0, 1, lock.sequence)
            messages.append(
                TransferVerdict(CHAIN, 1, 0, lock.sequence, xid, verdict, reason, lock.asset, lock.amount)
            )
        follower.deliver(*messages)
        follower.tips[follower.height] = {
            0: RegisteredTip(height=rng.choice((0, self.shard.height)), beacon_ref_height=follower.height),
            1: RegisteredTip(height=1, beacon_ref_height=follower.height, frozen=rng.random() < 0.1),
        }

    def _incoming_lock(self) -> TransferLock:
        rng = self.random
        sequence, self.next_recv = self.next_recv, self.next_recv + 1
        return TransferLock(
            CHAIN, 1, 0, sequence, address_of("stranger"), 2**16 - 1, address_of(rng.choice(SENDERS)),
            rng.choice((0, 15, 16, 2**16 - 1)), rng.choice((0, 0, 0, MAX_UNSIGNED)),
            rng.choice((1, 2**61, MAX_UNSIGNED, 2 ** rng.randint(0, 62))),
            rng.choice((0, MAX_UNSIGNED, self.shard.follower.height + 1)), rng.choice(tuple(Purpose)),
        )  # fmt: skip
