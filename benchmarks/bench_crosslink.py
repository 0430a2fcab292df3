"""What crosslinks cost: microseconds per registered leaf at the beacon, and per transfer at each place.

Two shards exchange full blocks of locks and verdicts through a beacon, with real signatures and committees of
four. Prints a table on stdout. Every figure is the best of three runs, so that a busy machine disturbs least.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from consensus.certificate import Certificate, attest
from consensus.committee import Committee
from crosslink.beacon import BeaconApplication
from crosslink.block import BlockBatch, BlockInput
from crosslink.bundle import encode_bundle
from crosslink.follower import BeaconFollower
from crosslink.header import (
    NO_BEACON_REF,
    START_CURSOR,
    BeaconRef,
    InboxCursor,
    ShardHeader,
    compute_header_hash,
)
from crosslink.inbox import derive_inbox
from crosslink.messages import Purpose, RejectReason
from crosslink.submission import SubmittedHeader, encode_submission
from crosslink.summary import AssetSummary, ShardSummary, compute_summary_root
from crosslink.transfers import LockRequest, TransferMachine
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.identifiers import BEACON_SHARD
from primitives.merkle import EMPTY_ROOT, compute_root
from primitives.parameters import ProtocolParameters
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from primitives.state_tree import StateTree

T = TypeVar("T")

CHAIN: Final = hash_tagged(b"benchmark chain")
TRANSFERS: Final = 768
"""What one block may lock: three quarters of the default window."""
RUNS: Final = 3
ACCOUNTS: Final = 64
ASSET: Final = 0
MINTED: Final = 10**12
PARAMETERS: Final = ProtocolParameters()


class OpenLedger:
    """Takes and gives without asking: the venue's own costs are measured elsewhere."""

    def __init__(self) -> None:
        self.held = MINTED

    def check_lock(self, owner: bytes, subaccount: int, asset: int, amount: int) -> str | None:
        return None

    def escrow(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        self.held -= amount

    def refund(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        self.held += amount

    def check_credit(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> RejectReason | None:
        return None

    def hold_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        pass

    def release_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        self.held += amount


def make_committee(shard: int) -> tuple[Committee, list[Ed25519Signer]]:
    signers = [Ed25519Signer(derive_seed(CHAIN, shard, index)) for index in range(4)]
    return Committee(CHAIN, shard, 0, 0, tuple(signer.public_key for signer in signers)), signers


def certify(header: ShardHeader, committee: Committee, signers: list[Ed25519Signer]) -> Certificate:
    digest = compute_header_hash(header)
    votes = [attest(committee, signer, header.height, digest) for signer in signers[: committee.quorum]]
    return Certificate(0, 0, header.height, digest, (0, 1, 2), tuple(vote.signature for vote in votes))


@dataclass
class Stopwatch:
    """Seconds by step of the run at hand."""

    seconds: dict[str, float] = field(default_factory=dict)

    def measure(self, step: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
        return result


class Shard:
    """One shard's machine, follower and chain."""

    def __init__(self, shard: int, watch: Stopwatch) -> None:
        self.shard, self.watch = shard, watch
        self.committee, self.signers = make_committee(shard)
        self.ledger = OpenLedger()
        self.machine = TransferMachine(CHAIN, shard, (0, 1), PARAMETERS, {ASSET: 1}, self.ledger)
        self.follower = BeaconFollower(shard, make_committee(BEACON_SHARD)[0], PARAMETERS, Ed25519())
        self.tree = StateTree(PARAMETERS.bucket_count)
        self.headers: list[ShardHeader] = []

    def make_block(self, locks: int) -> bytes:
        """Execute a block and return its submission."""
        height, reference = len(self.headers) + 1, self.follower.head
        cursor = self.headers[-1].inbox_cursor if self.headers else START_CURSOR
        self.machine.begin_block(height, reference.height, self.follower.view_at(reference.height))
        self.watch.measure("release", self.machine.release)
        intake = self.watch.measure(
            "derive inbox", lambda: derive_inbox(self.follower, cursor, reference.height, PARAMETERS)
        )
        self.watch.measure("consume", lambda: [self.machine.consume(item.message) for item in intake.items])
        self.watch.measure("lock", lambda: self._lock(locks, reference.height + 1_000))
        state_root = self.watch.measure("state", lambda: self.tree.update(self.machine.take_changes()))
        return self._submit(height, reference, intake.cursor, state_root)

    def _lock(self, count: int, deadline: int) -> None:
        for number in range(count):
            owner = (number % ACCOUNTS).to_bytes(20, "big")
            wanted = LockRequest(1 - self.shard, owner, 0, owner, 0, ASSET, 5, deadline, Purpose.TRANSFER)
            if self.machine.validate_lock(wanted) is None:
                self.machine.apply_lock(wanted)

    def _submit(self, height: int, reference: BeaconRef, cursor: InboxCursor, state_root: bytes) -> bytes:
        held = AssetSummary(ASSET, self.ledger.held, 0, 0, 0, 0, 0, 0, MINTED, 0)
        summary = ShardSummary((held,), self.machine.summarise_peers())
        leaves = self.machine.outbox
        header = ShardHeader(
            chain=CHAIN,
            shard=self.shard,
            incarnation=0,
            epoch=0,
            height=height,
            parent=compute_header_hash(self.headers[-1]) if self.headers else ZERO_DIGEST,
            payload_digest=ZERO_DIGEST,
            timestamp_ms=height,
            state_root=state_root,
            receipts_root=EMPTY_ROOT,
            outbox_root=self.watch.measure("outbox root", lambda: compute_root(leaves)),
            summary_root=compute_summary_root(summary),
            inbox_cursor=cursor,
            beacon_ref=reference,
            next_committee_root=ZERO_DIGEST,
        )
        self.headers.append(header)
        certificate = certify(header, self.committee, self.signers)
        return encode_submission([SubmittedHeader(header, leaves)], summary, certificate)


class Beacon:
    """The application and its chain."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        self.committee, self.signers = make_committee(BEACON_SHARD)
        committees = {shard: make_committee(shard)[0] for shard in (0, 1)}
        self.application = BeaconApplication(CHAIN, committees, PARAMETERS, Ed25519())
        self.parent = ZERO_DIGEST
        self.height = 0

    def make_block(self, submissions: list[bytes], shards: list[Shard]) -> None:
        """Register the submissions and push the block to every follower."""
        self.height += 1
        decoded = self.watch.measure(
            "beacon decode", lambda: [self.application.decode(data) for data in submissions]
        )
        self.watch.measure("beacon verify", lambda: deque(map(self.application.verify, decoded), maxlen=0))
        batch = BlockBatch(self.height.to_bytes(32, "big"), self.height, tuple(decoded))
        block = BlockInput(
            height=self.height,
            timestamp_ms=self.height,
            beacon_ref=NO_BEACON_REF,
            parent_timestamp_ms=self.height - 1,
            parent_cursor=START_CURSOR,
            parent_beacon_ref=NO_BEACON_REF,
            batches=(batch,),
            parent_hash=self.parent,
        )
        result = self.watch.measure("beacon execute", lambda: self.application.execute(block))
        header = ShardHeader(
            chain=CHAIN,
            shard=BEACON_SHARD,
            incarnation=0,
            epoch=0,
            height=self.height,
            parent=self.parent,
            payload_digest=ZERO_DIGEST,
            timestamp_ms=self.height,
            state_root=result.state_root,
            receipts_root=result.receipts_root,
            outbox_root=result.outbox_root,
            summary_root=result.summary_root,
            inbox_cursor=START_CURSOR,
            beacon_ref=NO_BEACON_REF,
            next_committee_root=ZERO_DIGEST,
        )
        self.parent = compute_header_hash(header)
        certificate = certify(header, self.committee, self.signers)
        deliveries = self.application.recent_deliveries(self.height)
        assert deliveries is not None
        assert len(result.outbox) == len(submissions), "every submission registers"
        for shard in shards:
            outbox, number = result.outbox, shard.shard
            bundle = self.watch.measure(
                "bundle",
                lambda outbox=outbox, number=number: encode_bundle(  # type: ignore[misc]
                    header, certificate, (), outbox, deliveries, number
                ),
            )
            self.watch.measure("follow", lambda shard=shard, bundle=bundle: shard.follower.accept(bundle))  # type: ignore[misc]


def run_once() -> tuple[dict[str, float], float]:
    """Seconds by step for ``2 × TRANSFERS`` transfers from lock to settled, and for a beacon block of nothing."""
    watch = Stopwatch()
    shards = [Shard(0, watch), Shard(1, watch)]
    beacon = Beacon(watch)
    for step in range(4):
        locks = TRANSFERS if step == 0 else 0
        beacon.make_block([shard.make_block(locks) for shard in shards], shards)
    assert all(shard.machine.count_open(1 - shard.shard) == 0 for shard in shards)
    assert not beacon.application.summarise().open_transfers
    loaded = dict(watch.seconds)
    watch.seconds.clear()
    beacon.make_block([shard.make_block(0) for shard in shards], shards)
    return loaded, sum(watch.seconds.values())


def main() -> None:
    """Print the table."""
    runs = [run_once() for _ in range(RUNS)]
    transfers, leaves = 2 * TRANSFERS, 4 * TRANSFERS
    best = {step: min(run[0][step] for run in runs) for step in runs[0][0]}
    out = sys.stdout
    out.write(f"{transfers} transfers, {leaves} leaves, best of {RUNS} runs\n\n")
    out.write(f"{'step':<16}{'us per transfer':>18}{'us per leaf':>14}\n")
    for step, seconds in best.items():
        out.write(f"{step:<16}{seconds * 1e6 / transfers:>18.2f}{seconds * 1e6 / leaves:>14.2f}\n")
    beacon = sum(seconds for step, seconds in best.items() if step.startswith("beacon"))
    shard = sum(seconds for step, seconds in best.items() if not step.startswith(("beacon", "bundle")))
    out.write(f"\nbeacon member, per registered leaf: {beacon * 1e6 / leaves:.1f} us\n")
    out.write(f"shard validators of both sides, per transfer: {shard * 1e6 / transfers:.1f} us\n")
    out.write(f"a step without transfers, everybody: {min(run[1] for run in runs) * 1e3:.2f} ms\n")


if __name__ == "__main__":
    main()
