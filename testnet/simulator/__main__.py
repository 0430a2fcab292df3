"""``python -m testnet.simulator --seed S``: run seeds, print what became of them, and the trace where asked.

Exit status 0 where every promise was kept, 1 otherwise. What does not live here: campaigns over many seeds.
"""

from __future__ import annotations

import argparse
import sys

from node.clock import monotonic_us
from testnet.simulator.networks import Kind, Shape
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import Outcome, draw_plan, simulate

TAIL_LINES = 40


def main() -> int:
    """Parse the command line and run."""
    options = _parse()
    shards = options.shards if options.network == Kind.SHARDED.value else 1
    shape = Shape(
        kind=Kind(options.network),
        members=options.validators,
        shards=shards,
        rotation_slots=options.rotation,
        paranoid=options.paranoid,
    )
    failed = 0
    for seed in range(options.seed, options.seed + options.count):
        started_us = monotonic_us()
        plan = draw_plan(seed, shape, options.seconds * US_PER_S)
        outcome = simulate(plan, _print if options.trace else None)
        _report(outcome, monotonic_us() - started_us, has_printed=options.trace)
        failed += not outcome.is_ok
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m testnet.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there")
    parser.add_argument("--network", choices=[kind.value for kind in Kind], default=Kind.TOY.value)
    parser.add_argument("--validators", type=int, default=4, help="members of each shard's committee")
    parser.add_argument("--shards", type=int, default=2, help="with --network sharded")
    parser.add_argument("--rotation", type=int, default=0, help="slots after which the proposer moves on")
    parser.add_argument("--seconds", type=int, default=6, help="length of the safety phase, in simulated seconds")
    parser.add_argument("--paranoid", action="store_true", help="venues check themselves after every block")
    parser.add_argument("--trace", action="store_true", help="print every transition")
    return parser.parse_args()


def _report(outcome: Outcome, took_us: int, *, has_printed: bool) -> None:
    if not outcome.is_ok and not has_printed:
        for line in outcome.tail[-TAIL_LINES:]:
            _print(line)
    _print(outcome.describe())
    speed = outcome.events * US_PER_S // max(1, took_us)
    pace = outcome.simulated_us / max(1, took_us)
    _print(f"  trace {outcome.trace_hash[:16]}, {speed} events/s, {pace:.1f} simulated seconds a second")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
