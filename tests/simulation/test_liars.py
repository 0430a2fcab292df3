"""Members that lie: up to f of them change nothing that honest members promise; more are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from testnet.simulator.byzantine import (
    DoubleAttesting,
    Misconduct,
    SilentToSome,
    Withholding,
    WrongHeader,
)
from testnet.simulator.scheduler import US_PER_S, Chance
from testnet.simulator.simulation import build_world, draw_plan, simulate
from tests.simulation.runs import SAFETY_US, SHARDED, TOY, calm_plan, require_ok

LIES: Mapping[str, Callable[[Chance], Misconduct]] = {
    "withholding": lambda chance: Withholding(chance.stream("liar"), 0.5),
    "silent-to-some": lambda chance: SilentToSome((1, 2)),
    "double-attesting": lambda chance: DoubleAttesting(),
    "wrong-header": lambda chance: WrongHeader(3),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_liar_of_four_harms_nobody(lie: str) -> None:
    plan = calm_plan(700, TOY, make_liars=lambda chance: {"s0v0": LIES[lie](chance)})
    outcome = simulate(plan)
    require_ok(outcome)
    assert outcome.certified[0] > 5


@pytest.mark.parametrize("seed", [710, 711])
def test_one_liar_among_faults_harms_nobody(seed: int) -> None:
    plan = replace(
        draw_plan(seed, TOY, SAFETY_US), make_liars=lambda chance: {"s0v1": Withholding(chance.stream("liar"), 0.3)}
    )
    require_ok(simulate(plan))


@pytest.mark.parametrize("seed", [720, 721])
def test_one_twin_of_four_harms_nobody(seed: int) -> None:
    plan = replace(draw_plan(seed, TOY, SAFETY_US), twins={"s0v3": ("s0v2",)})
    require_ok(simulate(plan))


def test_a_liar_in_every_committee_of_a_sharded_network_harms_nobody() -> None:
    def make_liars(chance: Chance) -> Mapping[str, Misconduct]:
        return {"s0v1": WrongHeader(4), "s1v2": DoubleAttesting(), "bv0": Withholding(chance.stream("liar"), 0.4)}

    require_ok(simulate(calm_plan(730, SHARDED, make_liars=make_liars)))


def test_two_twins_of_four_fork_the_chain_and_are_reported() -> None:
    twins = {"s0v2": ("s0v1", "s0v3'"), "s0v3": ("s0v1", "s0v2'")}
    world = build_world(calm_plan(740, TOY, twins=twins))
    world.links.sever("s0v0", "s0v1")
    for host in world.hosts.values():
        host.start()
    world.load.start()
    world.run_for(10 * US_PER_S)
    assert "prefix" in {violation.checker for violation in world.verdicts.violations}


def test_an_honest_member_halts_loudly_where_a_lying_quorum_certifies_another_header() -> None:
    liars = ("s0v1", "s0v2", "s0v3")
    plan = calm_plan(750, TOY, make_liars=lambda chance: {name: WrongHeader(2) for name in liars})
    violations = simulate(plan).violations
    assert [violation.checker for violation in violations] == ["alarm", "halt"]
    assert {violation.subject for violation in violations} == {"s0v0"}


def test_evidence_against_a_liar_is_no_violation_and_against_the_honest_it_is() -> None:
    world = build_world(calm_plan(760, TOY, make_liars=lambda chance: {"s0v1": DoubleAttesting()}))
    honest = world.hosts["s0v0"]
    world.on_alarm(honest, "evidence against member 1: double-attestation")
    assert not world.verdicts.violations
    world.on_alarm(honest, "evidence against member 2: double-attestation")
    assert [violation.checker for violation in world.verdicts.violations] == ["alarm"]
