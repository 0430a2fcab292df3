"""The network model: what becomes of a frame between two hosts.

A link joins two hosts that are peers; it is *up* while both processes live and no fault severs it, and both ends
are told when that changes, as the transport tells them. Frames of one lane arrive in order unless the weather
reorders, because a lane is a stream. A frame in flight dies with its link. Faults act on directed pairs:

    cut      frames vanish, the link seems up (a fault plane above the channel, a router that drops)
    severed  the link is down until healed; both ends know
    clogged  frames wait, in order, up to a bound, and leave when the clog ends

What does not live here: which faults come when (``faults``), what a frame means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from node.events import Lane, LinkDown, LinkUp, Outgoing
from node.members import Member
from testnet.simulator.scheduler import US_PER_MS, Chance, Scheduler

BYTES_PER_US: Final = 100
"""Some 800 Mbit/s: a megabyte takes 10 ms."""
RECONNECT_MIN_US: Final = 5 * US_PER_MS
RECONNECT_MAX_US: Final = 300 * US_PER_MS
NOTICE_MAX_US: Final = 20 * US_PER_MS
"""How long an end may take to learn that its link is gone."""
MAX_CLOGGED_BYTES: Final = 8 << 20
"""What a sender's transport keeps for a peer that does not read; more is dropped."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to every frame, faults apart. Chances are per frame."""

    min_delay_us: int = 200
    max_delay_us: int = 1_500
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    spikes: float = 0.0
    spike_us: int = 400 * US_PER_MS


CALM: Final = Weather()


class Endpoint(Protocol):
    """What the network needs of a host."""

    @property
    def name(self) -> str: ...
    @property
    def member(self) -> Member: ...
    @property
    def is_running(self) -> bool: ...

    def post_frame(self, sender: Member, lane: Lane, kind: int, body: bytes) -> None: ...

    def post_link(self, event: LinkUp | LinkDown) -> None: ...


@dataclass(slots=True)
class _Direction:
    """Frames from one host to another."""

    rng: Random
    last_due_us: dict[Lane, int] = field(default_factory=dict)
    is_cut: bool = False
    clogged: list[Outgoing] | None = None
    clogged_bytes: int = 0


@dataclass(slots=True)
class _Link:
    """Both directions. ``epoch`` grows with every loss, so frames and notices of an earlier life are void."""

    is_up: bool = False
    is_severed: bool = False
    epoch: int = 0


class Network:
    """All links of a world."""

    def __init__(self, scheduler: Scheduler, chance: Chance) -> None:
        self._scheduler = scheduler
        self._chance = chance
        self.weather = CALM
        self._endpoints: dict[str, Endpoint] = {}
        self._hosts_of: dict[Member, list[Endpoint]] = {}
        self._neighbours: dict[str, dict[str, None]] = {}
        self._directions: dict[tuple[str, str], _Direction] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._rng = chance.stream("links")
        self.sent = self.delivered = self.lost = 0

    # --- who is there ----------------------------------------------------------------------------------

    def add(self, endpoint: Endpoint) -> None:
        """A host; its links come with ``join``."""
        self._endpoints[endpoint.name] = endpoint
        self._hosts_of.setdefault(endpoint.member, []).append(endpoint)
        self._neighbours[endpoint.name] = {}

    def join(self, one: str, other: str) -> None:
        """These two keep a link."""
        self._neighbours[one][other] = None
        self._neighbours[other][one] = None
        self._links[_pair(one, other)] = _Link()
        for source, target in ((one, other), (other, one)):
            self._directions[source, target] = _Direction(self._chance.stream("link", source, target))

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Who ``name`` has a link with, up or not."""
        return tuple(self._neighbours[name])

    # --- links -----------------------------------------------------------------------------------------

    def on_started(self, name: str) -> None:
        """A process started: its links come up one after the other."""
        for other in self._neighbours[name]:
            self._plan_connect(name, other)

    def on_stopped(self, name: str) -> None:
        """A process died: all its links are gone."""
        for other in self._neighbours[name]:
            self._drop(name, other)

    def sever(self, one: str, other: str) -> None:
        """Take the link down until ``heal``."""
        link = self._links.get(_pair(one, other))
        if link is not None:
            link.is_severed = True
            self._drop(one, other)

    def _drop(self, one: str, other: str) -> None:
        link = self._links[_pair(one, other)]
        if not link.is_up:
            return
        link.is_up = False
        link.epoch += 1
        for source, target in ((one, other), (other, one)):
            direction = self._directions[source, target]
            direction.last_due_us.clear()
            if direction.clogged is not None:
                direction.clogged.clear()
                direction.clogged_bytes = 0
            self._notify(source, LinkDown(self._endpoints[target].member), link.epoch, (one, other))

    def _plan_connect(self, one: str, other: str) -> None:
        delay_us = self._rng.randint(RECONNECT_MIN_US, RECONNECT_MAX_US)
        self._scheduler.after(delay_us, lambda: self._connect(one, other))

    def _connect(self, one: str, other: str) -> None:
        link = self._links[_pair(one, other)]
        ends = self._endpoints[one], self._endpoints[other]
        if link.is_up or link.is_severed or not all(end.is_running for end in ends):
            return
        link.is_up = True
        link.epoch += 1
        for source, target in ((one, other), (other, one)):
            self._notify(source, LinkUp(self._endpoints[target].member), link.epoch, (one, other))

    def _notify(self, name: str, event: LinkUp | LinkDown, epoch: int, pair: tuple[str, str]) -> None:
        """An end learns of it a little later; a newer change makes an older notice of *up* void."""
        endpoint, link = self._endpoints[name], self._links[_pair(*pair)]

        def tell() -> None:
            if endpoint.is_running and (link.epoch == epoch or isinstance(event, LinkDown)):
                endpoint.post_link(event)

        # The transport tells of one link in order: down before the next up.
        self._scheduler.after(self._rng.randint(0, NOTICE_MAX_US) if isinstance(event, LinkUp) else 0, tell)

    # --- frames ----------------------------------------------------------------------------------------

    def transmit(self, sender: Endpoint, outgoing: Outgoing) -> None:
        """A frame leaves ``sender``; it may be lost, late, doubled or out of order."""
        for receiver in self._hosts_of.get(outgoing.member, ()):
            if receiver is not sender and receiver.name in self._neighbours[sender.name]:
                self._transmit_to(sender, receiver, outgoing)

    def _transmit_to(self, sender: Endpoint, receiver: Endpoint, outgoing: Outgoing) -> None:
        self.sent += 1
        link = self._links[_pair(sender.name, receiver.name)]
        direction = self._directions[sender.name, receiver.name]
        weather = self.weather
        if not link.is_up or direction.is_cut or direction.rng.random() < weather.loss:
            self.lost += 1
            return
        if direction.clogged is not None:
            self._clog_frame(direction, outgoing)
            return
        copies = 2 if direction.rng.random() < weather.duplication else 1
        for _ in range(copies):
            self._plan_delivery(sender, receiver, direction, link, outgoing)

    def _clog_frame(self, direction: _Direction, outgoing: Outgoing) -> None:
        assert direction.clogged is not None, "only on a clogged direction"
        if direction.clogged_bytes + len(outgoing.body) > MAX_CLOGGED_BYTES:
            self.lost += 1
            return
        direction.clogged.append(outgoing)
        direction.clogged_bytes += len(outgoing.body)

    def _plan_delivery(
        self, sender: Endpoint, receiver: Endpoint, direction: _Direction, link: _Link, outgoing: Outgoing
    ) -> None:
        rng, weather, lane = direction.rng, self.weather, outgoing.lane
        due_us = self._scheduler.now_us + rng.randint(weather.min_delay_us, weather.max_delay_us)
        due_us += len(outgoing.body) // BYTES_PER_US
        if weather.spikes and rng.random() < weather.spikes:
            due_us += rng.randint(0, weather.spike_us)
        if weather.reordering and rng.random() < weather.reordering:
            due_us += rng.randint(0, 4 * weather.max_delay_us)
        else:
            due_us = direction.last_due_us[lane] = max(due_us, direction.last_due_us.get(lane, 0))
        epoch, member = link.epoch, sender.member

        def deliver() -> None:
            if link.epoch != epoch or not receiver.is_running or direction.is_cut:
                self.lost += 1
                return
            self.delivered += 1
            receiver.post_frame(member, lane, outgoing.kind, outgoing.body)

        self._scheduler.at(due_us, deliver)

    # --- faults ----------------------------------------------------------------------------------------

    def cut(self, source: str, target: str) -> None:
        """Frames from ``source`` to ``target`` vanish until ``heal``."""
        direction = self._directions.get((source, target))
        if direction is not None:
            direction.is_cut = True

    def clog(self, source: str, target: str) -> None:
        """Frames from ``source`` to ``target`` wait until ``heal``."""
        direction = self._directions.get((source, target))
        if direction is not None and direction.clogged is None:
            direction.clogged = []

    def heal(self, names: Iterable[str]) -> None:
        """End cuts, clogs and severed links among these hosts."""
        among = dict.fromkeys(names)
        for (source, target), direction in self._directions.items():
            if source in among and target in among:
                direction.is_cut = False
                self._unclog(source, target, direction)
        for (one, other), link in self._links.items():
            if one in among and other in among and link.is_severed:
                link.is_severed = False
                self._plan_connect(one, other)

    def _unclog(self, source: str, target: str, direction: _Direction) -> None:
        waiting, direction.clogged = direction.clogged, None
        direction.clogged_bytes = 0
        link = self._links[_pair(source, target)]
        for outgoing in waiting or ():
            self._plan_delivery(self._endpoints[source], self._endpoints[target], direction, link, outgoing)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
