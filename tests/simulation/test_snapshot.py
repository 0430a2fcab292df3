"""Joining by snapshot in a whole sharded network: venues and transfers under load, and every checker looking on."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from node.chain import Chain
from node.events import Effects, Outgoing
from node.snapshot_frames import SnapshotChunk
from node.wire import FrameKind, decode_frame
from primitives.codec import encode
from testnet.simulator.byzantine import Misconduct
from testnet.simulator.host import SimulatedHost
from testnet.simulator.plan import Kind, Lie, Plan, Role, Shape
from testnet.simulator.scheduler import US_PER_MS, US_PER_S
from testnet.simulator.simulation import build_world, simulate
from testnet.simulator.swarm import draw_plan
from testnet.simulator.world import World
from tests.simulation.runs import require_ok

SHAPE = Shape(Kind.SHARDED, shards=2, snapshot_blocks=12, keep_blocks=6, paranoid=True)
ABSENT_US = 9 * US_PER_S
BOUND_US = 60 * US_PER_S


class LyingServer(Misconduct):
    """Honest but for the snapshots that it serves: a value in every chunk is another."""

    told = 0

    def alter(self, effects: Effects) -> Effects:
        return msgspec.structs.replace(effects, sends=tuple([self._lie(outgoing) for outgoing in effects.sends]))

    def _lie(self, outgoing: Outgoing) -> Outgoing:
        if outgoing.kind != FrameKind.CHUNK:
            return outgoing
        chunk = decode_frame(outgoing.kind, outgoing.body)
        assert isinstance(chunk, SnapshotChunk)
        forged = tuple([tuple([(key, value + b"!") for key, value in bucket]) for bucket in chunk.buckets])
        if forged == chunk.buckets:
            return outgoing
        self.told += 1
        lie = SnapshotChunk(chunk.height, chunk.first, chunk.after, forged, chunk.is_cut)
        return msgspec.structs.replace(outgoing, body=encode(lie))


def _build(seed: int, absent: tuple[str, ...], shape: Shape = SHAPE) -> World:
    """A network that has traded for a while without these members."""
    world = build_world(Plan(seed, shape, ABSENT_US))
    for name, host in world.hosts.items():
        if name not in absent:
            host.start()
    world.load.start()
    world.run_for(ABSENT_US)
    _require_ok(world)
    return world


def _require_ok(world: World) -> None:
    assert not world.verdicts.violations, "\n".join(
        [*list(world.trace.tail)[-40:], *map(str, world.verdicts.violations)]
    )


def _is_level(world: World, host: SimulatedHost) -> bool:
    if host.replica is None:
        return False
    certified = world.agreement.certified_height(host.member.shard)
    return host.replica.statistics().certified_height >= certified - 1


def _joined_at(host: SimulatedHost) -> int:
    return Chain(host.disk.store).first_height()


def _settle(world: World) -> None:
    """The load ends; everybody comes to rest at the same height, with all transfers settled."""
    world.load.stop()
    assert world.money is not None

    def is_quiet() -> bool:
        heights: dict[int, set[tuple[int, int]]] = {}
        for host in world.live_honest:
            assert host.replica is not None
            found = host.replica.statistics()
            heights.setdefault(host.member.shard, set()).add((found.height, found.certified_height))
        return all(len(found) == 1 for found in heights.values())

    assert world.run_until(world.money.is_settled, BOUND_US), world.verdicts.violations
    assert world.run_until(is_quiet, BOUND_US), world.verdicts.violations
    world.check_quiescence()
    world.money.check_settled(world.network.shards, world.read_cash)
    _require_ok(world)


def test_fresh_members_of_a_shard_and_of_the_beacon_join_under_load_past_a_liar_and_then_vote() -> None:
    world = _build(41, ("s0v3", "bv3"))
    liars = [LyingServer(Role(name, Lie.WITHHOLD), Random(1)) for name in ("s0v1", "bv1")]
    for liar in liars:
        world.hosts[liar.role.member]._conduct = liar
    fresh = [world.hosts[name] for name in ("s0v3", "bv3")]
    for host, honest in zip(fresh, ("s0v2", "bv2"), strict=True):
        world.links.sever(host.name, honest)
        host.start()
    assert world.run_until(lambda: all(_is_level(world, host) for host in fresh), BOUND_US)
    assert all(_joined_at(host) >= SHAPE.snapshot_blocks for host in fresh), "they took a snapshot"
    assert all(liar.told >= 1 for liar in liars)
    world.links.heal(["s0v2", "s0v3", "bv2", "bv3"])
    # Without another member the committees need those who joined.
    world.hosts["s0v0"].crash()
    world.hosts["bv0"].crash()
    before = {shard: world.agreement.certified_height(shard) for shard in world.network.committees}
    assert world.run_until(
        lambda: all(world.agreement.certified_height(shard) > before[shard] + 5 for shard in before), BOUND_US
    )
    for name in ("s0v0", "bv0"):
        world.hosts[name].start()
    _settle(world)


PRUNING = Shape(Kind.TOY, snapshot_blocks=8, keep_blocks=4)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(13, id="pinned-batches-that-the-skipped-blocks-had-executed-waited-for-ever"),
        pytest.param(131, id="a-silent-member-kept-one-out-that-lacked-pruned-blocks"),
        1000,
        1001,
    ],
)
def test_under_faults_members_prune_jump_and_go_on(seed: int) -> None:
    require_ok(simulate(draw_plan(seed, PRUNING, 6 * US_PER_S)))


def test_long_absent_members_join_through_crashes_in_the_middle() -> None:
    """Both were there at the beginning; each dies again and again while it downloads, installs and starts anew."""
    world = build_world(Plan(43, SHAPE, ABSENT_US))
    for host in world.hosts.values():
        host.start()
    world.load.start()
    world.run_for(US_PER_S)
    absent = [world.hosts[name] for name in ("s1v2", "bv1")]
    for host in absent:
        host.crash()
    world.run_for(ABSENT_US)
    rng = Random(2)
    for _ in range(12):
        for host in absent:
            host.start()
        world.run_for(rng.randint(100, 900) * US_PER_MS)
        for host in absent:
            host.crash()
        _require_ok(world)
    for host in absent:
        host.start()
    assert world.run_until(lambda: all(_is_level(world, host) for host in absent), BOUND_US)
    assert all(_joined_at(host) > 1 for host in absent)
    _settle(world)
