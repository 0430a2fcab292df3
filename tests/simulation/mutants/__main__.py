"""``python -m tests.simulation.mutants``: search killing seeds of mutants anew, from seed 0.

Prints a line per mutant: the first seed that kills it, and by what. Exit status 1 where one survives. ``--within``
replaces each mutant's own bound.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.mutants.search import list_tables, load_mutants, search


def main() -> int:
    """Parse the command line and hunt."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--engine", choices=list_tables(), action="append")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--within", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    survivors = 0
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        found = [
            pool.submit(search, engine, mutant.name, options.first, options.within)
            for engine in options.engine or list_tables()
            for mutant in load_mutants(engine)
            if options.only in mutant.name
        ]
        for future in found:
            name, seed, violation = future.result()
            survivors += seed is None
            sys.stdout.write(f"{name:<45} {'-' if seed is None else seed:>6}  {violation}\n")
            sys.stdout.flush()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
