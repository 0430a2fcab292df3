"""What a workload is to the generator: planned transactions in lanes, their funds, the oracle's prices.

A workload plans; it neither signs, nor sends, nor waits. So the same seed and options give the same plan, and a
plan can be tested without a network. What does not live here: the workloads themselves, and the generator that
turns plans into signed transactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shards.transactions import Action, Mode


@dataclass(frozen=True, slots=True)
class PlannedTransaction:
    """One transaction that ``account`` is to send at ``due_s``, in seconds after the start of the load; ``None``:
    as soon as the window has room (a closed loop, which measures what a network can take, not how it answers).

    The deadline of a ``CrossTransfer`` in here is relative: beacon blocks after the beacon's height at signing.
    """

    due_s: float | None
    shard: int
    account: bytes
    actions: tuple[Action, ...]
    subaccount: int = 0
    mode: Mode = Mode.BEST_EFFORT
    opaque: bytes | None = None
    """For a no-op shard: the record itself, which nobody signs and which counts for ``commands`` actions."""
    commands: int = 0

    @property
    def action_count(self) -> int:
        """What the transaction counts for."""
        return len(self.actions) if self.opaque is None else self.commands


@dataclass(frozen=True, slots=True)
class Lane:
    """Planned transactions by growing due time. Lanes run side by side; a full window holds up its own lane."""

    name: str
    plans: Iterator[PlannedTransaction]


@dataclass(frozen=True, slots=True)
class FundingNeed:
    """``account`` needs at least ``cash`` quantums in ``subaccount`` on ``shard`` before the load starts."""

    shard: int
    account: bytes
    cash: int
    subaccount: int = 0


class Workload(Protocol):
    """See the module. ``ordered`` asks that what goes to one shard arrives in the order of the plan."""

    @property
    def ordered(self) -> bool: ...

    def list_needs(self) -> Sequence[FundingNeed]:
        """Every account that sends something, with the funds that it needs."""
        ...

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        """Key seeds by address, of accounts that are not among the network's test accounts."""
        ...

    def build_lanes(self) -> Sequence[Lane]: ...

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        """What the reporters of ``shard`` say now: ticks by market; empty where there is nothing to say yet."""
        ...

    def list_topics(self, shard: int) -> Sequence[str]:
        """Stream topics of which the workload wants the messages."""
        ...

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        """A message of one of those topics."""
        ...

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        """A certified block has the transaction, with this code in its receipt."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the workload reports of itself at the end, JSON-ready."""
        ...
