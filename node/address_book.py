"""Where members can be reached: signed records that travel, and what the operator says.

Sans-IO. A member signs (host, port, sequence); the highest sequence wins; members pass records on. An
entry from the operator or the supervisor (``set_local``) holds until its member signs something newer
than was known when it was set. Bounded by construction: one entry for each known member, and none for others.

Records name IP addresses, never host names: a name would make every node that hears it ask a name server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.members import Member
from primitives.codec import Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SignatureScheme, Signer

MAX_HOST_BYTES: Final = 45
"""The longest text of an IPv6 address."""
MAX_PORT: Final = 65535
MAX_RECORDS_PER_FRAME: Final = 128
MAX_ADDRESSES_BYTES: Final = 64 * 1024
MIN_CHANGE_INTERVAL_MS: Final = 1000
"""A member that signs a new address more often is not believed until the interval is over: each accepted
record is passed on to everybody, and a flood of them must not be multiplied by the network."""

_PURPOSE: Final = b"rialto/address-record"


class AddressRecord(Wire, frozen=True):
    """What a member signs about itself; ``sequence`` grows (the wall clock at its start will do)."""

    shard: int
    index: int
    host: str
    port: int
    sequence: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial."""

    host: str
    port: int


@dataclass(slots=True)
class _Entry:
    address: Address | None = None
    record: AddressRecord | None = None
    changed_ms: int | None = None


def sign_record(chain: bytes, member: Member, address: Address, sequence: int, signer: Signer) -> AddressRecord:
    """The record by which ``member`` says where it listens."""
    signature = signer.sign(_signed_bytes(chain, member, address.host, address.port, sequence))
    return AddressRecord(member.shard, member.index, address.host, address.port, sequence, signature)


def encode_records(records: Sequence[AddressRecord]) -> list[bytes]:
    """``records`` as frame bodies of at most ``MAX_RECORDS_PER_FRAME`` each."""
    steps = range(0, len(records), MAX_RECORDS_PER_FRAME)
    return [encode(list(records[start : start + MAX_RECORDS_PER_FRAME])) for start in steps]


def decode_records(body: bytes) -> list[AddressRecord]:
    """The records of one frame. Raises ``RemoteError`` for anything else."""
    records: list[AddressRecord] = decode(list[AddressRecord], body, max_bytes=MAX_ADDRESSES_BYTES)
    if len(records) > MAX_RECORDS_PER_FRAME:
        raise RemoteError("TOO_LARGE", f"{len(records)} address records in a frame", penalise=True)
    return records


class AddressBook:
    """The newest known address of each member."""

    __slots__ = ("_chain", "_entries", "_members", "_scheme")

    def __init__(self, chain: bytes, members: Sequence[Member], scheme: SignatureScheme) -> None:
        self._chain = chain
        self._scheme = scheme
        self._members = {(member.shard, member.index): member for member in members}
        self._entries = {key: _Entry() for key in self._members}

    def address_of(self, member: Member) -> Address | None:
        """Where to dial ``member``; None if nobody has said."""
        return self._entries[(member.shard, member.index)].address

    def has_host(self, host: str) -> bool:
        """True if some member is thought to be reachable at ``host``."""
        return any(entry.address is not None and entry.address.host == host for entry in self._entries.values())

    def set_local(self, member: Member, address: Address) -> bool:
        """Believe the operator. True if that changes where ``member`` is dialled."""
        entry = self._entries[(member.shard, member.index)]
        changed = entry.address != address
        entry.address = address
        return changed

    def offer(self, record: AddressRecord, now_ms: int) -> bool:
        """Take a record that arrived. True if it is news, and so worth passing on.

        Raises ``RemoteError``: ``UNKNOWN_MEMBER`` (our registry may be older, so no penalty),
        ``BAD_ADDRESS``, ``BAD_SIGNATURE``. What is old or too soon is not an error.
        """
        entry = self._entries.get((record.shard, record.index))
        if entry is None:
            raise RemoteError("UNKNOWN_MEMBER", f"an address of shard {record.shard} member {record.index}")
        if entry.record is not None and record.sequence <= entry.record.sequence:
            return False
        if entry.changed_ms is not None and now_ms - entry.changed_ms < MIN_CHANGE_INTERVAL_MS:
            return False
        self._verify(record)
        entry.record = record
        entry.address = Address(record.host, record.port)
        entry.changed_ms = now_ms
        return True

    def records(self) -> list[AddressRecord]:
        """Every signed record known, in the order of members as they were given."""
        return [entry.record for entry in self._entries.values() if entry.record is not None]

    def _verify(self, record: AddressRecord) -> None:
        member = self._members[(record.shard, record.index)]
        if not 1 <= record.port <= MAX_PORT or not _is_dialable(record.host):
            raise RemoteError("BAD_ADDRESS", f"{member.name} says {record.host[:60]!r} port {record.port}")
        signed = _signed_bytes(self._chain, member, record.host, record.port, record.sequence)
        if not self._scheme.verify(member.public_key, signed, record.signature):
            raise RemoteError("BAD_SIGNATURE", f"an address record of {member.name}", penalise=True)


def _signed_bytes(chain: bytes, member: Member, host: str, port: int, sequence: int) -> bytes:
    fields = encode([member.shard, member.index, host, port, sequence])
    return hash_tagged(_PURPOSE, chain, member.public_key, fields)


def _is_dialable(host: str) -> bool:
    """True for the text of an IP address that can be somebody else's: not a name, a wildcard or a group."""
    if len(host) > MAX_HOST_BYTES:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast)
