"""Partitions of a running network: what is wanted, what each member must do for it, and telling them.

    s0v0,s0v1|s0v2,s0v3     nothing passes between the groups (two or more), in either direction
    s0v0>all                one way: nothing that s0v0 sends arrives at the others; they still reach it
    A|B ; C>D               several cuts at once

Groups: ``all``, ``shard0``, ``beacon``, or members. A member in the first group of ``>`` is left out of the
second, so ``s0v0>all`` does what it says. Members that are not named keep all their links, so leaving one out of
both halves makes a bridge.

Desired state is one file, ``faults.json``; a partition replaces the one before it. Each member is given its own
rules (cuts act at the sender) with a lease that it times itself, so a network heals when its controller dies. A
member that starts or resumes later is given what is left of the lease. What does not live here: what a rule does
to a frame (``node.link_faults``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from node.clock import wall_ms
from node.documents import describe_unknown
from primitives.errors import LocalError
from primitives.identifiers import format_committee
from testnet.control_client import request_control
from testnet.directory import MemberEntry, Network, NetworkDirectory, append_json_line, read_json, write_json
from testnet.processes import find_process

DEFAULT_LEASE_S: Final = 60
MAX_LEASE_S: Final = 86_400
ALL: Final = "all"
RULE_NAME: Final = "partition"
_MEMBER_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Partition:
    """``cuts`` maps a member to those whom nothing that it sends may reach; all by name, sorted."""

    spec: str
    cuts: Mapping[str, tuple[str, ...]]
    lease_s: int
    until_ms: int

    def is_over(self, now_ms: int) -> bool:
        """Whether the lease has run out, by the wall clock."""
        return now_ms >= self.until_ms


# --- names and specifications ------------------------------------------------------------------------------


def expand_members(names: Iterable[str], network: Network) -> tuple[MemberEntry, ...]:
    """The members that names and groups mean, in the network's order, each once; raises ``LocalError``."""
    groups: dict[str, tuple[MemberEntry, ...]] = {member.name: (member,) for member in network.members}
    groups |= {format_committee(shard): network.members_of(shard) for shard in network.committees}
    groups[ALL] = network.members
    chosen: set[str] = set()
    for name in names:
        if name not in groups:
            raise LocalError(describe_unknown("member or group", name, groups))
        chosen |= {member.name for member in groups[name]}
    return tuple(member for member in network.members if member.name in chosen)


def parse_partition(spec: str, network: Network, lease_s: int = DEFAULT_LEASE_S) -> Partition:
    """What ``spec`` cuts, from now on; raises ``LocalError`` that says what is wrong with it."""
    if not 1 <= lease_s <= MAX_LEASE_S:
        raise LocalError(f"--lease: must lie between 1 and {MAX_LEASE_S} seconds, not {lease_s}")
    cuts: dict[str, set[str]] = {}
    for part in spec.split(";"):
        for source, destination in _parse_cut(part.strip(), network):
            cuts.setdefault(source, set()).add(destination)
    return Partition(
        spec=spec,
        cuts={member: tuple(sorted(cuts[member])) for member in sorted(cuts)},
        lease_s=lease_s,
        until_ms=wall_ms() + lease_s * 1_000,
    )


def _parse_cut(part: str, network: Network) -> list[tuple[str, str]]:
    if "|" in part and ">" in part:
        raise LocalError(f"partition {part!r}: use | or > in one cut, and ; between cuts")
    if ">" in part:
        sides = [_parse_group(text, network) for text in part.split(">")]
        if len(sides) != 2:
            raise LocalError(f"partition {part!r}: a one-way cut has one >")
        pairs = [(source, target) for source in sides[0] for target in sides[1] if target not in sides[0]]
        if not pairs:
            raise LocalError(f"partition {part!r}: nobody is left on the right of >")
        return pairs
    groups = [_parse_group(text, network) for text in part.split("|")]
    if len(groups) < 2:
        raise LocalError(f'partition {part!r}: name at least two groups, as in "s0v0,s0v1|s0v2,s0v3"')
    names = [name for group in groups for name in group]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LocalError(f"partition {part!r}: {twice[0]} stands in two groups")
    return [
        (source, destination)
        for group in groups
        for other in groups
        if other is not group
        for source in group
        for destination in other
    ]


def _parse_group(text: str, network: Network) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise LocalError(f"partition: {text.strip()!r} holds an empty name")
    return tuple(member.name for member in expand_members(names, network))


# --- desired state -----------------------------------------------------------------------------------------


def read_partition(directory: NetworkDirectory) -> Partition | None:
    """The partition in force, or ``None``."""
    if not directory.faults_path.exists():
        return None
    table = read_json(directory.faults_path)
    if not table.get("cuts"):
        return None
    partition = Partition(
        spec=table["spec"],
        cuts={member: tuple(targets) for member, targets in table["cuts"].items()},
        lease_s=table["lease_s"],
        until_ms=table["until_ms"],
    )
    return None if partition.is_over(wall_ms()) else partition


def write_partition(directory: NetworkDirectory, partition: Partition | None) -> None:
    """Make this the desired state; ``None``: no faults."""
    if partition is None:
        write_json(directory.faults_path, {"cuts": {}})
        return
    write_json(
        directory.faults_path,
        {
            "spec": partition.spec,
            "cuts": {member: list(targets) for member, targets in partition.cuts.items()},
            "lease_s": partition.lease_s,
            "until_ms": partition.until_ms,
        },
    )


def build_rules(partition: Partition | None, member: MemberEntry, network: Network) -> list[dict[str, Any]]:
    """The rules of one member for its control socket; none where the partition does not concern it."""
    targets = () if partition is None else partition.cuts.get(member.name, ())
    left_ms = 0 if partition is None else partition.until_ms - wall_ms()
    if not targets or left_ms <= 0:
        return []
    places = [network.member(name) for name in targets]
    return [
        {
            "identifier": RULE_NAME,
            "lease_ms": left_ms,
            "destinations": [[place.shard, place.index] for place in places],
            "cut": True,
            "drop_ppm": 0,
            "delay_ms": 0,
            "jitter_ms": 0,
        }
    ]


# --- telling the members -----------------------------------------------------------------------------------


async def impose_partition(network: Network, partition: Partition | None) -> list[str]:
    """Make it the desired state and tell every living member.

    Returns the names of those that did not take it (paused, hanging): they are told when they resume. Dead members
    are told when they start.
    """
    write_partition(network.directory, partition)
    detail = "healed" if partition is None else partition.spec
    concerned = [] if partition is None else sorted({*partition.cuts, *_targets(partition)})
    lease = {} if partition is None else {"lease_s": partition.lease_s}
    record_event(network.directory, "heal" if partition is None else "partition", concerned, detail, **lease)
    living = [member for member in network.members if (process := find_process(member.home)) and not process.paused]
    deaf = await send_faults(network, living, partition)
    paused = [
        member.name for member in network.members if (process := find_process(member.home)) and process.paused
    ]
    return sorted({*deaf, *paused} & set(concerned or network.names))


async def send_faults(network: Network, members: Sequence[MemberEntry], partition: Partition | None) -> list[str]:
    """Give these members the rules that are in force; returns the names of those that did not answer."""
    deaf: list[str] = []

    async def send(member: MemberEntry) -> None:
        body = {"op": "faults", "rules": build_rules(partition, member, network)}
        try:
            await request_control(member.home / "control.sock", body, timeout_s=_MEMBER_TIMEOUT_S)
        except LocalError:
            deaf.append(member.name)

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(send, member)
    return deaf


def record_event(
    directory: NetworkDirectory, kind: str, members: Sequence[str], detail: str = "", **more: int
) -> None:
    """Note for the report what was done to the network, and when."""
    row = {"time_ms": wall_ms(), "kind": kind, "members": list(members), "detail": detail, **more}
    append_json_line(directory.events_path, row)


def _targets(partition: Partition) -> set[str]:
    return {target for targets in partition.cuts.values() for target in targets}
