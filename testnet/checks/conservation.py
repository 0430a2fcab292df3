"""``conservation``: at every beacon height, over the registered tips of all shards, no money appears or vanishes.

I1, per asset: Σ held + in flight = minted − burned, exactly, where in flight = Σ (sent − refunded − released). A
beacon height is a consistent cut, because a shard consumes only what is registered. I2, per channel A → B:
``next_ack`` of A ≤ ``next_recv`` of B ≤ ``next_send`` of A. The sums are made here anew, from the summaries whose
roots the certified headers commit to; what the beacon says about them is only compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosslink.summary import AssetSummary, PeerSummary, ShardSummary
from testnet.checks.verdicts import Findings, Verdict


@dataclass(frozen=True, slots=True)
class Cut:
    """The registered tips at one beacon height: shard → the summary at its tip. Shards without a registered header
    are absent: what they hold is what their genesis gave them, so they add the same to both sides."""

    beacon_height: int
    summaries: Mapping[int, ShardSummary]
    beacon_says_conserved: bool = True


class ConservationCheck:
    """Is fed every cut."""

    name = "conservation"

    def __init__(self) -> None:
        self._findings = Findings()
        self._cuts = 0
        self._most_in_flight: dict[int, int] = {}

    def on_cut(self, cut: Cut) -> None:
        """One beacon height."""
        self._cuts += 1
        place = f"beacon height {cut.beacon_height}"
        if not cut.beacon_says_conserved:
            self._findings.add(f"{place}: the beacon itself reports a violation")
        for asset in sorted(_list_assets(cut)):
            self._check_asset(cut, asset, place)
        for shard, summary in sorted(cut.summaries.items()):
            for peer in summary.peers:
                self._check_channel(cut, shard, peer, place)

    def on_unreadable(self, beacon_height: int, reason: str) -> None:
        """A cut that could not be put together."""
        self._findings.add(f"beacon height {beacon_height}: {reason}")

    def _check_asset(self, cut: Cut, asset: int, place: str) -> None:
        held = minted = burned = 0
        for summary in cut.summaries.values():
            for record in summary.assets:
                if record.asset == asset:
                    held += _add_buckets(record)
                    minted += record.minted
                    burned += record.burned
        in_flight = sum(
            amounts.sent - amounts.refunded - amounts.released
            for summary in cut.summaries.values()
            for peer in summary.peers
            for amounts in peer.amounts
            if amounts.asset == asset
        )
        self._most_in_flight[asset] = max(in_flight, self._most_in_flight.get(asset, 0))
        difference = held + in_flight - (minted - burned)
        if difference:
            self._findings.add(
                f"{place}: asset {asset}: held {held} + in flight {in_flight} ≠ minted {minted} − burned {burned} "
                f"(off by {difference})"
            )
        if in_flight < 0:
            self._findings.add(f"{place}: asset {asset}: {-in_flight} more arrived than was sent")

    def _check_channel(self, cut: Cut, shard: int, record: PeerSummary, place: str) -> None:
        channel = f"{place}: channel {shard} → {record.peer}"
        if record.open_count != record.next_send - record.next_ack:
            self._findings.add(
                f"{channel}: {record.open_count} open, but {record.next_send} sent and {record.next_ack} settled"
            )
        other = _find_peer(cut.summaries.get(record.peer), shard)
        received = 0 if other is None else other.next_recv
        if not record.next_ack <= received <= record.next_send:
            self._findings.add(
                f"{channel}: settled {record.next_ack} ≤ received {received} ≤ sent {record.next_send} "
                "does not hold"
            )
        released = {} if other is None else {amounts.asset: amounts.released for amounts in other.amounts}
        for amounts in record.amounts:
            if released.pop(amounts.asset, 0) > amounts.sent - amounts.refunded:
                self._findings.add(f"{channel}: more of asset {amounts.asset} was released than sent")
        for asset, amount in sorted(released.items()):
            if amount:
                self._findings.add(f"{channel}: {amount} of asset {asset} was released that nobody sent")

    def conclude(self) -> Verdict:
        """Conserved at every height, as far as there are any."""
        if not self._cuts:
            self._findings.add("no beacon height could be checked")
        most = ", ".join(f"{amount} of asset {asset}" for asset, amount in sorted(self._most_in_flight.items()))
        return self._findings.conclude(
            self.name, f"exact at all {self._cuts} beacon heights; at most in flight: {most or 'nothing'}"
        )


def _list_assets(cut: Cut) -> set[int]:
    assets = {record.asset for summary in cut.summaries.values() for record in summary.assets}
    return assets | {
        amounts.asset for summary in cut.summaries.values() for peer in summary.peers for amounts in peer.amounts
    }


def _add_buckets(record: AssetSummary) -> int:
    return (
        record.cash
        + record.reserved
        + record.fees
        + record.insurance
        + record.pools
        + record.clearing
        + record.dust
    )


def _find_peer(summary: ShardSummary | None, peer: int) -> PeerSummary | None:
    if summary is None:
        return None
    return next((record for record in summary.peers if record.peer == peer), None)
