"""The ASGI application: bounds and metrics around the routes, and one answer for every mistake.

Every request passes ``RpcApplication``, which bounds its target and body, counts it, refuses it while the node is
too busy or stopping, takes bulk submissions at once, and hands everything else to the router (litestar). Whatever
goes wrong becomes ``{"code", "message"}`` with the status of ``node.rpc.errors``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import msgspec
import structlog
import trio
from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import CollectorRegistry

from node.clock import monotonic_us
from node.rpc.accounts import account_router
from node.rpc.beacon import beacon_router
from node.rpc.blocks import block_router
from node.rpc.context import RpcContext
from node.rpc.errors import ERROR_CODES, status_of
from node.rpc.evidence import evidence_router
from node.rpc.human_units import HumanUnits
from node.rpc.limits import (
    BODY_DEADLINE_S,
    MAX_BODY_BYTES,
    MAX_REQUESTS_IN_FLIGHT,
    MAX_TARGET_BYTES,
)
from node.rpc.markets import market_router
from node.rpc.node_status import node_router
from node.rpc.request_metrics import RequestMetrics
from node.rpc.service import NodeService
from node.rpc.stream import StreamHub
from node.rpc.transactions import JSON, MSGPACK, submit_bulk, transaction_router
from node.rpc.transfers import transfer_router
from node.rpc.websocket import serve_stream
from primitives.errors import RemoteError

Scope: TypeAlias = Any
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

SUBMIT_PATH: Final = "/v1/transactions"
_CODE_OF_STATUS: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}
_NO_ROUTE: Final = {404: "there is no such path", 405: "that path does not take this method"}

_log = structlog.get_logger("rpc")


class RpcApplication:
    """The ASGI callable of one node. ``hub`` is where the runtime publishes certified blocks."""

    def __init__(self, service: NodeService, registry: CollectorRegistry) -> None:
        units = HumanUnits(service)
        self.hub = StreamHub(service, units)
        self._service = service
        self._metrics = RequestMetrics(registry, self.hub)
        self._router = build_router(RpcContext(service, self.hub, registry, units))
        self._in_flight = 0
        self._stopping = False

    @property
    def routes(self) -> list[str]:
        """Every path, with its parameters as ``{name:str}``."""
        paths = {route.path for route in self._router.routes}
        return sorted(path for path in paths if not path.startswith("/schema/"))

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._in_flight

    def begin_drain(self, reason: str) -> None:
        """Refuse new requests and close all streams; those in flight are still answered."""
        self._stopping = True
        self.hub.close_all(reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._router(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_us = monotonic_us()
        self._in_flight += 1
        status = 500

        async def send_and_note(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._serve(scope, receive, send_and_note)
        except RemoteError as error:
            await _send_error(send_and_note, error)
        except Exception:
            _log.exception("a request failed by a bug of ours", path=scope["path"][:200])
            await _send_error(send_and_note, RemoteError("INTERNAL", ERROR_CODES["INTERNAL"].meaning))
        finally:
            self._in_flight -= 1
            self._metrics.note(scope, status, monotonic_us() - started_us)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._stopping:
            raise RemoteError("SHUTTING_DOWN", ERROR_CODES["SHUTTING_DOWN"].meaning)
        if self._in_flight > MAX_REQUESTS_IN_FLIGHT:
            raise RemoteError("BUSY", f"{MAX_REQUESTS_IN_FLIGHT} requests are being answered; try again shortly")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise RemoteError("TARGET_TOO_LONG", f"the path with its query has at most {MAX_TARGET_BYTES} bytes")
        if scope["path"] == "/v1/stream":
            raise RemoteError("UPGRADE_REQUIRED", "connect to this path by WebSocket")
        if scope["path"].startswith("/schema/") and scope["path"] != "/schema/openapi.json":
            # The router would answer by a page of HTML.
            raise RemoteError("NOT_FOUND", "the schema is at /schema")
        body = await _read_body(scope, receive)
        if scope["path"] == SUBMIT_PATH and scope["method"] == "POST" and _content_type(scope) == MSGPACK.encode():
            await _send_body(send, 200, MSGPACK, await submit_bulk(self._service, body))
            return
        await self._router(scope, _replay(body, receive), send)


def build_router(context: RpcContext) -> Litestar:
    """The routes by noun, without any page of HTML."""
    return Litestar(
        route_handlers=[
            transaction_router,
            block_router,
            beacon_router,
            evidence_router,
            account_router,
            market_router,
            transfer_router,
            node_router,
            serve_stream,
        ],
        dependencies={
            "context": Provide(lambda: context, sync_to_thread=False),
        },
        exception_handlers={
            RemoteError: _answer_refusal,
            ValidationException: _answer_bad_parameter,
            HTTPException: _answer_http_error,
            Exception: _answer_bug,
        },
        openapi_config=OpenAPIConfig(
            title="Rialto node",
            version="1",
            description="See docs/api.md for examples, units and error codes.",
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
            use_handler_docstrings=True,
        ),
        # Bodies are bounded before they get here, for every route alike.
        request_max_body_size=None,
        logging_config=None,
    )


def _answer_refusal(_request: Request[Any, Any, Any], error: RemoteError) -> Response[Any]:
    return _error_response(error)


def _answer_bad_parameter(_request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    """Name the parameter: litestar's own sentence names the route only."""
    extra = error.extra if isinstance(error.extra, list) else []
    complaints = [
        f"{item.get('key', 'parameter')}: {item.get('message', '')}" for item in extra if isinstance(item, dict)
    ]
    return _error_response(RemoteError("BAD_PARAMETER", "; ".join(complaints)[:300] or str(error.detail)[:300]))


def _answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= 500:
        return _answer_bug(request, error)
    code = _CODE_OF_STATUS.get(error.status_code, "BAD_REQUEST")
    no_route = _NO_ROUTE.get(error.status_code)
    message = f"{no_route}; GET /schema describes all of them" if no_route else str(error.detail)[:300]
    response = _error_response(RemoteError(code, message))
    response.headers.update(error.headers or {})
    return response


def _answer_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _log.error("a request failed by a bug of ours", path=request.url.path[:200], exc_info=error)
    return _error_response(RemoteError("INTERNAL", ERROR_CODES["INTERNAL"].meaning))


def _error_response(error: RemoteError) -> Response[Any]:
    return Response({"code": error.code, "message": error.message}, status_code=status_of(error), media_type=JSON)


async def _send_error(send: Send, error: RemoteError) -> None:
    body = msgspec.json.encode({"code": error.code, "message": error.message})
    await _send_body(send, status_of(error), JSON, body)


async def _send_body(send: Send, status: int, media_type: str, body: bytes) -> None:
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body; raises ``RemoteError`` (``TOO_LARGE``, ``REQUEST_TIMEOUT``)."""
    declared = _header(scope, b"content-length")
    if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
        raise RemoteError("TOO_LARGE", f"a body has at most {MAX_BODY_BYTES} bytes")
    chunks: list[bytes] = []
    size = 0
    with trio.move_on_after(BODY_DEADLINE_S):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > MAX_BODY_BYTES:
                raise RemoteError("TOO_LARGE", f"a body has at most {MAX_BODY_BYTES} bytes")
            if not message.get("more_body", False):
                return b"".join(chunks)
    raise RemoteError("REQUEST_TIMEOUT", f"the body was not complete within {BODY_DEADLINE_S} s")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read already, then whatever comes after it."""
    given = False

    async def receive_again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _content_type(scope: Scope) -> bytes:
    return _header(scope, b"content-type").partition(b";")[0].strip().lower()


def _header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
