"""Plans: everything that one simulated run depends on, as plain data that is written, replayed and shrunk.

A plan names its shape, its weather, who lies and how, every fault with the time at which it strikes and ends, how
the run ends, and what it asserts. Only small chances (delays, the load's choices) come from its seed. What does
not live here: how a plan is drawn (``swarm``), read from a file (``schedule``, ``scenario``) or made smaller
(``shrink``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD, format_member
from testnet.simulator.network import CALM, Weather
from testnet.simulator.scheduler import US_PER_MS, US_PER_S

MAX_MEMBERS: Final = 40
MAX_SHARDS: Final = 16
MAX_STRIKES: Final = 10_000
MAX_PHASE_US: Final = 3_600 * US_PER_S


class Kind(Enum):
    """What is replicated."""

    TOY = "toy"
    """One committee with a toy application: the cheapest, so the most consensus for the time."""
    VENUE = "venue"
    """One shard with the real venue."""
    SHARDED = "sharded"
    """Shards under a beacon."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``shards`` and ``beacon_members`` matter where there is a beacon. ``engine`` is a registered name, or
    ``module:attribute`` of a factory. ``paranoid`` lets venues check themselves after every block. Members make a
    snapshot every ``snapshot_blocks``, take one where they are two of these behind, and keep ``keep_blocks`` (0: no
    snapshots, everything is kept)."""

    kind: Kind
    members: int = 4
    shards: int = 1
    beacon_members: int = 4
    engine: str = "pbft"
    window_slots: int = 16
    rotation_slots: int = 0
    paranoid: bool = False
    snapshot_blocks: int = 0
    keep_blocks: int = 0

    def list_members(self) -> dict[int, tuple[str, ...]]:
        """The names of all members, by shard."""
        committees = {shard: _name_members(shard, self.members) for shard in range(self.shards)}
        if self.kind is Kind.SHARDED:
            committees[BEACON_SHARD] = _name_members(BEACON_SHARD, self.beacon_members)
        return committees


def _name_members(shard: int, size: int) -> tuple[str, ...]:
    return tuple([format_member(shard, index) for index in range(size)])


class Fault(Enum):
    """Everything that strikes hosts and links, weather and liars apart. Of a ``Strike``: who is struck, what
    ``others`` and ``amount`` mean."""

    CRASH = "crash"
    """Killed, unsynced writes torn from the end; restarts when the strike ends."""
    TORN = "torn"
    """Dies ``amount`` steps later somewhere among the effects of a round: before or after the group commit, between
    a store write and a send, between two sends."""
    CRASH_UNSENT = "crash-unsent"
    """Dies right after its next group commit that something waits for: what it voted is durable and never left."""
    SPLIT = "split"
    """Nothing passes between the struck and ``others``; the links seem up."""
    BRIDGE = "bridge"
    """A split in which somebody is named on neither side and hears both."""
    ONE_WAY = "one-way"
    """What the struck send to ``others`` is lost."""
    SEVER = "sever"
    """The links between the struck and ``others`` are down, and both ends know."""
    ISOLATE_LEADER = "isolate-leader"
    """Whoever leads the struck as the strike begins is cut off from all others."""
    ISOLATE_LEADERS = "isolate-leaders"
    """Every ``amount`` ms whoever leads then is cut off, and the one before returns."""
    CLOG = "clog"
    """What the struck send to ``others`` waits and leaves when the strike ends."""
    PAUSE = "pause"
    """Stopped in its place; what arrives waits."""
    SKEW = "skew"
    """The wall clock is ``amount`` ms wrong."""
    SLOW_DISK = "slow-disk"
    """Every sync takes ``amount`` times as long."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault, from ``at_us`` for ``lasts_us`` (or to the end of the safety phase); members by name."""

    at_us: int
    lasts_us: int
    fault: Fault
    struck: tuple[str, ...]
    others: tuple[str, ...] = ()
    amount: int = 0

    def __str__(self) -> str:
        span = f"{self.at_us / US_PER_S:.3f} s + {self.lasts_us / US_PER_S:.3f} s"
        others = f" | {','.join(self.others)}" if self.others else ""
        amount = f" ({self.amount})" if self.amount else ""
        return f"{span}: {self.fault.value} {','.join(self.struck)}{others}{amount}"


class Lie(Enum):
    """How a member lies; ``byzantine`` says what each does. What a role's fields mean to it."""

    EQUIVOCATE = "equivocate"
    """Two honest processes with one key; ``members`` see the second one, everybody else the first."""
    DOUBLE_VOTE = "double-vote"
    """Two honest processes with one key, and everybody hears both."""
    CONTRADICT = "contradict"
    """Signs every ``percent`` of its votes for another digest as well and sends that to ``members``."""
    WITHHOLD = "withhold"
    """Does not send ``percent`` of its frames."""
    SILENT_TO_SOME = "silent-to-some"
    """Votes for everybody but ``members``."""
    DELAY = "delay"
    """Sends ``percent`` of its votes up to ``amount`` ms late."""
    STALE = "stale"
    """Sends, for ``percent`` of its engine's messages, an older one of its own in its place."""
    STALE_VIEW_CHANGE = "stale-view-change"
    """Asks for new views as if it had prepared nothing."""
    INVALID_PAYLOAD = "invalid-payload"
    """Proposes bytes that are no payload, ``percent`` of the times."""
    DOUBLE_ATTEST = "double-attest"
    """Attests another header as well, to ``members``."""
    WRONG_HEADER = "wrong-header"
    """Reports a wrong state root from height ``amount`` on."""


@dataclass(frozen=True, slots=True)
class Role:
    """A member that lies."""

    member: str
    lie: Lie
    members: tuple[str, ...] = ()
    percent: int = 100
    amount: int = 0

    def __str__(self) -> str:
        return f"{self.member} lies: {self.lie.value} {','.join(self.members)} {self.percent} % ({self.amount})"


TWIN_LIES: Final = (Lie.EQUIVOCATE, Lie.DOUBLE_VOTE)
"""Lies of two honest processes."""


class Fate(Enum):
    """What becomes of members outside the core once the faults end."""

    DEAD = "dead"
    PAUSED = "paused"
    CUT = "cut"
    """They run, and hear nobody."""


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do: something every ``gap_us`` on average, at most ``max_transactions`` of it."""

    gap_us: int = 25 * US_PER_MS
    max_transactions: int = 1_000_000


class Expectation(Enum):
    """What an assertion says of a shard."""

    CERTIFIES = "certifies"
    """At ``until_us`` at least ``blocks`` blocks more are certified than at ``from_us``."""
    STANDS = "stands"
    """Nothing new is certified in between."""
    SETTLED = "settled"
    """At ``until_us`` no transfer is without its verdict."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """Of shard ``shard``, between two moments of the safety phase."""

    expectation: Expectation
    shard: int
    from_us: int
    until_us: int
    blocks: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. The safety phase lasts ``safety_us``; then everything heals but the ``outside``, at most f members
    of each committee (liars counted), who meet ``fate``; without ``has_liveness`` the run ends there."""

    seed: int
    shape: Shape
    safety_us: int
    weather: Weather = CALM
    load: Load = Load()
    strikes: tuple[Strike, ...] = ()
    roles: tuple[Role, ...] = ()
    outside: tuple[str, ...] = ()
    fate: Fate = Fate.DEAD
    has_liveness: bool = True
    has_real_signatures: bool = False
    assertions: tuple[Assertion, ...] = ()

    def check(self) -> None:
        """Raise ``LocalError`` where this is no run: unknown members, two roles of one member, absurd sizes."""
        shape = self.shape
        if not 1 <= shape.members <= MAX_MEMBERS or not 1 <= shape.beacon_members <= MAX_MEMBERS:
            raise LocalError(f"a committee has 1 to {MAX_MEMBERS} members")
        if not 1 <= shape.shards <= MAX_SHARDS or (shape.kind is not Kind.SHARDED and shape.shards != 1):
            raise LocalError(f"a sharded network has 1 to {MAX_SHARDS} shards, everything else one")
        if not 0 < self.safety_us <= MAX_PHASE_US or self.load.gap_us < 1:
            raise LocalError("times are positive, and a run is no longer than an hour")
        if len(self.strikes) > MAX_STRIKES:
            raise LocalError(f"{len(self.strikes)} faults where {MAX_STRIKES} are allowed")
        known = {name for names in shape.list_members().values() for name in names}
        for name in self._list_named():
            if name.removesuffix("'") not in known:
                raise LocalError(f"this network has no member {name!r}")
        liars = [role.member for role in self.roles]
        if len(set(liars)) != len(liars):
            raise LocalError("a member has one way to lie")
        if any(item.shard not in shape.list_members() for item in self.assertions):
            raise LocalError("an assertion is about a shard that this network lacks")

    def _list_named(self) -> list[str]:
        named = [name for strike in self.strikes for name in (*strike.struck, *strike.others)]
        named += [name for role in self.roles for name in (role.member, *role.members)]
        return [*named, *self.outside]

    def describe(self) -> list[str]:
        """Lines for people: the whole schedule."""
        shape, weather = self.shape, self.weather
        beacon = f", beacon of {shape.beacon_members}" if shape.kind is Kind.SHARDED else ""
        lines = [
            f"seed {self.seed}: {shape.kind.value}, {shape.shards} of {shape.members} members{beacon}, "
            f"{shape.engine}; {self.safety_us / US_PER_S:.3f} s, load every {self.load.gap_us / US_PER_MS:g} ms, "
            f"at most {self.load.max_transactions} transactions",
            f"  delay {weather.min_delay_us}–{weather.max_delay_us} µs, loss {weather.loss:g}, doubled "
            f"{weather.duplication:g}, reordered {weather.reordering:g}, spikes {weather.spikes:g}",
        ]
        lines += [f"  {role}" for role in self.roles]
        lines += [f"  {strike}" for strike in self.strikes]
        if not self.has_liveness:
            return [*lines, "  no liveness phase"]
        outside = f"but {','.join(self.outside)} ({self.fate.value})" if self.outside else "all"
        return [*lines, f"  then all heal {outside}" if self.outside else "  then all heal"]
