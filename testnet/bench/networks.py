"""A network of a bench's own, in a temporary directory that is gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from testnet.directory import RUNS_VARIABLE, Network
from testnet.launch import prepare_network, run_network
from testnet.progress import Progress
from testnet.supervisor import Supervisor
from testnet.topology import Topology, build_topology

NAME: Final = "bench"
SEED: Final = 1


@asynccontextmanager
async def open_bench_network(shards: int, progress: Progress) -> AsyncIterator[Network]:
    """``shards`` shards of four validators and a beacon of four, ready; raises ``LocalError``."""
    async with open_topology(build_topology(shards=shards, seed=SEED), progress) as supervisor:
        yield supervisor.network


@asynccontextmanager
async def open_topology(topology: Topology, progress: Progress) -> AsyncIterator[Supervisor]:
    """A network as ``topology`` describes it, ready; raises ``LocalError``."""
    runs = Path(tempfile.mkdtemp(prefix="rialto-bench-"))
    try:
        environment = {**os.environ, RUNS_VARIABLE: str(runs)}
        directory = prepare_network(NAME, topology, environment, progress)
        async with run_network(directory, environment, progress) as supervisor:
            yield supervisor
    finally:
        shutil.rmtree(runs, ignore_errors=True)
