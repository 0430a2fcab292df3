"""Bad transactions at a real node's RPC port: a stable code and a sentence, never a 500, nobody hurt."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from node.client import NodeClient
from node.clock import wall_ms
from primitives.identifiers import format_address
from shards.genesis import QUOTE
from shards.transactions import (
    MAX_ACTIONS,
    MAX_TRANSACTION_BYTES,
    SETTLEMENT_ASSET,
    Action,
    CancelAll,
    FaucetMint,
    OrderKind,
    Place,
    Side,
    Transfer,
)
from tests.integration.live_network import (
    LiveNetwork,
    Trader,
    certify,
    open_traders,
    report_price,
    run_rialto,
)

pytestmark = pytest.mark.process
MARKET = 0
HOUR_MS = 3_600_000

Refused = Callable[[Trader], bytes]


def change_last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


REFUSED_AT_ONCE: dict[str, tuple[str, Refused]] = {
    "no bytes": ("MALFORMED", lambda trader: b""),
    "random bytes": ("MALFORMED", lambda trader: bytes(range(200))),
    "cut short": ("MALFORMED", lambda trader: trader.sign(CancelAll())[:-10]),
    "bytes behind the end": ("MALFORMED", lambda trader: trader.sign(CancelAll()) + b"\x00"),
    "longer than allowed": ("TOO_LARGE", lambda trader: bytes(MAX_TRANSACTION_BYTES + 1)),
    "too many actions": ("MALFORMED", lambda trader: trader.sign(*[CancelAll()] * (MAX_ACTIONS + 1))),
    "signature of another text": ("BAD_SIGNATURE", lambda trader: change_last_byte(trader.sign(CancelAll()))),
    "another chain": ("WRONG_CHAIN", lambda trader: trader.sign(CancelAll(), chain=bytes(32))),
    "another shard": ("WRONG_SHARD", lambda trader: trader.sign(CancelAll(), shard=1)),
    "expired": ("EXPIRED", lambda trader: trader.sign(CancelAll(), valid_until_ms=wall_ms() - 60_000)),
    "valid for too long": (
        "VALID_TOO_LONG",
        lambda trader: trader.sign(CancelAll(), valid_until_ms=wall_ms() + 2 * HOUR_MS),
    ),
    "nonce used": ("NONCE_USED", lambda trader: trader.sign(CancelAll(), nonce=1)),
    "nonce far ahead": ("NONCE_TOO_FAR", lambda trader: trader.sign(CancelAll(), nonce=2**40)),
}


async def test_what_no_block_may_hold_is_refused_at_the_port_with_code_and_sentence(live: LiveNetwork) -> None:
    async with live.client("s0v1") as client:
        trader = await open_seasoned_trader(live, client)
        for what, (code, make) in REFUSED_AT_ONCE.items():
            (answer,) = await client.submit_transactions([make(trader)])
            assert answer.code == code, f"{what}: {answer}"
            assert_sentence(answer.message)
        (answer,) = await client.submit_transactions([Trader(live.network, trader.account, 0).sign(CancelAll())])
        assert answer.code == "NONCE_USED"
        good = Trader(live.network, trader.account, 0, (await client.account(trader.address))["nonce"])
        assert (await certify(client, good.pay())).code == "OK"


async def open_seasoned_trader(live: LiveNetwork, client: NodeClient) -> Trader:
    """One that has used its first nonce, and a later one; nobody else signs for its account."""
    trader = await Trader.open(live.network, live.network.accounts_of(0)[-2], client, 0)
    for changes in ({"nonce": 1}, {}):
        assert (await certify(client, trader.sign(CancelAll(), **changes))).code == "OK"
    return trader


def assert_sentence(text: str) -> None:
    assert re.search(r"\w+ \w+ \w+", text), text
    assert "Traceback" not in text and "Error(" not in text, text


async def test_what_fails_at_execution_is_certified_with_its_code_and_a_sentence(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client:
        price = await report_price(live.network, client, 0)
        trader, other = await open_traders(live.network, client, 0, 2)
        huge = 2**39
        expected: dict[str, Action] = {
            "UNKNOWN_MARKET": Place(99, Side.BUY, OrderKind.LIMIT, price, 10),
            "OUT_OF_BAND": Place(MARKET, Side.BUY, OrderKind.LIMIT, 2 * price, 10),
            "MARGIN": Place(MARKET, Side.BUY, OrderKind.LIMIT, price, huge),
            "NOT_REDUCING": Place(MARKET, Side.SELL, OrderKind.LIMIT, price, 10, reduce_only=True),
            "NOT_WITHDRAWABLE": Transfer(other.address, 0, SETTLEMENT_ASSET, 20_000_000 * QUOTE),
            "UNKNOWN_ASSET": Transfer(other.address, 0, 9, 1),
            "NOT_FAUCET": FaucetMint(other.address, 0, SETTLEMENT_ASSET, 10**6),
        }
        for code, action in expected.items():
            status = await trader.send(client, action)
            receipt = status.receipt or {}
            assert (receipt["code"], receipt["action_codes"]) == (code, [code])
            assert_sentence(receipt["message"])


async def test_the_command_line_says_what_to_change(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client:
        await report_price(live.network, client, 0)
    key = str(live.network.accounts_of(0)[1].key_file)

    async def refuse(*arguments: str) -> str:
        line = (
            await run_rialto("order", "place", *arguments, "--key", key, "--name", live.name, root=live.root)
        ).refusal()
        assert_sentence(line)
        return line

    assert "OFF_TICK" in await refuse("BTCUSDT", "buy", "0.25", "60000.05")
    assert "OFF_LOT" in await refuse("BTCUSDT", "buy", "0.2505", "60000")
    assert "OUT_OF_BAND" in await refuse("BTCUSDT", "buy", "0.25", "90000")
    assert "MARGIN" in await refuse("BTCUSDT", "buy", "100000", "60000")
    assert "NOT_FOUND" in await refuse("NOSUCH", "buy", "1", "60000")


REQUESTS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "no JSON": (400, "BAD_JSON", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "no MessagePack": (
        400,
        "BAD_MSGPACK",
        {"content": b"\xc1", "headers": {"content-type": "application/msgpack"}},
    ),
    "nothing in it": (400, "BAD_REQUEST", {"json": {}}),
    "no hexadecimal digits": (400, "BAD_HEX", {"json": {"transaction": "zz"}}),
    "a form with a field too few": (400, "BAD_REQUEST", {"json": {"transaction": {"envelope": {}}}}),
    "another type": (415, "UNSUPPORTED_MEDIA_TYPE", {"content": b"x", "headers": {"content-type": "text/csv"}}),
    "too many": (413, "TOO_LARGE", {"json": {"transactions": ["00"] * 2_049}}),
    "too long": (413, "TOO_LARGE", {"content": bytes(2 << 20), "headers": {"content-type": "application/msgpack"}}),
}


async def test_bad_requests_get_their_status_and_code_and_the_connection_goes_on(live: LiveNetwork) -> None:
    url = live.network.member("s0v2").rpc
    assert url is not None
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as http:
        for what, (status, code, body) in REQUESTS.items():
            response = await http.post("/v1/transactions", **body)
            assert (response.status_code, response.json()["code"]) == (status, code), (what, response.text)
            assert_sentence(response.json()["message"])
        for path, code in {
            "/v1/accounts/nonsense": "BAD_ADDRESS",
            f"/v1/accounts/{format_address(bytes(20))}": "NOT_FOUND",
            "/v1/blocks/999999999": "NOT_FOUND",
            "/v1/blocks/-1": "BAD_PARAMETER",
            "/v1/markets/NOSUCH": "NOT_FOUND",
            "/v1/markets/0/book?depth=100000": "BAD_PARAMETER",
            "/v1/transfers/00": "BAD_HEX",
            "/v1/beacon/latest/tips?x=" + "y" * 3_000: "TARGET_TOO_LONG",
            "/nowhere": "NOT_FOUND",
        }.items():
            response = await http.get(path)
            assert response.json()["code"] == code, (path, response.text)
            assert 400 <= response.status_code < 500
        assert (await http.get("/health")).status_code == 200
    logged = (live.home("s0v2") / "node.log").read_text()
    assert '"level": "error"' not in logged, "a client's mistakes are no errors of ours"
