"""Who lies is recorded at the beacon within a bound, by every beacon member, and nobody else ever is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from crosslink.beacon import BeaconApplication
from primitives.identifiers import BEACON_SHARD
from testnet.simulator.plan import Lie, Role
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import build_world
from testnet.simulator.world import World
from tests.simulation.runs import SHARDED, calm_plan

BOUND_US: Final = 10 * US_PER_S
"""From the start of the network: the lie, its detection, and some beacon blocks."""


def list_recorded(world: World) -> list[set[tuple[int, int]]]:
    """(shard, culprit) of everything recorded, for each honest beacon member that runs."""
    found = []
    for host in world.live_honest:
        if host.member.shard == BEACON_SHARD:
            assert host.setup is not None and isinstance(host.setup.application, BeaconApplication)
            records = host.setup.application.offences.list_records()
            found.append({(record.offence.shard, record.offence.culprit) for record in records})
    return found


def start(*roles: Role, engine: str = "pbft") -> World:
    world = build_world(calm_plan(770, replace(SHARDED, engine=engine), *roles))
    for host in world.hosts.values():
        host.start()
    world.load.start()
    return world


@pytest.mark.parametrize(
    "role",
    [
        Role("s0v1", Lie.DOUBLE_ATTEST, ("s0v0", "s0v2")),
        Role("s0v1", Lie.CONTRADICT, ("s0v0", "s0v3"), percent=100),
        Role("s0v0", Lie.DOUBLE_VOTE),
        Role("bv2", Lie.DOUBLE_ATTEST, ("bv0",)),
    ],
    ids=["double-attest", "contradict", "double-vote", "beacon-member"],
)
def test_a_liar_is_recorded_at_the_beacon_within_a_bound(role: Role) -> None:
    world = start(role)
    shard = BEACON_SHARD if role.member.startswith("b") else 0
    culprit = (shard, int(role.member[-1]))
    world.run_until(lambda: all(found == {culprit} for found in list_recorded(world)), BOUND_US)
    assert not world.verdicts.violations, world.verdicts.violations
    assert list_recorded(world) and all(found == {culprit} for found in list_recorded(world))


@pytest.mark.parametrize("engine", ["tendermint", "hotstuff"])
def test_every_engine_says_how_its_own_messages_contradict(engine: str) -> None:
    world = start(Role("s0v1", Lie.DOUBLE_VOTE), engine=engine)
    world.run_until(lambda: all(found == {(0, 1)} for found in list_recorded(world)), BOUND_US)
    assert not world.verdicts.violations, world.verdicts.violations
    assert all(found == {(0, 1)} for found in list_recorded(world))


def test_a_liar_in_every_committee_at_once_is_recorded() -> None:
    world = start(
        Role("s0v1", Lie.DOUBLE_ATTEST, ("s0v0",)),
        Role("s1v2", Lie.CONTRADICT, ("s1v0",), percent=100),
        Role("bv3", Lie.DOUBLE_ATTEST, ("bv0", "bv1")),
    )
    expected = {(0, 1), (1, 2), (BEACON_SHARD, 3)}
    world.run_until(lambda: all(found == expected for found in list_recorded(world)), BOUND_US)
    assert not world.verdicts.violations, world.verdicts.violations
    assert all(found == expected for found in list_recorded(world))
