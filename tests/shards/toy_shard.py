"""One shard in memory for the tests: named accounts, a follower that the test scripts, blocks from transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crosslink.block import BlockBatch, BlockInput, BlockResult
from crosslink.follower import InboxItem
from crosslink.header import START_CURSOR, BeaconRef, InboxCursor
from crosslink.header_rules import order_cursor
from crosslink.messages import Message
from crosslink.tips import UNREGISTERED, RegisteredTip
from primitives.codec import encode
from primitives.hashing import hash_tagged
from primitives.identifiers import compute_address
from primitives.parameters import ProtocolParameters
from primitives.signing import Ed25519, Ed25519Signer, derive_seed
from shards.application import ShardApplication
from shards.codes import ResultCode
from shards.genesis import (
    QUOTE,
    FeeParameters,
    FeeTier,
    GenesisAccount,
    InsuranceParameters,
    MarketParameters,
    OracleParameters,
    ShardParameters,
)
from shards.receipts import Receipt, decode_receipt
from shards.transactions import (
    SIGNATURE_FIELD_BYTES,
    Action,
    Amend,
    Cancel,
    Envelope,
    Mode,
    Observation,
    OracleReport,
    OrderKind,
    Place,
    Side,
    SignedTransaction,
)

CHAIN = hash_tagged(b"rialto/test", b"toy shard")
START_MS = 1_700_000_000_000
BUY, SELL = Side.BUY, Side.SELL
_signers: dict[str, Ed25519Signer] = {}


def signer_of(name: str) -> Ed25519Signer:
    """The owner key of the account called ``name``."""
    if name not in _signers:
        _signers[name] = Ed25519Signer(derive_seed(bytes(32), "toy", name))
    return _signers[name]


def address_of(name: str) -> bytes:
    """The address of the account called ``name``."""
    return compute_address(signer_of(name).public_key)


def text_of(name: str) -> str:
    """The same as the genesis writes it."""
    return "0x" + address_of(name).hex()


def make_market(number: int = 0, **changes: object) -> MarketParameters:
    """A market with k = 1,000 quantums per tick·lot, 10 % initial and 5 % maintenance margin."""
    values: dict[str, object] = {
        "id": number,
        "symbol": f"TOY{number}",
        "tick_size": "0.1",
        "lot_size": "0.01",
        "initial_ppm": 100_000,
        "maintenance_ppm": 50_000,
        "min_notional": 0,
        "impact_notional": 1_000_000,
    }
    return MarketParameters(**{**values, **changes})  # type: ignore[arg-type]


def make_parameters(
    balances: dict[str, int],
    *,
    markets: Sequence[MarketParameters] = (make_market(),),
    tiers: Sequence[FeeTier] = (FeeTier(taker_ppm=500, maker_ppm=-100),),
    action_fee: int = 0,
    free_cancels: int = 512,
    insurance: int = 1_000 * QUOTE,
    max_paid: int = 1_000 * QUOTE,
    reporters: Sequence[str] = ("oracle",),
) -> ShardParameters:
    """Parameters with ``balances`` (quantums by name) and the faucet called faucet."""
    return ShardParameters(
        shard=0,
        markets=tuple(markets),
        oracle=OracleParameters(reporters=tuple(text_of(name) for name in reporters)),
        fees=FeeParameters(tiers=tuple(tiers), action=action_fee, lock=1_000, free_cancels_per_block=free_cancels),
        insurance=InsuranceParameters(funding=insurance, max_paid_per_block=max_paid),
        accounts=tuple(GenesisAccount(address=text_of(name), balances=(cash,)) for name, cash in balances.items()),
        faucet=text_of("faucet"),
        min_transfer=1,
    )


@dataclass
class ScriptedView:
    tips: dict[int, RegisteredTip]

    def tip(self, shard: int) -> RegisteredTip:
        return self.tips.get(shard, UNREGISTERED)


@dataclass
class ScriptedFollower:
    """A beacon whose messages and tips the test writes."""

    height: int = 0
    items: list[InboxItem] = field(default_factory=list)
    tips: dict[int, dict[int, RegisteredTip]] = field(default_factory=dict)

    @property
    def head(self) -> BeaconRef:
        return BeaconRef(self.height, bytes(32))

    def view_at(self, height: int) -> ScriptedView:
        known: dict[int, RegisteredTip] = {}
        for at in sorted(self.tips):
            if at <= height:
                known.update(self.tips[at])
        return ScriptedView(known)

    def find_items(self, after: InboxCursor, up_to_height: int) -> Iterable[InboxItem]:
        for item in self.items:
            if order_cursor(after) < order_cursor(item.cursor) and item.cursor.beacon_height <= up_to_height:
                yield item

    def deliver(self, *messages: Message) -> None:
        """One more beacon block with these messages for us."""
        self.height += 1
        for index, message in enumerate(messages):
            self.items.append(InboxItem(InboxCursor(self.height, 0, index), message))


class ToyShard:
    """Runs blocks and keeps every record, so that another replica can be restored at any height."""

    def __init__(self, parameters: ShardParameters, *, peers: Sequence[int] = (1,), paranoid: bool = True) -> None:
        self.parameters = parameters
        self.protocol = ProtocolParameters(bucket_count=16)
        self.peers = peers
        self.follower = ScriptedFollower()
        self.application = self.make_application(paranoid=paranoid)
        self.records: dict[bytes, bytes] = dict(self.application.genesis_records())
        self.height = 0
        self.time_ms = START_MS
        self.cursor = START_CURSOR
        self.beacon_ref = BeaconRef(0, bytes(32))
        self.nonces: dict[str, int] = {}
        self.result: BlockResult | None = None
        self.batches = 0

    def make_application(self, *, paranoid: bool = True) -> ShardApplication:
        return ShardApplication(
            self.parameters,
            self.protocol,
            CHAIN,
            self.peers,
            self.follower,  # type: ignore[arg-type]
            Ed25519(),
            paranoid=paranoid,
        )

    @property
    def venue(self):  # type: ignore[no-untyped-def]
        return self.application.venue

    def market(self, number: int = 0):  # type: ignore[no-untyped-def]
        return self.venue.markets[number]

    def cash(self, name: str, subaccount: int = 0) -> int:
        account = self.venue.accounts.get(address_of(name))
        return 0 if account is None else account.subaccount(subaccount).cash

    def position(self, name: str, market: int = 0, subaccount: int = 0) -> int:
        positions = self.venue.accounts[address_of(name)].subaccount(subaccount).positions
        return positions[market].size if market in positions else 0

    def orders(self, name: str, market: int = 0, subaccount: int = 0) -> dict[int, tuple[int, int]]:
        """client id → (price, open lots)"""
        positions = self.venue.accounts[address_of(name)].subaccount(subaccount).positions
        if market not in positions:
            return {}
        return {order.client_id: (order.price, order.open) for order in positions[market].orders.values()}

    def book(self, number: int = 0) -> tuple[list[list[int]], list[list[int]]]:
        from shards.queries import view_book

        view = view_book(self.market(number), 100)
        return view["bids"], view["asks"]

    def next_nonce(self, name: str) -> int:
        self.nonces[name] = self.nonces.get(name, 0) + 1
        return self.nonces[name]

    def tx(
        self,
        name: str,
        *actions: Action,
        mode: Mode = Mode.BEST_EFFORT,
        nonce: int | None = None,
        subaccount: int = 0,
        valid_until_ms: int | None = None,
    ) -> SignedTransaction:
        """A transaction whose signature nobody checks."""
        signer = signer_of(name)
        envelope = Envelope(
            chain=CHAIN,
            shard=self.parameters.shard,
            account=address_of(name),
            subaccount=subaccount,
            public_key=signer.public_key,
            nonce=self.next_nonce(name) if nonce is None else nonce,
            valid_until_ms=self.time_ms + 60_000 if valid_until_ms is None else valid_until_ms,
            mode=mode,
            actions=actions,
            signature=bytes(64),
        )
        data = encode(envelope)
        assert len(data) > SIGNATURE_FIELD_BYTES
        return self.application.decode(data)

    def price(self, *ticks: int, reporters: Sequence[str] = ("oracle",)) -> list[Receipt]:
        """A block in which every reporter reports ``ticks`` of markets 0, 1, …"""
        return self.run(*(self.report(name, *ticks) for name in reporters))

    def report(self, name: str, *ticks: int, observed_ms: int | None = None) -> SignedTransaction:
        observed = self.time_ms + 1_000 if observed_ms is None else observed_ms
        observations = tuple(Observation(number, price, observed) for number, price in enumerate(ticks))
        return self.tx(name, OracleReport(observations))

    def run(self, *transactions: SignedTransaction, step_ms: int = 1_000) -> list[Receipt]:
        """One block; the receipts, the block's own last where it has one."""
        self.batches += 1
        batch = BlockBatch(self.batches.to_bytes(32, "big"), self.height + 100, transactions)
        block = BlockInput(
            height=self.height + 1,
            timestamp_ms=self.time_ms + step_ms,
            beacon_ref=self.follower.head,
            parent_timestamp_ms=self.time_ms,
            parent_cursor=self.cursor,
            parent_beacon_ref=self.beacon_ref,
            batches=(batch,),
        )
        self.block = block
        self.result = self.application.execute(block)
        self.height, self.time_ms = block.height, block.timestamp_ms
        self.cursor, self.beacon_ref = self.result.inbox_cursor, block.beacon_ref
        for key, value in self.result.changes.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        return [decode_receipt(receipt.encoded) for receipt in self.result.receipts]

    def act(self, name: str, *actions: Action, **options: object) -> Receipt:
        """A block with one transaction; its receipt."""
        return self.run(self.tx(name, *actions, **options))[0]  # type: ignore[arg-type]

    def code(self, name: str, *actions: Action, **options: object) -> ResultCode:
        """The code of a block's only transaction."""
        return self.act(name, *actions, **options).code


def place(
    side: Side,
    price: int,
    lots: int,
    kind: OrderKind = OrderKind.LIMIT,
    *,
    client_id: int = 0,
    market: int = 0,
    reduce_only: bool = False,
    expiry_ms: int = 0,
) -> Place:
    """A place in market 0."""
    return Place(market, side, kind, price, lots, client_id, reduce_only, expiry_ms)


def cancel(client_id: int, market: int = 0) -> Cancel:
    """A cancel by client id."""
    return Cancel(market, client_id)


def amend(client_id: int, price: int, lots: int, market: int = 0) -> Amend:
    """An amend in market 0."""
    return Amend(market, client_id, price, lots)
