"""Metrics of requests and streams. Routes are few and named here, so labels stay bounded whatever clients send."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from node.rpc.stream import StreamHub

_KNOWN: Final = (
    "transactions",
    "blocks",
    "accounts",
    "markets",
    "transfers",
    "beacon",
    "status",
    "peers",
    "genesis",
)
_PLAIN: Final = ("health", "ready", "metrics", "schema")


class RequestMetrics:
    """Counts by noun and status; times are wall time in microseconds, from the request's head to its answer."""

    def __init__(self, registry: CollectorRegistry, hub: StreamHub) -> None:
        labels = ("route", "status")
        self._requests = Counter(
            "rialto_rpc_requests", "Answered HTTP requests by route and status.", labels, registry=registry
        )
        self._time_us = Counter(
            "rialto_rpc_time_us", "Microseconds spent on HTTP requests by route.", ("route",), registry=registry
        )
        streams = Gauge("rialto_rpc_streams", "Open WebSocket streams.", registry=registry)
        streams.set_function(lambda: hub.subscriber_count)

    def note(self, scope: Any, status: int, elapsed_us: int) -> None:
        """Count one answered request."""
        route = name_route(scope["path"])
        self._requests.labels(route, str(status)).inc()
        self._time_us.labels(route).inc(elapsed_us)


def name_route(path: str) -> str:
    """The noun of a path, or ``other``."""
    parts = path.split("/", 3)
    if len(parts) > 2 and parts[1] == "v1" and parts[2] in _KNOWN:
        return parts[2]
    return parts[1] if len(parts) > 1 and parts[1] in _PLAIN else "other"
