"""Campaigns on a fleet: plans spread over the workers of a dask cluster.

``dask.distributed`` is an extra (``pip install rialto[dask]``); the workers need this project installed at the same
commit, or their results are of other code. What does not live here: the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from primitives.errors import LocalError
from testnet.simulator.campaign import PLANS_IN_FLIGHT, PlanResult, run_ahead, run_encoded
from testnet.simulator.plan import Plan

CONNECT_TIMEOUT_S: Final = 10


class DaskExecutor:
    """Runs plans on the cluster of one scheduler."""

    def __init__(self, scheduler: str) -> None:
        """``scheduler`` is its address, as ``tcp://127.0.0.1:8786``. Raises ``LocalError`` where dask is
        missing."""
        try:
            import distributed
        except ImportError as error:
            raise LocalError("--executor dask needs dask.distributed: pip install 'rialto[dask]'") from error
        self._dask: Any = distributed
        self._scheduler = scheduler

    def run(self, plans: Iterable[Plan]) -> Iterator[PlanResult]:
        """See ``campaign.PlanExecutor``. Leaving early cancels what was not begun."""
        try:
            client = self._dask.Client(self._scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise LocalError(f"no dask scheduler at {self._scheduler}: {error}") from error
        try:
            threads = sum(client.nthreads().values())
            if not threads:
                raise LocalError(f"the dask scheduler at {self._scheduler} has no workers")
            yield from run_ahead(
                plans, threads * PLANS_IN_FLIGHT, lambda data: client.submit(run_encoded, data, pure=False)
            )
        finally:
            client.close()
