"""The engine keeps every rule of HotStuff, and each planted bug is caught by the rule that it breaks."""

from __future__ import annotations

import pytest

from tests.consensus.hotstuff import rules
from tests.consensus.hotstuff.crafting import FACTORY
from tests.consensus.hotstuff.mutants import KILLERS, MUTANTS

RULES = [check for name, check in sorted(vars(rules).items()) if name.startswith("check_")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_engine_keeps_the_rule(rule) -> None:
    rule(FACTORY)


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bug_is_caught(name: str) -> None:
    with pytest.raises(AssertionError):
        KILLERS[name](MUTANTS[name])
