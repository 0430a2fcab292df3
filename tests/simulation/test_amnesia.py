"""A member loses its vote log at a random moment under load, with a liar elsewhere: nothing breaks; it returns."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

import pytest

from consensus.engine import Record
from node.replica_setup import ReplicaSetup
from node.standing import FORGOTTEN, build_standing_record
from testnet.simulator.disk import Disk, RememberingVoteLog
from testnet.simulator.host import SimulatedHost, WallClock
from testnet.simulator.plan import Kind, Lie, Role, Shape
from testnet.simulator.scheduler import US_PER_MS, US_PER_S
from testnet.simulator.simulation import build_world
from testnet.simulator.world import World
from tests.simulation.runs import calm_plan

SEVEN: Final = Shape(Kind.TOY, members=7, window_slots=4)
"""f = 2: one that forgets and one that lies."""
LIARS: Final = (
    Role("s0v1", Lie.CONTRADICT, ("s0v0", "s0v3"), percent=50),
    Role("s0v1", Lie.DOUBLE_ATTEST, ("s0v0", "s0v2")),
    Role("s0v1", Lie.WITHHOLD, percent=40),
)
VICTIMS: Final = ("s0v4", "s0v0", "s0v2")
"""One of them leads the first view."""
RETURN_US: Final = 30 * US_PER_S


def open_world(seed: int, engine: str, victim: str, *roles: Role) -> tuple[World, SimulatedHost]:
    world = build_world(calm_plan(seed, replace(SEVEN, engine=engine), *roles))
    for host in world.hosts.values():
        host.start()
    world.load.start()
    return world, world.hosts[victim]


def lose_votes(host: SimulatedHost, *kept: Record) -> None:
    """The process dies, and all that its vote log holds from now on is ``kept``; the chain store is whole."""
    host.disk.store.write((), sync=True)
    host.crash()
    host.disk.vote_log = RememberingVoteLog()
    host.disk.vote_log.write(kept)
    host.has_lost_votes = True


def read_phase(host: SimulatedHost) -> str:
    return "down" if host.replica is None else host.replica.standing[0]


@pytest.mark.parametrize(("engine", "seed"), [("pbft", 0), ("pbft", 1), ("tendermint", 1), ("hotstuff", 2)])
def test_a_member_that_loses_its_log_under_load_returns_and_nothing_breaks(engine: str, seed: int) -> None:
    world, victim = open_world(800 + seed, engine, VICTIMS[seed], LIARS[seed])
    rng = Random(seed)
    world.run_for(rng.randint(300, 2_500) * US_PER_MS)
    lose_votes(victim, build_standing_record(FORGOTTEN))
    world.run_for(rng.randint(1, 500) * US_PER_MS)
    victim.start()
    for _ in range(4):
        world.run_for(rng.randint(50, 400) * US_PER_MS)
        victim.crash()
        victim.start()
    assert read_phase(victim) == "abstaining"
    assert world.run_until(lambda: read_phase(victim) == "voting", RETURN_US), world.verdicts.violations
    for name in ("s0v5", "s0v6"):
        world.hosts[name].crash()
    before = world.agreement.certified_height(0)
    is_going_on = world.run_until(lambda: world.agreement.certified_height(0) > before + 5, RETURN_US)
    assert is_going_on, "a quorum needs it, and the liar or it must vote"
    assert not world.verdicts.violations, world.verdicts.violations


def forget_without_a_gate(host: SimulatedHost) -> None:
    """The mutant: its votes are gone, the log says that it is whole, and nobody is asked."""
    honest = host._prepare

    def prepare(disk: Disk, wall: WallClock) -> ReplicaSetup:
        setup = honest(disk, wall)
        return replace(setup, limits=replace(setup.limits, recall_answers=0))

    host._prepare = prepare
    kept = [Record(key, value) for key, value in host.disk.vote_log.load().items() if key in (b"i", b"h", b"s")]
    lose_votes(host, *kept)


def test_the_checkers_catch_a_member_that_votes_on_without_its_log() -> None:
    found = set()
    for seed in range(2):
        world, victim = open_world(820 + seed, "pbft", "s0v0")
        for number in range(6):
            world.run_for((400 + 100 * number + 37 * seed) * US_PER_MS)
            forget_without_a_gate(victim)
            victim.start()
        world.run_for(US_PER_S)
        found |= {violation.checker for violation in world.verdicts.violations}
    assert "votes" in found, "it contradicts itself"
