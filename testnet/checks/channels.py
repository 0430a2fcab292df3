"""``exactly_once`` and ``quiescence``: what became of every transfer between shards, and of every transaction.

    exactly_once  no nonce was used twice, so no transaction ran twice, however often it was ordered; every transfer
                  was judged once, and what its source and its destination say about it fits together; the amounts
                  one by one add up to the channels' totals
    quiescence    in the end nothing is in flight. Transfers that touch a dead shard (without a living quorum) stay
                  open until it is back: that is reported and is no failure

A transfer is lock ``sequence`` of the channel source → destination, so the channels' counters name all there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosslink.summary import PeerAmounts, PeerSummary, ShardSummary
from testnet.checks.verdicts import Findings, Verdict

SETTLED = "settled"
REFUNDED = "refunded"
OPEN = "open"
PENDING = "pending"
CREDITED = "credited"
REJECTED = "rejected"
EXPIRED = "expired"

_FITTING: dict[str, frozenset[str | None]] = {
    OPEN: frozenset({None, PENDING, CREDITED, REJECTED, EXPIRED}),
    SETTLED: frozenset({PENDING, CREDITED}),
    REFUNDED: frozenset({REJECTED, EXPIRED}),
}
"""State at the source → what the destination may say (``None``: nothing yet)."""
REFUSED_WITHOUT_EFFECT = frozenset(
    {"NO_ACCOUNT", "NONCE_USED", "NONCE_TOO_OLD", "NONCE_TOO_FAR", "EXPIRED", "VALID_TOO_LONG"}
)
"""Receipts of transactions that did not even use their nonce."""


@dataclass(frozen=True, slots=True)
class TransferSides:
    """One transfer as its two shards show it; ``None`` where a shard does not know it."""

    source: int
    destination: int
    sequence: int
    source_state: str | None
    destination_state: str | None
    source_amount: int = 0
    destination_amount: int = 0

    @property
    def name(self) -> str:
        return f"transfer {self.source} → {self.destination} #{self.sequence}"


@dataclass(frozen=True, slots=True)
class OrderedTransaction:
    """``code`` is its receipt's; ``None`` where execution skipped it without one."""

    sender: bytes
    nonce: int
    code: str | None


@dataclass(slots=True)
class _Sums:
    transfers: int = 0
    by_state: dict[str, int] = field(default_factory=dict)
    credited: int = 0


class ExactlyOnceCheck:
    """Is fed every transaction of every shard and every transfer."""

    name = "exactly_once"

    def __init__(self) -> None:
        self._findings = Findings()
        self._used: set[tuple[int, bytes, int]] = set()
        self._appearances = 0
        self._sums: dict[tuple[int, int], _Sums] = {}
        self._transfers = 0

    def on_transaction(self, shard: int, height: int, entry: OrderedTransaction) -> None:
        """One appearance of a transaction in a certified block. Two members may have batched the same one: the
        second appearance is refused without effect."""
        self._appearances += 1
        if entry.code is None or entry.code in REFUSED_WITHOUT_EFFECT:
            return
        nonce = (shard, entry.sender, entry.nonce)
        if nonce in self._used:
            self._findings.add(
                f"shard{shard} height {height}: nonce {entry.nonce} of {entry.sender.hex()} has effect again "
                f"({entry.code})"
            )
        self._used.add(nonce)

    def on_transfer(self, transfer: TransferSides) -> None:
        """One transfer."""
        self._transfers += 1
        if transfer.source_state not in _FITTING:
            self._findings.add(f"{transfer.name}: its source says {transfer.source_state!r}")
            return
        if transfer.destination_state not in _FITTING[transfer.source_state]:
            self._findings.add(
                f"{transfer.name}: {transfer.source_state} at its source, "
                f"{transfer.destination_state or 'unknown'} at its destination"
            )
        if transfer.destination_state is not None and transfer.source_amount != transfer.destination_amount:
            self._findings.add(
                f"{transfer.name}: {transfer.source_amount} left, {transfer.destination_amount} arrived"
            )
        sums = self._sums.setdefault((transfer.source, transfer.destination), _Sums())
        sums.transfers += 1
        state = transfer.source_state
        sums.by_state[state] = sums.by_state.get(state, 0) + transfer.source_amount
        if transfer.destination_state == CREDITED:
            sums.credited += transfer.destination_amount

    def on_totals(self, summaries: Mapping[int, ShardSummary]) -> None:
        """The channels' totals at the end, where nothing is in flight any more: one by one must give the same."""
        for source, summary in sorted(summaries.items()):
            for record in summary.peers:
                other = find_channel_end(summaries, record.peer, source)
                if other is not None and is_settled(record, other):
                    self._compare(source, record, other)

    def _compare(self, source: int, record: PeerSummary, other: PeerSummary) -> None:
        sums = self._sums.get((source, record.peer), _Sums())
        channel = f"channel {source} → {record.peer}"
        totals = _add_assets(record.amounts)
        pairs = (
            ("transfers", sums.transfers, record.next_send),
            ("settled", sums.by_state.get(SETTLED, 0), totals.burned),
            ("refunded", sums.by_state.get(REFUNDED, 0), totals.refunded),
            ("credited", sums.credited, _add_assets(other.amounts).released),
        )
        for name, one_by_one, total in pairs:
            if one_by_one != total:
                self._findings.add(f"{channel}: {name} one by one {one_by_one}, in total {total}")

    def on_unreadable(self, what: str) -> None:
        """Something that could not be looked at."""
        self._findings.remark(what)

    def conclude(self) -> Verdict:
        """Everything happened once."""
        return self._findings.conclude(
            self.name,
            f"{len(self._used)} transactions (ordered {self._appearances} times) and {self._transfers} transfers, "
            "each exactly once",
        )


def check_quiescence(
    summaries: Mapping[int, ShardSummary], dead_shards: frozenset[int], waited_s: float, waiting_transactions: int
) -> Verdict:
    """The verdict over the last summaries of all shards; a shard that nobody answers for is absent."""
    findings = Findings()
    channels = 0
    for source, summary in sorted(summaries.items()):
        for record in summary.peers:
            channels += 1
            _check_channel_end(findings, summaries, dead_shards, source, record)
    if not summaries:
        findings.add("no shard answers")
    if waiting_transactions:
        findings.remark(f"{waiting_transactions} transactions still wait in mempools")
    return findings.conclude("quiescence", f"nothing is in flight in {channels} channels, after {waited_s:.1f} s")


def _check_channel_end(
    findings: Findings,
    summaries: Mapping[int, ShardSummary],
    dead_shards: frozenset[int],
    source: int,
    record: PeerSummary,
) -> None:
    other = find_channel_end(summaries, record.peer, source)
    if other is not None and is_settled(record, other):
        return
    open_count = record.next_send - record.next_ack
    sentence = f"channel {source} → {record.peer}: {open_count} transfers are open"
    if not open_count:
        sentence = f"channel {source} → {record.peer}: all are judged, but not all credits are free"
    dead = sorted({source, record.peer} & dead_shards)
    if not dead:
        findings.add(sentence)
    elif open_count or other is not None:
        findings.remark(f"{sentence}, because shard {dead[0]} is dead")


def is_settled(record: PeerSummary, other: PeerSummary) -> bool:
    """Whether nothing is in flight from the shard of ``record`` to the shard of ``other``."""
    sent, arrived = _add_assets(record.amounts), _add_assets(other.amounts)
    return (
        record.next_ack == record.next_send == other.next_recv
        and record.open_count == 0
        and sent.sent == sent.refunded + sent.burned
        and sent.burned == arrived.released
    )


def is_quiescent(summaries: Mapping[int, ShardSummary], dead_shards: frozenset[int]) -> bool:
    """Whether waiting longer would change nothing."""
    return check_quiescence(summaries, dead_shards, 0, 0).ok


def find_channel_end(summaries: Mapping[int, ShardSummary], shard: int, peer: int) -> PeerSummary | None:
    """What ``shard`` says about its channels with ``peer``."""
    summary = summaries.get(shard)
    if summary is None:
        return None
    return next((record for record in summary.peers if record.peer == peer), None)


def _add_assets(amounts: tuple[PeerAmounts, ...]) -> PeerAmounts:
    return PeerAmounts(
        0,
        sum(entry.sent for entry in amounts),
        sum(entry.refunded for entry in amounts),
        sum(entry.burned for entry in amounts),
        sum(entry.released for entry in amounts),
    )
