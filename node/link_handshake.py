"""From a bare TCP connection to a link with a known member: Noise, registry, hello, in that order.

Nothing that the other side says is decoded before Noise has proved its key and the key was found among the
members. The whole of it stands under one deadline, which the caller sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node.framing import KIND_BYTES, KIND_HELLO, FrameBuffer, Lane, encode_frame
from node.hello import MAX_HELLO_BYTES, Hello, decode_hello, validate_hello
from node.members import Member
from node.transport_channel import ChannelClosedError, HandshakeError, RawChannel, SecureChannel, Securer
from primitives.codec import encode
from primitives.errors import RemoteError


class RefusedError(Exception):
    """No link comes of this connection; the text is a reason to count."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """A connection whose other end is ``member``, in its process ``boot``, for frames of ``lane``."""

    member: Member
    lane: Lane
    boot: int
    channel: SecureChannel


class LinkHandshake:
    """Both roles of the handshake.

    ``members_by_peer_id`` is who may connect; ``is_cut_off`` is the fault plane's refusal; ``ours`` is our
    hello, whose lane is set for each link.
    """

    __slots__ = ("_is_cut_off", "_members_by_peer_id", "_ours", "_peer_ids", "_securer")

    def __init__(
        self,
        securer: Securer,
        members_by_peer_id: Mapping[bytes, Member],
        ours: Hello,
        is_cut_off: Callable[[Member], bool],
    ) -> None:
        self._securer = securer
        self._members_by_peer_id = members_by_peer_id
        self._peer_ids = {member: peer_id for peer_id, member in members_by_peer_id.items()}
        self._ours = ours
        self._is_cut_off = is_cut_off

    async def answer(self, raw: RawChannel) -> Greeting:
        """As the side that was dialled. Raises ``RefusedError``.

        Our hello is sent even where theirs is refused, so that both operators can count the reason.
        """
        try:
            channel = await self._securer.accept(raw)
            member = self._members_by_peer_id.get(channel.peer_id)
            if member is None:
                raise RefusedError("unknown_peer")
            if self._is_cut_off(member):
                raise RefusedError("fault_cut")
            theirs = await self._read_hello(channel)
            await self._send_hello(channel, theirs.lane)
            validate_hello(theirs, member, self._ours)
        except (HandshakeError, ChannelClosedError) as error:
            raise RefusedError(str(error)) from None
        except RemoteError as error:
            raise RefusedError(error.code.lower()) from None
        return Greeting(member, Lane(theirs.lane), theirs.boot, channel)

    async def start(self, raw: RawChannel, member: Member, lane: Lane) -> Greeting:
        """As the side that dials ``member`` for ``lane``. Raises ``RefusedError``."""
        try:
            channel = await self._securer.dial(raw, self._peer_ids[member])
            await self._send_hello(channel, lane)
            theirs = await self._read_hello(channel)
            validate_hello(theirs, member, self._ours)
        except (HandshakeError, ChannelClosedError) as error:
            raise RefusedError(str(error)) from None
        except RemoteError as error:
            raise RefusedError(error.code.lower()) from None
        if theirs.lane != lane:
            raise RefusedError("wrong_lane")
        return Greeting(member, lane, theirs.boot, channel)

    async def _send_hello(self, channel: SecureChannel, lane: int) -> None:
        ours = self._ours
        hello = Hello(ours.chain, ours.incarnation, ours.shard, ours.version, lane, ours.role, ours.boot)
        await channel.send(encode_frame(KIND_HELLO, encode(hello)))

    async def _read_hello(self, channel: SecureChannel) -> Hello:
        """The peer's hello, which is all of the first Noise message, so no frame can hide behind it."""
        frames = FrameBuffer(MAX_HELLO_BYTES + KIND_BYTES)
        completed = frames.feed(await channel.receive_message())
        if len(completed) != 1 or frames.pending_bytes or completed[0][0] != KIND_HELLO:
            raise RemoteError("NO_HELLO", "the first frame is not a hello, or not alone", penalise=True)
        return decode_hello(completed[0][1])
