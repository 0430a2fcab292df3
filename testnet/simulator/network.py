"""The network model: what becomes of a frame between two hosts.

A link joins two hosts that are peers; it is *up* while both processes live and no fault severs it, and both ends
are told when that changes, as the transport tells them. Frames of one lane arrive in order unless the weather
reorders, because a lane is a stream. A frame in flight dies with its link. Faults act on directed pairs, and
several may hold the same pair, each until it is lifted:

    cut      frames vanish, the link seems up (a fault plane above the channel, a router that drops)
    severed  the link is down until mended; both ends know
    clogged  frames wait, in order, up to a bound, and leave when the clog ends

What does not live here: which faults come when (``faults``), what a frame means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
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
class _Link:
    """Both directions. ``epoch`` grows with every loss, so frames and notices of an earlier life are void."""

    is_up: bool = False
    severed: int = 0
    epoch: int = 0


@dataclass(slots=True)
class _Direction:
    """Frames from one host to another."""

    source: Endpoint
    target: Endpoint
    link: _Link
    rng: Random
    last_due_us: dict[Lane, int] = field(default_factory=dict)
    cuts: int = 0
    clogs: int = 0
    clogged: list[Outgoing] = field(default_factory=list)
    clogged_bytes: int = 0


class Network:
    """All links of a world."""

    def __init__(self, scheduler: Scheduler, chance: Chance) -> None:
        self._scheduler = scheduler
        self._chance = chance
        self.weather = CALM
        self._endpoints: dict[str, Endpoint] = {}
        self._neighbours: dict[str, dict[str, None]] = {}
        self._routes: dict[str, dict[tuple[int, int], list[_Direction]]] = {}
        self._directions: dict[tuple[str, str], _Direction] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._rng = chance.stream("links")
        self.sent = self.delivered = self.lost = 0

    # --- who is there ----------------------------------------------------------------------------------

    def add(self, endpoint: Endpoint) -> None:
        """A host; its links come with ``join``."""
        self._endpoints[endpoint.name] = endpoint
        self._neighbours[endpoint.name] = {}
        self._routes[endpoint.name] = {}

    def join(self, one: str, other: str) -> None:
        """These two keep a link."""
        link = self._links[_pair(one, other)] = _Link()
        for source, target in ((one, other), (other, one)):
            self._neighbours[source][target] = None
            rng = self._chance.stream("link", source, target)
            direction = _Direction(self._endpoints[source], self._endpoints[target], link, rng)
            self._directions[source, target] = direction
            member = direction.target.member
            self._routes[source].setdefault((member.shard, member.index), []).append(direction)

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Who ``name`` has a link with, up or not."""
        return tuple(self._neighbours[name])

    # --- links -----------------------------------------------------------------------------------------

    def on_started(self, name: str) -> None:
        """A process started: its links come up one after the other."""
        for other in self._neighbours[name]:
            self._plan_connect(name, other)

    def on_stopped(self, name: str) -> None:
        """A process ended: its links go down."""
        for other in self._neighbours[name]:
            self._drop(name, other)

    def sever(self, one: str, other: str) -> None:
        """Take the link down until it is mended."""
        link = self._links.get(_pair(one, other))
        if link is not None:
            link.severed += 1
            self._drop(one, other)

    def mend(self, one: str, other: str) -> None:
        """Lift one ``sever``."""
        link = self._links.get(_pair(one, other))
        if link is not None and link.severed:
            link.severed -= 1
            if not link.severed:
                self._plan_connect(one, other)

    def _drop(self, one: str, other: str) -> None:
        link = self._links[_pair(one, other)]
        if not link.is_up:
            return
        link.is_up = False
        link.epoch += 1
        for source, target in ((one, other), (other, one)):
            direction = self._directions[source, target]
            direction.last_due_us.clear()
            direction.clogged.clear()
            direction.clogged_bytes = 0
            self._notify(source, LinkDown(self._endpoints[target].member), link.epoch, (one, other))

    def _plan_connect(self, one: str, other: str) -> None:
        delay_us = self._rng.randint(RECONNECT_MIN_US, RECONNECT_MAX_US)
        self._scheduler.after(delay_us, partial(self._connect, one, other))

    def _connect(self, one: str, other: str) -> None:
        link = self._links[_pair(one, other)]
        ends = self._endpoints[one], self._endpoints[other]
        if link.is_up or link.severed or not all(end.is_running for end in ends):
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
        member, weather = outgoing.member, self.weather
        for direction in self._routes[sender.name].get((member.shard, member.index), ()):
            self.sent += 1
            if (
                not direction.link.is_up
                or direction.cuts
                or (weather.loss and direction.rng.random() < weather.loss)
            ):
                self.lost += 1
            elif direction.clogs:
                self._clog_frame(direction, outgoing)
            else:
                self._plan_delivery(direction, outgoing)
                if weather.duplication and direction.rng.random() < weather.duplication:
                    self._plan_delivery(direction, outgoing)

    def _clog_frame(self, direction: _Direction, outgoing: Outgoing) -> None:
        if direction.clogged_bytes + len(outgoing.body) > MAX_CLOGGED_BYTES:
            self.lost += 1
            return
        direction.clogged.append(outgoing)
        direction.clogged_bytes += len(outgoing.body)

    def _plan_delivery(self, direction: _Direction, outgoing: Outgoing) -> None:
        draw, weather, lane = direction.rng.random, self.weather, outgoing.lane
        delay_us = weather.min_delay_us + int(draw() * (weather.max_delay_us - weather.min_delay_us + 1))
        due_us = self._scheduler.now_us + delay_us + len(outgoing.body) // BYTES_PER_US
        if weather.spikes and draw() < weather.spikes:
            due_us += int(draw() * weather.spike_us)
        if weather.reordering and draw() < weather.reordering:
            due_us += int(draw() * 4 * weather.max_delay_us)
        else:
            due_us = direction.last_due_us[lane] = max(due_us, direction.last_due_us.get(lane, 0))
        self._scheduler.at(due_us, partial(self._deliver, direction, direction.link.epoch, outgoing))

    def _deliver(self, direction: _Direction, epoch: int, outgoing: Outgoing) -> None:
        target = direction.target
        if direction.link.epoch != epoch or direction.cuts or not target.is_running:
            self.lost += 1
            return
        self.delivered += 1
        target.post_frame(direction.source.member, outgoing.lane, outgoing.kind, outgoing.body)

    # --- faults ----------------------------------------------------------------------------------------

    def cut(self, source: str, target: str) -> None:
        """Frames from ``source`` to ``target`` vanish until this cut is lifted."""
        direction = self._directions.get((source, target))
        if direction is not None:
            direction.cuts += 1

    def uncut(self, source: str, target: str) -> None:
        """Lift one ``cut``."""
        direction = self._directions.get((source, target))
        if direction is not None and direction.cuts:
            direction.cuts -= 1

    def clog(self, source: str, target: str) -> None:
        """Frames from ``source`` to ``target`` wait until this clog is lifted."""
        direction = self._directions.get((source, target))
        if direction is not None:
            direction.clogs += 1

    def unclog(self, source: str, target: str) -> None:
        """Lift one ``clog``; what waited leaves when it was the last."""
        direction = self._directions.get((source, target))
        if direction is None or not direction.clogs:
            return
        direction.clogs -= 1
        if direction.clogs:
            return
        waiting, direction.clogged = direction.clogged, []
        direction.clogged_bytes = 0
        for outgoing in waiting:
            self._plan_delivery(direction, outgoing)

    def heal(self, names: Iterable[str]) -> None:
        """Lift every cut, clog and sever among these hosts."""
        among = dict.fromkeys(names)
        for (source, target), direction in self._directions.items():
            if source in among and target in among:
                direction.cuts = 0
                direction.clogs = min(direction.clogs, 1)
                self.unclog(source, target)
        for (one, other), link in self._links.items():
            if one in among and other in among and link.severed:
                link.severed = 1
                self.mend(one, other)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
