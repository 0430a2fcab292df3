"""The listening side: a socket of our own, admission to the handshake, one task for each connection.

However many connections come and go, it keeps accepting: what is bounded is how many are in a handshake at
once (``admission``), and each of those ends within the handshake timeout, as a link or closed and counted.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from node.admission import HandshakeSlot, HandshakeSlots
from node.link_handshake import Greeting, LinkHandshake, RefusedError
from node.transport_channel import RawChannel
from node.transport_config import TransportConfig
from primitives.errors import LocalError

LISTEN_BACKLOG = 256
ACCEPT_PAUSE_S = 0.1
"""How long to wait when the process has no file descriptor left: connections end in the meantime."""


async def listen(config: TransportConfig) -> trio.socket.SocketType:
    """A listening socket. Raises ``LocalError`` if the address is bad or taken."""
    place = f"{config.listen_host} port {config.listen_port}"
    try:
        version = ipaddress.ip_address(config.listen_host).version
    except ValueError:
        raise LocalError(f"cannot listen on {place}: the host must be an IP address") from None
    listener = trio.socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind((config.listen_host, config.listen_port))
        listener.listen(LISTEN_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise LocalError(f"cannot listen for peers on {place}: {_explain(error)}") from None
    return listener


def _explain(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "the port is in use, perhaps by another node; choose another or 0"
    return str(error)


class LinkListener:
    """Answers whoever connects; ``run_link`` serves what becomes a link, ``refused`` counts what does not,
    ``is_known`` says whether some member is thought to be at an IP address."""

    def __init__(
        self,
        config: TransportConfig,
        handshake: LinkHandshake,
        run_link: Callable[[Greeting], Awaitable[None]],
        refused: Counter[str],
        is_known: Callable[[str], bool],
        clock: Callable[[], int],
    ) -> None:
        self._config = config
        self._handshake = handshake
        self._run_link = run_link
        self._refused = refused
        self._is_known = is_known
        self._clock = clock
        self.accepted = 0
        self.slots = HandshakeSlots(
            total=config.handshakes,
            per_address=config.handshakes_per_address,
            per_loopback_address=config.handshakes_per_loopback_address,
        )

    async def accept_forever(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Take connections from ``listener`` until cancelled; their tasks live in ``nursery``."""
        while True:
            try:
                sock, address = await listener.accept()
            except OSError as error:
                # Aborted before we came to it, or no descriptors left: neither may end the listener.
                self._refused[f"accept_{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            self.accepted += 1
            raw = RawChannel(sock)
            scope = trio.CancelScope()
            slot = self._describe(raw, address[0], scope)
            if self.slots.enter(slot):
                nursery.start_soon(self._serve, raw, slot, scope)
            else:
                self._refused["too_many_handshakes"] += 1
                raw.abort()

    def _describe(self, raw: RawChannel, address: str, scope: trio.CancelScope) -> HandshakeSlot:
        return HandshakeSlot(
            address=address,
            is_known=self._is_known(address),
            started_ms=self._clock(),
            is_silent=partial(_is_silent, raw),
            evict=scope.cancel,
        )

    async def _serve(self, raw: RawChannel, slot: HandshakeSlot, scope: trio.CancelScope) -> None:
        timeout_s = self._config.handshake_timeout_ms / 1000
        try:
            with scope, trio.move_on_after(timeout_s) as deadline:
                greeting = await self._handshake.answer(raw)
            self.slots.leave(slot)
            if scope.cancelled_caught or deadline.cancelled_caught:
                self._refused["handshake_timeout" if deadline.cancelled_caught else "evicted"] += 1
                return
            await self._run_link(greeting)
        except RefusedError as error:
            self._refused[str(error)] += 1
        finally:
            self.slots.leave(slot)
            raw.abort()


def _is_silent(raw: RawChannel) -> bool:
    return raw.bytes_in == 0
