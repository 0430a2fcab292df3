"""Rules of restarts: a crash at every record that an engine writes, power cuts, and the same bytes from the same
events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consensus.engine import EngineParameters
from testnet.conformance.candidate import Candidate
from testnet.conformance.member import CrashPoint, Member, Stage
from testnet.conformance.outages import OUTAGE_MS
from testnet.conformance.world import STORM, Committee, require

DOWN_MS: Final = 30
"""Shorter than any view timeout: what a crash interrupted is still going on when the member returns."""
TRANSACTIONS: Final = 6
MAX_CRASHES: Final = 600
"""Of one rule; an engine that writes more often is struck at evenly spread outputs."""


def check_a_crash_at_any_record_is_harmless(candidate: Candidate) -> None:
    """Every member is struck at each of its outputs that persist something: before, between persisting and sending,
    amid sending and after. It restarts from its records, contradicts nothing that left, and all is ordered."""
    _strike_everywhere(candidate, ())


def check_a_crash_at_any_record_of_a_leader_change_is_harmless(candidate: Candidate) -> None:
    """The same while the first leader is dead, so that the struck outputs are those of changing leaders."""
    _strike_everywhere(candidate, (candidate.find_first_leader(),))


def _strike_everywhere(candidate: Candidate, dead: Sequence[int]) -> None:
    rehearsal = _run(candidate, dead, None, None)
    points = [
        (member.index, CrashPoint(output, stage))
        for member in rehearsal.alive
        for output in range(1, member.persisted + 1)
        for stage in Stage
    ]
    require(bool(points), "nobody persists anything before it votes")
    for index, point in points[:: -(-len(points) // MAX_CRASHES)]:
        _run(candidate, dead, index, point)


def _run(candidate: Candidate, dead: Sequence[int], victim: int | None, point: CrashPoint | None) -> Committee:
    committee = candidate.committee(absent=dead)
    if victim is not None and point is not None:
        committee.schedule_restart(committee.members[victim], point, DOWN_MS)
    committee.submit(TRANSACTIONS)
    committee.finish(OUTAGE_MS, f"m{victim} crashed at {point}, dead: {tuple(dead)}")
    return committee


def check_votes_survive_a_restart_before_a_liar(candidate: Candidate) -> None:
    """The leader is two processes that propose differently. A member answers one of them, crashes when its answer
    has left, and meets the other: what it then signs must not contradict what it signed."""
    leader = candidate.find_first_leader()
    for victim_index in [index for index in range(4) if index != leader]:
        for output in (1, 2, 3):
            _meet_both_twins(candidate, leader, victim_index, output)


def _meet_both_twins(candidate: Candidate, leader: int, victim_index: int, output: int) -> None:
    committee = candidate.committee(twins=(leader,))
    victim = committee.members[victim_index]
    before = victim.lives

    def reach(sender: Member, receiver: Member) -> bool:
        """The victim hears the first twin in its first life and the second one later; the others hear neither
        before the victim crashed, so that the second proposal is news."""
        if leader not in (sender.index, receiver.index):
            return True
        twin = sender if sender.index == leader else receiver
        is_first = not twin.name.endswith("'")
        if victim in (sender, receiver):
            return is_first == (victim.lives == before)
        return victim.lives != before

    committee.reach = reach
    committee.schedule_restart(victim, CrashPoint(victim.persisted + output, Stage.AFTER_OUTPUT), DOWN_MS)
    committee.submit(4)
    committee.run(2_000)
    committee.reach = lambda sender, receiver: True
    committee.heal()
    if victim.engine is None:
        victim.start()
    committee.finish(OUTAGE_MS, f"m{victim_index} met both twins of m{leader}, crash at output {output}")


def check_power_cuts_lose_nothing(candidate: Candidate) -> None:
    """All members crash at one moment, the chain's stores losing their ends; they return and go on."""
    for seed, moment_ms in enumerate((2, 3, 4, 5, 6, 8, 12, 650, 1_300)):
        committee = candidate.committee(seed=seed, overdue_ms=2_000)
        committee.submit(8)
        committee.run(moment_ms)
        for lost, member in enumerate(committee.members):
            member.crash(lost_blocks=lost % 3)
        committee.run(50)
        for member in committee.members:
            member.start()
        committee.finish(OUTAGE_MS, f"a power cut at {moment_ms} ms")


def check_a_member_that_forgot_may_return(candidate: Candidate) -> None:
    """A lost vote log: the member stays away until what it may have signed is settled, starts above every view that
    it may have seen, contradicts nothing, and a quorum can be made with it."""
    for seed in range(3):
        committee = candidate.committee(seed=seed, overdue_ms=2_000)
        committee.submit(6)
        committee.run(3 + seed)
        forgetful = committee.members[seed]
        forgetful.crash()
        forgetful.log.clear()
        settled = committee.tip + 2 * committee.parameters.window_slots
        while committee.tip < settled:
            committee.submit(2)
            committee.finish(OUTAGE_MS, "one member lost its log")
        forgetful.first_view = 1 + max(compute_asked_view(member) for member in committee.alive)
        forgetful.copy_chain(committee.alive[0])
        forgetful.start()
        committee.submit(3)
        committee.finish(OUTAGE_MS, f"m{seed} returned without its log")
        next(member for member in committee.alive if member is not forgetful).crash()
        committee.submit(3)
        committee.finish(OUTAGE_MS, f"m{seed}, which lost its log, is needed")


def compute_asked_view(member: Member) -> int:
    """The highest view that a living member knows of."""
    assert member.engine is not None, "a living member"
    statistics = member.engine.statistics()
    return max(statistics.view, statistics.asked_view)


def check_the_same_events_give_the_same_bytes(candidate: Candidate) -> None:
    """Every life of every member of a storm, fed again with its events, answers in the same bytes."""
    for seed in (1, 2):
        committee = Committee(
            candidate.factory, 4, seed, candidate.parameters(leader_rotation_slots=2), STORM, absent=range(4)
        )
        for member in committee.members:
            member.history = []
            member.start()
        for number in range(4):
            committee.submit(3)
            committee.run(300)
            committee.members[number].crash()
            committee.run(1_000)
            committee.members[number].start()
        committee.finish(2 * OUTAGE_MS, f"storm of seed {seed}")
        for member in committee.members:
            replay(committee, member)


def replay(committee: Committee, member: Member) -> None:
    """Feed every life's events to an engine that is made as that life's was; raises ``RuleBroken``."""
    assert member.history is not None, "this member was recorded"
    parameters: EngineParameters = committee.parameters
    engine = None
    for step in member.history:
        signer = committee.signers[member.index]
        common = (committee.public, signer, committee.scheme, parameters, step.certificate)
        if step.event is None:
            records = dict(step.records)
            engine = committee.factory.restore(*common, records) if records else committee.factory.create(*common)
            continue
        assert engine is not None, "a life begins with its making"
        again = engine.handle(step.event, step.now_ms)
        require(
            again == step.output, f"{member.name} answers {type(step.event).__name__} differently when asked again"
        )
