"""The summary that a header commits to: where all money of a shard is, and how far its channels are.

One canonical record per asset and per peer shard; ``summary_root`` is the RFC 6962 root over them, assets
first. What does not live here: the records' upkeep (the venue and ``crosslink.channels`` keep them as they go)
and what the beacon concludes from them (``crosslink.conservation``).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from crosslink.messages import ShardNumber
from primitives.codec import Signed, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.merkle import compute_root

MAX_SUMMARY_ASSETS: Final = 256
"""Collateral assets of one chain; far above any genesis, it bounds what a submission makes the beacon add."""
MAX_SUMMARY_PEERS: Final = 4_096
"""Peer shards of one shard; with every asset in every channel this would still fit a submission."""
MAX_SUMMARY_BYTES: Final = 512 << 10
"""Half a submission: a summary larger than that would leave no room for headers."""


class AssetSummary(Wire, frozen=True, tag=1):
    """Every bucket of I1 for one asset, in its quantums. Cash is signed (free and margin together); ``clearing``
    is the signed sum of the markets' cost and unsettled-funding accounts; ``bad_debt`` is a part of negative
    cash, told for information and in no sum."""

    asset: Unsigned
    cash: Signed
    reserved: Unsigned
    fees: Unsigned
    insurance: Unsigned
    pools: Unsigned
    clearing: Signed
    dust: Signed
    minted: Unsigned
    burned: Unsigned
    bad_debt: Unsigned = 0


class PeerAmounts(Wire, frozen=True):
    """Money of one asset exchanged with one peer since genesis.

    Of what we locked towards the peer: ``sent``, of that ``refunded`` or ``burned`` (accepted over there). Of
    what the peer locked towards us: ``released`` (accepted here and free).
    """

    asset: Unsigned
    sent: Unsigned
    refunded: Unsigned
    burned: Unsigned
    released: Unsigned


class PeerSummary(Wire, frozen=True, tag=2):
    """Our end of the two channels that join us with ``peer``: ``next_send`` and ``next_ack`` count our locks and
    the verdicts on them, ``next_recv`` the peer's locks that we judged. ``amounts`` ascend by asset."""

    peer: ShardNumber
    next_send: Unsigned
    next_recv: Unsigned
    next_ack: Unsigned
    open_count: Unsigned
    amounts: Annotated[tuple[PeerAmounts, ...], msgspec.Meta(max_length=MAX_SUMMARY_ASSETS)]


class ShardSummary(Wire, frozen=True):
    """All records of one header: ``assets`` ascend by asset, ``peers`` by shard."""

    assets: Annotated[tuple[AssetSummary, ...], msgspec.Meta(max_length=MAX_SUMMARY_ASSETS)]
    peers: Annotated[tuple[PeerSummary, ...], msgspec.Meta(max_length=MAX_SUMMARY_PEERS)]


EMPTY_SUMMARY = ShardSummary((), ())


def compute_summary_root(summary: ShardSummary) -> bytes:
    """The root over the encoded records, assets first. The records' tags keep the two kinds apart."""
    return compute_root([encode(record) for record in (*summary.assets, *summary.peers)])


def decode_summary(data: bytes) -> ShardSummary:
    """The summary in ``data``; raises ``RemoteError`` unless it is well formed and in canonical order."""
    summary: ShardSummary = decode(ShardSummary, data, max_bytes=MAX_SUMMARY_BYTES)
    validate_summary_order(summary)
    return summary


def validate_summary_order(summary: ShardSummary) -> None:
    """Raise ``RemoteError`` unless every list strictly ascends, so each fact has one place."""
    _require_ascending([record.asset for record in summary.assets], "assets")
    _require_ascending([record.peer for record in summary.peers], "peers")
    for peer in summary.peers:
        _require_ascending([amounts.asset for amounts in peer.amounts], "amounts")


def _require_ascending(keys: list[int], what: str) -> None:
    if any(left >= right for left, right in zip(keys, keys[1:], strict=False)):
        raise RemoteError("MALFORMED", f"a summary's {what} must strictly ascend", penalise=True)


def compute_held(record: AssetSummary) -> int:
    """What the shard holds of the asset: the left side of I1 without what is in flight."""
    return (
        record.cash
        + record.reserved
        + record.fees
        + record.insurance
        + record.pools
        + record.clearing
        + record.dust
    )
