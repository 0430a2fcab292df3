"""Looking for the first seed that kills a mutant, in this process or, for the command, in another one.

What does not live here: the command line (``__main__``), the tables.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from tests.simulation.mutants.table import Mutant

ENGINES = ("pbft", "tendermint", "hotstuff")


def list_tables() -> tuple[str, ...]:
    """The engines that have a table."""
    return tuple([engine for engine in ENGINES if find_spec(f"{__package__}.{engine}") is not None])


def load_mutants(engine: str) -> tuple[Mutant, ...]:
    """The engine's table."""
    mutants: tuple[Mutant, ...] = import_module(f"{__package__}.{engine}").MUTANTS
    return mutants


def search(engine: str, name: str, first: int, within: int) -> tuple[str, int | None, str]:
    """Name, killing seed and first violation of a mutant."""
    mutant = next(mutant for mutant in load_mutants(engine) if mutant.name == name)
    for seed in range(first, first + (within or mutant.within)):
        violations = mutant.hunt.strike(mutant.factory, seed)
        if violations:
            return name, seed, violations[0]
    return name, None, "SURVIVES"
