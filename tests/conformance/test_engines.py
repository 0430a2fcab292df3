"""Every installed engine keeps every rule of the conformance suite."""

from __future__ import annotations

import pytest

from consensus.engine import load_engine_factory
from consensus.registry import ENGINES, list_registered
from testnet.conformance.suite import RULES, check_rule


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("engine", list_registered(ENGINES))
def test_the_engine_keeps_the_rule(engine: str, rule: str) -> None:
    check_rule(load_engine_factory(engine), rule)
