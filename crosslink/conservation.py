"""What the beacon concludes from summaries: that no shard made, lost or doubled money.

The beacon sees every lock and every verdict, so it adds up each ordered pair of shards itself (``Flow``) and
holds a shard's summary against that before it registers the headers:

- inside the shard, per asset: held + Σ peers (sent − refunded − released) = minted − burned (I1, one shard);
- towards a peer: ``sent`` is what its registered locks add up to, ``refunded`` and ``burned`` at most what the
  peer's registered verdicts returned and accepted, ``released`` at most what its own verdicts accepted in
  headers that were registered *before*: it never releases more than its peers sent;
- counters agree with the registered sequences, nothing cumulative falls, and at most W are open (I2).

Each shard that passes keeps the sum over all shards exact, and ``compute_totals`` adds it up for everybody to see.
What does not live here: the tables themselves (``crosslink.registry``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from crosslink.messages import ShardNumber
from crosslink.submission import ChannelTally
from crosslink.summary import PeerAmounts, PeerSummary, ShardSummary, compute_held
from primitives.codec import Digest, Signed, Unsigned, Wire, decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.quantities import MAX_INT

_MAX_FLOW_BYTES: Final = 64 << 10


class FlowAmounts(Wire, frozen=True):
    """Sums of one asset over one flow since genesis."""

    asset: Unsigned
    locked: Unsigned
    accepted: Unsigned
    returned: Unsigned


class FlowRecord(Wire, frozen=True):
    """A ``Flow`` as stored."""

    locks: Unsigned
    verdicts: Unsigned
    amounts: tuple[FlowAmounts, ...]


@dataclass(slots=True)
class Flow:
    """Every transfer from one shard to another as far as it is registered: its locks and the verdicts on them.

    Sums are (locked, accepted, returned) by asset.
    """

    locks: int = 0
    verdicts: int = 0
    sums: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def sums_of(self, asset: int) -> tuple[int, int, int]:
        """(locked, accepted, returned) of ``asset``."""
        return self.sums.get(asset, (0, 0, 0))

    def encode(self) -> bytes:
        """The value of the flow's record."""
        amounts = tuple(FlowAmounts(asset, *sums) for asset, sums in sorted(self.sums.items()))
        return encode(FlowRecord(self.locks, self.verdicts, amounts))


def decode_flow(data: bytes) -> Flow:
    """A stored flow; raises ``LocalError``."""
    try:
        record: FlowRecord = decode(FlowRecord, data, max_bytes=_MAX_FLOW_BYTES)
    except RemoteError as error:
        raise LocalError(f"a stored flow is damaged: {error}") from None
    sums = {item.asset: (item.locked, item.accepted, item.returned) for item in record.amounts}
    return Flow(record.locks, record.verdicts, sums)


# --- messages against flows --------------------------------------------------------------------------------


def check_locks(flow: Flow, tally: ChannelTally, window: int) -> str | None:
    """Whether the locks of ``tally`` may follow those of ``flow``; else a code."""
    if tally.locks and tally.first_lock != flow.locks:
        return "SEQUENCE_GAP"
    if flow.locks + tally.locks - flow.verdicts > window:
        return "WINDOW_EXCEEDED"
    if any(flow.sums_of(asset)[0] + amount > MAX_INT for asset, amount in tally.locked.items()):
        return "OVERFLOW"
    return None


def check_verdicts(flow: Flow, tally: ChannelTally) -> str | None:
    """Whether the verdicts of ``tally`` may follow those of ``flow``: only on registered locks, and on no more
    money than these locked."""
    if tally.verdicts and tally.first_verdict != flow.verdicts:
        return "SEQUENCE_GAP"
    if flow.verdicts + tally.verdicts > flow.locks:
        return "UNSOLICITED_VERDICT"
    for asset in {**tally.accepted, **tally.returned}:
        locked, accepted, returned = flow.sums_of(asset)
        judged = tally.accepted.get(asset, 0) + tally.returned.get(asset, 0)
        if accepted + returned + judged > locked:
            return "UNSOLICITED_VERDICT"
    return None


def apply_locks(flow: Flow, tally: ChannelTally) -> None:
    """Add the locks of ``tally``."""
    flow.locks += tally.locks
    for asset, amount in tally.locked.items():
        locked, accepted, returned = flow.sums_of(asset)
        flow.sums[asset] = (locked + amount, accepted, returned)


def apply_verdicts(flow: Flow, tally: ChannelTally) -> None:
    """Add the verdicts of ``tally``."""
    flow.verdicts += tally.verdicts
    for asset, amount in tally.accepted.items():
        locked, accepted, returned = flow.sums_of(asset)
        flow.sums[asset] = (locked, accepted + amount, returned)
    for asset, amount in tally.returned.items():
        locked, accepted, returned = flow.sums_of(asset)
        flow.sums[asset] = (locked, accepted, returned + amount)


# --- a summary against flows -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerPosition:
    """The two flows between the submitting shard and one peer, as registered before the submission, and what the
    submission adds to them."""

    outgoing: Flow
    incoming: Flow
    tally: ChannelTally


def check_summary(
    summary: ShardSummary, previous: ShardSummary, positions: Mapping[int, PeerPosition], window: int
) -> str | None:
    """``CONSERVATION``, ``COUNTERS``, ``OVERFLOW`` or ``None``. ``positions`` holds every other shard of the
    genesis."""
    if not _fits_totals(summary, len(positions) + 1):
        return "OVERFLOW"
    if not _is_locally_conserved(summary) or _falls(previous, summary):
        return "CONSERVATION"
    reported = {peer.peer: peer for peer in summary.peers}
    if any(peer not in positions for peer in reported):
        return "COUNTERS"
    for peer, position in positions.items():
        record = reported.get(peer) or PeerSummary(peer, 0, 0, 0, 0, ())
        if not _counters_agree(record, position, window):
            return "COUNTERS"
        if not _amounts_agree(record, position):
            return "CONSERVATION"
    return None


def compute_mint_limit(shard_count: int) -> int:
    """What one of ``shard_count`` shards may mint, or burn, in all, so that sums over the network stay in 63 bits:
    a quarter of the range for all of them together. One shard may come to hold all of it."""
    return MAX_INT // (4 * shard_count)


def _fits_totals(summary: ShardSummary, shard_count: int) -> bool:
    """Whether sums over this many such shards stay in 63 bits.

    What a shard holds is bounded from below alone. Σ in flight = Σ (minted − burned − held) is then at most half of
    the range, and it is not negative, because the flows let nobody take more than was locked; so Σ held is at most
    Σ minted, wherever the money went.
    """
    limit = compute_mint_limit(shard_count)
    return all(max(record.minted, record.burned, -compute_held(record)) <= limit for record in summary.assets)


def _is_locally_conserved(summary: ShardSummary) -> bool:
    abroad: dict[int, int] = {}
    for peer in summary.peers:
        for sums in peer.amounts:
            abroad[sums.asset] = abroad.get(sums.asset, 0) + sums.sent - sums.refunded - sums.released
    for record in summary.assets:
        if compute_held(record) + abroad.pop(record.asset, 0) != record.minted - record.burned:
            return False
    return not any(abroad.values())


def _falls(previous: ShardSummary, summary: ShardSummary) -> bool:
    """Whether anything cumulative is lower than it was, or gone."""
    assets = {record.asset: record for record in summary.assets}
    for old in previous.assets:
        new = assets.get(old.asset)
        if new is None or new.minted < old.minted or new.burned < old.burned:
            return True
    before = {(peer.peer, sums.asset): sums for peer in previous.peers for sums in peer.amounts}
    after = {(peer.peer, sums.asset): sums for peer in summary.peers for sums in peer.amounts}
    return any(key not in after or _amounts_fall(sums, after[key]) for key, sums in before.items())


def _amounts_fall(old: PeerAmounts, new: PeerAmounts) -> bool:
    return (
        new.sent < old.sent or new.refunded < old.refunded or new.burned < old.burned or new.released < old.released
    )


def _counters_agree(record: PeerSummary, position: PeerPosition, window: int) -> bool:
    sent = position.outgoing.locks + position.tally.locks
    judged = position.incoming.verdicts + position.tally.verdicts
    return (
        record.next_send == sent
        and record.next_recv == judged
        and record.next_ack <= position.outgoing.verdicts
        and record.open_count == record.next_send - record.next_ack
        and record.open_count <= window
    )


def _amounts_agree(record: PeerSummary, position: PeerPosition) -> bool:
    reported = {sums.asset: sums for sums in record.amounts}
    tallied = {**position.outgoing.sums, **position.incoming.sums, **position.tally.locked}
    for asset in {**tallied, **reported}:
        sums = reported.get(asset) or PeerAmounts(asset, 0, 0, 0, 0)
        locked, accepted, returned = position.outgoing.sums_of(asset)
        _, accepted_here, _ = position.incoming.sums_of(asset)
        if sums.sent != locked + position.tally.locked.get(asset, 0):
            return False
        if sums.refunded > returned or sums.burned > accepted or sums.released > accepted_here:
            return False
    return True


# --- the sum over all shards -------------------------------------------------------------------------------


class TipSummary(Wire, frozen=True):
    """One shard's registered tip as of a beacon height."""

    shard: ShardNumber
    incarnation: Unsigned
    height: Unsigned
    hash: Digest
    beacon_ref_height: Unsigned
    frozen: bool


class AssetTotals(Wire, frozen=True):
    """I1 of one asset over all registered tips: ``held`` + ``in_flight`` = ``minted`` − ``burned``."""

    asset: Unsigned
    held: Signed
    in_flight: Signed
    minted: Unsigned
    burned: Unsigned


class BeaconSummary(Wire, frozen=True):
    """What a beacon header's ``summary_root`` commits to: the consistent cut at its height.

    ``open_transfers`` are locks whose verdict their own shard has not consumed; ``conserved`` is whether I1 holds
    for every asset.
    """

    tips: tuple[TipSummary, ...]
    assets: tuple[AssetTotals, ...]
    open_transfers: Unsigned
    conserved: bool


def compute_totals(summaries: Iterable[ShardSummary]) -> tuple[AssetTotals, ...]:
    """I1 by asset over the summaries of all registered tips, ascending."""
    held: dict[int, int] = {}
    flight: dict[int, int] = {}
    minted: dict[int, int] = {}
    burned: dict[int, int] = {}
    for summary in summaries:
        for record in summary.assets:
            _add(held, record.asset, compute_held(record))
            _add(minted, record.asset, record.minted)
            _add(burned, record.asset, record.burned)
        for peer in summary.peers:
            for sums in peer.amounts:
                _add(flight, sums.asset, sums.sent - sums.refunded - sums.released)
    return tuple(
        AssetTotals(asset, held.get(asset, 0), flight.get(asset, 0), minted.get(asset, 0), burned.get(asset, 0))
        for asset in sorted({**held, **flight})
    )


def is_conserved(totals: AssetTotals) -> bool:
    """I1 for one asset."""
    return totals.in_flight >= 0 and totals.held + totals.in_flight == totals.minted - totals.burned


def count_open(summaries: Iterable[ShardSummary]) -> int:
    """Transfers that their source has not settled."""
    return sum(peer.open_count for summary in summaries for peer in summary.peers)


def _add(sums: dict[int, int], asset: int, amount: int) -> None:
    sums[asset] = sums.get(asset, 0) + amount
