"""Each rule of agreement, validity, bounds and liveness is broken on purpose, and reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from node.events import BlockCertified
from testnet.simulator import bounds, simulation
from testnet.simulator.agreement import compute_identity
from testnet.simulator.checker import Verdicts
from testnet.simulator.host import SimulatedHost
from testnet.simulator.plan import Fate
from testnet.simulator.scheduler import US_PER_S, Scheduler
from testnet.simulator.simulation import build_world, simulate
from testnet.simulator.toy_application import APPLIED, REPEATED
from testnet.simulator.validity import ValidityChecker
from testnet.simulator.world import World
from tests.simulation.runs import TOY, calm_plan


def run_calm() -> tuple[World, SimulatedHost, BlockCertified]:
    """A world after a calm second, a host, and the newest block that it certified."""
    world = build_world(calm_plan(820, TOY))
    told: list[tuple[SimulatedHost, BlockCertified]] = []
    look = world.on_certified

    def on_certified(host: SimulatedHost, block: BlockCertified) -> None:
        told.append((host, block))
        look(host, block)

    world.on_certified = on_certified  # type: ignore[method-assign]
    for host in world.hosts.values():
        host.start()
    world.load.start()
    world.run_for(US_PER_S)
    assert not world.verdicts.violations
    return world, *told[-1]


def change_header(block: BlockCertified) -> BlockCertified:
    header = msgspec.structs.replace(block.header, state_root=bytes(32))
    return msgspec.structs.replace(block, header=header, header_hash=compute_identity(header))


def change_parent(block: BlockCertified) -> BlockCertified:
    header = msgspec.structs.replace(block.header, height=block.header.height + 1, parent=bytes(32))
    return msgspec.structs.replace(block, header=header, header_hash=compute_identity(header))


def change_certificate(**changes: object) -> Callable[[BlockCertified], BlockCertified]:
    def change(block: BlockCertified) -> BlockCertified:
        return msgspec.structs.replace(block, certificate=msgspec.structs.replace(block.certificate, **changes))

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_header, ", others "),
        (lambda block: msgspec.structs.replace(block, header_hash=bytes(32)), "by another hash"),
        (change_parent, "does not extend"),
        (lambda block: block, "in one life"),
        (change_certificate(signers=(1, 2), signatures=(bytes(64),) * 2), "2 members where 3 are needed"),
        (change_certificate(signers=(1, 1, 2)), "2 members where 3 are needed"),
        (change_certificate(signatures=(bytes(64),) * 3), "bad signature"),
        (change_certificate(height=0), "by a certificate of 0"),
        (change_certificate(header_hash=bytes(32)), "two certified headers"),
    ],
)
def test_a_block_that_breaks_agreement_is_reported(
    change: Callable[[BlockCertified], BlockCertified], complaint: str
) -> None:
    world, host, block = run_calm()
    world.agreement.on_certified(host, change(block))
    assert [violation for violation in world.verdicts.violations if complaint in violation.sentence]


def test_a_member_that_comes_back_with_less_than_it_told_of_is_reported() -> None:
    world, host, block = run_calm()
    world.agreement.on_certified(
        host, msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, height=999))
    )
    world.verdicts.violations.clear()
    world.agreement.on_started(host)
    assert "after it told of 999" in world.verdicts.violations[0].sentence


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ("MAX_VOTE_LOG_RECORDS", "records in the vote log"),
        ("MAX_PINNED_BODIES", "pinned bodies"),
        ("MAX_SLOTS_IN_FLIGHT", "slots in flight"),
        ("MAX_HELD_BATCHES", "batches"),
    ],
)
def test_what_grows_beyond_its_bound_is_reported(monkeypatch: pytest.MonkeyPatch, limit: str, what: str) -> None:
    monkeypatch.setattr(bounds, limit, -1)
    violations = simulate(calm_plan(821, TOY)).violations
    assert {violation.checker for violation in violations} == {"bounds"}
    assert any(what in violation.sentence for violation in violations)


def test_a_transaction_that_nobody_sent_or_that_is_applied_twice_is_reported() -> None:
    verdicts = Verdicts(Scheduler())
    checker = ValidityChecker(verdicts, lambda shard, transaction: (shard, transaction) == (0, b"known"), APPLIED)
    checker.take_receipt(0, b"known", REPEATED)
    checker.take_receipt(0, b"known", APPLIED)
    checker.take_receipt(0, b"known", REPEATED)
    assert not verdicts.violations
    checker.take_receipt(0, b"known", APPLIED)
    checker.take_receipt(1, b"known", REPEATED)
    complaints = [violation.sentence for violation in verdicts.violations]
    assert "twice" in complaints[0] and "nobody sent" in complaints[1]


def test_a_certified_block_whose_payload_is_another_is_reported() -> None:
    world, host, block = run_calm()
    checker = ValidityChecker(world.verdicts, lambda shard, transaction: True, None)
    checker.on_certified(host, block)
    assert not world.verdicts.violations
    header = msgspec.structs.replace(block.header, payload_digest=bytes(32))
    checker.on_certified(host, msgspec.structs.replace(block, header=header))
    assert "has not the payload" in world.verdicts.violations[0].sentence


@pytest.mark.parametrize("fate", Fate)
def test_a_committee_that_loses_its_quorum_for_good_is_reported_as_not_live(
    monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    monkeypatch.setattr(simulation, "LIVENESS_BOUND_US", 4 * US_PER_S)
    plan = replace(calm_plan(822, TOY), safety_us=US_PER_S, fate=fate)
    assert simulate(replace(plan, outside=("s0v3",))).is_ok
    violations = simulate(replace(plan, outside=("s0v2", "s0v3"))).violations
    assert [violation.checker for violation in violations] == ["liveness"]
