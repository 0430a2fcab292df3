"""The client library: typed, asynchronous access to one node over HTTP; streams are in ``node.client_stream``.

Workloads, checkers and the command line use it, and nothing else to reach a node. Every method raises
``RemoteError``: with the node's own code where it answered with an error, ``UNREACHABLE`` where it did not
answer (so that what became of a submission is *unknown*, not failed), ``BAD_RESPONSE`` where the answer makes no
sense. Shapes of the returned mappings are in ``docs/api.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec
import trio

from consensus.certificate import Certificate
from crosslink.header import MAX_HEADER_BYTES, ShardHeader
from node.client_stream import Stream, open_stream
from node.clock import monotonic_ms
from node.rpc.limits import MAX_BODY_BYTES, MAX_BULK_TRANSACTIONS, MAX_PAGE, MAX_WAIT_MS
from primitives.codec import decode
from primitives.errors import RemoteError
from primitives.identifiers import format_address

MAX_CERTIFICATE_BYTES: Final = 64 << 10
_ARRAY_OVERHEAD_BYTES: Final = 8
"""Upper bound of what MessagePack adds to one binary string, and to the array itself."""
T = TypeVar("T")

_RETRY_S: Final = 0.25
"""Pause before asking again for a transaction that this node does not know (yet)."""


class Submitted(msgspec.Struct, frozen=True):
    """What the node said to one transaction: ``code`` is ``ACCEPTED`` or why not."""

    id: str
    code: str
    message: str

    @property
    def accepted(self) -> bool:
        """Accepted into the mempool; acknowledged is only what is certified."""
        return self.code == "ACCEPTED"


class TransactionStatus(msgspec.Struct, frozen=True):
    """``state`` is accepted, certified, expired or unknown; the rest is given when certified."""

    id: str
    state: str
    height: int | None = None
    index: int | None = None
    receipt: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Whether the state can still change."""
        return self.state in ("certified", "expired")

    @property
    def code(self) -> str | None:
        """The receipt's code once certified (``OK`` where it succeeded)."""
        return None if self.receipt is None else self.receipt.get("code")


class CertifiedHeader(msgspec.Struct, frozen=True):
    """A header and its certificate from their canonical bytes; *not* verified: the caller has the committee."""

    header: ShardHeader
    certificate: Certificate


class NodeClient:
    """One node at ``url``; an asynchronous context manager that owns the connections.

    ``timeout_s`` bounds every request, apart from the wait that a request itself asks for.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0, connections: int = 8) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        # Loading the system's certificates takes 20 ms of CPU, which plain HTTP never looks at.
        is_secure = self.url.startswith("https:")
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=timeout_s, limits=limits, trust_env=False, verify=is_secure
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    # --- transactions ----------------------------------------------------------------------------------------

    async def submit_transactions(self, transactions: Sequence[bytes]) -> list[Submitted]:
        """Submit signed transactions in bulk (MessagePack); one answer each, in order.

        Split into requests that respect the node's bounds. If one of several requests fails, the error says so and
        what became of the rest is unknown: resubmitting is safe, because nonces never execute twice.
        """
        answers: list[Submitted] = []
        for chunk in _chunk(transactions):
            body = msgspec.msgpack.encode(chunk)
            data = await self._request(
                "POST", "/v1/transactions", content=body, headers={"content-type": "application/msgpack"}
            )
            try:
                rows = msgspec.msgpack.decode(data, type=list[tuple[bytes, str, str]])
            except msgspec.MsgspecError as error:
                raise _bad_response(str(error)) from None
            if len(rows) != len(chunk):
                raise _bad_response(f"{len(rows)} results for {len(chunk)} transactions")
            answers.extend(Submitted(identity.hex(), code, message) for identity, code, message in rows)
        return answers

    async def submit_form(self, form: Mapping[str, Any]) -> Submitted:
        """Submit one signed transaction in its JSON form ``{"envelope": {…}}``."""
        body = await self._json("POST", "/v1/transactions", json={"transactions": [form]})
        return _convert(body["results"][0], Submitted)

    async def transaction(self, transaction: str | bytes, *, wait_ms: int = 0) -> TransactionStatus:
        """The state of a transaction; with ``wait_ms`` the node answers when it is final, or the time is up."""
        identity = transaction.hex() if isinstance(transaction, bytes) else transaction
        parameters = {"wait_ms": min(wait_ms, MAX_WAIT_MS)} if wait_ms else {}
        body = await self._json(
            "GET", f"/v1/transactions/{identity}", params=parameters, timeout=self._timeout_s + wait_ms / 1_000
        )
        return _convert(body, TransactionStatus)

    async def wait_certified(self, transaction: str | bytes, *, timeout_s: float = 30.0) -> TransactionStatus:
        """Wait until the transaction is certified and return its receipt, whatever its code.

        Raises ``RemoteError``: ``EXPIRED`` where it can never be certified any more, ``TIMEOUT`` when the time is
        up, which says nothing about the transaction.
        """
        deadline_ms = monotonic_ms() + int(timeout_s * 1_000)
        while True:
            left_ms = deadline_ms - monotonic_ms()
            status = await self.transaction(transaction, wait_ms=max(1, min(MAX_WAIT_MS, left_ms)))
            if status.state == "certified":
                return status
            if status.state == "expired":
                raise RemoteError("EXPIRED", "the transaction expired before it was certified; sign a new one")
            if monotonic_ms() >= deadline_ms:
                raise RemoteError("TIMEOUT", f"not certified within {timeout_s:g} s; its fate is unknown")
            if status.state == "unknown":
                await trio.sleep(_RETRY_S)

    # --- the chain -------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        return await self._json("GET", "/v1/status")

    async def ready(self) -> tuple[bool, str]:
        """Whether the node is in sync, and otherwise what it waits for."""
        try:
            await self._json("GET", "/ready")
        except RemoteError as error:
            if error.code == "NOT_READY":
                return False, error.message
            raise
        return True, ""

    async def genesis(self) -> dict[str, Any]:
        return await self._json("GET", "/v1/genesis")

    async def peers(self) -> list[dict[str, Any]]:
        return _listing(await self._json("GET", "/v1/peers"), "peers")

    async def metrics(self) -> str:
        """The Prometheus text."""
        return (await self._request("GET", "/metrics")).decode()

    async def blocks(self, start: int | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Certified blocks from height ``start`` upwards; without it, the newest."""
        parameters = {"limit": limit} if start is None else {"from": start, "limit": limit}
        return _listing(await self._json("GET", "/v1/blocks", params=parameters), "blocks")

    async def block(self, height: int | str = "latest") -> dict[str, Any]:
        return await self._json("GET", f"/v1/blocks/{height}")

    async def certified_header(self, height: int | str = "latest") -> CertifiedHeader:
        """The header with its certificate, decoded from their canonical bytes."""
        body = await self._json("GET", f"/v1/blocks/{height}/header")
        return read_certified_header(body)

    async def certified_headers(self, start: int, *, limit: int = 100) -> list[CertifiedHeader]:
        """Those of ``limit`` blocks from height ``start`` upwards; fewer at the end of the chain."""
        return [read_certified_header(body) for body in await self.blocks(start, limit=limit)]

    async def block_transactions(self, height: int) -> AsyncIterator[dict[str, Any]]:
        """Every transaction of a block in order (all pages)."""
        path = f"/v1/blocks/{height}/transactions"
        async for entry in self._pages(path, "transactions"):
            yield entry

    async def summary(self, height: int | str = "latest") -> dict[str, Any]:
        return await self._json("GET", f"/v1/blocks/{height}/summary")

    async def tips(self, height: int | str = "latest") -> dict[str, Any]:
        return await self._json("GET", f"/v1/beacon/{height}/tips")

    async def evidence(self, after: str | None = None) -> dict[str, Any]:
        """What the member keeps against members of its committee, oldest first."""
        return await self._json("GET", "/v1/evidence", params={} if after is None else {"after": after})

    async def recorded_evidence(self, height: int | str = "latest", after: str | None = None) -> dict[str, Any]:
        """What the beacon recorded up to one of its heights, oldest first; of beacon members only."""
        params = {} if after is None else {"after": after}
        return await self._json("GET", f"/v1/beacon/{height}/evidence", params=params)

    # --- the venue -------------------------------------------------------------------------------------------

    async def account(self, address: str | bytes) -> dict[str, Any]:
        """Raises ``RemoteError`` (``NOT_FOUND``) for an account without a record on this shard."""
        return await self._json("GET", f"/v1/accounts/{_address(address)}")

    async def orders(self, address: str | bytes) -> AsyncIterator[dict[str, Any]]:
        """Every open order of an account (all pages)."""
        async for order in self._pages(f"/v1/accounts/{_address(address)}/orders", "orders"):
            yield order

    async def markets(self) -> list[dict[str, Any]]:
        return _listing(await self._json("GET", "/v1/markets"), "markets")

    async def market(self, market: str | int) -> dict[str, Any]:
        return await self._json("GET", f"/v1/markets/{market}")

    async def book(self, market: str | int, *, depth: int = 20) -> dict[str, Any]:
        return await self._json("GET", f"/v1/markets/{market}/book", params={"depth": depth})

    async def transfer(self, transfer: str | bytes) -> dict[str, Any]:
        identity = transfer.hex() if isinstance(transfer, bytes) else transfer
        return await self._json("GET", f"/v1/transfers/{identity}")

    async def transfers(self, address: str | bytes) -> AsyncIterator[dict[str, Any]]:
        """Every transfer that an account sent from, or receives on, this shard, as far as kept (all pages)."""
        async for transfer in self._pages("/v1/transfers", "transfers", account=_address(address)):
            yield transfer

    def stream(self, topics: Sequence[str]) -> Stream:
        """``async with client.stream(["blocks"]) as messages: async for message in messages``."""
        return open_stream(self.url, topics, timeout_s=self._timeout_s)

    # --- plumbing --------------------------------------------------------------------------------------------

    async def _pages(self, path: str, key: str, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        after: str | None = None
        while True:
            query = {**parameters, "limit": str(MAX_PAGE)} | ({} if after is None else {"after": after})
            body = await self._json("GET", path, params=query)
            for entry in _listing(body, key):
                yield entry
            after = body.get("next")
            if after is None:
                return

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        data = await self._request(method, path, **options)
        try:
            body = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _bad_response(str(error)) from None
        if not isinstance(body, dict):
            raise _bad_response("no JSON object")
        return body

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        try:
            response = await self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            raise RemoteError("UNREACHABLE", f"{self.url} does not answer: {reason}") from None
        if response.is_success:
            return response.content
        raise _read_error(response)


def read_certified_header(body: Mapping[str, Any]) -> CertifiedHeader:
    """From the ``header_bytes`` and ``certificate_bytes`` of a block's JSON; raises ``RemoteError``."""
    try:
        header = bytes.fromhex(body["header_bytes"])
        certificate = bytes.fromhex(body["certificate_bytes"])
    except (KeyError, TypeError, ValueError):
        raise _bad_response("a block without header_bytes and certificate_bytes") from None
    return CertifiedHeader(
        decode(ShardHeader, header, max_bytes=MAX_HEADER_BYTES),
        decode(Certificate, certificate, max_bytes=MAX_CERTIFICATE_BYTES),
    )


def _chunk(transactions: Sequence[bytes]) -> list[list[bytes]]:
    chunks: list[list[bytes]] = []
    room = 0
    for transaction in transactions:
        size = len(transaction) + _ARRAY_OVERHEAD_BYTES
        if not chunks or size > room or len(chunks[-1]) >= MAX_BULK_TRANSACTIONS:
            chunks.append([])
            room = MAX_BODY_BYTES - _ARRAY_OVERHEAD_BYTES
        chunks[-1].append(transaction)
        room -= size
    return chunks


def _read_error(response: httpx.Response) -> RemoteError:
    try:
        body = msgspec.json.decode(response.content)
        return RemoteError(str(body["code"]), str(body["message"]))
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return _bad_response(f"HTTP status {response.status_code} without a code")


def _bad_response(reason: str) -> RemoteError:
    return RemoteError("BAD_RESPONSE", f"the node's answer makes no sense: {reason[:200]}")


def _convert(body: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise _bad_response(str(error)) from None


def _listing(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = body.get(key)
    if not isinstance(entries, list):
        raise _bad_response(f"no list of {key}")
    return entries


def _address(address: str | bytes) -> str:
    return format_address(address) if isinstance(address, bytes) else address
