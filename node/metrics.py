"""Prometheus metrics of one node.

Components keep frozen ``statistics()`` snapshots anyway; a *source* turns such a snapshot into metrics when
somebody scrapes, so counting costs nothing in between. Only what needs a distribution is observed as it happens.
What does not live here: the route that serves them (``node.rpc``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MAX_KEYS: Final = 256
"""Label values of one table; a table that grew with the number of strangers would cost every scrape."""
_COMPONENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LABELS: Final = ("member", "committee")
_SYNC_SECONDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1)
_CERTIFIED_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)
_MICROSECONDS: Final = 1e-6
_MILLISECONDS: Final = 1e-3


class Metrics:
    """All metrics of one node, each labelled with the member's name and its committee.

    ``registry`` is the node's own, so several nodes in one process never mix.
    """

    def __init__(self, member: str, committee: str) -> None:
        self.registry = CollectorRegistry()
        self._sources = _Sources((member, committee))
        self.registry.register(self._sources)
        ProcessCollector(registry=self.registry)

        def histogram(name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
            parent = Histogram(name, documentation, _LABELS, registry=self.registry, buckets=buckets)
            return parent.labels(member, committee)

        self._certification = histogram(
            "rialto_certification_seconds",
            "Time from a block's own timestamp to its certificate here.",
            _CERTIFIED_SECONDS,
        )
        self._syncs = histogram(
            "rialto_vote_sync_seconds", "Time of one group commit of the vote log.", _SYNC_SECONDS
        )

    def add_source(self, component: str, read: Callable[[], Any]) -> None:
        """Export the integers of the frozen dataclass that ``read`` returns as ``rialto_<component>_<field>``.

        Nested dataclasses add their field's name; tables from names to integers get a label ``key``; of other
        collections the size is exported; ``None`` (for the whole or a field) exports nothing; texts never do.
        """
        self._sources.add(component, read)

    def observe_certification(self, duration_ms: int) -> None:
        """One block that was proposed ``duration_ms`` ago is certified."""
        self._certification.observe(duration_ms * _MILLISECONDS)

    def observe_sync(self, duration_us: int) -> None:
        """One group commit of the vote log ended."""
        self._syncs.observe(duration_us * _MICROSECONDS)

    def render(self) -> bytes:
        """The text exposition format, as ``/metrics`` serves it."""
        return generate_latest(self.registry)


class _Sources(Collector):
    """Reads every source when a scrape comes."""

    def __init__(self, labels: tuple[str, str]) -> None:
        self._labels = labels
        self._read: dict[str, Callable[[], Any]] = {}

    def add(self, component: str, read: Callable[[], Any]) -> None:
        assert _COMPONENT_NAME.fullmatch(component), f"{component!r} is no name of a metric"
        assert component not in self._read, f"{component} has a source already"
        self._read[component] = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known when sources are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        for component, read in self._read.items():
            statistics = read()
            if statistics is not None:
                yield from self._collect_fields(f"rialto_{component}", statistics)

    def _collect_fields(self, prefix: str, statistics: Any) -> Iterator[Metric]:
        for item in dataclasses.fields(statistics):
            value = getattr(statistics, item.name)
            name = f"{prefix}_{item.name}"
            if isinstance(value, int):
                yield self._make_gauge(name, {(): value})
            elif isinstance(value, Mapping):
                yield self._collect_table(name, value)
            elif isinstance(value, tuple | list | set | frozenset):
                yield self._make_gauge(f"{name}_count", {(): len(value)})
            elif dataclasses.is_dataclass(value):
                yield from self._collect_fields(name, value)

    def _collect_table(self, name: str, table: Mapping[Any, Any]) -> Metric:
        numbers = {(str(key),): value for key, value in table.items() if isinstance(value, int)}
        return self._make_gauge(name, dict(sorted(numbers.items())[:MAX_KEYS]), ("key",))

    def _make_gauge(self, name: str, values: Mapping[tuple[str, ...], int], labels: tuple[str, ...] = ()) -> Metric:
        family = GaugeMetricFamily(name, name.replace("_", " "), labels=(*_LABELS, *labels))
        for extra, value in values.items():
            family.add_metric((*self._labels, *extra), value)
        return family
