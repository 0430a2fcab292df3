"""Rules of a good day: what is submitted is ordered once, nobody speaks without need, and limits are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consensus.committee import Committee as PublicCommittee
from consensus.engine import EngineParameters
from consensus.registry import LEADER_SCHEDULES, PACEMAKERS, list_registered
from primitives.errors import LocalError
from testnet.conformance.candidate import Candidate
from testnet.conformance.world import Committee, Weather, require
from testnet.simulator.signatures import TokenKeys

SIZES: Final = (1, 4, 5, 7)
GOOD_DAY_MS: Final = 5_000
"""Far longer than any engine needs where every message takes a millisecond."""
QUIET_MS: Final = 60_000
WATCHED_MS: Final = 30_000


def check_everything_is_ordered_once(candidate: Candidate) -> None:
    """Without faults every member certifies the same chain, and every transaction is in it once."""
    for size in SIZES:
        committee = candidate.committee(size)
        for _ in range(3):
            committee.submit(5)
            committee.finish(GOOD_DAY_MS, f"n = {size}, no faults")
        _require_once(committee, 15)


def _require_once(committee: Committee, submitted: int) -> None:
    chains = {tuple(block.digest for block in member.chain) for member in committee.alive}
    require(len(chains) == 1, "members at rest hold different chains")
    payloads = [block.payload for block in committee.alive[0].chain]
    ordered = [tx for payload in payloads for tx in payload.split(b",") if tx[:1] == b"t"]
    require(len(ordered) == len(set(ordered)), "a transaction was ordered twice: see ancestors of BuildPayload")
    require(len(ordered) == submitted, f"{len(ordered)} of {submitted} transactions were ordered")


def check_slots_overlap_without_repeating(candidate: Candidate) -> None:
    """Under a steady load, and jitter that makes slots overlap, no payload is ordered twice."""
    committee = candidate.committee(weather=Weather(min_delay_ms=1, max_delay_ms=30, max_sync_ms=3), seed=5)
    for _ in range(12):
        committee.submit(3)
        committee.run(40)
    committee.finish(GOOD_DAY_MS, "a steady load")
    _require_once(committee, 36)


def check_idle_is_silent_and_wakes(candidate: Candidate) -> None:
    """With nothing to order and nothing open: no timers, no messages, no events; then work is taken up at once."""
    for submitted in (0, 3):
        committee = candidate.committee()
        committee.submit(submitted)
        committee.finish(GOOD_DAY_MS, "no faults")
        committee.run(QUIET_MS)
        sent, events = committee.sent, committee.events
        committee.run(WATCHED_MS)
        require(committee.sent == sent, f"idle for a minute, {committee.sent - sent} messages in {WATCHED_MS} ms")
        require(committee.events == events, f"idle for a minute, {committee.events - events} events")
        pending = {
            member.name: sorted(member.pending_timers) for member in committee.alive if member.pending_timers
        }
        require(not pending, f"idle for a minute, timers pending: {pending}")
        committee.submit(3)
        committee.finish(GOOD_DAY_MS, "after a minute of rest")


def check_duplicates_are_not_needed(candidate: Candidate) -> None:
    """A message that was taken is not needed again, so its copies cost no signature check."""
    committee = candidate.committee(seed=2, weather=Weather(max_delay_ms=5))
    committee.judges_duplicates = True
    for _ in range(4):
        committee.submit(3)
        committee.run(30)
    committee.finish(GOOD_DAY_MS, "no faults")


def check_window_bounds_what_is_open(candidate: Candidate) -> None:
    """While nothing is certified, nothing is voted, built or decided above certified + L; after it, all goes on."""
    for window_slots in (1, 3):
        committee = candidate.committee(parameters=candidate.parameters(window_slots=window_slots))
        committee.submit(2)
        committee.finish(GOOD_DAY_MS, f"L = {window_slots}")
        before = committee.tip
        committee.certifies = False
        committee.submit(20)
        committee.run(6_000)
        decided = max(max(member.decided) for member in committee.alive)
        require(
            before < decided <= before + window_slots, f"decided up to {decided} above {before}, L = {window_slots}"
        )
        committee.certifies = True
        committee.finish(6 * GOOD_DAY_MS, f"certifying again, L = {window_slots}")


def check_schedules_and_pacemakers_are_honoured(candidate: Candidate) -> None:
    """It runs with every installed schedule and pacemaker, the first leader dead; unknown names are refused."""
    choices: list[Mapping[str, object]] = [{"leader_schedule": name} for name in list_registered(LEADER_SCHEDULES)]
    choices += [{"pacemaker": name} for name in list_registered(PACEMAKERS)]
    for choice in choices:
        committee = candidate.committee(parameters=_with(candidate, choice))
        committee.members[committee.find_leader()].crash()
        committee.submit(3)
        committee.finish(6 * GOOD_DAY_MS, f"a dead leader under {choice}")
    for choice in [{"leader_schedule": "nobody's"}, {"pacemaker": "nobody's"}]:
        _require_refusal(candidate, _with(candidate, choice), f"it takes {choice}")


def check_senseless_parameters_are_refused(candidate: Candidate) -> None:
    """Before a network starts: options nobody reads, windows and timeouts of nothing, a stranger's key."""
    senseless: list[Mapping[str, object]] = [
        {"extra": {"no-such-option": 1}},
        {"window_slots": 0},
        {"base_timeout_ms": 0},
        {"base_timeout_ms": 9_000, "max_timeout_ms": 8_000},
    ]
    for changes in senseless:
        _require_refusal(candidate, _with(candidate, changes), f"it takes {changes}")
    keys = TokenKeys(0)
    committee = PublicCommittee(bytes(32), 0, 0, 0, tuple(keys.make("member", i).public_key for i in range(4)))
    try:
        candidate.factory.create(committee, keys.make("stranger"), keys.scheme, candidate.parameters(), None)
    except LocalError:
        pass
    else:
        require(False, "it takes the key of a stranger")
    try:
        records = {b"\xffnobody's": b"\xff"}
        candidate.factory.restore(
            committee, keys.make("member", 0), keys.scheme, candidate.parameters(), None, records
        )
    except LocalError:
        return
    require(False, "it restores from a record that it never wrote")


def _with(candidate: Candidate, changes: Mapping[str, object]) -> EngineParameters:
    return Candidate(candidate.factory, {**candidate.changes, **changes}).parameters()


def _require_refusal(candidate: Candidate, parameters: EngineParameters, complaint: str) -> None:
    keys = TokenKeys(0)
    committee = PublicCommittee(bytes(32), 0, 0, 0, tuple(keys.make("member", i).public_key for i in range(4)))
    try:
        candidate.factory.create(committee, keys.make("member", 0), keys.scheme, parameters, None)
    except LocalError:
        return
    require(False, complaint)
