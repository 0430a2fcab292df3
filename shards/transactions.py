"""The wire format of transactions: the envelope, its actions, signing, decoding.

What lives here: everything about a transaction that is a pure function of its bytes and of the chain and shard
that it names. What does not: whether the account exists, can pay or has used the nonce (``shards.admission``,
``shards.transition``).

The id is the tagged hash of the encoding without the signature, whose 66 bytes (a MessagePack header of two
and 64 of signature) come last; the owner signs the id. Chain and shard are inside, so a transaction is good on
one shard of one network only.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from crosslink.messages import Purpose
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import ADDRESS_BYTES, compute_address
from primitives.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SignatureScheme, Signer
from shards.codes import ResultCode, refuse

MAX_TRANSACTION_BYTES: Final = 16_384
"""32 actions of the largest kind (a report of 64 markets is refused by count) fit with room to spare."""
MAX_ACTIONS: Final = 32
MAX_SUBACCOUNTS: Final = 16
MAX_REPORTED_MARKETS: Final = 16
MAX_TICKS: Final = 2**40 - 1
"""Prices are below 2**40 ticks, so that the product with any size that has funds behind it stays in range."""
MAX_LOTS: Final = 2**40 - 1
SIGNATURE_FIELD_BYTES: Final = 2 + SIGNATURE_BYTES
_ID_TAG: Final = b"rialto/transaction"

Address = Annotated[bytes, msgspec.Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
SubaccountIndex = Annotated[int, msgspec.Meta(ge=0, lt=MAX_SUBACCOUNTS)]
MarketId = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
ShardNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
AssetId = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
Ticks = Annotated[int, msgspec.Meta(ge=1, le=MAX_TICKS)]
Lots = Annotated[int, msgspec.Meta(ge=1, le=MAX_LOTS)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

SETTLEMENT_ASSET: Final = 0
"""The quote currency in quantums of 10**-6; the only asset so far."""


class Side(IntEnum):
    BUY = 0
    SELL = 1


class OrderKind(IntEnum):
    """How an order meets the book. ``MARKET`` is an IOC whose price is a bound that the band clips."""

    LIMIT = 0
    MARKET = 1
    IOC = 2
    FOK = 3
    GTT = 4
    POST_ONLY = 5
    POST_ONLY_SLIDE = 6


class Mode(IntEnum):
    """Whether one failing action undoes the others."""

    ATOMIC = 0
    BEST_EFFORT = 1


class Place(Wire, frozen=True, tag=1):
    """A new order. ``client_id`` 0 means none; ``expiry_ms`` is 0 except for GTT (header time, exclusive)."""

    market: MarketId
    side: Side
    kind: OrderKind
    price_ticks: Ticks
    size_lots: Lots
    client_id: Unsigned = 0
    reduce_only: bool = False
    expiry_ms: Unsigned = 0


class Cancel(Wire, frozen=True, tag=2):
    """Cancel one's own open order, by client id or by seq: exactly one of the two is not 0."""

    market: MarketId
    client_id: Unsigned = 0
    seq: Unsigned = 0


class CancelAll(Wire, frozen=True, tag=3):
    """Cancel the subaccount's open orders in one market, or in all (``None``); afterwards its places with
    nonces below ``min_place_nonce`` fail (0 leaves that bound alone; at most the transaction's own nonce)."""

    market: MarketId | None = None
    min_place_nonce: Unsigned = 0


class Amend(Wire, frozen=True, tag=4):
    """Change one's own open order; ``size_lots`` is the total including what is filled. A smaller size at the
    same price keeps the order's place in the queue, anything else takes a new one."""

    market: MarketId
    client_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    price_ticks: Ticks
    size_lots: Lots


class Transfer(Wire, frozen=True, tag=5):
    """Pay another account on this shard."""

    recipient: Address
    subaccount: SubaccountIndex
    asset: AssetId
    amount: Amount


class SubaccountTransfer(Wire, frozen=True, tag=6):
    """Move collateral to another subaccount of one's own."""

    subaccount: SubaccountIndex
    asset: AssetId
    amount: Amount


class CrossTransfer(Wire, frozen=True, tag=7):
    """Lock an amount here for a recipient on another shard; ``deadline`` is a beacon height."""

    destination: ShardNumber
    recipient: Address
    subaccount: SubaccountIndex
    asset: AssetId
    amount: Amount
    deadline: Unsigned
    purpose: Purpose = Purpose.TRANSFER


class Observation(Wire, frozen=True):
    """One market's price as a reporter saw it."""

    market: MarketId
    ticks: Ticks
    observed_ms: Unsigned


class OracleReport(Wire, frozen=True, tag=8):
    """Prices from an oracle reporter; such a transaction holds nothing but reports."""

    observations: Annotated[tuple[Observation, ...], msgspec.Meta(min_length=1, max_length=MAX_REPORTED_MARKETS)]


class FaucetMint(Wire, frozen=True, tag=9):
    """Mint for ``recipient``; only the faucet of a devnet genesis may."""

    recipient: Address
    subaccount: SubaccountIndex
    asset: AssetId
    amount: Amount


Action = (
    Place | Cancel | CancelAll | Amend | Transfer | SubaccountTransfer | CrossTransfer | OracleReport | FaucetMint
)


class Envelope(Wire, frozen=True, tag=1):
    """What travels: who, until when, what, and the owner's signature over the rest."""

    chain: Digest
    shard: ShardNumber
    account: Address
    subaccount: SubaccountIndex
    public_key: PublicKey
    nonce: Unsigned
    valid_until_ms: Unsigned
    mode: Mode
    actions: Annotated[tuple[Action, ...], msgspec.Meta(min_length=1, max_length=MAX_ACTIONS)]
    signature: Signature


class Stage(IntEnum):
    """In which of a block's three passes a transaction runs; a batch runs whole in that of its latest action."""

    CANCELS = 0
    POST_ONLY = 1
    REST = 2


class SignedTransaction:
    """A decoded envelope with what every stage asks of it: id, sender, size, and whether it only cancels."""

    __slots__ = (
        "envelope",
        "has_amend",
        "id",
        "is_pure_cancel",
        "is_report",
        "priority",
        "sender",
        "size_bytes",
        "stage",
    )

    def __init__(self, envelope: Envelope, identity: bytes, size_bytes: int) -> None:
        self.envelope = envelope
        self.id = identity
        self.sender = envelope.account
        self.size_bytes = size_bytes
        stage = Stage.CANCELS
        only_cancels, has_amend = True, False
        for action in envelope.actions:
            kind = type(action)
            if kind is Cancel or kind is CancelAll:
                continue
            only_cancels = False
            if kind is Amend:
                has_amend = True
            elif isinstance(action, Place) and action.kind >= OrderKind.POST_ONLY:
                stage = max(stage, Stage.POST_ONLY)
            else:
                stage = Stage.REST
        self.stage = stage
        """The least stage in which it may run; amends can raise it, by what they find in the block's state."""
        self.has_amend = has_amend
        self.is_pure_cancel = only_cancels
        self.is_report = type(envelope.actions[0]) is OracleReport
        self.priority = only_cancels or self.is_report


def decode_transaction(data: bytes, chain: bytes, shard: int) -> SignedTransaction:
    """The transaction in ``data`` for this chain and shard; its signature is not yet checked.

    Raises ``RemoteError``: ``TOO_LARGE``, ``MALFORMED``, ``NOT_CANONICAL``, ``WRONG_CHAIN``, ``WRONG_SHARD``,
    ``WRONG_KEY``.
    """
    envelope = _decode_envelope(data)
    if envelope.chain != chain:
        raise refuse(ResultCode.WRONG_CHAIN, f"this chain is {chain.hex()}")
    if envelope.shard != shard:
        raise refuse(ResultCode.WRONG_SHARD, f"this is shard {shard}, not {envelope.shard}")
    if compute_address(envelope.public_key) != envelope.account:
        raise refuse(ResultCode.WRONG_KEY)
    for action in envelope.actions:
        _validate_action(action, envelope)
    return SignedTransaction(envelope, compute_id(data), len(data))


def _decode_envelope(data: bytes) -> Envelope:
    """The decoder's own words name the field, but to a client they are no sentence that says what to change."""
    try:
        envelope: Envelope = decode(Envelope, data, max_bytes=MAX_TRANSACTION_BYTES)
    except RemoteError as error:
        sentence = refuse(ResultCode[error.code], error.message).message
        raise RemoteError(error.code, sentence, penalise=error.penalise) from None
    return envelope


def _validate_action(action: Action, envelope: Envelope) -> None:
    """Raise ``MALFORMED`` for a combination of fields that has no meaning whatever the state is."""
    match action:
        case Place():
            # One comparison for the many that are well-formed; a pattern for each case takes three times as long.
            if (action.kind is OrderKind.GTT) != (action.expiry_ms != 0):
                needs = "a GTT order needs an expiry" if action.expiry_ms == 0 else "only GTT orders have an expiry"
                raise refuse(ResultCode.MALFORMED, needs)
        case Cancel(client_id=client_id, seq=seq) if (client_id == 0) == (seq == 0):
            raise refuse(ResultCode.MALFORMED, "a cancel names a client id or a seq, and not both")
        case CancelAll(min_place_nonce=bound) if bound > envelope.nonce:
            raise refuse(ResultCode.MALFORMED, "min_place_nonce is at most the transaction's own nonce")
        case OracleReport() if any(type(other) is not OracleReport for other in envelope.actions):
            raise refuse(ResultCode.MALFORMED, "oracle reports share a transaction with nothing else")
        case _:
            return


def compute_id(data: bytes) -> bytes:
    """The identity of the encoded transaction ``data``: the tagged hash of all but its signature field."""
    return hash_tagged(_ID_TAG, data[:-SIGNATURE_FIELD_BYTES])


def verify_transaction(transaction: SignedTransaction, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` (``BAD_SIGNATURE``) unless the owner signed the transaction's id."""
    envelope = transaction.envelope
    if not scheme.verify(envelope.public_key, transaction.id, envelope.signature):
        raise refuse(ResultCode.BAD_SIGNATURE)


def sign_transaction(
    signer: Signer,
    *,
    chain: bytes,
    shard: int,
    nonce: int,
    valid_until_ms: int,
    actions: Sequence[Action],
    subaccount: int = 0,
    mode: Mode = Mode.BEST_EFFORT,
) -> tuple[bytes, bytes]:
    """The id and the encoded transaction of the account that ``signer`` owns."""
    envelope = Envelope(
        chain=chain,
        shard=shard,
        account=compute_address(signer.public_key),
        subaccount=subaccount,
        public_key=signer.public_key,
        nonce=nonce,
        valid_until_ms=valid_until_ms,
        mode=mode,
        actions=tuple(actions),
        signature=bytes(SIGNATURE_BYTES),
    )
    unsigned = encode(envelope)
    identity = compute_id(unsigned)
    return identity, unsigned[:-SIGNATURE_BYTES] + signer.sign(identity)
