"""Microseconds per action of the venue: decode, verify, execute, encode, tree, and everything in one block.

    python -m benchmarks.bench_venue [--open-orders 100000] [--blocks 60] [--batch 10] [--profile]

Makers place and cancel around a moving mid, takers cross the spread: of ten actions five rest, four cancel and one
trades. ``--open-orders`` fills the book beforehand.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from crosslink.block import BlockBatch, BlockInput
from crosslink.followed_registry import FollowedRegistry
from crosslink.follower import InboxItem
from crosslink.header import NO_BEACON_REF, START_CURSOR, BeaconRef, InboxCursor
from primitives.hashing import hash_tagged
from primitives.identifiers import compute_address
from primitives.parameters import ProtocolParameters
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from shards import application as application_module
from shards.application import ShardApplication
from shards.genesis import QUOTE, build_devnet_parameters
from shards.transactions import (
    Action,
    Cancel,
    Observation,
    OracleReport,
    OrderKind,
    Place,
    Side,
    SignedTransaction,
    sign_transaction,
)

CHAIN = hash_tagged(b"rialto/bench", b"venue")
START_MS = 1_700_000_000_000
MID = 600_000
PHASES = ("run_transactions", "run_closing_phases", "compute_root", "take_changes")


class SilentFollower:
    """A beacon from which nothing comes."""

    head: BeaconRef = NO_BEACON_REF

    def view_at(self, height: int) -> FollowedRegistry:
        return FollowedRegistry({}, height)

    def find_items(self, after: InboxCursor, up_to_height: int) -> Iterable[InboxItem]:
        return ()


class Clock:
    """Time spent in functions of the application, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

        return timed


class Trader:
    """An account with its nonces and its open client ids."""

    def __init__(self, index: int) -> None:
        self.signer = Ed25519Signer(derive_seed(bytes(32), "bench", index))
        self.address = compute_address(self.signer.public_key)
        self.nonce = 0
        self.next_client_id = 1
        self.open: list[int] = []


class Bench:
    """A shard with one market, its traders, and the blocks that they fill."""

    def __init__(self, traders: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.traders = [Trader(index) for index in range(traders)]
        self.reporter = Trader(10**6)
        parameters = build_devnet_parameters(
            0,
            markets=["BTCUSDT"],
            reporters=[self.reporter.address],
            accounts={trader.address: 10_000_000 * QUOTE for trader in self.traders},
        )
        self.application = ShardApplication(
            parameters,
            ProtocolParameters(),
            CHAIN,
            (),
            SilentFollower(),  # type: ignore[arg-type]
            Ed25519(),
        )
        self.height = 0
        self.time_ms = START_MS

    def sign(self, trader: Trader, actions: list[Action]) -> bytes:
        trader.nonce += 1
        _, data = sign_transaction(
            trader.signer,
            chain=CHAIN,
            shard=0,
            nonce=trader.nonce,
            valid_until_ms=self.time_ms + 600_000,
            actions=actions,
        )
        return data

    def report(self) -> bytes:
        return self.sign(self.reporter, [OracleReport((Observation(0, MID, self.time_ms + 300),))])

    def place_deep(self, trader: Trader, count: int) -> bytes:
        """Orders that rest away from the mid and stay."""
        actions: list[Action] = []
        for _ in range(count):
            side = self.random.choice((Side.BUY, Side.SELL))
            distance = self.random.randint(500, 20_000)
            price = MID - distance if side is Side.BUY else MID + distance
            actions.append(Place(0, side, OrderKind.LIMIT, price, self.random.randint(1, 5)))
        return self.sign(trader, actions)

    def trade(self, trader: Trader, count: int) -> bytes:
        """A batch of the mixed workload."""
        rng = self.random
        actions: list[Action] = []
        for _ in range(count):
            draw = rng.random()
            side = rng.choice((Side.BUY, Side.SELL))
            sign = 1 if side is Side.BUY else -1
            if draw < 0.4 and len(trader.open) > 5:
                actions.append(Cancel(0, trader.open.pop(rng.randrange(len(trader.open)))))
            elif draw < 0.9:
                trader.open.append(trader.next_client_id)
                price = MID - sign * rng.randint(1, 300)
                actions.append(Place(0, side, OrderKind.LIMIT, price, rng.randint(1, 20), trader.next_client_id))
                trader.next_client_id += 1
            else:
                actions.append(Place(0, side, OrderKind.IOC, MID + sign * 40, rng.randint(1, 30)))
        return self.sign(trader, actions)

    def execute(self, transactions: Iterable[SignedTransaction]) -> int:
        self.height += 1
        self.time_ms += 200
        batch = BlockBatch(self.height.to_bytes(32, "big"), self.height + 10, tuple(transactions))
        result = self.application.execute(
            BlockInput(
                height=self.height,
                timestamp_ms=self.time_ms,
                beacon_ref=NO_BEACON_REF,
                parent_timestamp_ms=self.time_ms - 200,
                parent_cursor=START_CURSOR,
                parent_beacon_ref=NO_BEACON_REF,
                batches=(batch,),
            )
        )
        return len(result.receipts)


def fill_book(bench: Bench, orders: int) -> None:
    """Rest ``orders`` orders away from the mid."""
    per_trader = orders // len(bench.traders)
    left = {id(trader): per_trader for trader in bench.traders}
    while any(left.values()):
        data = [bench.report()]
        for trader in bench.traders:
            count = min(32, left[id(trader)])
            if count:
                data.append(bench.place_deep(trader, count))
                left[id(trader)] -= count
        bench.execute(bench.application.decode(item) for item in data)


def run(bench: Bench, blocks: int, per_block: int, batch: int, profile: bool) -> None:
    """Execute the workload and print where the time went."""
    clock = Clock()
    for name in PHASES:
        setattr(application_module, name, clock.wrap(name, getattr(application_module, name)))
    tree = bench.application._tree
    bench.application._tree = TimedTree(tree, clock)  # type: ignore[assignment]
    decode = clock.wrap("decode", bench.application.decode)
    verify = clock.wrap("verify", bench.application.verify)
    execute = clock.wrap("whole block", bench.execute)
    profiler = cProfile.Profile()
    gc.collect()
    gc.freeze()
    for _ in range(blocks):
        chosen = [bench.random.choice(bench.traders) for _ in range(per_block)]
        data = [bench.report(), *(bench.trade(trader, batch) for trader in chosen)]
        transactions = [decode(item) for item in data]
        for transaction in transactions:
            verify(transaction)
        if profile:
            profiler.enable()
        execute(transactions)
        profiler.disable()
    actions = blocks * per_block * batch
    for name, seconds in clock.seconds.items():
        sys.stdout.write(f"{name:20} {seconds * 1e6 / actions:8.2f} µs per action\n")
    total = sum(clock.seconds[name] for name in ("decode", "verify", "whole block"))
    venue = bench.application.venue
    levels = [level for side in (venue.markets[0].bids, venue.markets[0].asks) for _, level in side.walk()]
    orders = sum(len(level.queue) for level in levels)
    sys.stdout.write(f"{'total':20} {total * 1e6 / actions:8.2f} µs per action; {orders} open orders at the end\n")
    if profile:
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(35)


class TimedTree:
    """The state tree with a clock around it."""

    def __init__(self, tree: Any, clock: Clock) -> None:
        self.update = clock.wrap("tree", tree.update)


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open-orders", type=int, default=0)
    parser.add_argument("--traders", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--per-block", type=int, default=50)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    traders = max(options.traders, options.open_orders // 160)
    bench = Bench(traders, options.seed)
    bench.execute([bench.application.decode(bench.report())])
    fill_book(bench, options.open_orders)
    run(bench, options.blocks, options.per_block, options.batch, options.profile)


if __name__ == "__main__":
    main()
