"""A socket secured by libp2p's Noise: handshake, then bytes in and bytes out.

This is where py-libp2p meets a hostile network, so what it leaves open is closed here. Its upgrader offers
``/noise`` only, so that nobody is let in in plain text. Read against version 0.8.1:

- ``read_exactly`` gives up after 100 short reads, so a message that arrives in drops would end a good
  connection; and multistream believes any length prefix and asks the socket for that many bytes. The raw
  connection below therefore answers each read with exactly the bytes asked for, out of its own buffer.
- A Noise message may carry an RSA identity of 60 kB, whose signature takes seconds to check. An Ed25519
  handshake needs some 230 bytes from the other side; ``HANDSHAKE_BYTES`` allows about twice that.
- A handshake fails with exceptions of a dozen unrelated types (``InvalidTag``, ``UnicodeDecodeError``,
  protobuf's); at this one boundary they are all the peer's fault.
- ``read`` and ``write`` of the secured session go through ten coroutines for each Noise message, and a long
  ``write`` awaits between encrypted pieces. Once the handshake is done, only the session's ``encrypt`` and
  ``decrypt`` are used, which are plain functions, and Noise's framing is done here: everything that arrived
  is opened at once, everything that leaves is sealed at once.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from typing import Final

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from libp2p.security.secure_session import SecureSession
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

HANDSHAKE_BYTES: Final = 512
MIN_RECEIVE_BYTES: Final = 64 * 1024
MAX_RECEIVE_BYTES: Final = 256 * 1024
"""One read takes four full Noise messages where the kernel has them, and so wakes the loop once for them."""
MAX_MESSAGES: Final = MAX_RECEIVE_BYTES
"""More messages than can have arrived at once: a message has at least its length."""
SEND_BYTES: Final = 256 * 1024
"""How much is encrypted (a quarter of a millisecond) before the socket is given it."""
UNSENT_BYTES: Final = 128 * 1024
"""How much the kernel takes ahead of the network; it would hoard megabytes of stale votes otherwise."""
USER_TIMEOUT_MS: Final = 10_000
"""Backstop in the kernel (Linux) for data that nobody acknowledges."""

_LENGTH_BYTES: Final = 2
_LINGER_NONE: Final = struct.pack("ii", 1, 0)

# libp2p logs each failed handshake as an error; here they are counted, and a port scan must not fill a disk.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


class ChannelClosedError(Exception):
    """The connection is over; the text is a reason to count."""


class HandshakeError(Exception):
    """The other side did not complete the handshake; the text is a reason to count."""


class RawChannel(IRawConnection):
    """A TCP socket as libp2p wants to see it in a handshake, and as ``SecureChannel`` uses it afterwards.

    ``bytes_in`` and ``bytes_out`` count what passed, ``writes`` how often the kernel was called to send.
    """

    is_initiator = False

    def __init__(self, sock: trio.socket.SocketType) -> None:
        # trio's own sockets schedule once more for each call; readiness is awaited below where it matters.
        self._socket = socket.socket(fileno=sock.detach())
        self._socket.setblocking(False)
        self._is_closed = False
        self._handshake_budget = HANDSHAKE_BYTES
        self.arrived = bytearray()
        self.bytes_in = 0
        self.bytes_out = 0
        self.writes = 0
        _tune(self._socket)

    async def read(self, n: int | None = None) -> bytes:
        """For the handshake: exactly ``n`` bytes. Raises ``ConnectionClosedError`` if there will not be any."""
        assert n is not None, "Noise and multistream read exact numbers of bytes"
        if n > self._handshake_budget:
            raise ConnectionClosedError("the handshake is too long")
        self._handshake_budget -= n
        while len(self.arrived) < n:
            self.arrived += await self.receive_some(HANDSHAKE_BYTES)
        data = bytes(self.arrived[:n])
        del self.arrived[:n]
        return data

    async def write(self, data: bytes) -> None:
        """For the handshake: send everything."""
        await self.send_all(data)

    async def receive_some(self, limit: int) -> bytes:
        """At least one byte and at most ``limit``. Always a checkpoint. Raises ``ConnectionClosedError``."""
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._socket.fileno())
            try:
                chunk = self._socket.recv(limit)
            except (BlockingIOError, InterruptedError):
                continue
            if not chunk:
                raise ConnectionClosedError("closed by peer")
            self.bytes_in += len(chunk)
            return chunk

    async def send_all(self, data: bytes) -> None:
        """Pass ``data`` to the kernel; no checkpoint where it has room. ``bytes_out`` moves as it takes it."""
        rest = memoryview(data)
        while rest:
            self._check_open()
            try:
                sent = self._socket.send(rest)
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_writable(self._socket.fileno())
                continue
            self.writes += 1
            self.bytes_out += sent
            rest = rest[sent:]

    def abort(self) -> None:
        """Close hard: nothing queued in the kernel outlives this, and tasks waiting on the socket wake."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        trio.lowlevel.notify_closing(self._socket.fileno())
        self._socket.close()

    async def close(self) -> None:
        self.abort()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError


class SecureChannel:
    """An authenticated connection. One task may receive while another sends; none may do either twice."""

    __slots__ = ("_cipher", "_receive_bytes", "_sealed", "peer_id", "raw")

    def __init__(self, raw: RawChannel, session: SecureSession) -> None:
        self.raw = raw
        self.peer_id: bytes = session.get_remote_peer().to_bytes()
        self._cipher = session.conn
        self._sealed = raw.arrived
        self._receive_bytes = MIN_RECEIVE_BYTES

    async def receive_message(self) -> bytes:
        """The content of the next Noise message alone. Raises ``ChannelClosedError``."""
        while not self._has_message():
            self._sealed += await self._receive()
        return self._open(1)

    async def receive(self) -> bytes:
        """The content of everything that has arrived, at least one Noise message. Raises
        ``ChannelClosedError``, also where the cipher finds that bytes were changed."""
        while not self._has_message():
            self._sealed += await self._receive()
        return self._open(MAX_MESSAGES)

    async def send(self, data: bytes) -> None:
        """Encrypt and write all of ``data``. Raises ``ChannelClosedError``.

        Cancelling this loses the connection's synchronisation: only the task that owns the connection may
        call it, and it closes the connection when it is cancelled.
        """
        try:
            for start in range(0, len(data), SEND_BYTES):
                await self.raw.send_all(self._seal(data[start : start + SEND_BYTES]))
                if start:
                    await trio.lowlevel.checkpoint()
        except (OSError, trio.ClosedResourceError):
            raise ChannelClosedError("connection_lost") from None

    def abort(self) -> None:
        """Close at once."""
        self.raw.abort()

    async def _receive(self) -> bytes:
        try:
            chunk = await self.raw.receive_some(self._receive_bytes)
        except ConnectionClosedError:
            raise ChannelClosedError("closed_by_peer") from None
        except (OSError, trio.ClosedResourceError):
            raise ChannelClosedError("connection_lost") from None
        # A stream that fills the buffer gets a larger one; lone votes do not pay for allocating it.
        full = len(chunk) == self._receive_bytes
        self._receive_bytes = MAX_RECEIVE_BYTES if full else MIN_RECEIVE_BYTES
        return chunk

    def _has_message(self) -> bool:
        sealed = self._sealed
        return len(sealed) >= _LENGTH_BYTES and len(sealed) - _LENGTH_BYTES >= (sealed[0] << 8 | sealed[1])

    def _open(self, limit: int) -> bytes:
        """Decrypt up to ``limit`` complete messages and take them out of the buffer."""
        sealed = bytes(self._sealed)
        parts: list[bytes] = []
        offset, size = 0, len(sealed)
        while size - offset >= _LENGTH_BYTES and len(parts) < limit:
            end = offset + _LENGTH_BYTES + (sealed[offset] << 8 | sealed[offset + 1])
            if end > size:
                break
            try:
                content = self._cipher.decrypt(sealed[offset + _LENGTH_BYTES : end])
            except Exception:  # The cipher's verdict on bytes that were changed, of several types.
                raise ChannelClosedError("bad_ciphertext") from None
            if not content:
                # Nobody honest sends one, and a flood of them would cost us time and its sender no frames.
                raise ChannelClosedError("empty_message")
            parts.append(content)
            offset = end
        del self._sealed[:offset]
        return b"".join(parts)

    def _seal(self, data: bytes) -> bytes:
        """``data`` as Noise messages, each within the largest that Noise allows."""
        parts: list[bytes] = []
        for start in range(0, len(data), MAX_PLAINTEXT_LENGTH):
            message = self._cipher.encrypt(data[start : start + MAX_PLAINTEXT_LENGTH])
            parts.append(len(message).to_bytes(_LENGTH_BYTES, "big"))
            parts.append(message)
        return b"".join(parts)


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
        assert isinstance(session, SecureSession), "what Noise makes of a connection"
        return SecureChannel(raw, session)

    async def dial(self, raw: RawChannel, peer_id: bytes) -> SecureChannel:
        """Start the handshake with ``peer_id``. Raises ``HandshakeError``, also if somebody else answers."""
        raw.is_initiator = True
        try:
            session = await self._upgrader.upgrade_security(raw, True, ID(peer_id))
        except Exception as error:  # See the module's docstring.
            raise HandshakeError(f"handshake_{_root_name(error)}") from None
        assert isinstance(session, SecureSession), "what Noise makes of a connection"
        return SecureChannel(raw, session)


def _root_name(error: BaseException) -> str:
    """The type that a chain of exceptions began with; libp2p wraps what happened two or three times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def _tune(sock: socket.socket) -> None:
    """Votes must not wait for Nagle, and what cannot be sent yet waits in our queue, where it can be dropped.

    A socket that its peer has already reset may refuse options; the first read will say so.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
