"""Money: conserved at every registered beacon height, and each transfer judged and paid exactly once.

Everything is added up here again from what committees certified: outbox leaves and summaries as plain MessagePack
arrays (their layout is that of ``crosslink.messages`` and ``crosslink.summary``), the registered tips of each
certified beacon block. What does not live here: the venue's own invariants, which it checks itself in paranoid
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from node.chain import Chain
from node.events import BlockCertified
from primitives.identifiers import BEACON_SHARD
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost

K = TypeVar("K")
_LOCK: Final = 1
_ACCEPTED: Final = 1
MAX_UNCHECKED_HEIGHTS: Final = 64
"""Beacon heights whose summaries no store shows yet: a crash may have torn them from the one that had them."""


def read_plain(data: bytes) -> Any:
    """Any MessagePack value as lists, dictionaries, numbers and bytes."""
    return msgspec.msgpack.decode(data)


@dataclass(slots=True)
class Transfer:
    """One lock and what became of it."""

    recipient: bytes
    amount: int
    verdict: int | None = None


@dataclass(slots=True)
class _Ledger:
    """What is known of one shard's certified chain."""

    walked: int = 0
    summaries: dict[int, tuple[bytes, Any]] = field(default_factory=dict)


class MoneyChecker(Checker):
    """All user shards and the beacon of one world."""

    name = "conservation"

    def __init__(self, verdicts: Verdicts, shards: Sequence[int], supply: Mapping[int, int]) -> None:
        """``supply`` is what the genesis minted on all shards, by asset; the load mints nothing."""
        super().__init__(verdicts)
        self._ledgers = {shard: _Ledger() for shard in shards}
        self._supply = dict(supply)
        self._unchecked: dict[int, Any] = {}
        self._checked_beacon = 0
        self.transfers: dict[tuple[int, int], list[Transfer]] = {}
        """By (source, destination), in order of sequence."""
        self.judged: dict[tuple[int, int], int] = {}
        self.beacon_heights = 0

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None:
        height = block.header.height
        if host.member.shard == BEACON_SHARD:
            if height > self._checked_beacon:
                self._checked_beacon = height
                summary = Chain(host.disk.store).get_summary(height)
                if summary is not None:
                    self._unchecked[height] = read_plain(summary)
            self._check_beacon_heights()
            return
        ledger = self._ledgers[host.member.shard]
        while ledger.walked < height:
            self._walk(host, ledger, ledger.walked + 1)

    # --- conservation ----------------------------------------------------------------------------------

    def _walk(self, host: SimulatedHost, ledger: _Ledger, height: int) -> None:
        """Take the next certified block of a shard, once, from whoever certifies it first."""
        chain = Chain(host.disk.store)
        header, summary = chain.get_header(height), chain.get_summary(height)
        if header is None or summary is None:
            self.fail(host.name, f"certified block {height} is not in the store")
        else:
            ledger.summaries[height] = header.summary_root, read_plain(summary)
            for leaf in chain.get_outbox(height):
                self._take_leaf(host.member.shard, read_plain(leaf))
        ledger.walked = height

    def _check_beacon_heights(self) -> None:
        for height, summary in list(self._unchecked.items()):
            tips, totals, _, conserved = summary
            tip_heights = {tip[0]: tip[2] for tip in tips}
            if any(tip > self._ledgers[shard].walked for shard, tip in tip_heights.items()):
                continue
            del self._unchecked[height]
            self.beacon_heights += 1
            if not conserved:
                self.fail(f"beacon height {height}", "the beacon itself says that money is not conserved")
            self._check_cut(height, tip_heights, totals)
        if len(self._unchecked) > MAX_UNCHECKED_HEIGHTS:
            self.fail(f"beacon height {min(self._unchecked)}", "registers headers that nobody certified")

    def _check_cut(self, height: int, tips: Mapping[int, int], totals: list[list[int]]) -> None:
        held: dict[int, int] = {}
        flight: dict[int, int] = {}
        made: dict[int, int] = {}
        for shard, tip in tips.items():
            if tip == 0:
                continue
            assets, peers = self._ledgers[shard].summaries[tip][1]
            for asset in assets:
                _, number, cash, reserved, fees, insurance, pools, clearing, dust, minted, burned, *_ = asset
                _add(held, number, cash + reserved + fees + insurance + pools + clearing + dust)
                _add(made, number, minted - burned)
            for peer in peers:
                for number, sent, refunded, _, released in peer[6]:
                    _add(flight, number, sent - refunded - released)
        for number, amount in made.items():
            if held.get(number, 0) + flight.get(number, 0) != amount or flight.get(number, 0) < 0:
                sentence = (
                    f"asset {number}: {held.get(number, 0)} held, {flight.get(number, 0)} in flight of {amount}"
                )
                self.fail(f"beacon height {height}", sentence)
            if all(tips.values()) and amount != self._supply[number]:
                self.fail(f"beacon height {height}", f"asset {number}: {amount} where the genesis made another sum")
        reported = {total[0]: (total[1], total[2]) for total in totals}
        if totals and any(reported.get(number) != (held[number], flight.get(number, 0)) for number in held):
            self.fail(f"beacon height {height}", "reports other sums than the registered summaries give")

    # --- exactly once ----------------------------------------------------------------------------------

    def _take_leaf(self, shard: int, leaf: list[Any]) -> None:
        kind, _, source, destination, sequence = leaf[:5]
        if source != shard:
            self.fail(f"shard {shard}", "sends in the name of another shard")
            return
        if kind == _LOCK:
            locks = self.transfers.setdefault((source, destination), [])
            if sequence != len(locks):
                self.fail(f"shard {shard}", f"lock {sequence} to {destination} where {len(locks)} comes next")
                return
            locks.append(Transfer(leaf[7], leaf[10]))
            return
        self._take_verdict(source, destination, sequence, leaf[6], leaf[9])

    def _take_verdict(self, judge: int, source: int, sequence: int, verdict: int, amount: int) -> None:
        channel = (source, judge)
        locks = self.transfers.get(channel, [])
        judged = self.judged.get(channel, 0)
        if sequence != judged or sequence >= len(locks):
            self.fail(f"shard {judge}", f"judges lock {sequence} of {source}; {judged} judged, {len(locks)} locked")
            return
        if locks[sequence].amount != amount:
            self.fail(f"shard {judge}", f"judges another amount than lock {sequence} of {source} has")
        locks[sequence].verdict = verdict
        self.judged[channel] = judged + 1

    def count_open(self) -> int:
        """Locks without a verdict."""
        return sum(len(locks) - self.judged.get(channel, 0) for channel, locks in self.transfers.items())

    def is_settled(self) -> bool:
        """Whether every lock has its verdict and each source has consumed it, in the newest certified summaries."""
        if self.count_open():
            return False
        for ledger in self._ledgers.values():
            if not ledger.walked:
                continue
            _, peers = ledger.summaries[ledger.walked][1]
            if any(peer[2] != peer[4] or peer[5] for peer in peers):
                return False
        return not self._has_pending()

    def _has_pending(self) -> bool:
        """Whether some accepted credit is not free yet: released by nobody although burned by its source."""
        burned: dict[tuple[int, int], int] = {}
        released: dict[tuple[int, int], int] = {}
        for shard, ledger in self._ledgers.items():
            _, peers = ledger.summaries[ledger.walked][1] if ledger.walked else (None, [])
            for peer in peers:
                for _, _, _, burned_sum, released_sum in peer[6]:
                    _add(burned, (shard, peer[1]), burned_sum)
                    _add(released, (peer[1], shard), released_sum)
        return any(amount != released.get(channel, 0) for channel, amount in burned.items())

    def check_settled(self, shards: Sequence[int], read_cash: Callable[[int, bytes], int]) -> None:
        """At quiescence: every transfer has its verdict, every channel is settled at both ends, and each recipient
        (used by one transfer only) has exactly what was accepted."""
        for (source, destination), locks in sorted(self.transfers.items()):
            for sequence, transfer in enumerate(locks):
                expected = transfer.amount if transfer.verdict == _ACCEPTED else 0
                if transfer.verdict is None:
                    self.fail(f"shard {source}", f"lock {sequence} to {destination} never got a verdict")
                elif read_cash(destination, transfer.recipient) != expected:
                    paid = read_cash(destination, transfer.recipient)
                    self.fail(
                        f"shard {destination}", f"paid {paid} for lock {sequence} of {source}, not {expected}"
                    )
        for shard in shards:
            ledger = self._ledgers[shard]
            _, peers = ledger.summaries[ledger.walked][1] if ledger.walked else (None, [])
            for _, peer, sent, _, settled, still_open, amounts in peers:
                if sent != settled or still_open:
                    self.fail(f"shard {shard}", f"{sent - settled} transfers to {peer} are still open")
                for _, out, refunded, burned, _ in amounts:
                    if out != refunded + burned:
                        self.fail(f"shard {shard}", f"of {out} sent to {peer}, {refunded + burned} are settled")


def _add(sums: dict[K, int], key: K, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount
