"""Leader schedules: who starts a view and who proposes for a slot.

A schedule is a pure function that all members compute alike, so it is chosen by name in the genesis
(``engine_parameters.leader_schedule``) and found through the entry-point group ``rialto.leader_schedules``. Engines
make theirs with ``create_leader_schedule`` and never ask which one it is.

| name          | member at position p of the schedule          | proposer of a slot in view v |
|---------------|-----------------------------------------------|------------------------------|
| `round-robin` | p mod n                                       | at v + ⌊slot / R⌋            |
| `fixed`       | p mod n                                       | at v: it leaves with its view |
| `shuffled`    | place p mod n of the order drawn for ⌊p / n⌋  | at v + ⌊slot / R⌋            |
| `scripted`    | the script's entry p, then p mod n            | at v, or v + slot − 1        |

R is ``leader_rotation_slots``; 0 keeps the view's own leader. A script is for experiments and simulated attacks.
What does not live here: when a view ends (``pacemaker`` and the engines).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from consensus.committee import Committee
from consensus.engine import EngineParameters
from consensus.registry import LEADER_SCHEDULES, load_registered
from primitives.errors import LocalError
from primitives.hashing import hash_tagged

_SHUFFLE_TAG: Final = b"rialto/leader-shuffle"
_MAX_SCRIPT_CHARACTERS: Final = 8_192
"""A thousand rounds and more; the script is part of every member's genesis."""
_REMEMBERED_ORDERS: Final = 64
"""Orders of recent cycles: views in use are neighbours, and an order costs n hashes."""


class LeaderSchedule(Protocol):
    """Who leads. Pure: the same arguments give the same member, at every member and after every restart, and
    nothing that a member saw may change the answer.

    Over any 2n − 1 consecutive views every member must come up as leader at least once, or a committee whose
    scheduled leaders are dead waits for ever.
    """

    def compute_view_leader(self, view: int) -> int:
        """The member that starts ``view`` (sends its new-view message)."""
        ...

    def compute_proposer(self, view: int, slot: int) -> int:
        """The member that proposes for ``slot`` while ``view`` (or, in Tendermint, round) lasts."""
        ...


LeaderScheduleMaker: TypeAlias = Callable[[Committee, EngineParameters], LeaderSchedule]
"""What an entry point of the group names. It reads R and ``leader_options`` and raises ``LocalError`` where they
make no sense to it."""


def create_leader_schedule(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """The schedule that the parameters name; raises ``LocalError`` that lists the installed ones where there is
    none of that name, and where its options make no sense."""
    make: LeaderScheduleMaker = load_registered(LEADER_SCHEDULES, parameters.leader_schedule)
    schedule = make(committee, parameters)
    _validate_schedule(schedule, committee, parameters.leader_schedule)
    return schedule


def _validate_schedule(schedule: LeaderSchedule, committee: Committee, name: str) -> None:
    """The promise of the protocol, after a script if there is one: broken, it would stall a network for ever."""
    first = len(schedule.script) if isinstance(schedule, ScriptedSchedule) else 0
    views = range(first, first + 2 * committee.size - 1)
    leaders = [schedule.compute_view_leader(view) for view in views]
    proposers = [schedule.compute_proposer(view, 1) for view in views]
    everybody = set(range(committee.size))
    if set(leaders) != everybody or set(proposers) != everybody:
        raise LocalError(
            f"the leader schedule {name!r} must name every one of {committee.size} members within "
            f"{2 * committee.size - 1} views, but leads by {leaders} and proposes by {proposers}"
        )


def _refuse_options(parameters: EngineParameters) -> None:
    if parameters.leader_options:
        unknown = ", ".join(sorted(parameters.leader_options))
        raise LocalError(
            f"the leader schedule {parameters.leader_schedule!r} has no options, so none called {unknown}"
        )


# --- round-robin -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundRobinSchedule:
    """``size`` is n; ``rotation_slots`` is R. With R > 0 a healthy view passes the privilege of proposing round
    the committee."""

    size: int
    rotation_slots: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.rotation_slots < 0:
            raise LocalError("a leader schedule needs a member and a rotation of at least 0 slots")

    def compute_view_leader(self, view: int) -> int:
        """v mod n."""
        return view % self.size

    def compute_proposer(self, view: int, slot: int) -> int:
        """(v + ⌊slot / R⌋) mod n."""
        if self.rotation_slots == 0:
            return view % self.size
        return (view + slot // self.rotation_slots) % self.size


def create_round_robin(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """The entry point ``round-robin``."""
    _refuse_options(parameters)
    return RoundRobinSchedule(committee.size, parameters.leader_rotation_slots)


def create_fixed(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """The entry point ``fixed``: a leader proposes until its view fails. Refuses a rotation, which would be one."""
    _refuse_options(parameters)
    if parameters.leader_rotation_slots != 0:
        raise LocalError("the leader schedule 'fixed' does not rotate: leave out leader_rotation_slots")
    return RoundRobinSchedule(committee.size)


# --- shuffled ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShuffledSchedule:
    """Every n positions are led in another order, drawn from the chain id, so nobody follows the same neighbour
    for ever: a member that harms its successor harms everybody alike. The order is public; it hides no leader."""

    committee: Committee
    rotation_slots: int = 0

    def __post_init__(self) -> None:
        if self.rotation_slots < 0:
            raise LocalError("a leader schedule needs a rotation of at least 0 slots")

    def compute_view_leader(self, view: int) -> int:
        """The member at position v."""
        return self._at(view)

    def compute_proposer(self, view: int, slot: int) -> int:
        """The member at position v + ⌊slot / R⌋."""
        return self._at(view if self.rotation_slots == 0 else view + slot // self.rotation_slots)

    def _at(self, position: int) -> int:
        cycle, place = divmod(position, self.committee.size)
        return _draw_order(self.committee.signing_prefix, self.committee.size, cycle)[place]


@lru_cache(maxsize=_REMEMBERED_ORDERS)
def _draw_order(prefix: bytes, size: int, cycle: int) -> tuple[int, ...]:
    """Members sorted by a hash of their index: every order is equally likely, up to the hash."""

    def rank(member: int) -> tuple[bytes, int]:
        return hash_tagged(_SHUFFLE_TAG, prefix, cycle.to_bytes(8, "big"), member.to_bytes(4, "big")), member

    return tuple(sorted(range(size), key=rank))


def create_shuffled(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """The entry point ``shuffled``."""
    _refuse_options(parameters)
    return ShuffledSchedule(committee, parameters.leader_rotation_slots)


# --- scripted ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScriptedSchedule:
    """Entry k (from 1) of ``script`` leads where view + ``offset`` + ``by_slot`` · (slot − 1) is k; beyond it, and
    before, member k mod n. A script of one entry a view has ``by_slot`` 0; one of an entry a round, for an engine
    whose rounds begin anew with each slot, has 1."""

    size: int
    script: tuple[int, ...]
    offset: int
    by_slot: int

    def compute_view_leader(self, view: int) -> int:
        """Of slot 1."""
        return self.compute_proposer(view, 1)

    def compute_proposer(self, view: int, slot: int) -> int:
        """The script's entry, or round robin."""
        entry = view + self.offset + self.by_slot * (slot - 1)
        return self.script[entry - 1] if 1 <= entry <= len(self.script) else entry % self.size


def create_scripted(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """The entry point ``scripted``. Options: ``script`` (members with commas between them), ``offset`` (1: the
    script begins with view 0), ``by_slot`` (0 or 1)."""
    options = dict(parameters.leader_options)
    script, offset, by_slot = options.pop("script", ""), options.pop("offset", 1), options.pop("by_slot", 0)
    if options or parameters.leader_rotation_slots != 0:
        raise LocalError("the leader schedule 'scripted' knows the options script, offset and by_slot, no rotation")
    if type(offset) is not int or offset not in (0, 1) or type(by_slot) is not int or by_slot not in (0, 1):
        raise LocalError("the leader schedule 'scripted': offset and by_slot are 0 or 1")
    return ScriptedSchedule(committee.size, _parse_script(str(script), committee.size), offset, by_slot)


def _parse_script(text: str, size: int) -> tuple[int, ...]:
    if len(text) > _MAX_SCRIPT_CHARACTERS:
        raise LocalError(f"a script of leaders has at most {_MAX_SCRIPT_CHARACTERS} characters")
    known = {str(member): member for member in range(size)}
    words = [word.strip() for word in text.split(",")] if text else []
    for word in words:
        if word not in known:
            raise LocalError(f"a script of leaders names members 0 to {size - 1}, not {word!r}")
    return tuple(known[word] for word in words)
