"""Random fault schedules for a ``Cluster``, from a seed: crashes, torn outputs, partitions, one-way cuts, load.

At most f members are down at any time (twins count). In the end everything heals but for as many dead as asked
for, so that liveness can be asked for. A schedule depends on its seed alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from consensus.engine import EngineParameters
from tests.consensus.cluster import PBFT, STORM, Cluster, EngineUnderTest, Weather

ROUNDS = 8
ROUND_MS = 1_500


@dataclass(frozen=True)
class Plan:
    size: int
    seed: int
    twins: int = 0
    rotation: int = 0
    weather: Weather = STORM
    dead_in_the_end: int = 0
    under_test: EngineUnderTest = PBFT


def run_chaos(plan: Plan) -> Cluster:
    """A cluster after its storm, healed, with every transaction certified or the time for it used up."""
    rng = random.Random(f"chaos {plan.seed}")
    parameters = EngineParameters(window_slots=4, leader_rotation_slots=plan.rotation, base_timeout_ms=600)
    twins = tuple(rng.sample(range(plan.size), plan.twins))
    cluster = Cluster(
        plan.size, plan.seed, parameters, plan.weather, twins, overdue_ms=2_000, under_test=plan.under_test
    )
    for _ in range(ROUNDS):
        cluster.submit(rng.randint(0, 6))
        _strike(cluster, rng)
        cluster.run(rng.randint(50, ROUND_MS))
    for host in cluster.hosts:
        host.die_after_persist = False
        if host.engine is None:
            host.start()
    cluster.heal()
    for host in rng.sample([host for host in cluster.hosts if host.honest], plan.dead_in_the_end):
        host.crash()
    cluster.submit(1)
    cluster.run_until(cluster.is_done, 60_000)
    return cluster


def _strike(cluster: Cluster, rng: random.Random) -> None:
    """One fault, or the end of those before."""
    names = [host.name for host in cluster.hosts]
    down = [host for host in cluster.hosts if host.engine is None]
    match rng.randrange(7):
        case 0 | 1:
            if len(down) < cluster.committee.faults - (len(cluster.hosts) - cluster.committee.size):
                victim = rng.choice([host for host in cluster.hosts if host.engine is not None])
                victim.die_after_persist = rng.random() < 0.5
                if not victim.die_after_persist:
                    victim.crash()
        case 2 if down:
            host = rng.choice(down)
            lost = rng.randint(0, min(2, len(host.chain)))
            del host.chain[len(host.chain) - lost :]  # the chain's store is behind the vote log
            host.done = {tx for block in host.chain for tx in block.payload.split(b",")}
            host.start()
        case 3:
            rng.shuffle(names)
            middle = rng.randint(1, len(names) - 1)
            cluster.partition(names[:middle], names[middle:])
        case 4:
            rng.shuffle(names)
            middle = rng.randint(1, len(names) - 1)  # two halves and a bridge between them
            cluster.partition(names[:middle], names[middle - 1 :])
        case 5:
            cluster.cut(*rng.sample(names, 2))
        case _:
            cluster.heal()
