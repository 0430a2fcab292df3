"""The table of mutants: name, broken engine, the hunt that finds it, the seed that kills it, and within how many.

What does not live here: the mutants of each engine (``pbft``, ``tendermint``, ``hotstuff``).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.engine import EngineFactory
from tests.simulation.mutants.hunts import Hunt


@dataclass(frozen=True, slots=True)
class Mutant:
    """``seed`` kills it; a campaign that begins at seed 0 finds it within ``within`` seeds, this one or another."""

    name: str
    factory: EngineFactory
    hunt: Hunt
    seed: int
    within: int
