"""How fast the simulator is: events per CPU-second and CPU per seed, of one committee under its swarm of faults.

Events are counted as in any discrete-event simulation, as the scheduler runs them (``World.events``); *handled* are
those among them that a replica handled, and its group commits. Each seed runs three times and counts with the least
CPU time, for on a virtual machine a neighbour's work shows as ours; *mean* says what all runs together gave, and
*check* what an Ed25519 signature check cost between them, by which machines compare. Run it as
``python -m benchmarks.bench_simulator [ENGINE …]``; it prints a table on standard output.
"""

from __future__ import annotations

import sys
from typing import Final

from testnet.simulator.campaign import HereExecutor, PlanResult
from testnet.simulator.plan import Kind, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.swarm import draw_plan
from testnet.workloads.yardstick import Yardstick

SEEDS: Final = range(1, 16)
RUNS: Final = 3
ENGINES: Final = ("pbft", "tendermint", "hotstuff")
MEMBERS: Final = (4, 7)


def main() -> None:
    """Run the seeds of each engine and print their figures."""
    columns = f"{'events/s':>10}{'(mean)':>9}{'handled/s':>11}{'ms/seed':>9}{'simulated s/s':>15}{'check µs':>10}"
    sys.stdout.write(f"{'engine':<12}{'members':>8}{columns}\n")
    for engine in sys.argv[1:] or ENGINES:
        for members in MEMBERS:
            shape = Shape(Kind.TOY, members, engine=engine)
            yardstick = Yardstick()
            runs = [_run_seeds(shape, yardstick) for _ in range(RUNS)]
            sys.stdout.write(f"{engine:<12}{members:>8}{_describe(runs)}{yardstick.check_us:>10}\n")


def _run_seeds(shape: Shape, yardstick: Yardstick) -> list[PlanResult]:
    results = []
    for result in HereExecutor().run(draw_plan(seed, shape) for seed in SEEDS):
        yardstick.sample()
        results.append(result)
    return results


def _describe(runs: list[list[PlanResult]]) -> str:
    first = runs[0]
    events = sum(result.events for result in first)
    best_s = sum(min(result.cpu_us for result in seed) for seed in zip(*runs, strict=True)) / US_PER_S
    mean_s = sum(result.cpu_us for run in runs for result in run) / len(runs) / US_PER_S
    handled = sum(result.handled for result in first)
    simulated_s = sum(result.simulated_us for result in first) / US_PER_S
    rates = f"{events / best_s:>10,.0f}{events / mean_s:>9,.0f}{handled / best_s:>11,.0f}"
    return f"{rates}{best_s * 1e3 / len(first):>9.0f}{simulated_s / best_s:>15.1f}"


if __name__ == "__main__":
    main()
