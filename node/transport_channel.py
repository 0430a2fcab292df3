"""A socket secured by libp2p's Noise: handshake, then bytes in and bytes out.

This is where py-libp2p meets a hostile network, so what it leaves open is closed here. Its upgrader offers
``/noise`` only, so that nobody is let in in plain text. Read against version 0.8.1:

- ``read_exactly`` gives up after 100 short reads, so a message that arrives in drops would end a good
  connection; and multistream believes any length prefix and asks the socket for that many bytes. The raw
  connection below therefore answers each read with exactly the bytes asked for, out of its own buffer.
- A Noise message may carry an RSA identity of 60 kB, whose signature takes seconds to check. An Ed25519
  handshake needs some 230 bytes from the other side; ``HANDSHAKE_BYTES`` allows about twice that.
- ``write`` of more than 64 kB awaits the socket between encrypted pieces. The raw connection collects what is
  written, and ``send`` passes it on in one go.
- A handshake fails with exceptions of a dozen unrelated types (``InvalidTag``, ``UnicodeDecodeError``,
  protobuf's); at this one boundary they are all the peer's fault.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from typing import Final

import trio
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

HANDSHAKE_BYTES: Final = 512
RECEIVE_BYTES: Final = 256 * 1024
"""One read takes four full Noise messages where the kernel has them, and so wakes the loop once for them."""
SEND_BYTES: Final = 256 * 1024
"""How much is encrypted (a quarter of a millisecond) before the socket is given it."""
UNSENT_BYTES: Final = 128 * 1024
"""How much the kernel takes ahead of the network; it would hoard megabytes of stale votes otherwise."""
USER_TIMEOUT_MS: Final = 10_000
"""Backstop in the kernel (Linux) for data that nobody acknowledges."""

_LINGER_NONE: Final = struct.pack("ii", 1, 0)

# libp2p logs each failed handshake as an error; here they are counted, and a port scan must not fill a disk.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


class ChannelClosedError(Exception):
    """The connection is over; the text is a reason to count."""


class HandshakeError(Exception):
    """The other side did not complete the handshake; the text is a reason to count."""


class RawChannel(IRawConnection):
    """A TCP socket as libp2p wants to see it. ``bytes_in`` counts what arrived."""

    is_initiator = False

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._arrived = bytearray()
        self._to_send: list[bytes] = []
        self._handshake_budget: int | None = HANDSHAKE_BYTES
        self.bytes_in = 0
        self.bytes_out = 0
        self.writes = 0
        _tune(sock)

    def end_handshake(self) -> None:
        """From here on any amount may be read."""
        self._handshake_budget = None

    async def read(self, n: int | None = None) -> bytes:
        """Exactly ``n`` bytes. Raises ``ConnectionClosedError`` if the stream ends before."""
        assert n is not None, "Noise and multistream read exact numbers of bytes"
        arrived = self._arrived
        if self._handshake_budget is not None:
            if n > self._handshake_budget:
                raise ConnectionClosedError("handshake too long")
            self._handshake_budget -= n
        while len(arrived) < n:
            await self._receive()
        data = bytes(memoryview(arrived)[:n])
        del arrived[:n]
        return data

    async def _receive(self) -> None:
        limit = RECEIVE_BYTES if self._handshake_budget is None else HANDSHAKE_BYTES
        chunk = await self._socket.recv(limit)
        if not chunk:
            raise ConnectionClosedError("closed by peer")
        self.bytes_in += len(chunk)
        self._arrived += chunk

    async def write(self, data: bytes) -> None:
        """Send in the handshake; collect for ``flush`` afterwards."""
        self._to_send.append(data)
        if self._handshake_budget is not None:
            await self.flush()

    async def flush(self) -> None:
        """Pass what was written to the kernel. ``bytes_out`` moves with every part that it takes."""
        data = memoryview(b"".join(self._to_send))
        self._to_send.clear()
        while data:
            sent = await self._socket.send(data)
            self.writes += 1
            self.bytes_out += sent
            data = data[sent:]

    def abort(self) -> None:
        """Close hard: nothing queued in the kernel outlives this, and tasks waiting on the socket wake."""
        if self._socket.fileno() != -1:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self._socket.close()

    async def close(self) -> None:
        self.abort()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


class SecureChannel:
    """An authenticated connection. One task may receive while another sends; none may do either twice."""

    __slots__ = ("_session", "peer_id", "raw")

    def __init__(self, raw: RawChannel, session: ISecureConn) -> None:
        self.raw = raw
        self._session = session
        self.peer_id: bytes = session.get_remote_peer().to_bytes()

    async def receive(self) -> bytes:
        """The next bytes, at least one. Raises ``ChannelClosedError``, also where authentication fails."""
        try:
            data: bytes = await self._session.read()
        except ConnectionClosedError:
            raise ChannelClosedError("closed_by_peer") from None
        except (OSError, IOException, trio.ClosedResourceError):
            raise ChannelClosedError("connection_lost") from None
        except Exception as error:  # The cipher's verdict on bytes that were tampered with.
            raise ChannelClosedError(f"bad_ciphertext_{type(error).__name__}") from None
        return data

    async def send(self, data: bytes) -> None:
        """Encrypt and write all of ``data``. Raises ``ChannelClosedError``.

        Cancelling this loses the connection's synchronisation: only the task that owns the connection may
        call it, and it closes the connection when it is cancelled.
        """
        try:
            for start in range(0, len(data), SEND_BYTES):
                await self._session.write(data[start : start + SEND_BYTES])
                await self.raw.flush()
        except (OSError, IOException, trio.ClosedResourceError):
            raise ChannelClosedError("connection_lost") from None

    def abort(self) -> None:
        """Close at once."""
        self.raw.abort()


class Securer:
    """Makes secure channels with one libp2p identity."""

    __slots__ = ("_upgrader",)

    def __init__(self, key_pair: KeyPair) -> None:
        noise_key = create_new_key_pair().private_key
        noise = Transport(libp2p_keypair=key_pair, noise_privkey=noise_key)
        self._upgrader = TransportUpgrader({PROTOCOL_ID: noise}, {})

    async def accept(self, raw: RawChannel) -> SecureChannel:
        """Answer the handshake of whoever connected. Raises ``HandshakeError``."""
        try:
            session = await self._upgrader.upgrade_security(raw, False)
        except Exception as error:  # See the module's docstring.
            raise HandshakeError(f"handshake_{_root_name(error)}") from None
        raw.end_handshake()
        return SecureChannel(raw, session)

    async def dial(self, raw: RawChannel, peer_id: bytes) -> SecureChannel:
        """Start the handshake with ``peer_id``. Raises ``HandshakeError``, also if somebody else answers."""
        raw.is_initiator = True
        try:
            session = await self._upgrader.upgrade_security(raw, True, ID(peer_id))
        except Exception as error:  # See the module's docstring.
            raise HandshakeError(f"handshake_{_root_name(error)}") from None
        raw.end_handshake()
        return SecureChannel(raw, session)


def _root_name(error: BaseException) -> str:
    """The type that a chain of exceptions began with; libp2p wraps what happened two or three times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def _tune(sock: trio.socket.SocketType) -> None:
    """Votes must not wait for Nagle, and what cannot be sent yet waits in our queue, where it can be dropped.

    A socket that its peer has already reset may refuse options; the first read will say so.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
