"""Getting the accounts of a load ready: their next nonces, their funds, an empty slate in the books.

Funds that are missing are minted by the network's faucet, 32 accounts a transaction. Orders that an earlier load
left open are cancelled, so that the bounds on open orders start at nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import trio

from primitives.errors import LocalError, RemoteError
from shards.transactions import MAX_ACTIONS, SETTLEMENT_ASSET, Action, CancelAll, FaucetMint
from testnet.progress import Progress
from testnet.workloads.plan import FundingNeed, PlannedTransaction

NONCE_GAP: Final = 1_024
"""Left out after the highest used nonce: transactions of an earlier load may still be on their way."""
MAX_QUERIES: Final = 8
"""Accounts asked for at one moment."""
QUERY_ATTEMPTS: Final = 3


class AccountReader(Protocol):
    """What is needed of ``node.client.NodeClient``."""

    async def account(self, address: str | bytes) -> dict[str, Any]: ...


class AccountStates:
    """What the accounts of one load have on their shards: asked once, all at the beginning."""

    def __init__(self, readers: Mapping[int, Sequence[AccountReader]], progress: Progress) -> None:
        self._readers = readers
        self._progress = progress
        self.views: dict[tuple[int, bytes], dict[str, Any]] = {}
        """By (shard, account); without those that do not exist there."""

    async def load(self, wanted: Sequence[tuple[int, bytes]]) -> None:
        """Ask for all; raises ``LocalError`` where no member of a shard answers."""
        limiter = trio.CapacityLimiter(MAX_QUERIES)
        done = 0

        async def ask(shard: int, account: bytes) -> None:
            nonlocal done
            async with limiter:
                view = await self._ask(shard, account)
            if view is not None:
                self.views[shard, account] = view
            done += 1
            self._progress.show("looking at accounts", done, len(wanted))

        async with trio.open_nursery() as nursery:
            for shard, account in wanted:
                nursery.start_soon(ask, shard, account)

    def find_first_nonce(self, shard: int, account: bytes) -> int:
        """A nonce from which on all are free."""
        view = self.views.get((shard, account))
        if view is None:
            return 1
        return _read_integer(view, "nonce_highest", "nonce") + NONCE_GAP

    def find_cash(self, shard: int, account: bytes, subaccount: int) -> int:
        """Quantums in a subaccount; 0 where it is not there."""
        for entry in self.views.get((shard, account), {}).get("subaccounts", ()):
            if entry.get("index") == subaccount:
                return _read_integer(entry, "cash_raw", "cash")
        return 0

    async def _ask(self, shard: int, account: bytes) -> dict[str, Any] | None:
        readers = self._readers[shard]
        problem = ""
        for attempt in range(QUERY_ATTEMPTS * len(readers)):
            try:
                return await readers[attempt % len(readers)].account(account)
            except RemoteError as error:
                if error.code == "NOT_FOUND":
                    return None
                problem = str(error)
        raise LocalError(f"no member of shard {shard} tells about accounts: {problem}")


def plan_mints(needs: Sequence[FundingNeed], states: AccountStates, faucet: bytes) -> list[PlannedTransaction]:
    """The faucet's transactions after which every need is met."""
    missing: dict[int, list[Action]] = {}
    for need in sorted(needs, key=lambda item: (item.shard, item.account, item.subaccount)):
        lacking = need.cash - states.find_cash(need.shard, need.account, need.subaccount)
        if lacking > 0:
            mint = FaucetMint(
                recipient=need.account, subaccount=need.subaccount, asset=SETTLEMENT_ASSET, amount=lacking
            )
            missing.setdefault(need.shard, []).append(mint)
    return [
        PlannedTransaction(None, shard, faucet, tuple(mints[start : start + MAX_ACTIONS]))
        for shard, mints in missing.items()
        for start in range(0, len(mints), MAX_ACTIONS)
    ]


def plan_clearing(states: AccountStates) -> list[PlannedTransaction]:
    """One cancel-all for each subaccount of the load's accounts that has open orders, whoever left them there."""
    return [
        PlannedTransaction(None, shard, account, (CancelAll(),), entry["index"])
        for (shard, account), view in sorted(states.views.items())
        for entry in view.get("subaccounts", ())
        if _has_orders(entry)
    ]


async def wait_settled(
    is_settled: Callable[[], bool], now: Callable[[], float], timeout_s: float, what: str
) -> None:
    """Return when ``is_settled``; raises ``LocalError`` when it takes too long."""
    deadline = now() + timeout_s
    while not is_settled():
        if now() > deadline:
            raise LocalError(f"{what} took over {timeout_s:.0f} s: does every shard certify blocks?")
        await trio.sleep(0.02)


def _has_orders(subaccount: Mapping[str, Any]) -> bool:
    """True also where the view does not say how many there are: a cancel-all too many does no harm."""
    return any(position.get("orders", True) for position in subaccount.get("positions", ()))


def _read_integer(view: Mapping[str, Any], *names: str) -> int:
    """The first of these fields that is an integer: cash is given as a decimal too."""
    for name in names:
        value = view.get(name)
        if isinstance(value, int):
            return value
    raise LocalError(f"an account's view without {names[0]}: the node speaks another version of the interface")
