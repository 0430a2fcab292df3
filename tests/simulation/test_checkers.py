"""The checkers bite: each is shown the mistake that it exists for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from consensus.engine import Record
from node.events import Effects
from testnet.promises import Promise
from testnet.simulator.checker import Verdicts
from testnet.simulator.disk import RememberingVoteLog
from testnet.simulator.host import SimulatedHost
from testnet.simulator.money import MoneyChecker
from testnet.simulator.scheduler import US_PER_S, Scheduler
from testnet.simulator.simulation import build_world
from testnet.simulator.votes import VoteChecker
from testnet.simulator.world import World
from tests.simulation.runs import TOY, calm_plan


def start(seed: int = 800) -> World:
    world = build_world(calm_plan(seed, TOY))
    for host in world.hosts.values():
        host.start()
    world.load.start()
    return world


def names(world: World) -> set[str]:
    return {violation.checker for violation in world.verdicts.violations}


def test_a_pump_that_sends_before_the_commit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SimulatedHost._steps

    def send_first(self: SimulatedHost, gathered: list[Effects]) -> Any:
        for effects in gathered:
            for outgoing in effects.sends:
                self._observer.on_send(self, outgoing)
        yield from honest(self, gathered)

    monkeypatch.setattr(SimulatedHost, "_steps", send_first)
    world = start()
    world.run_for(2 * US_PER_S)
    assert names(world) & {"votes", "attestation-log"}


def test_a_member_whose_vote_log_is_lost_is_refused() -> None:
    world = start()
    world.run_for(2 * US_PER_S)
    host = world.hosts["s0v1"]
    host.crash()
    host.disk.vote_log = RememberingVoteLog()
    host.start()
    sentences = [violation.sentence for violation in world.verdicts.violations]
    assert len(sentences) == 1
    assert "the vote log is missing" in sentences[0]


def test_an_old_copy_of_the_vote_log_is_refused() -> None:
    world = start()
    world.run_for(US_PER_S)
    host = world.hosts["s0v2"]
    stale = host.disk.vote_log.load()
    world.run_for(2 * US_PER_S)
    host.crash()
    host.disk.vote_log = RememberingVoteLog()
    host.disk.vote_log.write([Record(key, value) for key, value in stale.items()])
    host.start()
    assert any("old copy" in violation.sentence for violation in world.verdicts.violations)


def test_a_member_that_contradicts_its_vote_after_a_restart_is_reported() -> None:
    verdicts = Verdicts(Scheduler())
    checker = VoteChecker(verdicts)
    checker.enter("s0v0", Promise(b"commit 3 7", b"one", b""))
    checker.enter("s0v0", Promise(b"commit 3 7", b"one", b""))
    checker.enter("s0v1", Promise(b"commit 3 7", b"two", b""))
    checker.enter("s0v0", Promise(b"commit 3 8", b"two", b""))
    assert not verdicts.violations
    checker.enter("s0v0", Promise(b"commit 3 7", b"two", b""))
    assert verdicts.violations[0].sentence.startswith("signed two different things: commit 3 7")


LOCK = [1, b"", 0, 1, 0, b"owner", 0, b"recipient", 0, 0, 500, 90, 1]
VERDICT = [2, b"", 1, 0, 0, b"xid", 1, 0, 0, 500]


def change(leaf: Sequence[Any], place: int, value: Any) -> list[Any]:
    changed = list(leaf)
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("leaves", "complaint"),
    [
        ([(0, LOCK), (0, LOCK)], "where 1 comes next"),
        ([(0, change(LOCK, 4, 1))], "where 0 comes next"),
        ([(1, LOCK)], "in the name of another shard"),
        ([(0, LOCK), (1, VERDICT), (1, VERDICT)], "1 judged, 1 locked"),
        ([(1, VERDICT)], "0 judged, 0 locked"),
        ([(0, LOCK), (1, change(VERDICT, 9, 501))], "another amount"),
    ],
)
def test_a_transfer_that_is_doubled_skipped_or_changed_is_reported(
    leaves: list[tuple[int, list[Any]]], complaint: str
) -> None:
    verdicts = Verdicts(Scheduler())
    money = MoneyChecker(verdicts, (0, 1), {0: 0})
    for shard, leaf in leaves:
        money._take_leaf(shard, leaf)
    assert [violation for violation in verdicts.violations if complaint in violation.sentence]


def test_money_from_nowhere_at_a_beacon_height_is_reported() -> None:
    def cut(cash: int, sent: int) -> list[str]:
        verdicts = Verdicts(Scheduler())
        money = MoneyChecker(verdicts, (0,), {0: 100})
        asset = [1, 0, cash, 0, 0, 0, 0, 0, 0, 100, 0, 0]
        money._ledgers[0].summaries[5] = b"", [[asset], [[2, 1, 1, 0, 0, 1, [[0, sent, 0, 0, 0]]]]]
        money._check_cut(9, {0: 5}, [])
        return [violation.sentence for violation in verdicts.violations]

    assert cut(70, 30) == []
    assert cut(71, 30) == ["asset 0: 71 held, 30 in flight of 100"]
    assert cut(110, -10) == ["asset 0: 110 held, -10 in flight of 100"]


def test_a_crash_tears_unsynced_writes_and_the_member_comes_back_all_the_same() -> None:
    lines: list[str] = []
    world = build_world(calm_plan(810, TOY), lines.append)
    for host in world.hosts.values():
        host.start()
    world.load.start()
    victim = world.hosts["s0v3"]
    for _ in range(12):
        world.run_for(US_PER_S // 3)
        victim.crash()
        victim.start()
    torn = [line for line in lines if "batches lost" in line and ", 0 batches" not in line]
    assert torn
    assert not world.verdicts.violations
