"""The core steps as the stored traces say, and together they use every rule."""

from __future__ import annotations

import pytest

from consensus.tendermint.core import TendermintCore
from tests.consensus.tendermint.mutants import MUTANT_CORES
from tests.consensus.tendermint.trace import load_traces, play

TRACES = load_traces()
UPON_RULES = (
    "_decide",
    "_skip_to_later_round",
    "_prevote_fresh",
    "_prevote_reproposed",
    "_await_more_prevotes",
    "_follow_polka",
    "_precommit_nil",
    "_await_more_precommits",
)


@pytest.mark.parametrize("name", TRACES)
def test_core_steps_as_traced(name: str) -> None:
    assert list(play(TRACES[name])) == []


def test_traces_use_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()

    def watch(rule: str) -> None:
        real = getattr(TendermintCore, rule)

        def watched(core: TendermintCore) -> bool:
            fired = real(core)
            if fired:
                used.add(rule)
            return fired

        monkeypatch.setattr(TendermintCore, rule, watched)

    for rule in UPON_RULES:
        watch(rule)
    for trace in TRACES.values():
        list(play(trace))
    assert used == set(UPON_RULES)


@pytest.mark.parametrize("core", MUTANT_CORES, ids=lambda core: core.__name__)
def test_a_broken_core_differs_from_some_trace(core: type[TendermintCore]) -> None:
    assert any(list(play(trace, core)) for trace in TRACES.values())
