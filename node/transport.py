"""Authenticated links to other members: who is dialled, who is let in, and how frames leave and arrive.

What lives here: the way of a frame through the fault plane to its queue, the watch over links, and the
gossip of addresses. What does not: how connections come about (``link_listener``, ``link_dialer``,
``link_handshake``), the connection itself (``transport_channel``), the life of a link (``peer_link``), and
what frames mean (the application's, by callback).

Theory of operation.

    LinkListener ──► admission ──► handshake ─┐
                                              ├──► LinkTable ──► PeerLink (reader, writer) ──► on_frame
    LinkDialer ──────────────────► handshake ─┘                     ▲
    send ──► fault plane ──► delay line ──► queue of the link ──────┘

Any member may connect; those in ``dial`` are dialled. Frames that arrive are counted, charged to the peer's
account and handed on at once.

``send`` never waits and never fails: what cannot leave is dropped and counted, and costs nobody but the
peer that could not take it. Everything that talks to the application is a plain call on the loop's thread.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Protocol

import trio

from node.address_book import (
    Address,
    AddressBook,
    AddressRecord,
    decode_records,
    encode_records,
    sign_record,
)
from node.delay_line import DelayLine
from node.framing import FIRST_TRANSPORT_KIND, KIND_ADDRESSES, KIND_PING, MAX_FRAME_BYTES, Lane
from node.hello import PROTOCOL_VERSION, Hello
from node.identity import compute_peer_id, derive_key_pair, is_ip_literal
from node.link_dialer import LinkDialer
from node.link_faults import LinkFaults
from node.link_handshake import Greeting, LinkHandshake
from node.link_listener import LinkListener, listen
from node.link_table import LinkTable, Peer
from node.members import Member
from node.peer_link import PeerLink
from node.rate_limit import TokenBucket
from node.transport_channel import Securer
from node.transport_config import TransportConfig, TransportStatistics
from primitives.errors import LocalError, RemoteError
from primitives.signing import Ed25519, Ed25519Signer

WATCHES_PER_PING = 4
BOOT_BITS = 62

Delayed = tuple[Member, Lane, int, bytes]


class PortListener(Protocol):
    """What ``nursery.start`` passes: told the bound port."""

    def started(self, _port: int, /) -> None: ...


class Transport:
    """The links of one member to the others.

    ``members`` is who may connect (ourselves included or not), ``dial`` which of them to keep links with.
    Callbacks are synchronous: ``on_frame(peer, lane, kind, body)``, which may raise ``RemoteError`` to have
    the frame counted and, where it penalises, the link closed; ``on_connected`` when both lanes of a member
    are up and ``on_disconnected`` when that ends (also between two links that replace each other).
    """

    def __init__(
        self,
        config: TransportConfig,
        seed: bytes,
        members: Sequence[Member],
        dial: Collection[Member],
        *,
        on_frame: Callable[[Member, Lane, int, bytes], None],
        on_connected: Callable[[Member], None],
        on_disconnected: Callable[[Member], None],
        clock: Callable[[], int],
        rng: Random,
        faults: LinkFaults,
    ) -> None:
        if config.advertise_host and not is_ip_literal(config.advertise_host):
            raise LocalError(f"the advertised host {config.advertise_host!r} is not an IP address")
        self._config = config
        self._signer = Ed25519Signer(seed)
        own_key = self._signer.public_key
        others = [member for member in members if member.public_key != own_key]
        self._dial = [member for member in others if member in dial]
        self._on_frame = on_frame
        self._on_connected = on_connected
        self._clock = clock
        self._faults = faults
        self._member = Member(config.shard, config.index, own_key)
        self._book = AddressBook(config.chain, [self._member, *others], Ed25519())
        self._table = LinkTable(
            [self._describe(member) for member in others], self._greet_connected, on_disconnected
        )
        handshake = LinkHandshake(
            Securer(derive_key_pair(seed)),
            {compute_peer_id(member.public_key): member for member in others},
            self._compose_hello(rng),
            lambda member: faults.is_cut_off(clock(), member),
        )
        self._refused: Counter[str] = Counter()
        self._listener = LinkListener(
            config, handshake, self._run_inbound, self._refused, self._book.has_host, clock
        )
        self._dialer = LinkDialer(
            config, handshake, self._book, faults, self._run_outbound, self._refused, clock, rng
        )
        self._delayed: DelayLine[Delayed] = DelayLine()
        self._delayed_sooner = trio.Event()
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self._is_running = False
        self._dropped: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()

    # What the runtime calls.

    async def run(self, *, task_status: PortListener = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and serve until cancelled or ``aclose``; started with the bound port.

        Raises ``LocalError`` if the address cannot be listened on.
        """
        listener = await listen(self._config)
        self._is_running = True
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    port: int = listener.getsockname()[1]
                    self._publish_address(port)
                    nursery.start_soon(self._listener.accept_forever, listener, nursery)
                    nursery.start_soon(self._watch)
                    nursery.start_soon(self._release_delayed)
                    for member in self._dial:
                        for lane in Lane:
                            nursery.start_soon(self._dialer.keep_link, self._table.peers[member], lane)
                    task_status.started(port)
        finally:
            listener.close()
            self._stopped.set()

    async def aclose(self) -> None:
        """Close every link and the listener, and wait until they are closed."""
        self._scope.cancel()
        if self._is_running:
            await self._stopped.wait()

    def send(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        """Send a frame if ``member`` is connected on ``lane``; else, or where there is no room, count its loss.

        Never waits, never raises for anything that a peer did. ``kind`` is below ``FIRST_TRANSPORT_KIND``.
        """
        assert 0 <= kind < FIRST_TRANSPORT_KIND, f"kind {kind} belongs to the transport"
        if member not in self._table.peers:
            self._dropped["not_a_member"] += 1
        elif len(body) >= MAX_FRAME_BYTES[lane]:
            self._dropped["oversize"] += 1
        else:
            self._pass_faults(member, lane, kind, body)

    def set_address(self, member: Member, host: str, port: int) -> None:
        """Where ``member`` listens, as the operator or the supervisor says. Dials there at once if it is new."""
        peer = self._table.peers.get(member)
        if peer is not None and self._book.set_local(member, Address(host, port)):
            self._notify_moved(peer)

    def address_of(self, member: Member) -> str | None:
        """``host:port`` where ``member`` was last known to listen."""
        address = self._book.address_of(member)
        return None if address is None else f"{address.host}:{address.port}"

    def connected(self) -> list[Member]:
        """Members with both lanes up."""
        return self._table.connected()

    def statistics(self) -> TransportStatistics:
        """Counters since start."""
        totals = Counter(self._ended)
        links = self._table.links()
        for link in links:
            totals.update(_count(link))
        return TransportStatistics(
            writes=totals["writes"],
            frames_in=totals["frames_in"],
            frames_out=totals["frames_out"],
            bytes_in=totals["bytes_in"],
            bytes_out=totals["bytes_out"],
            links=len(links),
            handshakes=len(self._listener.slots),
            accepted=self._listener.accepted,
            dropped=dict(self._dropped),
            refused=dict(self._refused),
            closed=dict(self._closed),
            rejected={**self._rejected, "flood": totals["flood_drops"]},
            queued_bytes={f"{link.member.name}/{link.lane.name.lower()}": link.queue.size_bytes for link in links},
        )

    # Outbound frames.

    def _pass_faults(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        if not self._faults.is_active:
            self._enqueue(member, lane, kind, body)
            return
        now_ms = self._clock()
        delays = self._faults.verdict(now_ms, member, lane, kind, len(body))
        if not delays:
            self._dropped["fault"] += 1
        for delay_ms in delays:
            if delay_ms <= 0:
                self._enqueue(member, lane, kind, body)
            else:
                self._delay(now_ms + delay_ms, (member, lane, kind, body))

    def _enqueue(self, member: Member, lane: Lane, kind: int, body: bytes) -> None:
        link = self._table.peers[member].links.get(lane)
        if link is None:
            self._dropped["not_connected"] += 1
            return
        lost = link.enqueue(kind, body)
        if lost:
            self._dropped["queue_full"] += lost

    def _delay(self, due_ms: int, frame: Delayed) -> None:
        soonest_ms = self._delayed.next_due_ms
        if not self._delayed.push(due_ms, frame, len(frame[3])):
            self._dropped["delay_line_full"] += 1
        elif soonest_ms is None or due_ms < soonest_ms:
            self._delayed_sooner.set()

    async def _release_delayed(self) -> None:
        while True:
            self._delayed_sooner = trio.Event()
            for member, lane, kind, body in self._delayed.pop_due(self._clock()):
                self._enqueue(member, lane, kind, body)
            due_ms = self._delayed.next_due_ms
            wait_s = math.inf if due_ms is None else max(0, due_ms - self._clock()) / 1000
            with trio.move_on_after(wait_s):
                await self._delayed_sooner.wait()

    # Inbound frames.

    def _deliver(self, link: PeerLink, kind: int, body: bytes) -> None:
        try:
            if kind < FIRST_TRANSPORT_KIND:
                self._on_frame(link.member, link.lane, kind, body)
            elif kind == KIND_ADDRESSES:
                self._on_addresses(link, body)
            elif kind != KIND_PING:
                raise RemoteError("UNKNOWN_KIND", f"frame of kind {kind}", penalise=True)
        except RemoteError as error:
            reason = error.code.lower()
            self._rejected[reason] += 1
            if error.penalise:
                link.close(reason)

    def _on_addresses(self, link: PeerLink, body: bytes) -> None:
        news: list[AddressRecord] = []
        for record in decode_records(body):
            try:
                is_news = self._book.offer(record, self._clock())
            except RemoteError as error:
                if error.penalise:
                    raise
                self._rejected[error.code.lower()] += 1
                continue
            if is_news:
                news.append(record)
        known = {(record.shard, record.index) for record in news}
        for peer in self._table.peers.values():
            if (peer.member.shard, peer.member.index) in known:
                self._notify_moved(peer)
            if news and peer.member != link.member:
                self._send_addresses(peer.member, news)

    def _send_addresses(self, member: Member, records: list[AddressRecord]) -> None:
        if Lane.BULK in self._table.peers[member].links:
            for body in encode_records(records):
                self._pass_faults(member, Lane.BULK, KIND_ADDRESSES, body)

    def _publish_address(self, port: int) -> None:
        config = self._config
        host = config.advertise_host or config.listen_host
        if config.address_sequence and not ipaddress.ip_address(host).is_unspecified:
            address = Address(host, port)
            record = sign_record(config.chain, self._member, address, config.address_sequence, self._signer)
            self._book.offer(record, self._clock())

    # Links.

    def _describe(self, member: Member) -> Peer:
        now_ms = self._clock()
        limits = self._config.inbound_limits
        buckets = {
            lane: TokenBucket(
                rate_per_s=limits[lane].rate_bytes_per_s, burst=limits[lane].burst_bytes, now_ms=now_ms
            )
            for lane in Lane
        }
        return Peer(member, self._signer.public_key < member.public_key, buckets)

    def _compose_hello(self, rng: Random) -> Hello:
        config = self._config
        return Hello(
            chain=config.chain,
            incarnation=config.incarnation,
            shard=config.shard,
            version=PROTOCOL_VERSION,
            lane=Lane.VOTES,
            role=config.role,
            boot=rng.getrandbits(BOOT_BITS),
        )

    def _greet_connected(self, member: Member) -> None:
        self._send_addresses(member, self._book.records())
        self._on_connected(member)

    @staticmethod
    def _notify_moved(peer: Peer) -> None:
        for lane in Lane:
            peer.notify(lane)

    async def _run_inbound(self, greeting: Greeting) -> None:
        await self._run_link(greeting, dialled=False)

    async def _run_outbound(self, greeting: Greeting) -> None:
        await self._run_link(greeting, dialled=True)

    async def _run_link(self, greeting: Greeting, *, dialled: bool) -> None:
        """Serve an established connection until it ends."""
        link = PeerLink(
            greeting.member,
            greeting.lane,
            greeting.channel,
            self._config,
            dialled=dialled,
            boot=greeting.boot,
            bucket=self._table.peers[greeting.member].buckets[greeting.lane],
            clock=self._clock,
        )
        if not self._table.install(link):
            self._refused["duplicate"] += 1
            greeting.channel.abort()
            return
        try:
            await link.run(self._deliver)
        finally:
            self._closed[link.close_reason] += 1
            self._ended.update(_count(link))
            self._table.remove(link)

    async def _watch(self) -> None:
        """Heartbeats out, verdicts on links. If this task itself was late, silence is nobody's fault."""
        pause_ms = max(1, self._config.ping_interval_ms // WATCHES_PER_PING)
        last_ms = self._clock()
        while True:
            await trio.sleep(pause_ms / 1000)
            now_ms = self._clock()
            overslept = now_ms - last_ms > 2 * pause_ms
            last_ms = now_ms
            for link in self._table.links():
                if overslept:
                    link.forgive(now_ms)
                reason = link.judge(now_ms)
                if reason is not None:
                    link.close(reason)
                elif link.is_idle(now_ms):
                    self._pass_faults(link.member, link.lane, KIND_PING, b"")


def _count(link: PeerLink) -> dict[str, int]:
    raw = link.channel.raw
    return {
        "writes": raw.writes,
        "frames_in": link.frames_in,
        "frames_out": link.frames_out,
        "bytes_in": raw.bytes_in,
        "bytes_out": raw.bytes_out,
        "flood_drops": link.flood_drops,
    }
