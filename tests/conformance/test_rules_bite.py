"""Every rule of the suite is broken by an engine that lacks what the rule is about."""

from __future__ import annotations

import pytest

from testnet.conformance.suite import RULES, run_conformance
from tests.conformance import broken_engines as broken

CULPRITS: dict[str, type[broken.Broken]] = {
    "everything-is-ordered-once": broken.PersistsNothing,
    "slots-overlap-without-repeating": broken.ForgetsAncestors,
    "idle-is-silent-and-wakes": broken.NeverRests,
    "duplicates-are-not-needed": broken.NeedsEverything,
    "window-bounds-what-is-open": broken.RunsAhead,
    "schedules-and-pacemakers-are-honoured": broken.IgnoresNames,
    "senseless-parameters-are-refused": broken.IgnoresOptions,
    "any-member-may-be-dead": broken.NeedsEverybody,
    "a-dead-leader-costs-few-views": broken.NeverLeaves,
    "a-split-stops-and-heals": broken.DecidesByHalves,
    "one-way-cuts-stop-nobody-else": broken.NeverLeaves,
    "a-late-member-catches-up-and-counts": broken.IgnoresCertificates,
    "what-nobody-hears-is-said-again": broken.NeverRepeats,
    "censored-work-finds-another-proposer": broken.DeafToComplaints,
    "storms-do-no-harm": broken.DecidesByHalves,
    "a-crash-at-any-record-is-harmless": broken.ForgetsItsLog,
    "a-crash-at-any-record-of-a-leader-change-is-harmless": broken.MuteAfterRestart,
    "votes-survive-a-restart-before-a-liar": broken.ForgetsItsLog,
    "power-cuts-lose-nothing": broken.ForgetsItsLog,
    "a-member-that-forgot-may-return": broken.MuteAfterAmnesia,
    "the-same-events-give-the-same-bytes": broken.DependsOnChance,
    "an-equivocating-leader-is-survived-and-accused": broken.AccusesNobody,
    "conflicting-votes-are-accused": broken.AccusesLeadersOnly,
    "twins-in-storms-do-no-harm": broken.DecidesByHalves,
    "invalid-payloads-are-never-decided": broken.BelievesAnything,
    "a-leader-that-serves-only-some-is-survived": broken.NeverLeaves,
    "floods-are-bounded": broken.HoardsMessages,
    "hostile-bytes-do-nothing-worse-than-remote-errors": broken.FallsOverBytes,
    "strange-events-are-ignored": broken.FallsOverTimers,
}


def test_every_rule_has_an_engine_that_breaks_it() -> None:
    assert list(CULPRITS) == list(RULES)


@pytest.mark.parametrize("rule", CULPRITS)
def test_the_rule_bites(rule: str) -> None:
    report = run_conformance(CULPRITS[rule](), [rule])
    assert not report.is_ok, f"{CULPRITS[rule].__name__} passes"
