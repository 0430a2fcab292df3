"""A network of real processes for the tests: driven by the command line as users drive it, asked through its API.

``LiveNetwork`` runs ``rialto testnet …``; ``wait_…`` functions poll one condition against a deadline; ``Trader``
signs an account's transactions and follows them to their certificates.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from node.client import NodeClient, TransactionStatus
from node.clock import monotonic_ms, wall_ms
from node.keystore import load_seed, read_passphrase
from primitives.errors import RemoteError
from primitives.signing import Ed25519Signer
from shards.transactions import (
    SETTLEMENT_ASSET,
    Action,
    CancelAll,
    Mode,
    Observation,
    OracleReport,
    Transfer,
    sign_transaction,
)
from testnet.directory import AccountEntry, Network, NetworkDirectory, open_network
from testnet.processes import scan_processes, stop_processes

RIALTO = str(Path(sys.executable).with_name("rialto"))
COMMAND_DEADLINE_S = 120
"""Bringing a network of nine up takes 12 s on two free cores, and several times that on busy ones."""
PROGRESS_DEADLINE_S = 60
"""Far more than anything takes where the cores are free; only failures wait so long."""
VOTES_AGAIN_S = 10
"""How soon a restarted validator has to vote again, from the moment that it was asked for."""
POLL_S = 0.1
VALID_MS = 120_000
NONCES_LEFT_FREE = 32
"""For what an earlier user of the account has under way: one that was cut off does not know whether it will run."""
LEAST_AMOUNT = 10_000
"""The least transfer, in quantums."""
PRICE_TICKS = {0: 600_000, 1: 300_000}
"""60,000.0 for BTCUSDT (tick 0.10), 3,000.00 for ETHUSDT (tick 0.01)."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        table: dict[str, Any] = json.loads(self.stdout)
        return table

    def check(self) -> Outcome:
        """Fail with what the command said, unless it succeeded."""
        assert self.status == 0, (
            f"status {self.status}\nstdout: {self.stdout[-2_000:]}\nstderr: {self.stderr[-2_000:]}"
        )
        return self

    def refusal(self) -> str:
        """The one clear line of a command that failed as it should."""
        assert self.status != 0, f"succeeded with {self.stdout[-500:]!r}"
        assert "Traceback" not in self.stderr + self.stdout, self.stderr
        lines = self.stderr.strip().splitlines()
        assert len(lines) == 1, f"one line was expected, not {lines}"
        return lines[0]


async def run_rialto(
    *arguments: str,
    root: Path,
    deadline_s: float = COMMAND_DEADLINE_S,
    variables: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run one command to its end; it is killed at the deadline.

    ``variables`` are added to the environment, ``before`` runs in the child before the command.
    """
    options: dict[str, Any] = {} if before is None else {"preexec_fn": before}
    with trio.fail_after(deadline_s):
        done = await trio.run_process(
            [RIALTO, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
            check=False,
            env={**os.environ, "RIALTO_RUNS": str(root), **(variables or {})},
            cwd=root,
            **options,
        )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


async def wait_true(
    condition: Callable[[], Awaitable[Any]], what: str, deadline_s: float = PROGRESS_DEADLINE_S
) -> Any:
    """Poll until the condition gives something true, and return that; who does not answer is asked again."""
    last: object = None
    with trio.move_on_after(deadline_s):
        while True:
            try:
                last = await condition()
            except RemoteError as error:
                last = error
            else:
                if last:
                    return last
            await trio.sleep(POLL_S)
    raise AssertionError(f"not within {deadline_s:g} s: {what} (last: {last!r})")


def allow_s(bound_s: float) -> float:
    """A bound that holds where the cores are ours, stretched by how many others want each of them."""
    return bound_s * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def wait_duration(duration_s: float) -> None:
    """Let real time pass, to see that something does *not* happen in it, or to choose a moment."""
    await trio.sleep(duration_s)


class LiveNetwork:
    """One network by its directory; every operation is a command line."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name

    @property
    def directory(self) -> NetworkDirectory:
        return NetworkDirectory(self.root / self.name)

    @property
    def network(self) -> Network:
        return open_network(self.name, {"RIALTO_RUNS": str(self.root)})

    async def testnet(self, *arguments: str, deadline_s: float = COMMAND_DEADLINE_S) -> Outcome:
        """``rialto testnet … --name NAME``."""
        return await run_rialto("testnet", *arguments, "--name", self.name, root=self.root, deadline_s=deadline_s)

    async def up(self, *options: str) -> dict[str, Any]:
        """Bring it up (again) in the background; what ``up --json`` prints."""
        return (await self.testnet("up", "--detach", "--json", *options)).check().json

    async def status(self) -> dict[str, dict[str, Any]]:
        """The members' rows by name."""
        table = (await self.testnet("status", "--json")).check().json
        return {row["name"]: row for row in table["members"]}

    async def end(self) -> None:
        """Stop everything; by pid where the command could not."""
        if not self.directory.exists:
            return
        homes = [member.home for member in self.network.members]
        outcome = await self.testnet("down")
        left = scan_processes(homes)
        await stop_processes(left, 5)
        assert not left, f"down left {len(left)} processes: {outcome.stderr}"

    def client(self, member: str) -> NodeClient:
        """A client of one member, alive or not."""
        url = self.network.member(member).rpc
        assert url is not None, "it was up"
        return NodeClient(url, timeout_s=5)

    def home(self, member: str) -> Path:
        return self.directory.home(member)

    def pids(self) -> dict[str, int]:
        """Living members' process ids by name."""
        found = scan_processes(member.home for member in self.network.members)
        return {home.name: pid for home, pid in found.items()}

    async def wait_whole(self, deadline_s: float = PROGRESS_DEADLINE_S) -> None:
        """Wait until every member answers, is in sync and has all of its committee connected."""
        for member in self.network.members:
            size = len(self.network.members_of(member.shard))
            async with self.client(member.name) as client:

                async def is_whole(client: NodeClient = client, size: int = size) -> bool:
                    if not (await client.ready())[0]:
                        return False
                    committee = (await client.status())["committee"]
                    peers = [peer for peer in await client.peers() if peer["committee"] == committee]
                    return sum(1 for peer in peers if peer["connected"]) == size - 1

                await wait_true(is_whole, f"{member.name} whole", deadline_s)


class Trader:
    """An account whose transactions go to one member at a time; nonces are counted here."""

    def __init__(self, network: Network, account: AccountEntry, shard: int, nonce: int = 0) -> None:
        self._network = network
        self.account = account
        self.address = account.address
        self.shard = shard
        self.signer = Ed25519Signer(load_seed(account.key_file, read_passphrase(account.key_file, {}, None)))
        self.nonce = nonce

    @classmethod
    async def open(cls, network: Network, account: AccountEntry, client: NodeClient, shard: int) -> Trader:
        """Beyond the nonces that the chain knows of, or that may still be under way; a new account begins at 0."""
        try:
            nonce = (await client.account(account.address))["nonce"] + NONCES_LEFT_FREE
        except RemoteError as error:
            if error.code != "NOT_FOUND":
                raise
            nonce = 0
        return cls(network, account, shard, nonce)

    def sign(self, *actions: Action, **changes: Any) -> bytes:
        """One transaction with the next nonce; ``changes`` replace arguments of ``sign_transaction``."""
        self.nonce += 1
        fields: dict[str, Any] = {
            "chain": self._network.chain,
            "shard": self.shard,
            "nonce": self.nonce,
            "valid_until_ms": wall_ms() + VALID_MS,
            "mode": Mode.ATOMIC,
        }
        return sign_transaction(self.signer, actions=actions, **(fields | changes))[1]

    def pay(self, recipient: bytes | None = None, amount: int = LEAST_AMOUNT) -> bytes:
        """A signed transfer within the shard: what shows that a shard works, without any market."""
        if recipient is None:
            recipient = self._network.accounts_of(self.shard)[-1].address
        return self.sign(Transfer(recipient, 0, SETTLEMENT_ASSET, amount))

    async def send(self, client: NodeClient, *actions: Action) -> TransactionStatus:
        """Sign, submit and wait for the certificate."""
        return await certify(client, self.sign(*actions))


async def certify(client: NodeClient, signed: bytes, timeout_s: float = PROGRESS_DEADLINE_S) -> TransactionStatus:
    """Submit and wait for the certificate, whatever the receipt says."""
    answer = await submit(client, signed)
    return await client.wait_certified(answer, timeout_s=timeout_s)


async def submit(client: NodeClient, signed: bytes) -> str:
    """Submit a good transaction; its id."""
    (answer,) = await client.submit_transactions([signed])
    assert answer.accepted, f"{answer.code}: {answer.message}"
    return answer.id


async def open_traders(network: Network, client: NodeClient, shard: int, count: int) -> list[Trader]:
    """The first ``count`` funded test accounts of a shard."""
    return [await Trader.open(network, account, client, shard) for account in network.accounts_of(shard)[:count]]


async def clear_book(network: Network, client: NodeClient, shard: int) -> None:
    """Cancel every open order of the test accounts, whatever the tests before left."""
    traders = [await Trader.open(network, account, client, shard) for account in network.accounts_of(shard)]
    for identity in [await submit(client, trader.sign(CancelAll())) for trader in traders]:
        assert (await client.wait_certified(identity)).code == "OK"


async def report_price(network: Network, client: NodeClient, shard: int) -> int:
    """Let all reporters name the usual price of the shard's market, so that orders are taken; its ticks."""
    (market,) = await client.markets()
    number: int = market["id"]
    ticks = PRICE_TICKS[number]
    for account in network.accounts_of(shard, "reporter"):
        reporter = await Trader.open(network, account, client, shard)
        status = await reporter.send(client, OracleReport((Observation(number, ticks, wall_ms()),)))
        assert status.code == "OK", status.receipt
    await wait_true(lambda: _is_fresh(client, number), "an oracle price")
    return ticks


async def _is_fresh(client: NodeClient, market: int) -> bool:
    return bool((await client.market(market))["is_fresh"])


async def read_height(client: NodeClient) -> int:
    """The certified height."""
    height: int = (await client.status())["certified_height"]
    return height


def read_metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    total = 0.0
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if (head == name or head.startswith(name + "{")) and all(f'{k}="{v}"' in head for k, v in labels.items()):
            total += float(value)
    return total


async def verify_no_progress(clients: Sequence[NodeClient], transactions: Mapping[str, NodeClient]) -> None:
    """Observe, for several round trips and view changes, that nothing is certified any more."""
    await wait_true(lambda: _is_settled(clients), "what was in flight settled")
    before = [await read_height(client) for client in clients]
    ends_ms = monotonic_ms() + STALL_OBSERVED_MS
    while monotonic_ms() < ends_ms:
        for identity, client in transactions.items():
            assert (await client.transaction(identity)).state != "certified"
        await wait_duration(POLL_S)
    assert [await read_height(client) for client in clients] == before


STALL_OBSERVED_MS = 3_000
"""A whole shard certifies within 0.2 s; its first view change comes after 2 s."""


async def _is_settled(clients: Sequence[NodeClient]) -> bool:
    """Whether all of these heights stay the same over half a second."""
    before = [await read_height(client) for client in clients]
    await wait_duration(0.5)
    return [await read_height(client) for client in clients] == before
