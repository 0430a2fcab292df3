"""Scenarios: every shipped one holds; what they assert can fail; mistakes are refused with their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from primitives.errors import LocalError
from testnet.simulator.plan import Assertion, Expectation, Fault
from testnet.simulator.scenario import SHIPPED, find_scenario, read_scenario
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import simulate
from tests.simulation.runs import SHARDED, TOY, calm_plan, require_ok

NAMES = sorted(file.stem for file in SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_scenario_holds(name: str) -> None:
    require_ok(simulate(replace(read_scenario(find_scenario(name)), seed=1)))


@pytest.mark.parametrize(
    ("assertion", "complaint"),
    [
        (Assertion(Expectation.STANDS, 0, US_PER_S, 2 * US_PER_S), "where it must stand still"),
        (Assertion(Expectation.CERTIFIES, 0, 0, US_PER_S, blocks=9_999), "not 9999"),
    ],
)
def test_an_assertion_that_does_not_hold_is_reported(assertion: Assertion, complaint: str) -> None:
    outcome = simulate(replace(calm_plan(1, TOY), assertions=(assertion,)))
    assert [violation.checker for violation in outcome.violations] == ["assertion"]
    assert complaint in outcome.violations[0].sentence


def test_transfers_that_are_open_where_they_must_be_settled_are_reported() -> None:
    settled = Assertion(Expectation.SETTLED, 0, 0, 2 * US_PER_S)
    outcome = simulate(replace(calm_plan(2, SHARDED), assertions=(settled,)))
    assert "transfers are open" in outcome.violations[0].sentence


def test_groups_stand_for_their_members(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        '[network]\nkind = "sharded"\nshards = 2\n'
        '[[faults]]\nat_s = 1\nfor_s = 0.5\nfault = "split"\nstruck = ["shard1", "s0v0"]\nothers = ["beacon"]\n'
    )
    strike = read_scenario(file, engine="mine").strikes[0]
    assert strike.struck == ("s1v0", "s1v1", "s1v2", "s1v3", "s0v0")
    assert strike.others == ("bv0", "bv1", "bv2", "bv3")
    assert (strike.fault, strike.at_us, strike.lasts_us) == (Fault.SPLIT, 1_000_000, 500_000)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[network]\nkind = 'moon'", "moon"),
        ("[network]\nkind = 'toy'\nmembres = 4", "unknown membres"),
        ("[surprise]\na = 1", "surprise"),
        ("[[faults]]\nat_s = 1\nfor_s = 1\nfault = 'split'\nstruck = ['s0v9']", "no member 's0v9'"),
        ("[[faults]]\nat_s = 1\nfault = 'split'\nstruck = ['s0v0']", "for_s"),
        ("[[assertions]]\ncommittee = 'shardx'\nexpect = 'stands'\nfrom_s = 0\nuntil_s = 1", "no committee"),
        ("[[assertions]]\ncommittee = 'shard3'\nexpect = 'stands'\nfrom_s = 0\nuntil_s = 1", "lacks"),
        ("not toml", "="),
    ],
)
def test_a_mistake_in_a_scenario_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(LocalError, match=r"wrong\.toml: ") as caught:
        read_scenario(file)
    assert complaint in str(caught.value)
