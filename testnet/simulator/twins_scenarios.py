"""Twins scenarios: who leads each round, and who hears whom in it (Bano et al., "Twins: BFT Systems Made Robust").

Nodes 0 … n − 1 are the members' processes; node n + i is the twin of node i: another honest process with the same
key. A scenario scripts its first rounds, leaders and partitions; a round that it does not mention has the usual
leader and no partition, and a node that a round's sets leave out hears nobody. What lives here: the shape, its file
format, and drawing scenarios by seed. What does not: running them (``twins``).

The file is JSON, read from outside and so checked in every part:

    {"num_of_nodes": 4, "num_of_twins": 1,
     "scenarios": [{"round_leaders": {"1": [0, 4]}, "round_partitions": {"1": [[0, 1, 2], [3, 4]]}}]}

A scenario may have a ``"seed"`` besides: a shrunk one keeps the chances of the run that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from primitives.errors import LocalError
from testnet.simulator.scheduler import Chance

MAX_FILE_BYTES: Final = 256 << 20
MAX_NODES: Final = 32
"""Enough for any attack on four to ten members; a run's messages grow with the square."""
MAX_ROUNDS: Final = 1_000
MAX_SCENARIOS: Final = 1_000_000
MAX_SETS: Final = 3
"""Of a drawn partition: two quorums at most can be told apart, and a rest."""
MAX_ENUMERATED_NODES: Final = 9
"""Nine nodes have 3,281 partitions into at most three sets; more are drawn without listing them."""
QUORUM_SHARES: Final = (40, 100, 100)
"""Percent of a scenario's rounds in which some set holds a quorum. Where nothing can be decided nothing can go
wrong, and most partitions are of that kind, so each scenario draws how many of them it wants."""
PALETTES: Final = (None, None, 0, 2)
"""How many partitions a scenario's rounds share besides the whole committee (``None``: each round has its own). A
member that is cut off twice, with everybody together before or after, is what attacks over several views need."""
_DRAWS_PER_SCENARIO: Final = 16

Partition = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Round:
    """``leader`` is a member (``None``: the usual one); ``sets`` are nodes that hear each other (``None``: all)."""

    leader: int | None = None
    sets: Partition | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """n members, of which the first ``twins`` have a twin."""

    nodes: int
    twins: int

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise LocalError(f"num_of_nodes must lie between 1 and {MAX_NODES}, not {self.nodes}")
        if not 0 <= self.twins <= self.nodes:
            raise LocalError(f"num_of_twins must lie between 0 and num_of_nodes, not {self.twins}")

    @property
    def total(self) -> int:
        """Processes: nodes and twins."""
        return self.nodes + self.twins

    @property
    def quorum(self) -> int:
        """⌊(n + f) / 2⌋ + 1, counted here again because checkers share no code with engines."""
        return (self.nodes + (self.nodes - 1) // 3) // 2 + 1

    def member_of(self, node: int) -> int:
        """Whose key the node has."""
        return node if node < self.nodes else node - self.nodes

    def is_honest(self, node: int) -> bool:
        """A member without a twin."""
        return self.member_of(node) >= self.twins

    def has_quorum(self, sets: Partition) -> bool:
        """Whether some set can decide: it holds q distinct members."""
        return any(len({self.member_of(node) for node in group}) >= self.quorum for group in sets)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Rounds 1 … of a setting, in order. ``seed`` is that of delays, losses and restarts (``None``: drawn from the
    rest)."""

    setting: Setting
    rounds: tuple[Round, ...]
    seed: int | None = None

    def round_at(self, number: int) -> Round:
        """Round ``number`` (from 1); beyond the script there is nothing to obey."""
        return self.rounds[number - 1] if 1 <= number <= len(self.rounds) else Round()

    def describe(self) -> list[str]:
        """A line a round, for people."""
        lines = []
        for number, entry in enumerate(self.rounds, start=1):
            leader = "usual leader" if entry.leader is None else f"leader {entry.leader}"
            lines.append(f"  round {number}: {leader}, {_describe_sets(entry.sets)}")
        return lines


def _describe_sets(sets: Partition | None) -> str:
    if sets is None:
        return "all hear each other"
    return " | ".join("{" + " ".join(str(node) for node in group) + "}" for group in sets) or "nobody hears anybody"


# --- the file ----------------------------------------------------------------------------------------------


class _ScenarioEntry(msgspec.Struct, forbid_unknown_fields=True):
    round_leaders: dict[str, list[int]]
    round_partitions: dict[str, list[list[int]]]
    seed: int | None = None


class _ScenarioFile(msgspec.Struct, forbid_unknown_fields=True):
    num_of_nodes: int
    num_of_twins: int
    scenarios: list[_ScenarioEntry]


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file. Raises ``LocalError`` that names the place where it is wrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise LocalError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_scenarios(data, str(path))


def parse_scenarios(data: bytes, source: str) -> list[Scenario]:
    """``source`` names the data in errors, which are ``LocalError``."""
    try:
        entries = msgspec.json.decode(data, type=_ScenarioFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LocalError(f"{source}: {error}") from error
    try:
        setting = Setting(entries.num_of_nodes, entries.num_of_twins)
    except LocalError as error:
        raise LocalError(f"{source}: {error}") from error
    if not 1 <= len(entries.scenarios) <= MAX_SCENARIOS:
        raise LocalError(f"{source}: {len(entries.scenarios)} scenarios; 1 to {MAX_SCENARIOS} are possible")
    scenarios = []
    for place, entry in enumerate(entries.scenarios):
        try:
            scenarios.append(_read_scenario(setting, entry))
        except LocalError as error:
            raise LocalError(f"{source}: scenario {place}: {error}") from error
    return scenarios


def _read_scenario(setting: Setting, entry: _ScenarioEntry) -> Scenario:
    leaders = {_read_round(key): _read_leader(setting, key, nodes) for key, nodes in entry.round_leaders.items()}
    partitions = {
        _read_round(key): _read_partition(setting, key, sets) for key, sets in entry.round_partitions.items()
    }
    last = max([*leaders, *partitions], default=0)
    if last == 0:
        raise LocalError("it scripts no round")
    return Scenario(
        setting,
        tuple([Round(leaders.get(number), partitions.get(number)) for number in range(1, last + 1)]),
        entry.seed,
    )


def _read_round(key: str) -> int:
    digits = key.isascii() and key.isdigit() and len(key) <= len(str(MAX_ROUNDS)) and key[0] != "0"
    if not digits or int(key) > MAX_ROUNDS:
        raise LocalError(f"{key[:40]!r} is no round; rounds are numbered 1 to {MAX_ROUNDS}")
    return int(key)


def _read_leader(setting: Setting, key: str, nodes: list[int]) -> int:
    """A twin leads whenever its member does, for it cannot know that it is one."""
    _require_nodes(setting, f"round {key}: leader", nodes)
    members = {setting.member_of(node) for node in nodes}
    if len(members) != 1:
        raise LocalError(f"round {key}: {len(members)} members lead; name one, by its node, its twin or both")
    return members.pop()


def _read_partition(setting: Setting, key: str, sets: list[list[int]]) -> Partition:
    nodes = [node for group in sets for node in group]
    _require_nodes(setting, f"round {key}: partition", nodes)
    if len(set(nodes)) != len(nodes):
        twice = next(node for node in nodes if nodes.count(node) > 1)
        raise LocalError(f"round {key}: node {twice} stands in the partition twice")
    return _normalise(sets)


def _require_nodes(setting: Setting, what: str, nodes: list[int]) -> None:
    for node in nodes:
        if not 0 <= node < setting.total:
            raise LocalError(f"{what}: there is no node {node}; they are numbered 0 to {setting.total - 1}")


def _normalise(sets: Sequence[Sequence[int]]) -> Partition:
    return tuple(sorted(tuple(sorted(group)) for group in sets if group))


def write_scenarios(path: Path, scenarios: Sequence[Scenario]) -> None:
    """All of one setting, to read again with ``read_scenarios``."""
    path.write_bytes(format_scenarios(scenarios).replace(b'{"round_leaders"', b'\n{"round_leaders"') + b"\n")


def format_scenarios(scenarios: Sequence[Scenario]) -> bytes:
    """The file's JSON, keys always in the same order."""
    setting = scenarios[0].setting
    assert all(scenario.setting == setting for scenario in scenarios), "a file has one setting"
    document = {
        "num_of_nodes": setting.nodes,
        "num_of_twins": setting.twins,
        "scenarios": [_format_scenario(scenario) for scenario in scenarios],
    }
    return msgspec.json.encode(document)


def _format_scenario(scenario: Scenario) -> Mapping[str, Any]:
    setting, numbered = scenario.setting, list(enumerate(scenario.rounds, start=1))
    leaders = {str(number): entry.leader for number, entry in numbered if entry.leader is not None}
    return {
        "round_leaders": {
            key: [leader, leader + setting.nodes] if leader < setting.twins else [leader]
            for key, leader in leaders.items()
        },
        "round_partitions": {str(number): entry.sets for number, entry in numbered if entry.sets is not None},
        **({} if scenario.seed is None else {"seed": scenario.seed}),
    }


# --- drawing -----------------------------------------------------------------------------------------------


def draw_scenarios(setting: Setting, rounds: int, count: int, seed: int) -> list[Scenario]:
    """``count`` different scenarios, or all there are if these are fewer (up to what chance finds)."""
    if not 1 <= rounds <= MAX_ROUNDS:
        raise LocalError(f"rounds must lie between 1 and {MAX_ROUNDS}, not {rounds}")
    if not 1 <= count <= MAX_SCENARIOS:
        raise LocalError(f"scenarios must lie between 1 and {MAX_SCENARIOS}, not {count}")
    rng = Chance(seed).stream("twins", setting.nodes, setting.twins, rounds)
    drawer = _RoundDrawer(setting, rng)
    rare = Chance(seed).stream("palettes", setting.nodes, setting.twins, rounds)
    drawn: dict[Scenario, None] = {}
    for _ in range(count * _DRAWS_PER_SCENARIO):
        if len(drawn) == count:
            break
        share = rng.choice(QUORUM_SHARES)
        entries = [drawer.draw(share) for _ in range(rounds)]
        size = rare.choice(PALETTES)
        if size is not None:
            palette = [Round(sets=(tuple(range(setting.total)),)), *entries[:size]]
            entries = [replace(entry, sets=rare.choice(palette).sets) for entry in entries]
        drawn[Scenario(setting, tuple(entries))] = None
    return list(drawn)


class _RoundDrawer:
    """Leaders and partitions, each as likely as any other of its kind."""

    def __init__(self, setting: Setting, rng: Random) -> None:
        self._setting = setting
        self._rng = rng
        self._deciding: list[Partition] = []
        self._standing: list[Partition] = []
        if setting.total <= MAX_ENUMERATED_NODES:
            for sets in enumerate_partitions(setting.total, MAX_SETS):
                (self._deciding if setting.has_quorum(sets) else self._standing).append(sets)

    def draw(self, quorum_percent: int) -> Round:
        wants_quorum = self._rng.randrange(100) < quorum_percent
        sets = self._draw_sets(wants_quorum=wants_quorum)
        return Round(self._draw_leader(sets), sets)

    def _draw_leader(self, sets: Partition) -> int:
        """Anybody; or somebody whom the largest set hears; or somebody with a twin, for attacks need a leader who
        is heard, and who knows less than its other self."""
        setting, rng = self._setting, self._rng
        match rng.choice(("anybody", "heard", "twin", "twin")):
            case "heard":
                return setting.member_of(rng.choice(max(sets, key=len)))
            case "twin" if setting.twins:
                return rng.randrange(setting.twins)
            case _:
                return rng.randrange(setting.nodes)

    def _draw_sets(self, *, wants_quorum: bool) -> Partition:
        listed = self._deciding if wants_quorum else self._standing
        if listed:
            return self._rng.choice(listed)
        for _ in range(_DRAWS_PER_SCENARIO):
            sets = self._draw_any()
            if self._setting.has_quorum(sets) == wants_quorum:
                break
        return sets

    def _draw_any(self) -> Partition:
        groups: list[list[int]] = [[] for _ in range(self._rng.randint(1, MAX_SETS))]
        for node in range(self._setting.total):
            self._rng.choice(groups).append(node)
        return _normalise(groups)


def enumerate_partitions(total: int, max_sets: int) -> Iterator[Partition]:
    """Every way to part nodes 0 … total − 1 into one to ``max_sets`` sets (Stirling numbers of the second kind)."""

    def place(node: int, groups: tuple[tuple[int, ...], ...]) -> Iterator[Partition]:
        if node == total:
            yield groups
            return
        for index, group in enumerate(groups):
            yield from place(node + 1, (*groups[:index], (*group, node), *groups[index + 1 :]))
        if len(groups) < max_sets:
            yield from place(node + 1, (*groups, (node,)))

    yield from place(0, ())
