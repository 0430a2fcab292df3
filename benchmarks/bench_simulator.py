"""How fast the simulator is: events per CPU-second and CPU per seed, of one committee under its swarm of faults.

Events are counted as in any discrete-event simulation, as the scheduler runs them (``World.events``); *handled* are
those among them that a replica handled, and its group commits. Run it as ``python -m benchmarks.bench_simulator
[ENGINE …]``; it prints a table on standard output.
"""

from __future__ import annotations

import sys
from typing import Final

from testnet.simulator.campaign import HereExecutor, PlanResult, Tally, run_campaign
from testnet.simulator.plan import Kind, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.swarm import draw_plan

SEEDS: Final = range(1, 31)
ENGINES: Final = ("pbft", "tendermint", "hotstuff")
MEMBERS: Final = (4, 7)


def main() -> None:
    """Run the seeds of each engine and print their figures."""
    sys.stdout.write(
        f"{'engine':<12}{'members':>8}{'events/s':>10}{'handled/s':>11}{'ms/seed':>9}{'simulated s/s':>15}\n"
    )
    for engine in sys.argv[1:] or ENGINES:
        for members in MEMBERS:
            shape = Shape(Kind.TOY, members, engine=engine)
            plans = (draw_plan(seed, shape) for seed in SEEDS)
            tally = run_campaign(plans, HereExecutor(), max_failures=len(SEEDS), on_result=_ignore)
            seconds = tally.cpu_us / US_PER_S
            pace = tally.simulated_us / US_PER_S / seconds
            rates = f"{tally.events_per_s:>10,}{tally.handled / seconds:>11,.0f}"
            figures = f"{rates}{seconds * 1e3 / tally.plans:>9.0f}{pace:>15.1f}"
            sys.stdout.write(f"{engine:<12}{members:>8}{figures}\n")


def _ignore(result: PlanResult, tally: Tally) -> None:
    """Only the sum is printed."""


if __name__ == "__main__":
    main()
