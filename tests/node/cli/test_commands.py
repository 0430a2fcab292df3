"""The client commands against a venue in memory behind a real server, as a shell would call them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry

from crosslink.messages import compute_xid
from node.cli.failures import describe_failure
from node.cli.network_file import find_target
from node.cli.session import NONCE_ATTEMPTS, NONCES_SKIPPED
from node.events import SubmissionResult
from node.keystore import create_devnet_key
from node.rpc.app import RpcApplication
from node.rpc.receipts import describe_receipt
from node.rpc.server import RpcListener, RpcServer
from node.rpc.service import Json, TransactionState, TransactionView
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import compute_address, format_address
from primitives.signing import Ed25519, Ed25519Signer
from shards.codes import ResultCode
from shards.receipts import encode_receipt
from shards.transactions import (
    Action,
    Cancel,
    CancelAll,
    CrossTransfer,
    FaucetMint,
    OrderKind,
    Place,
    Side,
    Transfer,
    decode_transaction,
    verify_transaction,
)
from testnet.cli import run
from tests.node.rpc.fake_service import COMMITTEE, FakeService

SEED = bytes([9]) * 32
OWNER = compute_address(Ed25519Signer(SEED).public_key)
FAUCET_SEED = bytes([8]) * 32
OWNER_KEY = "keys/owner.pem"
OTHER = "0x" + "cd" * 20


@dataclass
class Venue(FakeService):
    """Checks and records what is submitted, and certifies it at once."""

    actions: list[Action] = field(default_factory=list)
    refusal: ResultCode = ResultCode.OK
    devnet: bool = True
    nonce: int = 3
    rivals: list[str] = field(default_factory=list)
    """Where somebody else comes first with the nonce: before the submission (``queue``) or after it (``block``)."""
    conflicts: int = 0
    transfer_state: str = "settled"
    receipts: dict[bytes, bytes] = field(default_factory=dict)

    async def submit(self, transactions: Any) -> list[SubmissionResult]:
        await trio.lowlevel.checkpoint()
        return [self._take(data) for data in transactions]

    def _take(self, data: bytes) -> SubmissionResult:
        signed = decode_transaction(data, COMMITTEE.chain, 0)
        verify_transaction(signed, Ed25519())
        assert self.nonce < signed.envelope.nonce <= self.nonce + (NONCES_SKIPPED if self.conflicts else 1)
        if self.rivals:
            return self._come_second(signed.id, self.rivals.pop())
        self.actions += signed.envelope.actions
        events: list[Any] = []
        if isinstance(signed.envelope.actions[0], CrossTransfer):
            events = [(6, 1, 3, 0, 5, 1)]
        self.receipts[signed.id] = encode_receipt(signed.id, 0, self.refusal, [self.refusal], 1, events)
        return SubmissionResult(signed.id, "ACCEPTED", "")

    def _come_second(self, identity: bytes, where: str) -> SubmissionResult:
        self.nonce += 1
        self.conflicts += 1
        if where == "queue":
            return SubmissionResult(identity, "NONCE_USED", "take a new nonce")
        self.receipts[identity] = encode_receipt(identity, 0, ResultCode.NONCE_USED, [], 0, [])
        return SubmissionResult(identity, "ACCEPTED", "")

    def transaction(self, transaction: bytes) -> TransactionView:
        receipt = describe_receipt(self.receipts[transaction])
        return TransactionView(TransactionState.CERTIFIED, 4, 0, receipt)

    def genesis(self) -> Json:
        limits = {"transfer_deadline_min_blocks": 200, "transfer_deadline_max_blocks": 20_000}
        return {"devnet": self.devnet, "parameters": limits}

    def account(self, address: bytes) -> Json | None:
        part = {"index": 0, "cash": 12_500_000, "equity": 1, "withdrawable": 1, "positions": []}
        return {"address": format_address(address), "nonce": self.nonce, "subaccounts": [part]}

    def transfer(self, transfer: bytes) -> Json | None:
        if transfer != compute_xid(COMMITTEE.chain, 0, 1, 3):
            return None
        return {"xid": transfer.hex(), "state": self.transfer_state, "is_certified": True}


@dataclass
class Shell:
    """Runs command lines against the venue's network directory."""

    venue: Venue
    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def key(self) -> str:
        return str(self.folder / "runs" / "net" / "keys" / "owner.pem")

    def call(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        status = run(list(words))
        written = self.capture.readouterr()
        return status, written.out, written.err

    def succeed(self, *words: str) -> Any:
        """The one JSON object that a successful command prints."""
        status, out, err = self.call(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    def fail(self, *words: str) -> str:
        """The one line of a failing command."""
        status, out, err = self.call(*words)
        assert (status, out) == (1, ""), (out, err)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A served venue in a thread, with a network directory that names it."""
    venue = Venue()
    venue.certify()
    listener = RpcListener("127.0.0.1", 0)
    server = RpcServer(RpcApplication(venue, CollectorRegistry()), listener)
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        token.append(trio.lowlevel.current_trio_token())
        await server.serve()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    network = tmp_path / "runs" / "net"
    (network / "keys").mkdir(parents=True)
    create_devnet_key(network / "keys" / "owner.pem", SEED)
    create_devnet_key(network / "keys" / "faucet.pem", FAUCET_SEED)
    table = {
        "members": [
            {"name": "s0v0", "shard": 0, "rpc": "http://127.0.0.1:1"},
            {"name": "s0v1", "shard": 0, "rpc": listener.url},
            {"name": "bv0", "shard": 65_535, "rpc": None},
        ],
        "accounts": [
            {"name": "faucet", "address": OTHER, "role": "faucet", "shard": None, "key_file": "keys/faucet.pem"},
            {"name": "a0", "address": format_address(OWNER), "role": "agent", "shard": 0, "key_file": OWNER_KEY},
        ],
    }  # fmt: skip
    (network / "network.json").write_text(json.dumps(table))
    (tmp_path / "runs" / "latest").symlink_to("net")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIALTO_RUNS", raising=False)
    monkeypatch.delenv("RIALTO_PASSPHRASE_FILE", raising=False)
    yield Shell(venue, tmp_path, capsys)
    token[0].run_sync_soon(server.stop)
    thread.join(10)
    assert not thread.is_alive()


def test_an_account_is_shown_by_address_and_by_key_on_every_shard(shell: Shell) -> None:
    shown = shell.succeed("account", "show", OTHER, "--name", "net")
    assert shown["shards"][0]["account"]["subaccounts"][0]["cash"] == "12.500000"
    assert shell.succeed("account", "show", "--key", shell.key)["address"] == format_address(OWNER)
    status, out, _ = shell.call("account", "show", OTHER)
    assert (status, "12.500000" in out) == (0, True)


def test_funding_is_signed_by_the_faucet_of_the_network(shell: Shell) -> None:
    result = shell.succeed("account", "fund", OTHER, "2.5")
    assert (result["height"], result["amount"]) == (4, "2.500000")
    assert shell.venue.actions == [FaucetMint(b"\xcd" * 20, 0, 0, 2_500_000)]


def test_funding_exists_on_devnets_only(shell: Shell) -> None:
    shell.venue.devnet = False
    assert "no devnet" in shell.fail("account", "fund", OTHER, "1")


def test_a_transfer_within_a_shard_waits_for_the_certificate(shell: Shell) -> None:
    result = shell.succeed("account", "transfer", OTHER, "1", "--key", shell.key)
    assert result["state"] == "certified"
    assert shell.venue.actions == [Transfer(b"\xcd" * 20, 0, 0, 1_000_000)]


def test_a_transfer_across_shards_waits_until_it_is_settled(shell: Shell) -> None:
    result = shell.succeed("account", "transfer", OTHER, "1", "--key", shell.key, "--to-shard", "1")
    assert result["state"] == "settled"
    assert shell.venue.actions == [CrossTransfer(1, b"\xcd" * 20, 0, 0, 1_000_000, 600)]


def test_a_refunded_transfer_is_a_failure(shell: Shell) -> None:
    shell.venue.transfer_state = "refunded"
    assert "came back" in shell.fail("account", "transfer", OTHER, "1", "--key", shell.key, "--to-shard", "1")


def test_orders_take_decimals(shell: Shell) -> None:
    words = ("order", "place", "BTC-PERP", "sell", "0.25", "60000.1", "--key", shell.key, "--kind", "post-only")
    result = shell.succeed(*words, "--client-id", "7")
    assert result["receipt"]["code"] == "OK"
    assert shell.venue.actions == [Place(1, Side.SELL, OrderKind.POST_ONLY, 600_001, 250, client_id=7)]


def test_a_nonce_that_another_client_takes_first_is_chosen_again(shell: Shell) -> None:
    cancel = ("order", "cancel", "--all", "--key", shell.key)
    shell.venue.rivals = ["queue", "block", "block", "queue"]
    shell.succeed(*cancel)
    assert shell.venue.actions == [CancelAll(None)]
    shell.venue.rivals = ["queue"] * 9
    assert "NONCE_USED" in shell.fail(*cancel)
    assert len(shell.venue.rivals) == 9 - NONCE_ATTEMPTS, "not for ever"


def test_orders_are_cancelled_by_id_by_number_or_all(shell: Shell) -> None:
    for words in (("1", "--client-id", "7"), ("1", "--seq", "5"), ("1", "--all"), ("--all",)):
        shell.succeed("order", "cancel", *words, "--key", shell.key)
    assert shell.venue.actions == [Cancel(1, client_id=7), Cancel(1, seq=5), CancelAll(1), CancelAll(None)]


def test_orders_and_markets_are_listed(shell: Shell) -> None:
    assert shell.succeed("order", "list", "--key", shell.key)["orders"] == []
    assert shell.succeed("market", "list")["markets"][0]["symbol"] == "BTC-PERP"
    assert shell.call("market", "list")[0] == 0


def test_a_book_is_shown_and_watched(shell: Shell) -> None:
    shell.venue.bids = {600_001: 250}
    assert shell.succeed("market", "book", "1")["bids"][0]["price"] == "60000.1"
    assert shell.succeed("market", "watch", "1")["bids"][0]["size"] == "0.250"
    assert "60000.1" in shell.call("market", "book", "BTC-PERP")[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("account", "show"), "give an ADDRESS"),
        (("account", "show", "0x12"), "40 hexadecimal digits"),
        (("account", "show", OTHER, "--shard", "7"), "no shard 7"),
        (("account", "show", OTHER, "--name", "other"), "no network 'other'"),
        (("account", "show", OTHER, "--name", "../net"), "no network"),
        (("account", "show", OTHER, "--node", "nonsense"), "is no URL"),
        (("account", "show", OTHER, "--node", "http://127.0.0.1:1"), "does not answer"),
        (("account", "show", OTHER, "--node", "http://127.0.0.1:1", "--name", "net"), "not both"),
        (("account", "transfer", OTHER, "-", "--key", "KEY"), "not a decimal number"),
        (("account", "transfer", OTHER, "1", "--key", "missing.pem"), "no file missing.pem"),
        (("order", "place", "1", "buy", "0.0001", "60000", "--key", "KEY"), "OFF_LOT"),
        (("order", "place", "1", "buy", "1", "60000.15", "--key", "KEY"), "OFF_TICK"),
        (("order", "place", "nowhere", "buy", "1", "1", "--key", "KEY"), "no such market"),
        (("order", "cancel", "1", "--key", "KEY"), "exactly one of"),
        (("order", "cancel", "--seq", "1", "--key", "KEY"), "give the MARKET"),
        (("keys", "show", "missing.pem"), "no file missing.pem"),
    ],
)
def test_a_mistake_is_one_clear_line(shell: Shell, words: tuple[str, ...], complaint: str) -> None:
    assert complaint in shell.fail(*(shell.key if word == "KEY" else word for word in words))


def test_a_failed_transaction_is_its_code_and_what_to_change(shell: Shell) -> None:
    shell.venue.refusal = ResultCode.MARGIN
    line = shell.fail("order", "place", "1", "buy", "1", "60000", "--key", shell.key)
    assert "(MARGIN)" in line
    assert "Equity does not cover the initial margin" in line


def test_a_damaged_network_file_is_one_clear_line(shell: Shell) -> None:
    (shell.folder / "runs" / "net" / "network.json").write_text("{")
    assert "is damaged" in shell.fail("market", "list")


def test_keys_are_made_shown_exported_and_imported(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    passphrase = shell.folder / "passphrase"
    passphrase.write_text("correct horse\n")
    passphrase.chmod(0o600)
    monkeypatch.setenv("RIALTO_PASSPHRASE_FILE", str(passphrase))
    made = shell.succeed("keys", "new", "new.pem")
    assert os.stat("new.pem").st_mode & 0o777 == 0o600
    assert shell.succeed("keys", "show", "new.pem")["address"] == made["address"]
    assert "never overwritten" in shell.fail("keys", "new", "new.pem")
    shell.succeed("keys", "export", "new.pem", "--to", "plain.pem")
    assert os.stat("plain.pem").st_mode & 0o777 == 0o600
    assert shell.succeed("keys", "import", "copy.pem", "--from", "plain.pem")["address"] == made["address"]
    assert "open to others" in shell.fail("keys", "show", str(_open_to_others("copy.pem")))


def _open_to_others(name: str) -> Path:
    path = Path(name)
    path.chmod(0o644)
    return path


def test_without_a_terminal_a_missing_passphrase_is_one_clear_line(shell: Shell) -> None:
    assert "no passphrase" in shell.fail("keys", "new", "new.pem")


def test_a_failure_is_one_line_whatever_its_message() -> None:
    assert describe_failure(LocalError("two\n lines")) == "two lines"
    assert describe_failure(RemoteError("BUSY", "later")) == "later (BUSY)"


def test_the_latest_network_is_the_default(shell: Shell) -> None:
    target = find_target(None, None)
    assert target.shards == [0]
    assert target.home_of(OWNER) == 0
    assert target.faucet_key().name == "faucet.pem"
