"""What a submitted transaction costs a node before its mempool sees it: microseconds of the server's CPU.

A server with a service that accepts everything runs in a process of its own, whose CPU time is read before and
after. Prints a table by encoding and transactions per request, and what a small read costs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec
import psutil
import trio
from prometheus_client import CollectorRegistry

from node.client import NodeClient
from node.events import SubmissionResult
from node.rpc.app import RpcApplication
from node.rpc.server import RpcListener, RpcServer
from primitives.errors import RemoteError

TRANSACTION_BYTES: Final = 260
"""A signed transaction with one order."""
TRANSACTIONS: Final = 20_000
COUNTS: Final = (1, 10, 100, 1_000)
MAX_REQUESTS: Final = 2_000
CONNECTIONS: Final = 4


class AcceptingService:
    """Accepts every submission; nothing else is asked of it."""

    async def submit(self, transactions: Sequence[bytes]) -> Sequence[SubmissionResult]:
        """An answer of realistic size, without hashing: that is the replica's cost."""
        await trio.lowlevel.checkpoint()
        return [SubmissionResult(data[:32], "ACCEPTED", "") for data in transactions]

    def not_ready_because(self) -> str | None:
        """Always in sync."""
        return None


def serve(pipe: Connection) -> None:
    """Serve in this process until the parent ends it."""
    service: Any = AcceptingService()
    listener = RpcListener("127.0.0.1", 0)
    pipe.send(listener.url)
    trio.run(RpcServer(RpcApplication(service, CollectorRegistry()), listener).serve)


async def measure_us(client: NodeClient, process: psutil.Process, requests: int, **options: Any) -> float:
    """Microseconds of the server's CPU per request, over several connections at once."""

    async def send(count: int) -> None:
        for _ in range(count):
            await client._request(**options)

    started = _read_cpu_s(process)
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(send, requests // CONNECTIONS)
    return (_read_cpu_s(process) - started) / requests * 1e6


def _read_cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def run(url: str, process: psutil.Process) -> None:
    """Print the table."""
    async with NodeClient(url, connections=CONNECTIONS) as client:
        while True:
            try:
                await client.ready()
                break
            except RemoteError:
                await trio.lowlevel.checkpoint()
        sys.stdout.write("µs of the server's CPU per transaction of 260 bytes\n")
        sys.stdout.write(f"{'a request':>10}{'msgpack':>10}{'json':>10}\n")
        for count in COUNTS:
            transactions = [os.urandom(TRANSACTION_BYTES) for _ in range(count)]
            packed = msgspec.msgpack.encode(transactions)
            text = msgspec.json.encode({"transactions": [data.hex() for data in transactions]})
            requests = max(CONNECTIONS, min(MAX_REQUESTS, TRANSACTIONS // count))
            cells = []
            for body, kind in ((packed, "application/msgpack"), (text, "application/json")):
                options = {"method": "POST", "path": "/v1/transactions", "content": body}
                cost = await measure_us(client, process, requests, **options, headers={"content-type": kind})
                cells.append(f"{cost / count:>10.1f}")
            sys.stdout.write(f"{count:>10,}{''.join(cells)}\n")
        cost = await measure_us(client, process, MAX_REQUESTS, method="GET", path="/ready")
        sys.stdout.write(f"GET /ready: {cost:.0f} µs a request\n")


def main() -> None:
    """Start the server's process, measure, end it."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        trio.run(run, ours.recv(), psutil.Process(server.pid))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
