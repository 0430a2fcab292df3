"""Rules of the fault plane: what they select, how they combine, that they end by themselves."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from node.framing import Lane
from node.link_faults import MAX_BACKLOG_MS, MAX_RULES, PPM, FaultRule, LinkFaults
from node.members import Member
from primitives.errors import LocalError

ALICE = Member(0, 1, b"a" * 32)
BOB = Member(1, 1, b"b" * 32)
LEASE_END = 1_000


def make_faults(*rules: FaultRule) -> LinkFaults:
    faults = LinkFaults(Random(1))
    faults.apply(rules)
    return faults


def judge(faults: LinkFaults, now_ms: int = 0, *, to: Member = ALICE, size: int = 100) -> tuple[int, ...]:
    return faults.verdict(now_ms, to, Lane.VOTES, 1, size)


def test_without_rules_frames_pass_at_once() -> None:
    assert judge(make_faults()) == (0,)


def test_a_rule_selects_by_destination_lane_and_kind() -> None:
    rule = FaultRule("a", LEASE_END, frozenset({(0, 1)}), frozenset({Lane.VOTES}), frozenset({1}), cut=True)
    faults = make_faults(rule)
    assert faults.verdict(0, ALICE, Lane.VOTES, 1, 1) == ()
    assert faults.verdict(0, BOB, Lane.VOTES, 1, 1) == (0,)
    assert faults.verdict(0, ALICE, Lane.BULK, 1, 1) == (0,)
    assert faults.verdict(0, ALICE, Lane.VOTES, 2, 1) == (0,)


def test_a_rule_is_void_from_the_end_of_its_lease() -> None:
    faults = make_faults(FaultRule("a", LEASE_END, cut=True))
    assert judge(faults, LEASE_END - 1) == ()
    assert faults.is_cut_off(LEASE_END - 1, ALICE)
    assert judge(faults, LEASE_END) == (0,)
    assert not faults.is_cut_off(LEASE_END, ALICE)
    assert faults.rules_in_force(LEASE_END) == ()


def test_applying_replaces_what_held_before() -> None:
    faults = make_faults(FaultRule("a", LEASE_END, cut=True))
    faults.apply([FaultRule("b", LEASE_END, delay_ms=5)])
    assert judge(faults) == (5,)
    faults.clear()
    assert judge(faults) == (0,)


def test_only_a_cut_of_everything_refuses_links() -> None:
    rule = FaultRule("a", LEASE_END, frozenset({(0, 1)}), cut=True)
    assert make_faults(rule).is_cut_off(0, ALICE)
    assert not make_faults(rule).is_cut_off(0, BOB)
    assert not make_faults(replace(rule, kinds=frozenset({1}))).is_cut_off(0, ALICE)
    assert not make_faults(replace(rule, cut=False, drop_ppm=PPM)).is_cut_off(0, ALICE)


def test_delays_add_up_and_jitter_stays_within_its_bound() -> None:
    faults = make_faults(
        FaultRule("a", LEASE_END, delay_ms=100), FaultRule("b", LEASE_END, delay_ms=10, jitter_ms=5)
    )
    delays = {judge(faults)[0] for _ in range(200)}
    assert delays == set(range(110, 116))


def test_losses_come_at_about_the_rate_asked_for() -> None:
    faults = make_faults(FaultRule("a", LEASE_END, drop_ppm=PPM // 4))
    lost = sum(judge(faults) == () for _ in range(4_000))
    assert 850 <= lost <= 1_150


def test_a_duplicate_is_delayed_on_its_own() -> None:
    faults = make_faults(FaultRule("a", LEASE_END, duplicate_ppm=PPM, jitter_ms=1_000))
    verdicts = [judge(faults) for _ in range(20)]
    assert all(len(delays) == 2 for delays in verdicts)
    assert any(first != second for first, second in verdicts)


def test_a_narrow_line_serialises_frames_for_each_destination_and_drops_beyond_its_backlog() -> None:
    faults = make_faults(FaultRule("a", LEASE_END, bandwidth_bytes_per_s=1_000))
    assert [judge(faults, size=500) for _ in range(3)] == [(500,), (1_000,), (1_500,)]
    assert judge(faults, to=BOB, size=500) == (500,)
    assert judge(faults, 900, size=500) == (1_100,)
    verdicts = [judge(faults, 900, size=1_000) for _ in range(20)]
    assert max(delay for delays in verdicts for delay in delays) <= MAX_BACKLOG_MS
    assert () in verdicts


def test_the_same_seed_gives_the_same_verdicts() -> None:
    rules = [FaultRule("a", LEASE_END, drop_ppm=300_000, duplicate_ppm=200_000, jitter_ms=50)]
    runs = []
    for _ in range(2):
        faults = LinkFaults(Random(42))
        faults.apply(rules)
        runs.append([judge(faults, now) for now in range(500)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"drop_ppm": PPM + 1},
        {"duplicate_ppm": -1},
        {"delay_ms": -1},
        {"jitter_ms": 10**9},
        {"bandwidth_bytes_per_s": -1},
    ],
)
def test_a_senseless_rule_is_refused_and_nothing_changes(changes: dict[str, int]) -> None:
    faults = make_faults(FaultRule("kept", LEASE_END, delay_ms=7))
    with pytest.raises(LocalError):
        faults.apply([replace(FaultRule("bad", LEASE_END), **changes)])
    assert judge(faults) == (7,)


def test_too_many_rules_and_equal_names_are_refused() -> None:
    faults = LinkFaults(Random(1))
    with pytest.raises(LocalError):
        faults.apply([FaultRule(str(number), LEASE_END) for number in range(MAX_RULES + 1)])
    with pytest.raises(LocalError):
        faults.apply([FaultRule("a", LEASE_END), FaultRule("a", LEASE_END)])
