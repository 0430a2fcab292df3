"""Killing the leader: where leaders take turns, never the member whose blocks are timed."""

from pathlib import Path

import pytest

from primitives.errors import LocalError
from testnet.bench import leader_loss
from testnet.bench.leader_loss import _find_other_leader
from testnet.directory import Network, read_network
from tests.testnet.network_setup import create_small_network


def script_leaders(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The member asked names these, one after the other, then always the last."""
    waiting = list(names)

    async def find(network: Network) -> object:
        return network.member(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    monkeypatch.setattr(leader_loss, "_find_leader", find)


async def test_a_survivor_that_leads_just_now_is_spared_and_the_next_leader_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: object
) -> None:
    network = read_network(create_small_network(tmp_path, validators=3))
    script_leaders(monkeypatch, "s0v1", "s0v1", "s0v2")
    assert (await _find_other_leader(network, network.member("s0v1"))).name == "s0v2"


async def test_a_survivor_that_leads_for_good_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = read_network(create_small_network(tmp_path, validators=3))
    script_leaders(monkeypatch, "s0v1")
    monkeypatch.setattr(leader_loss, "DEADLINE_S", 0.05)
    with pytest.raises(LocalError, match="s0v1 leads since"):
        await _find_other_leader(network, network.member("s0v1"))
