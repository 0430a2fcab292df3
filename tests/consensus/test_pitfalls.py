"""What naive PBFTs get wrong: the engine keeps every rule, and each planted bug is caught.

Pitfalls 6, 7, 9 and 14 (directory syncs, double apply, bodies, weak keys) belong to the store, the replica and
the registry of keys, and are held where those are tested.
"""

from __future__ import annotations

import pytest

from tests.consensus import rules
from tests.consensus.mutants import MUTANTS, Mutant

RULES = [check for name, check in sorted(vars(rules).items()) if name.startswith("check_")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_engine_keeps_the_rule(rule) -> None:
    rule()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    with pytest.raises(AssertionError):
        mutant.rule()


def test_every_rule_has_a_mutant() -> None:
    assert {mutant.rule for mutant in MUTANTS} == set(RULES)
