"""Tendermint's mutants."""

from typing import Final

from tests.consensus.tendermint.mutants import MUTANTS as BROKEN
from tests.simulation.mutants.hunts import Twins
from tests.simulation.mutants.table import Mutant

MUTANTS: Final = tuple(Mutant(name, factory, Twins(), 0, 60) for name, factory in BROKEN.items())
