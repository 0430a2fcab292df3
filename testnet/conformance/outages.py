"""Rules of bad days: members that are dead, late, cut off or slow, and networks that lose, repeat and reorder."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from typing import Final

from testnet.conformance.candidate import Candidate
from testnet.conformance.member import CrashPoint, Member, Stage
from testnet.conformance.world import STORM, Committee, Weather, require

OUTAGE_MS: Final = 30_000
"""Some ten failed views at growing patience."""
STORM_MS: Final = 60_000
STORMS: Final = ((4, range(8)), (5, range(100, 103)), (7, range(200, 203)))
CENSORED_STEP_MS: Final = 100
ROUNDS: Final = 8
ROUND_MS: Final = 1_500


def check_any_member_may_be_dead(candidate: Candidate) -> None:
    """With f members dead, whoever they are, work is ordered: at once where they do not lead, else soon."""
    for size, dead in ((4, (0,)), (4, (1,)), (4, (2,)), (4, (3,)), (5, (0,)), (7, (0, 1)), (7, (2, 5))):
        committee = candidate.committee(size, absent=dead)
        committee.submit(6)
        committee.finish(OUTAGE_MS, f"n = {size}, dead from the start: {dead}")


def check_a_dead_leader_costs_few_views(candidate: Candidate) -> None:
    """Leaders die one after the other, up to f: a bounded number of views later work is ordered."""
    for size in (4, 7):
        committee = candidate.committee(size)
        committee.submit(2)
        committee.finish(OUTAGE_MS, "no faults yet")
        for _ in range(committee.public.faults):
            committee.members[committee.find_leader()].crash()
            views, blocks = max(member.view for member in committee.alive), committee.tip
            committee.submit(4)
            committee.finish(OUTAGE_MS, f"n = {size}, the leader died")
            used = max(member.view for member in committee.alive) - views
            allowed = 2 * size * (committee.tip - blocks + 1)
            require(used <= allowed, f"n = {size}: {used} views for {committee.tip - blocks} blocks")


def check_a_split_stops_and_heals(candidate: Candidate) -> None:
    """Two and two: nobody certifies. Healed: everything goes on, and soon as quickly as before."""
    committee = candidate.committee()
    committee.submit(3)
    committee.finish(OUTAGE_MS, "no faults yet")
    before = committee.tip
    committee.partition(("m0", "m1"), ("m2", "m3"))
    committee.submit(4)
    committee.run(20_000)
    require(committee.tip == before, "half of the members certified a block")
    committee.heal()
    committee.finish(OUTAGE_MS, "after a split of two and two")
    committee.submit(4)
    committee.finish(6_000, "after a split of two and two that is over")


def check_one_way_cuts_stop_nobody_else(candidate: Candidate) -> None:
    """A member that is not heard, or does not hear, or a pair that does not hear each other: the rest goes on."""
    leader = candidate.find_first_leader()
    for victim in (leader, (leader + 1) % 4):
        others = [f"m{index}" for index in range(4) if index != victim]
        scenes = {
            "is not heard": [(f"m{victim}", other) for other in others],
            "does not hear": [(other, f"m{victim}") for other in others],
            "has lost one link": [(f"m{victim}", others[0]), (others[0], f"m{victim}")],
        }
        for scene, cuts in scenes.items():
            committee = candidate.committee()
            for sender, receiver in cuts:
                committee.cut(sender, receiver)
            committee.submit(4)
            waiting = [member for member in committee.members if member.name in others]
            served = committee.run_until(partial(_are_served, waiting), OUTAGE_MS)
            require(served, f"m{victim} {scene}: the others wait; {committee.describe()}")
            committee.heal()
            committee.finish(OUTAGE_MS, f"m{victim} {scene}, healed")


def _are_served(members: Iterable[Member]) -> bool:
    return all(set(member.known) <= member.done for member in members)


def check_a_late_member_catches_up_and_counts(candidate: Candidate) -> None:
    """Absent from the start for many windows, or down in between: it gets every decision, and then its vote is one
    that a quorum can be made with."""
    for is_absent in (True, False):
        committee = candidate.committee(absent=(3,) if is_absent else ())
        late = committee.members[3]
        if not is_absent:
            committee.submit(4)
            committee.finish(OUTAGE_MS, "no faults yet")
            late.crash()
        for _ in range(12):
            committee.submit(2)
            committee.finish(OUTAGE_MS, "one member is down")
        late.start()
        committee.finish(OUTAGE_MS, "a member came late")
        require(late.certified == committee.tip, "the late member is behind")
        committee.members[(committee.find_leader() + 1) % 3].crash()
        committee.submit(4)
        committee.finish(OUTAGE_MS, "the late member's vote is needed")


def check_what_nobody_hears_is_said_again(candidate: Candidate) -> None:
    """Everything is lost for a while, though every link stays up: nothing may be said only once."""
    for start_ms in range(5):
        for lost_ms in (1, 3, 700, 3_000):
            committee = candidate.committee()
            committee.submit(6)
            if start_ms > 0:
                committee.run(start_ms - 1)
            committee.weather = Weather(loss_percent=100)
            committee.run(lost_ms)
            committee.weather = Weather()
            committee.finish(OUTAGE_MS, f"all that was sent from {start_ms} ms on, for {lost_ms} ms, was lost")


def check_censored_work_finds_another_proposer(candidate: Candidate) -> None:
    """A leader that orders everything but one transaction loses its place, or its turn passes."""
    committee = candidate.committee(overdue_ms=1_000)
    committee.members[committee.find_leader()].censored = frozenset({b"t0"})
    # Other work goes on all the time, so the leader's view makes progress and never times out.
    for _ in range(OUTAGE_MS // CENSORED_STEP_MS):
        committee.submit(1)
        committee.run(CENSORED_STEP_MS)
        if all(b"t0" in member.done for member in committee.alive):
            break
    require(
        all(b"t0" in member.done for member in committee.alive), "a transaction that the leader leaves out waits"
    )
    committee.finish(OUTAGE_MS, "a leader leaves out one transaction")


def check_storms_do_no_harm(candidate: Candidate) -> None:
    """Crashes, torn outputs, partitions, one-way cuts, bridges, loss, duplication, reordering, slow disks: by seed.
    When they end, with f members left dead, everything is ordered."""
    for size, seeds in STORMS:
        for seed in seeds:
            _brave_storm(candidate, size, seed, ())


def brave_twin_storms(candidate: Candidate) -> None:
    """The same with f members that are two processes each."""
    for size, seed in ((4, 300), (4, 301), (4, 302), (7, 400), (7, 401)):
        rng = random.Random(f"twins {seed}")
        _brave_storm(candidate, size, seed, tuple(rng.sample(range(size), (size - 1) // 3)))


def _brave_storm(candidate: Candidate, size: int, seed: int, twins: tuple[int, ...]) -> None:
    rng = random.Random(f"storm {seed}")
    parameters = candidate.parameters(leader_rotation_slots=rng.choice((0, 1, 3)))
    committee = candidate.committee(
        size, seed=seed, parameters=parameters, weather=STORM, twins=twins, overdue_ms=2_000
    )
    for _ in range(ROUNDS):
        committee.submit(rng.randint(0, 6))
        _strike(committee, rng)
        committee.run(rng.randint(50, ROUND_MS))
    for member in committee.members:
        member.crash_point = None
        if member.engine is None:
            member.start()
    committee.heal()
    honest = [member for member in committee.members if member.is_honest]
    for member in rng.sample(honest, committee.public.faults - len(twins)):
        member.crash()
    committee.submit(1)
    committee.finish(STORM_MS, f"storm of seed {seed}, n = {size}, twins {twins}")


def _strike(committee: Committee, rng: random.Random) -> None:
    """One fault, or the end of those before."""
    names = [member.name for member in committee.members]
    down = [member for member in committee.members if member.engine is None]
    twins = len(committee.members) - committee.size
    match rng.randrange(7):
        case 0 | 1 if len(down) < committee.public.faults - twins:
            victim = rng.choice(committee.alive)
            if rng.random() < 0.5:
                victim.crash()
            else:
                victim.crash_point = CrashPoint(victim.persisted + rng.randint(1, 4), rng.choice(tuple(Stage)))
        case 2 if down:
            member = rng.choice(down)
            del member.chain[max(0, len(member.chain) - rng.randint(0, 2)) :]
            member.start()
        case 3:
            rng.shuffle(names)
            middle = rng.randint(1, len(names) - 1)
            committee.partition(names[:middle], names[middle:])
        case 4:
            rng.shuffle(names)
            middle = rng.randint(1, len(names) - 1)  # two halves and a bridge between them
            committee.partition(names[:middle], names[middle - 1 :])
        case 5:
            committee.cut(*rng.sample(names, 2))
        case _:
            committee.heal()
