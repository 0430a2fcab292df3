"""Mutants: the campaign finds every one of them, at its pinned seed, and honest engines hold at these seeds.

A mutant that survives is a hole in the checkers or in what scenarios draw. ``python -m tests.simulation.mutants``
searches from seed 0 on, up to each mutant's bound.
"""

from __future__ import annotations

import pytest

from consensus.engine import load_engine_factory
from consensus.pbft.engine import PbftFactory
from consensus.pbft.ordering import Ordering
from tests.simulation.mutants.hunts import Twins
from tests.simulation.mutants.planting import PlantedFactory, plant_all, replace_in
from tests.simulation.mutants.search import list_tables, load_mutants
from tests.simulation.mutants.table import Mutant

TABLES = {engine: load_mutants(engine) for engine in list_tables()}
CASES = [
    pytest.param(engine, mutant, id=f"{engine}: {mutant.name}") for engine in TABLES for mutant in TABLES[engine]
]
LEAST = {"pbft": 12, "tendermint": 8, "hotstuff": 8}
NAMED = {
    "pbft": (
        "a view change tells nothing",
        "any certificate wins in O",
        "votes leave before they are logged",
        "repeated votes count again",
        "q - 1 members prepare",
        "q - 1 members decide",
        "q - 1 members change the view",
    ),
    "tendermint": (
        "the lock is forgotten",
        "votes leave before they are logged",
        "repeated votes count again",
        "q - 1 members are a quorum",
    ),
    "hotstuff": (
        "commits on views that are not consecutive",
        "forgets the lock",
        "votes before they are durable",
        "counts a sender twice",
        "counts to q - 1",
    ),
}
"""Mutants that every table of the engine has to hold."""


@pytest.mark.parametrize(("engine", "mutant"), CASES)
def test_the_campaign_finds_the_mutant(engine: str, mutant: Mutant) -> None:
    assert 0 <= mutant.seed < mutant.within, "the killing seed lies within the bound that the table states"
    assert mutant.hunt.strike(mutant.factory, mutant.seed), f"it survives its seed; search {engine}'s again"


@pytest.mark.parametrize(("engine", "mutant"), CASES)
def test_the_honest_engine_holds_where_the_mutant_dies(engine: str, mutant: Mutant) -> None:
    """Also among the same liars, where there are any."""
    liar = mutant.factory.liar if isinstance(mutant.factory, PlantedFactory) else None
    honest = PlantedFactory(load_engine_factory(engine), plant_all(), liar)
    assert mutant.hunt.strike(honest, mutant.seed) == []


def test_tables_hold_the_mutants_that_they_must() -> None:
    assert TABLES.keys() == LEAST.keys()
    for engine, mutants in TABLES.items():
        names = [mutant.name for mutant in mutants]
        assert len(set(names)) == len(names) >= LEAST[engine], "enough, and none twice"
        assert set(NAMED[engine]) <= set(names)


def test_production_code_is_whole_outside_of_the_engine_that_is_broken() -> None:
    honest = vars(Ordering)["_prepare"]
    seen: list[bool] = []

    def prepare(*arguments: object) -> None:
        seen.append(vars(Ordering)["_prepare"] is not honest)

    Twins().strike(PlantedFactory(PbftFactory(), replace_in(Ordering, "_prepare", prepare)), 0)
    assert seen
    assert all(seen)
    assert vars(Ordering)["_prepare"] is honest
