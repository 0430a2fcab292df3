"""A network that was made and never started: genesis, keys and addresses for workloads to plan with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testnet.directory import Network, read_network
from testnet.launch import prepare_network
from testnet.progress import SilentProgress
from testnet.topology import Topology, build_topology

ACCOUNTS = 8


def build_small_topology(shards: int) -> Topology:
    """One validator a committee and few accounts: making keys is what takes time."""
    topology = build_topology(shards=shards, validators=2, beacon_validators=1, seed=1)
    return replace(topology, shards=tuple(replace(shard, accounts=ACCOUNTS) for shard in topology.shards))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Two shards of two members; every member has an address that leads nowhere."""
    runs: Path = tmp_path_factory.mktemp("runs")
    directory = prepare_network("made", build_small_topology(2), {"RIALTO_RUNS": str(runs)}, SilentProgress())
    made = read_network(directory)
    members = tuple(replace(member, rpc=f"http://{member.name}.invalid") for member in made.members)
    return replace(made, members=members)
