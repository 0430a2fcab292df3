"""What every route is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from litestar.di import NamedDependency
from litestar.params import FromPath
from prometheus_client import CollectorRegistry

from node.rpc.human_units import HumanUnits
from node.rpc.service import NodeService
from node.rpc.stream import StreamHub


@dataclass(frozen=True, slots=True)
class RpcContext:
    """The node behind the interface, its streams and its metrics."""

    service: NodeService
    hub: StreamHub
    registry: CollectorRegistry
    units: HumanUnits


Context: TypeAlias = NamedDependency[RpcContext]
"""How a handler asks for it: a parameter named ``context``."""
PathText: TypeAlias = FromPath[str]
"""A part of the path."""
