"""Members that lie: up to f of them change nothing that honest members promise; more are reported."""

from __future__ import annotations

import pytest

from testnet.simulator.plan import Lie, Role
from testnet.simulator.scheduler import US_PER_S
from testnet.simulator.simulation import build_world, simulate
from tests.simulation.runs import SHARDED, TOY, calm_plan, require_ok, twin

SOME = ("s0v1", "s0v2")


@pytest.mark.parametrize("lie", Lie)
def test_one_liar_of_four_harms_nobody(lie: Lie) -> None:
    outcome = simulate(calm_plan(700, TOY, Role("s0v0", lie, SOME, percent=50, amount=3)))
    require_ok(outcome)
    assert outcome.certified[0] > 5


def test_a_liar_in_every_committee_of_a_sharded_network_harms_nobody() -> None:
    liars = (
        Role("s0v1", Lie.WRONG_HEADER, amount=4),
        Role("s1v2", Lie.DOUBLE_ATTEST, ("s1v0",)),
        Role("bv0", Lie.WITHHOLD, percent=40),
    )
    require_ok(simulate(calm_plan(730, SHARDED, *liars)))


def test_two_twins_of_four_fork_the_chain_and_are_reported() -> None:
    world = build_world(calm_plan(740, TOY, twin("s0v2", "s0v1", "s0v3'"), twin("s0v3", "s0v1", "s0v2'")))
    world.links.sever("s0v0", "s0v1")
    for host in world.hosts.values():
        host.start()
    world.load.start()
    world.run_for(10 * US_PER_S)
    assert "prefix" in {violation.checker for violation in world.verdicts.violations}


def test_an_honest_member_halts_loudly_where_a_lying_quorum_certifies_another_header() -> None:
    liars = ("s0v1", "s0v2", "s0v3")
    plan = calm_plan(750, TOY, *[Role(name, Lie.WRONG_HEADER, amount=2) for name in liars])
    violations = simulate(plan).violations
    assert [violation.checker for violation in violations] == ["alarm", "halt"]
    assert {violation.subject for violation in violations} == {"s0v0"}


def test_evidence_against_a_liar_is_no_violation_and_against_the_honest_it_is() -> None:
    world = build_world(calm_plan(760, TOY, Role("s0v1", Lie.DOUBLE_ATTEST, ("s0v0",))))
    honest = world.hosts["s0v0"]
    world.on_alarm(honest, "evidence against member 1: double-attestation")
    assert not world.verdicts.violations
    world.on_alarm(honest, "evidence against member 2: double-attestation")
    assert [violation.checker for violation in world.verdicts.violations] == ["alarm"]
