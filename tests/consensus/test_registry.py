"""Names of engines: what is registered is what is loaded, and calls itself so."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from consensus import registry
from consensus.engine import load_engine_factory
from consensus.pbft.engine import PbftFactory
from primitives.errors import LocalError


def plant(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name, value, registry.ENGINES)
    monkeypatch.setattr(registry, "_find_entry_points", lambda group: {name: entry})


def test_an_engine_is_found_by_its_name() -> None:
    assert isinstance(load_engine_factory("pbft"), PbftFactory)
    assert {"hotstuff", "pbft", "tendermint"} <= set(registry.list_registered(registry.ENGINES))


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LocalError, match=r"no consensus engine 'raft'; installed: .*pbft"):
        load_engine_factory("raft")


@pytest.mark.parametrize("value", ["no_such_module:Factory", "consensus.pbft.engine:NoSuchFactory"])
def test_an_engine_that_does_not_load_is_said(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    plant(monkeypatch, "broken", value)
    with pytest.raises(LocalError, match="the consensus engine 'broken' does not load"):
        load_engine_factory("broken")


def test_an_engine_that_calls_itself_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "mine", "consensus.pbft.engine:PbftFactory")
    with pytest.raises(LocalError, match="registered as 'mine' calls itself 'pbft'"):
        load_engine_factory("mine")
