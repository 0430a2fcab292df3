"""Routes of the node itself: alive, in sync, status, peers, genesis, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import Response, Router, get
from prometheus_client import generate_latest

from node.rpc.context import Context
from node.rpc.queries import Entries
from node.rpc.service import NodeStatus, PeerView
from primitives.errors import RemoteError

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Health:
    """``status`` is alive or ready."""

    status: str


@dataclass(frozen=True, slots=True)
class Peers:
    """Everybody whom this member has, or wants, links to."""

    peers: list[PeerView]


@get("/health", summary="Whether the process answers")
async def show_health() -> Health:
    """Always, while it does."""
    return Health("alive")


@get("/ready", summary="Whether the node is in sync")
async def show_ready(context: Context) -> Health:
    """503 with the code NOT_READY otherwise."""
    reason = context.service.not_ready_because()
    if reason is not None:
        raise RemoteError("NOT_READY", reason)
    return Health("ready")


@get("/metrics", summary="Prometheus metrics", media_type="text/plain")
async def show_metrics(context: Context) -> Response[bytes]:
    """The text format."""
    return Response(generate_latest(context.registry), media_type=METRICS_MEDIA_TYPE)


@get("/v1/status", summary="What this node is and how it does")
async def show_status(context: Context) -> NodeStatus:
    """Heights, view, peers, mempool, and what it has cost since it started."""
    return context.service.status()


@get("/v1/peers", summary="Links to other members")
async def list_peers(context: Context) -> Peers:
    """Of the own committee and of the beacon."""
    return Peers(list(context.service.peers()))


@get("/v1/genesis", summary="The genesis document")
async def show_genesis(context: Context) -> Entries:
    """Its hash is the chain id."""
    return dict(context.service.genesis())


node_router = Router(
    "/", route_handlers=[show_health, show_ready, show_metrics, show_status, list_peers, show_genesis]
)
