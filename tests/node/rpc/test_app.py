"""Every path answers as documented, and every mistake by ``{"code", "message"}`` with the right status."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import msgpack
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from consensus.certificate import verify_certificate
from crosslink.header import compute_header_hash
from node.client import read_certified_header
from node.rpc.app import RpcApplication
from node.rpc.errors import ERROR_CODES
from node.rpc.limits import MAX_BODY_BYTES, MAX_BULK_TRANSACTIONS, MAX_PAGE
from node.rpc.receipts import describe_transaction
from primitives.hashing import hash_bytes
from primitives.identifiers import format_address
from primitives.signing import Ed25519, Ed25519Signer
from shards.transactions import Cancel, OrderKind, Place, Side, sign_transaction
from tests.node.rpc.fake_service import ADDRESS, COMMITTEE, XID, FakeService

ACCOUNT = format_address(ADDRESS)


class Interface:
    """Calls an application in this process, without sockets."""

    def __init__(self) -> None:
        self.service = FakeService()
        for _ in range(3):
            self.service.certify()
        self.application = RpcApplication(self.service, CollectorRegistry())
        transport = httpx.ASGITransport(self.application)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://node")

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._http.request(method, path, **options)

    async def get(self, path: str) -> Any:
        """The body of a successful GET."""
        response = await self.call("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def refuse(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Status and code of an error."""
        response = await self.call(method, path, **options)
        body = response.json()
        assert sorted(body) == ["code", "message"], body
        assert body["message"]
        assert ERROR_CODES[body["code"]].status == response.status_code
        return response.status_code, body["code"]


SHARED = Interface()
"""For tests that change nothing: building the routes takes a fifth of a second."""


@pytest.fixture
def interface() -> Interface:
    return Interface()


async def test_json_submission_answers_each_transaction_by_its_own_code(interface: Interface) -> None:
    body = {"transactions": [b"ok1".hex(), "0x" + b"bad".hex()]}
    response = await interface.call("POST", "/v1/transactions", json=body)
    assert response.status_code == 200
    first, second = response.json()["results"]
    assert first == {"id": hash_bytes(b"ok1").hex(), "code": "ACCEPTED", "message": ""}
    assert (second["code"], second["message"]) == ("MALFORMED", "begin with ok")


async def test_a_single_transaction_needs_no_list(interface: Interface) -> None:
    response = await interface.call("POST", "/v1/transactions", json={"transaction": b"ok".hex()})
    assert [row["code"] for row in response.json()["results"]] == ["ACCEPTED"]


async def test_bulk_submission_is_msgpack_both_ways(interface: Interface) -> None:
    body = msgpack.packb([b"ok1", b"no", b"ok2"])
    headers = {"content-type": "application/msgpack; charset=binary"}
    response = await interface.call("POST", "/v1/transactions", content=body, headers=headers)
    assert response.headers["content-type"] == "application/msgpack"
    rows = msgpack.unpackb(response.content)
    assert [(row[0], row[1]) for row in rows] == [
        (hash_bytes(b"ok1"), "ACCEPTED"),
        (hash_bytes(b"no"), "MALFORMED"),
        (hash_bytes(b"ok2"), "ACCEPTED"),
    ]


async def test_the_json_form_of_a_transaction_gives_the_same_bytes(interface: Interface) -> None:
    actions = [Place(1, Side.BUY, OrderKind.POST_ONLY, 600_000, 5, client_id=7), Cancel(1, client_id=7)]
    _, signed = sign_transaction(
        Ed25519Signer(bytes(32)), chain=bytes(32), shard=0, nonce=1, valid_until_ms=2**62, actions=actions
    )
    form = json.loads(json.dumps(describe_transaction(signed)))
    assert form["envelope"]["actions"][0]["type"] == "place"
    response = await interface.call("POST", "/v1/transactions", json={"transactions": [form]})
    assert response.json()["results"][0]["id"] == hash_bytes(signed).hex()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nonce": "1"}, "envelope.nonce"),
        ({"extra": 1}, "envelope.extra"),
        ({"account": "0xzz"}, "envelope.account"),
        ({"mode": "SOMETIMES"}, "envelope.mode"),
        ({"actions": [{"type": "steal"}]}, "envelope.actions[0].type"),
        ({"actions": [{"type": "cancel"}]}, "envelope.actions[0].market"),
        ({"nonce": 2**70}, "integer"),
    ],
)
async def test_a_wrong_field_of_the_json_form_is_named(
    interface: Interface, change: dict[str, Any], field: str
) -> None:
    _, signed = sign_transaction(
        Ed25519Signer(bytes(32)), chain=bytes(32), shard=0, nonce=1, valid_until_ms=9, actions=[Cancel(1, seq=3)]
    )
    form = describe_transaction(signed)
    form["envelope"] |= change
    response = await interface.call("POST", "/v1/transactions", json={"transaction": form})
    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")
    assert field in response.json()["message"]


async def test_a_transaction_goes_from_accepted_to_certified_with_receipt(interface: Interface) -> None:
    identity = hash_bytes(b"ok").hex()
    assert (await interface.get(f"/v1/transactions/{identity}"))["state"] == "unknown"
    await interface.call("POST", "/v1/transactions", json={"transaction": b"ok".hex()})
    assert (await interface.get(f"/v1/transactions/{identity}"))["state"] == "accepted"
    interface.service.certify()
    body = await interface.get(f"/v1/transactions/{identity}")
    assert (body["state"], body["height"], body["index"]) == ("certified", 4, 0)
    assert body["receipt"]["code"] == "OK"


async def test_waiting_for_a_transaction_ends_with_the_block_that_certifies_it(interface: Interface) -> None:
    await interface.call("POST", "/v1/transactions", json={"transaction": b"ok".hex()})
    found: list[Any] = []

    async def ask() -> None:
        found.append(await interface.get(f"/v1/transactions/{hash_bytes(b'ok').hex()}?wait_ms=5000"))

    with trio.fail_after(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while not interface.application.in_flight:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            interface.application.hub.publish(interface.service.certify())
    assert found[0]["state"] == "certified"


async def test_waiting_ends_when_the_time_is_up(interface: Interface) -> None:
    with trio.fail_after(3):
        body = await interface.get(f"/v1/transactions/{'ab' * 32}?wait_ms=20")
    assert body["state"] == "unknown"


async def test_blocks_carry_proofs_that_verify(interface: Interface) -> None:
    for path in ("/v1/blocks/2", "/v1/blocks/2/header", "/v1/blocks/latest"):
        body = await interface.get(path)
        proof = read_certified_header(body)
        assert compute_header_hash(proof.header).hex() == body["hash"] == proof.certificate.header_hash.hex()
        verify_certificate(proof.certificate, COMMITTEE, Ed25519())
        assert body["header"]["beacon_ref"]["height"] == 0


@pytest.mark.parametrize(
    ("query", "heights"),
    [("", [1, 2, 3]), ("?limit=2", [2, 3]), ("?from=2", [2, 3]), ("?from=0&limit=1", [1]), ("?from=9", [])],
)
async def test_blocks_are_listed_in_ascending_height(interface: Interface, query: str, heights: list[int]) -> None:
    body = await interface.get("/v1/blocks" + query)
    assert [block["height"] for block in body["blocks"]] == heights


async def test_blocks_that_a_member_does_not_keep_differ_from_those_that_do_not_exist(interface: Interface) -> None:
    interface.service.pruned = 2
    assert await interface.refuse("GET", "/v1/blocks/2") == (410, "PRUNED")
    assert await interface.refuse("GET", "/v1/blocks/2/transactions") == (410, "PRUNED")
    assert await interface.refuse("GET", "/v1/blocks?from=1") == (410, "PRUNED")
    assert await interface.refuse("GET", "/v1/blocks/9") == (404, "NOT_FOUND")
    listed = await interface.get("/v1/blocks")
    assert [block["height"] for block in listed["blocks"]] == [3]


async def test_transactions_of_a_block_come_in_pages(interface: Interface) -> None:
    interface.service.waiting = [b"ok%d" % index for index in range(5)]
    interface.service.certify()
    seen: list[int] = []
    after = ""
    while True:
        body = await interface.get(f"/v1/blocks/4/transactions?limit=2{after}")
        seen += [entry["index"] for entry in body["transactions"]]
        if body["next"] is None:
            break
        after = f"&after={body['next']}"
    assert seen == [0, 1, 2, 3, 4]
    assert (await interface.get("/v1/blocks/1/transactions"))["transactions"] == []


async def test_every_documented_read_answers(interface: Interface) -> None:
    interface.service.bids = {10: 3, 9: 1}
    assert (await interface.get(f"/v1/accounts/{ACCOUNT}"))["address"] == ACCOUNT
    orders = await interface.get(f"/v1/accounts/{ACCOUNT}/orders?limit=2")
    assert (len(orders["orders"]), orders["next"]) == (2, "0.1.1")
    assert (await interface.get("/v1/markets"))["markets"][0]["id"] == 1
    assert (await interface.get("/v1/markets/BTC-PERP"))["id"] == 1
    assert [row["ticks"] for row in (await interface.get("/v1/markets/1/book?depth=1"))["bids"]] == [10]
    assert (await interface.get(f"/v1/transfers/{XID.hex()}"))["amount"] == "0.000005"
    assert (await interface.get(f"/v1/transfers?account={ACCOUNT}"))["transfers"] == []
    assert (await interface.get("/v1/blocks/3/summary"))["height"] == 3
    assert (await interface.get("/v1/status"))["name"] == "s0v0"
    assert (await interface.get("/v1/peers"))["peers"][0]["name"] == "s0v1"
    assert (await interface.get("/v1/genesis"))["devnet"] is True
    assert (await interface.get("/health"))["status"] == "alive"
    assert (await interface.get("/ready"))["status"] == "ready"


async def test_amounts_come_in_human_units_and_as_integers(interface: Interface) -> None:
    interface.service.bids = {600_001: 250}
    [part] = (await interface.get(f"/v1/accounts/{ACCOUNT}"))["subaccounts"]
    assert (part["cash"], part["cash_raw"], part["equity"]) == ("0.000007", 7, "-0.000001")
    [position] = part["positions"]
    assert (position["size"], position["size_lots"], position["cost"]) == ("-1.500", -1_500, "12.500000")
    assert position["open_orders"] == 5
    assert "orders" not in position
    order = (await interface.get(f"/v1/accounts/{ACCOUNT}/orders"))["orders"][1]
    assert (order["price"], order["price_ticks"], order["open"], order["side"]) == (
        "60000.1",
        600_001,
        "0.250",
        "SELL",
    )
    [level] = (await interface.get("/v1/markets/1/book"))["bids"]
    assert level == {"price": "60000.1", "ticks": 600_001, "size": "0.250", "lots": 250}


async def test_metrics_count_requests_by_route_and_status(interface: Interface) -> None:
    await interface.get("/v1/markets")
    await interface.call("GET", "/v1/markets/nowhere")
    await interface.call("GET", "/strange/" + "x" * 50)
    text = (await interface.call("GET", "/metrics")).text
    assert 'rialto_rpc_requests_total{route="markets",status="200"} 1.0' in text
    assert 'rialto_rpc_requests_total{route="markets",status="404"} 1.0' in text
    assert 'rialto_rpc_requests_total{route="other",status="404"} 1.0' in text


async def test_the_schema_is_json_and_nothing_loads_anything_from_elsewhere(interface: Interface) -> None:
    schema = await interface.get("/schema")
    assert schema["openapi"].startswith("3.")
    assert "/v1/markets/{market}/book" in schema["paths"]
    for path in ("/schema", "/schema/openapi.json", "/schema/swagger", "/schema/redoc", "/schema/elements"):
        response = await interface.call("GET", path)
        assert "html" not in response.headers["content-type"], path
        assert "cdn" not in response.text, path


async def test_a_node_out_of_sync_is_alive_but_not_ready(interface: Interface) -> None:
    interface.service.unready = "no certificate for 12 s"
    assert await interface.refuse("GET", "/ready") == (503, "NOT_READY")
    assert (await interface.get("/health"))["status"] == "alive"


JSON_HEADERS = {"content-type": "application/json"}
PACKED_HEADERS = {"content-type": "application/msgpack"}
DEEP = b'{"transaction":{"envelope":' + b"[" * 99_999
BAD_UTF8 = b'{"transaction":"\xff"}'
TOO_MANY = msgpack.packb([b"ok"] * (MAX_BULK_TRANSACTIONS + 1))


@pytest.mark.parametrize(
    ("method", "path", "options", "expected"),
    [
        ("GET", "/", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/nothing", {}, (404, "NOT_FOUND")),
        ("GET", "/schema/swagger", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/blocks/99", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/blocks/99/transactions", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/blocks/-1", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks/1e3", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks/" + "9" * 19, {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks/%D9%A1", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks?from=-1", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks?from=x", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks?limit=0", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks?limit=101", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/blocks/1/transactions?after=x", {}, (400, "BAD_PARAMETER")),
        ("GET", f"/v1/accounts/{ACCOUNT}/orders?limit={MAX_PAGE + 1}", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/accounts/0x12", {}, (400, "BAD_ADDRESS")),
        ("GET", "/v1/accounts/0x" + "bb" * 20, {}, (404, "NOT_FOUND")),
        ("GET", "/v1/accounts/%FF%FE", {}, (400, "BAD_ADDRESS")),
        ("GET", "/v1/markets/7", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/markets/1/book?depth=999999", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/transfers", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/transfers?account=me", {}, (400, "BAD_ADDRESS")),
        ("GET", "/v1/transfers/zz", {}, (400, "BAD_HEX")),
        ("GET", "/v1/transfers/" + "0" * 64, {}, (404, "NOT_FOUND")),
        ("GET", "/v1/beacon/latest/tips", {}, (404, "NOT_SERVED")),
        ("GET", "/v1/beacon/latest/evidence", {}, (404, "NOT_SERVED")),
        ("GET", "/v1/evidence/1", {}, (404, "NOT_FOUND")),
        ("GET", "/v1/evidence/first", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/evidence?limit=0", {}, (400, "BAD_PARAMETER")),
        ("GET", "/v1/transactions/xyz", {}, (400, "BAD_HEX")),
        ("GET", f"/v1/transactions/{'0' * 64}?wait_ms=99999", {}, (400, "BAD_PARAMETER")),
        ("DELETE", "/v1/blocks/1", {}, (405, "METHOD_NOT_ALLOWED")),
        ("POST", "/health", {}, (405, "METHOD_NOT_ALLOWED")),
        ("BREW", "/health", {}, (405, "METHOD_NOT_ALLOWED")),
        ("GET", "/v1/stream", {}, (426, "UPGRADE_REQUIRED")),
        ("GET", "/v1/blocks?" + "x" * 3_000, {}, (414, "TARGET_TOO_LONG")),
        ("POST", "/v1/transactions", {}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        ("POST", "/v1/transactions", {"data": {"a": "b"}}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        ("POST", "/v1/transactions", {"content": b"{", "headers": JSON_HEADERS}, (400, "BAD_JSON")),
        ("POST", "/v1/transactions", {"content": b"", "headers": JSON_HEADERS}, (400, "BAD_JSON")),
        ("POST", "/v1/transactions", {"content": BAD_UTF8, "headers": JSON_HEADERS}, (400, "BAD_JSON")),
        ("POST", "/v1/transactions", {"content": DEEP, "headers": JSON_HEADERS}, (400, "BAD_JSON")),
        ("POST", "/v1/transactions", {"json": []}, (400, "BAD_REQUEST")),
        ("POST", "/v1/transactions", {"json": {}}, (400, "BAD_REQUEST")),
        ("POST", "/v1/transactions", {"json": {"transactions": [5]}}, (400, "BAD_REQUEST")),
        ("POST", "/v1/transactions", {"json": {"transactions": [{}]}}, (400, "BAD_REQUEST")),
        ("POST", "/v1/transactions", {"json": {"transaction": "zz"}}, (400, "BAD_HEX")),
        ("POST", "/v1/transactions", {"json": {"transactions": [""] * 3_000}}, (413, "TOO_LARGE")),
        ("POST", "/v1/transactions", {"json": {"transaction": "00" * 70_000}}, (413, "TOO_LARGE")),
        ("POST", "/v1/transactions", {"content": b"\xc1", "headers": PACKED_HEADERS}, (400, "BAD_MSGPACK")),
        ("POST", "/v1/transactions", {"content": b"\x91\x05", "headers": PACKED_HEADERS}, (400, "BAD_MSGPACK")),
        ("POST", "/v1/transactions", {"content": TOO_MANY, "headers": PACKED_HEADERS}, (413, "TOO_LARGE")),
        ("POST", "/v1/transactions", {"content": bytes(MAX_BODY_BYTES + 1)}, (413, "TOO_LARGE")),
    ],
)  # fmt: skip
async def test_a_mistake_has_its_code_and_status(
    method: str, path: str, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert await SHARED.refuse(method, path, **options) == expected


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/anything"), ("DELETE", "/v1/blocks/1")])
async def test_who_asks_in_vain_is_told_where_the_paths_are(method: str, path: str) -> None:
    assert "/schema" in (await SHARED.call(method, path)).json()["message"]


async def test_a_bug_of_ours_is_a_coded_answer_and_never_an_empty_one(interface: Interface) -> None:
    interface.service.failure = ZeroDivisionError("planted")
    for options in ({"json": {"transaction": "00"}}, {"content": b"\x91\xc4\x00", "headers": PACKED_HEADERS}):
        assert await interface.refuse("POST", "/v1/transactions", **options) == (500, "INTERNAL")


async def test_a_stopping_node_refuses_with_a_reason(interface: Interface) -> None:
    interface.application.begin_drain("the node is stopping")
    assert await interface.refuse("GET", "/v1/status") == (503, "SHUTTING_DOWN")


PATHS = st.one_of(
    st.sampled_from([
        "/v1/blocks", "/v1/blocks/{}", "/v1/blocks/{}/header", "/v1/blocks/{}/transactions",
        "/v1/blocks/{}/summary",
        "/v1/accounts/{}", "/v1/accounts/{}/orders", "/v1/markets/{}", "/v1/markets/{}/book", "/v1/transfers",
        "/v1/transfers/{}", "/v1/beacon/{}/tips", "/v1/beacon/{}/evidence", "/v1/evidence/{}",
        "/v1/transactions", "/v1/transactions/{}", "/schema/{}", "/{}",
    ]),
    st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=30).map(lambda text: "/" + text),
)  # fmt: skip
NAMES = st.sampled_from(["from", "limit", "after", "depth", "account", "wait_ms", "x"])
VALUES = st.one_of(
    st.integers().map(str),
    st.text(max_size=12),
    st.sampled_from(["latest", ACCOUNT, "ab" * 32, "1", "", "%", "nan"]),
)
TYPES = st.sampled_from(["application/json", "application/msgpack", "text/html", "", "application/json;charset=x"])
BODIES = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["transactions", "transaction", "envelope", "k"]), inner, max_size=3),
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]),
    path=PATHS,
    part=VALUES,
    query=st.dictionaries(NAMES, VALUES, max_size=3),
    media=TYPES,
    body=BODIES,
)
async def test_no_request_at_all_is_answered_by_a_bug(
    method: str, path: str, part: str, query: dict[str, str], media: str, body: bytes
) -> None:
    query.pop("wait_ms", None)
    target = "http://node" + quote(path.replace("{}", part), safe="/%")
    response = await SHARED.call(method, target, params=query, content=body, headers={"content-type": media})
    assert response.status_code < 500 or response.json()["code"] == "NOT_READY"
    if response.status_code >= 400 and method != "HEAD":
        assert sorted(response.json()) == ["code", "message"]
