"""The dialling side: one task for each member and lane keeps a link up for as long as it is wanted.

Of two members the one with the lower key dials. The other waits ``turn_ms`` for it and then dials as well,
since it may be the only one of the two that knows an address (a newcomer and its seed).

Few handshakes are under way at once: a committee that starts on one machine would otherwise begin hundreds
together, each in time to be overtaken by its own timeout. Members that let the last handshake time out
queue apart, so that those that hang do not delay those that answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import trio

from node.address_book import Address, AddressBook
from node.framing import Lane
from node.link_faults import LinkFaults
from node.link_handshake import Greeting, LinkHandshake, RefusedError
from node.link_table import Peer
from node.transport_channel import RawChannel
from node.transport_config import TransportConfig

HANDSHAKES_AT_ONCE = 4
"""A handshake takes 6 ms of CPU on both sides together; 4 from each of 25 nodes on two cores take 0.3 s."""
SUSPECTS_AT_ONCE = 16
_MAX_DOUBLINGS = 16


class LinkDialer:
    """Dials; ``run_link`` serves what becomes a link, ``refused`` counts what does not (``dial_…``)."""

    def __init__(
        self,
        config: TransportConfig,
        handshake: LinkHandshake,
        book: AddressBook,
        faults: LinkFaults,
        run_link: Callable[[Greeting], Awaitable[None]],
        refused: Counter[str],
        clock: Callable[[], int],
        rng: Random,
    ) -> None:
        self._config = config
        self._handshake = handshake
        self._book = book
        self._faults = faults
        self._run_link = run_link
        self._refused = refused
        self._clock = clock
        self._rng = rng
        self._answering = trio.Semaphore(HANDSHAKES_AT_ONCE)
        self._suspects = trio.Semaphore(SUSPECTS_AT_ONCE)

    async def keep_link(self, peer: Peer, lane: Lane) -> None:
        """Keep ``peer`` dialled on ``lane`` while there is no link; back off while that fails."""
        failures = 0
        queue = self._answering
        while True:
            address = await self._wait_turn(peer, lane)
            greeting = None
            async with queue:
                if lane not in peer.links:
                    greeting, has_hung = await self._dial_once(peer, lane, address)
                    queue = self._suspects if has_hung else self._answering
            linked_ms = self._clock()
            if greeting is not None:
                await self._run_link(greeting)
            lived_ms = self._clock() - linked_ms
            failures = 0 if lived_ms >= self._config.stable_ms else failures + 1
            with trio.move_on_after(self._compute_backoff_ms(failures) / 1000):
                while self._book.address_of(peer.member) == address:
                    await peer.changed[lane].wait()
                failures = 0

    def _compute_backoff_ms(self, failures: int) -> int:
        """Doubles with each failure up to the cap; the upper half of it is random."""
        config = self._config
        ceiling_ms = min(config.redial_cap_ms, config.redial_base_ms << min(failures, _MAX_DOUBLINGS))
        return ceiling_ms // 2 + self._rng.randrange(ceiling_ms // 2 + 1)

    async def _wait_turn(self, peer: Peer, lane: Lane) -> Address:
        """Where to dial ``peer``, once there is no link, an address is known, nothing cuts it off, and the
        side that should dial had its turn."""
        had_turn = peer.is_lower
        while True:
            changed = peer.changed[lane]
            address = self._book.address_of(peer.member)
            if lane in peer.links or address is None:
                await changed.wait()
                had_turn = peer.is_lower
            elif self._faults.is_cut_off(self._clock(), peer.member):
                await trio.sleep(self._config.cut_poll_ms / 1000)
            elif had_turn:
                return address
            else:
                with trio.move_on_after(self._config.turn_ms / 1000):
                    await changed.wait()
                had_turn = True

    async def _dial_once(self, peer: Peer, lane: Lane, address: Address) -> tuple[Greeting | None, bool]:
        """The link that came of it, if any, and whether the other side let us wait for the whole timeout."""
        greeting = None
        with trio.move_on_after(self._config.handshake_timeout_ms / 1000) as scope:
            try:
                stream = await trio.open_tcp_stream(address.host, address.port)
            except OSError:
                self._refused["dial_unreachable"] += 1
                return None, False
            raw = RawChannel(stream.socket)
            try:
                greeting = await self._handshake.start(raw, peer.member, lane)
            except RefusedError as error:
                raw.abort()
                self._refused[f"dial_{error}"] += 1
            except trio.Cancelled:
                raw.abort()
                raise
        if scope.cancelled_caught:
            self._refused["dial_timeout"] += 1
        return greeting, scope.cancelled_caught
