"""Toy shards, a toy ledger and a beacon in one process, for the tests of this package.

The shards run the real transfer machine, follower and inbox over a ledger of a few lines; the beacon is the real
application. There is no consensus: a block is certified by signing its header. Signatures are tagged hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consensus.certificate import Certificate, attest
from consensus.committee import Committee
from crosslink.beacon import BeaconApplication, BeaconReceipt
from crosslink.block import BlockBatch, BlockInput, BlockResult
from crosslink.bundle import encode_bundle
from crosslink.conservation import BeaconSummary
from crosslink.follower import BeaconFollower, FollowResult
from crosslink.header import (
    NO_BEACON_REF,
    START_CURSOR,
    BeaconRef,
    InboxCursor,
    ShardHeader,
    compute_header_hash,
)
from crosslink.inbox import derive_inbox
from crosslink.messages import Message, Purpose, RejectReason, decode_message
from crosslink.submission import SubmittedHeader, encode_submission
from crosslink.summary import AssetSummary, ShardSummary, compute_summary_root
from crosslink.transfers import LockRequest, TransferEvent, TransferMachine, TransferPhase
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.identifiers import BEACON_SHARD
from primitives.merkle import EMPTY_ROOT, compute_root
from primitives.parameters import ProtocolParameters
from primitives.state_tree import StateTree

CHAIN = hash_tagged(b"toy chain")
USD = 0
GOLD = 7
MINIMUMS = {USD: 10, GOLD: 1}
MEMBERS = 4
FIRST_CASH = 1_000_000
STRANGER = b"\xee" * 20
"""An address that the toy ledger never credits."""

PARAMETERS = ProtocolParameters(
    bucket_count=16,
    channel_window=32,
    inbox_weight=64,
    stall_after_blocks=40,
    freeze_after_blocks=400,
    transfer_deadline_min_blocks=4,
    transfer_deadline_max_blocks=60,
    messages_per_beacon_block=128,
)


class ToyScheme:
    """Signatures that anybody could forge, and nobody does."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return signature == hash_tagged(b"toy signature", public_key, message) * 2


@dataclass(frozen=True)
class ToySigner:
    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        return hash_tagged(b"toy signature", self.public_key, message) * 2


def make_committee(shard: int, *, chain: bytes = CHAIN, epoch: int = 0, incarnation: int = 0) -> Committee:
    keys = tuple(hash_tagged(b"toy key", shard.to_bytes(4, "big"), bytes([index])) for index in range(MEMBERS))
    return Committee(chain, shard, incarnation, epoch, keys)


def certify(header: ShardHeader, committee: Committee, signers: Sequence[int] = (0, 1, 2)) -> Certificate:
    header_hash = compute_header_hash(header)
    votes = [attest(committee, ToySigner(committee.members[i]), header.height, header_hash) for i in signers]
    return Certificate(
        committee.incarnation,
        committee.epoch,
        header.height,
        header_hash,
        tuple(vote.signer for vote in votes),
        tuple(vote.signature for vote in votes),
    )


def address(number: int) -> bytes:
    return number.to_bytes(20, "big")


class ToyLedger:
    """Cash by (owner, subaccount, asset). Credits create accounts; ``STRANGER`` is refused."""

    def __init__(self, cash: dict[tuple[bytes, int, int], int]) -> None:
        self.cash = dict(cash)
        self.pending: dict[tuple[bytes, int, int], int] = {}
        self.minted = dict.fromkeys(MINIMUMS, 0)
        for (_, _, asset), amount in cash.items():
            self.minted[asset] += amount

    def check_lock(self, owner: bytes, subaccount: int, asset: int, amount: int) -> str | None:
        return None if self.cash.get((owner, subaccount, asset), 0) >= amount else "NOT_WITHDRAWABLE"

    def escrow(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        self.cash[owner, subaccount, asset] -= amount

    def refund(self, owner: bytes, subaccount: int, asset: int, amount: int) -> None:
        key = owner, subaccount, asset
        self.cash[key] = self.cash.get(key, 0) + amount

    def check_credit(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> RejectReason | None:
        return RejectReason.UNKNOWN_ACCOUNT if recipient == STRANGER else None

    def hold_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        key = recipient, subaccount, asset
        self.pending[key] = self.pending.get(key, 0) + amount

    def release_pending(self, recipient: bytes, subaccount: int, asset: int, amount: int) -> None:
        key = recipient, subaccount, asset
        self.pending[key] -= amount
        assert self.pending[key] >= 0
        self.cash[key] = self.cash.get(key, 0) + amount

    def held(self, asset: int) -> int:
        return sum(amount for key, amount in self.cash.items() if key[2] == asset)


@dataclass
class ToyBlock:
    header: ShardHeader
    leaves: tuple[bytes, ...]
    summary: ShardSummary
    events: tuple[TransferEvent, ...]
    codes: tuple[str, ...] = ()

    @property
    def submitted(self) -> SubmittedHeader:
        return SubmittedHeader(self.header, self.leaves)


class ToyShard:
    """One shard: a chain of certified blocks over a ledger."""

    def __init__(self, shard: int, shards: Sequence[int], parameters: ProtocolParameters = PARAMETERS) -> None:
        self.shard = shard
        self.parameters = parameters
        self.committee = make_committee(shard)
        funds = {(address(n), 0, asset): FIRST_CASH for n in range(1, 4) for asset in MINIMUMS}
        self.ledger = ToyLedger(funds)
        self.machine = TransferMachine(CHAIN, shard, shards, parameters, MINIMUMS, self.ledger)
        self.follower = BeaconFollower(shard, make_committee(BEACON_SHARD), parameters, ToyScheme())
        self.tree = StateTree(parameters.bucket_count)
        self.records: dict[bytes, bytes] = {}
        self.blocks: list[ToyBlock] = []

    @property
    def cursor(self) -> InboxCursor:
        return self.blocks[-1].header.inbox_cursor if self.blocks else START_CURSOR

    @property
    def reference(self) -> BeaconRef:
        return self.blocks[-1].header.beacon_ref if self.blocks else NO_BEACON_REF

    def make_block(self, requests: Iterable[LockRequest] = (), beacon_height: int | None = None) -> ToyBlock:
        """Execute and certify the next block, referring to the follower's head or to ``beacon_height``."""
        wanted = self.follower.head.height if beacon_height is None else beacon_height
        parent = self.reference.height
        height = min(max(parent, wanted), parent + self.parameters.beacon_ref_step_blocks)
        reference_hash = self.follower.hash_at(height)
        assert reference_hash is not None
        number = len(self.blocks) + 1
        machine = self.machine
        machine.begin_block(number, height, self.follower.view_at(height))
        events = list(machine.release())
        intake = derive_inbox(self.follower, self.cursor, height, self.parameters)
        for item in intake.items:
            event = machine.consume(item.message)
            assert event is not None, "an honest beacon delivers what fits"
            events.append(event)
        codes = []
        for request in requests:
            code = machine.validate_lock(request)
            codes.append(code or "OK")
            if code is None:
                events.append(machine.apply_lock(request))
        return self._finish(number, BeaconRef(height, reference_hash), intake.cursor, events, codes)

    def _finish(
        self,
        number: int,
        reference: BeaconRef,
        cursor: InboxCursor,
        events: list[TransferEvent],
        codes: list[str],
    ) -> ToyBlock:
        changes = self.machine.take_changes()
        for key, value in changes.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        summary = self.summarise()
        leaves = self.machine.outbox
        previous = self.blocks[-1].header if self.blocks else None
        header = ShardHeader(
            chain=CHAIN,
            shard=self.shard,
            incarnation=0,
            epoch=0,
            height=number,
            parent=compute_header_hash(previous) if previous else ZERO_DIGEST,
            payload_digest=hash_tagged(b"toy payload", bytes([self.shard]), number.to_bytes(8, "big")),
            timestamp_ms=1_000 + 50 * number,
            state_root=self.tree.update(changes),
            receipts_root=EMPTY_ROOT,
            outbox_root=compute_root(leaves),
            summary_root=compute_summary_root(summary),
            inbox_cursor=cursor,
            beacon_ref=reference,
            next_committee_root=ZERO_DIGEST,
        )
        block = ToyBlock(header, leaves, summary, tuple(events), tuple(codes))
        self.blocks.append(block)
        return block

    def summarise(self) -> ShardSummary:
        assets = tuple(
            AssetSummary(asset, self.ledger.held(asset), 0, 0, 0, 0, 0, 0, self.ledger.minted[asset], 0)
            for asset in sorted(MINIMUMS)
        )
        return ShardSummary(assets, self.machine.summarise_peers())

    def build_submission(self, first: int, last: int | None = None, signers: Sequence[int] = (0, 1, 2)) -> bytes:
        """Headers ``first`` to ``last`` (default: all) as a beacon transaction."""
        blocks = self.blocks[first - 1 : last]
        tip = blocks[-1]
        headers = [block.submitted for block in blocks]
        return encode_submission(headers, tip.summary, certify(tip.header, self.committee, signers))


@dataclass
class ToyBeaconBlock:
    header: ShardHeader
    result: BlockResult
    codes: tuple[str, ...]


class ToyBeacon:
    """The real application, and headers around its blocks."""

    def __init__(self, shards: Sequence[int], parameters: ProtocolParameters = PARAMETERS) -> None:
        self.parameters = parameters
        self.committee = make_committee(BEACON_SHARD)
        committees = {shard: make_committee(shard) for shard in shards}
        self.application = BeaconApplication(CHAIN, committees, parameters, ToyScheme())
        self.blocks: list[ToyBeaconBlock] = []
        self.records: dict[bytes, bytes] = {}

    @property
    def height(self) -> int:
        return len(self.blocks)

    def screen(self, transactions: Iterable[bytes]) -> tuple[list[bytes], list[str]]:
        """What a member would take into its mempool, and the codes of what it refuses."""
        taken, refused = [], []
        for data in transactions:
            try:
                transaction = self.application.decode(data)
                self.application.verify(transaction)
                self.application.admit(transaction, 0)
            except RemoteError as error:
                refused.append(error.code)
            else:
                taken.append(data)
        return taken, refused

    def make_block(self, transactions: Iterable[bytes] = ()) -> ToyBeaconBlock:
        """Order ``transactions`` as they are (valid ones: decoded and verified) and certify the block."""
        decoded = []
        for data in transactions:
            transaction = self.application.decode(data)
            self.application.verify(transaction)
            decoded.append(transaction)
        height = self.height + 1
        previous = self.blocks[-1].header if self.blocks else None
        parent = compute_header_hash(previous) if previous else ZERO_DIGEST
        batch = BlockBatch(hash_tagged(b"toy batch", height.to_bytes(8, "big")), height + 10, tuple(decoded))
        result = self.application.execute(
            BlockInput(
                height=height,
                timestamp_ms=1_000 + 150 * height,
                beacon_ref=NO_BEACON_REF,
                parent_timestamp_ms=1_000 + 150 * (height - 1),
                parent_cursor=START_CURSOR,
                parent_beacon_ref=NO_BEACON_REF,
                batches=(batch,) if decoded else (),
                parent_hash=parent,
            )
        )
        for key, value in result.changes.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        header = self.make_header(result, parent)
        codes = tuple(decode_receipt(receipt.encoded).code for receipt in result.receipts)
        self.blocks.append(ToyBeaconBlock(header, result, codes))
        return self.blocks[-1]

    def make_header(self, result: BlockResult, parent: bytes, *, payload: bytes = b"") -> ShardHeader:
        height = self.height + 1
        return ShardHeader(
            chain=CHAIN,
            shard=BEACON_SHARD,
            incarnation=0,
            epoch=0,
            height=height,
            parent=parent,
            payload_digest=hash_tagged(b"toy payload", payload),
            timestamp_ms=1_000 + 150 * height,
            state_root=result.state_root,
            receipts_root=result.receipts_root,
            outbox_root=result.outbox_root,
            summary_root=result.summary_root,
            inbox_cursor=START_CURSOR,
            beacon_ref=NO_BEACON_REF,
            next_committee_root=ZERO_DIGEST,
        )

    def bundle(self, height: int, shard: int, signers: Sequence[int] = (0, 1, 2)) -> bytes:
        """The pushed bundle of a recent block."""
        block = self.blocks[height - 1]
        deliveries = self.application.recent_deliveries(height)
        assert deliveries is not None
        certificate = certify(block.header, self.committee, signers)
        return encode_bundle(block.header, certificate, (), block.result.outbox, deliveries, shard)

    def summarise(self) -> BeaconSummary:
        return self.application.summarise()


@dataclass
class ToyNetwork:
    """Shards 0 … n − 1 and a beacon."""

    size: int
    parameters: ProtocolParameters = PARAMETERS
    beacon: ToyBeacon = field(init=False)
    shards: list[ToyShard] = field(init=False)

    def __post_init__(self) -> None:
        numbers = range(self.size)
        self.beacon = ToyBeacon(numbers, self.parameters)
        self.shards = [ToyShard(shard, numbers, self.parameters) for shard in numbers]

    def registered(self, shard: int) -> int:
        return self.beacon.application.registry.tip(shard).height

    def submit(self, shard: int) -> bytes | None:
        """Everything of the shard that is not registered, or ``None``."""
        first = self.registered(shard) + 1
        return self.shards[shard].build_submission(first) if first <= len(self.shards[shard].blocks) else None

    def push(self, shard: int) -> None:
        """Bring the shard's follower to the beacon's head."""
        follower = self.shards[shard].follower
        while follower.head.height < self.beacon.height:
            result = follower.accept(self.beacon.bundle(follower.head.height + 1, shard))
            assert result is FollowResult.ADVANCED

    def step(self, requests: dict[int, list[LockRequest]] | None = None) -> ToyBeaconBlock:
        """One block of every shard, one of the beacon that registers them, and pushes to all."""
        for shard in range(self.size):
            self.shards[shard].make_block((requests or {}).get(shard, ()))
        block = self.beacon.make_block([data for s in range(self.size) if (data := self.submit(s))])
        for shard in range(self.size):
            self.push(shard)
        return block


def request(
    destination: int,
    amount: int = 100,
    *,
    owner: int = 1,
    recipient: bytes | None = None,
    deadline: int = 30,
    asset: int = USD,
    purpose: Purpose = Purpose.TRANSFER,
) -> LockRequest:
    return LockRequest(
        destination=destination,
        owner=address(owner),
        owner_subaccount=0,
        recipient=address(2) if recipient is None else recipient,
        recipient_subaccount=0,
        asset=asset,
        amount=amount,
        deadline=deadline,
        purpose=purpose,
    )


def decode_leaves(leaves: Iterable[bytes]) -> list[Message]:
    return [decode_message(leaf, PARAMETERS.message_bytes) for leaf in leaves]


def decode_receipt(data: bytes) -> BeaconReceipt:
    receipt: BeaconReceipt = decode(BeaconReceipt, data, max_bytes=1_024)
    return receipt


def phases(events: Iterable[TransferEvent]) -> list[TransferPhase]:
    return [event.phase for event in events]
