"""The layout of the vote log: what a member must find again after a crash at any instruction.

    i            whose log this is                  h            highest executed height
    e ‖ key      the engine's own records           a ‖ height   the header that we attested
    c ‖ height   a certificate that formed          p ‖ slot ‖ digest   payload bytes pinned for a vote
    b ‖ digest   a body pinned for a vote           s            ``node.standing.Standing``

Everything but ``i``, ``h``, ``s`` and the engine's goes once its height is certified and synced in the chain store.
``Pins`` keeps count of what is pinned. What does not live here: what is done with a recovered log
(``node.recovery``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from consensus.certificate import Certificate
from consensus.engine import Record
from crosslink.header import MAX_HEADER_BYTES, ShardHeader
from node.batches import HeldBatch
from node.standing import STANDING_KEY, Standing, decode_standing
from node.wire import MAX_PROOF_BYTES
from primitives.codec import decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import DIGEST_BYTES

_IDENTITY_KEY: Final = b"i"
_HIGHEST_KEY: Final = b"h"
_ENGINE: Final = b"e"
_ATTESTED: Final = b"a"
_CERTIFIED: Final = b"c"
_PAYLOAD: Final = b"p"
_BODY: Final = b"b"
_HEIGHT_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class PinnedPayload:
    """Payload bytes that were held for a vote in ``slot``."""

    slot: int
    digest: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """A vote log, read and sorted by height."""

    identity: bytes | None
    highest_executed: int
    engine: Mapping[bytes, bytes]
    attested: Mapping[int, ShardHeader]
    certificates: Mapping[int, Certificate]
    payloads: tuple[PinnedPayload, ...]
    bodies: Mapping[bytes, bytes]
    standing: Standing | None = None


def read_vote_log(records: Mapping[bytes, bytes]) -> RecoveredLog:
    """Sort what ``VoteLog.load`` returned; raises ``LocalError`` where it is not what we wrote."""
    engine: dict[bytes, bytes] = {}
    attested: dict[int, ShardHeader] = {}
    certificates: dict[int, Certificate] = {}
    payloads: list[PinnedPayload] = []
    bodies: dict[bytes, bytes] = {}
    standing: Standing | None = None
    try:
        for key in sorted(records):
            value, kind, rest = records[key], key[:1], key[1:]
            if kind == _ENGINE:
                engine[rest] = value
            elif kind == _ATTESTED:
                attested[_read_height(rest)] = decode(ShardHeader, value, max_bytes=MAX_HEADER_BYTES)
            elif kind == _CERTIFIED:
                certificates[_read_height(rest)] = decode(Certificate, value, max_bytes=MAX_PROOF_BYTES)
            elif kind == _PAYLOAD and len(rest) == _HEIGHT_BYTES + DIGEST_BYTES:
                slot = _read_height(rest[:_HEIGHT_BYTES])
                payloads.append(PinnedPayload(slot, rest[_HEIGHT_BYTES:], value))
            elif kind == _BODY:
                bodies[rest] = value
            elif key == STANDING_KEY:
                standing = decode_standing(value)
            elif key not in (_IDENTITY_KEY, _HIGHEST_KEY):
                raise LocalError(f"the vote log holds an unknown record {key[:8].hex()}")
    except RemoteError as error:
        raise LocalError(f"the vote log holds a damaged record: {error}") from None
    highest = records.get(_HIGHEST_KEY)
    return RecoveredLog(
        records.get(_IDENTITY_KEY),
        0 if highest is None else _read_height(highest),
        engine,
        attested,
        certificates,
        tuple(payloads),
        bodies,
        standing,
    )


def _read_height(data: bytes) -> int:
    if len(data) != _HEIGHT_BYTES:
        raise LocalError("the vote log holds a damaged height")
    return int.from_bytes(data, "big")


def build_identity_record(identity: bytes) -> Record:
    """Says whose log this is."""
    return Record(_IDENTITY_KEY, identity)


def build_engine_records(records: Iterable[Record]) -> list[Record]:
    """The engine's records, in a name space of their own."""
    return [Record(_ENGINE + record.key, record.value) for record in records]


def build_executed_records(header: ShardHeader, highest: int, *, attested: bool) -> list[Record]:
    """The height that the chain store may reach from now on, and the header if we are about to attest it.

    ``highest`` is what the log says so far. It is higher where the store lost its end and is filled again: a log
    that forgot how far it went would look older than the votes that others remember of us.
    """
    records = [build_height_record(max(highest, header.height))]
    if attested:
        records.append(build_attested_record(header))
    return records


def build_height_record(height: int) -> Record:
    """The chain store may reach this height from now on, without our having executed what lies below."""
    return Record(_HIGHEST_KEY, height.to_bytes(_HEIGHT_BYTES, "big"))


def build_attested_record(header: ShardHeader) -> Record:
    """The header that we are about to attest."""
    return Record(_ATTESTED + header.height.to_bytes(_HEIGHT_BYTES, "big"), encode(header))


def build_certificate_record(certificate: Certificate) -> Record:
    """Kept here until the chain store is synced: the engine may forget what led to it in the same commit."""
    return Record(_CERTIFIED + certificate.height.to_bytes(_HEIGHT_BYTES, "big"), encode(certificate))


class Pins:
    """What the vote log pins: payloads by slot, bodies by the payloads that name them; and the heights whose
    attested header and certificate it holds."""

    def __init__(self, log: RecoveredLog) -> None:
        self.highest_executed = log.highest_executed
        self._slots: dict[int, dict[bytes, tuple[bytes, ...]]] = {}
        self._uses: dict[bytes, int] = {}
        self._payloads: dict[bytes, bytes] = {}
        self._frames: dict[bytes, bytes] = {}
        self._headers: dict[int, None] = dict.fromkeys(sorted(log.attested))
        self._certificates: dict[int, None] = dict.fromkeys(sorted(log.certificates))

    @property
    def body_count(self) -> int:
        return len(self._uses)

    def find_body(self, digest: bytes) -> bytes | None:
        """A pinned body, to serve it."""
        return self._frames.get(digest)

    def find_payload(self, digest: bytes) -> bytes | None:
        """A pinned payload, to serve it."""
        return self._payloads.get(digest)

    def pin(self, slot: int, digest: bytes, payload: bytes, batches: Iterable[HeldBatch]) -> list[Record]:
        """Pin a payload with its bodies; returns what to log for it, nothing where it is pinned already."""
        pinned = self._slots.setdefault(slot, {})
        if digest in pinned:
            return []
        records = [Record(_PAYLOAD + slot.to_bytes(_HEIGHT_BYTES, "big") + digest, payload)]
        self._payloads[digest] = payload
        names = []
        for batch in batches:
            names.append(batch.digest)
            uses = self._uses.get(batch.digest, 0)
            self._uses[batch.digest] = uses + 1
            if not uses:
                self._frames[batch.digest] = batch.frame
                records.append(Record(_BODY + batch.digest, batch.frame))
        pinned[digest] = tuple(names)
        return records

    def note_attested(self, height: int) -> None:
        self._headers[height] = None

    def note_certificate(self, height: int) -> None:
        self._certificates[height] = None

    def release(self, height: int) -> list[Record]:
        """Everything at or below ``height`` is certified and durable in the chain store: what to delete."""
        records: list[Record] = []
        for slot in [slot for slot in self._slots if slot <= height]:
            for digest, names in self._slots.pop(slot).items():
                records.append(Record(_PAYLOAD + slot.to_bytes(_HEIGHT_BYTES, "big") + digest, None))
                self._payloads.pop(digest, None)
                records.extend(self._release_bodies(names))
        for kind, heights in ((_ATTESTED, self._headers), (_CERTIFIED, self._certificates)):
            for settled in [known for known in heights if known <= height]:
                del heights[settled]
                records.append(Record(kind + settled.to_bytes(_HEIGHT_BYTES, "big"), None))
        return records

    def _release_bodies(self, names: tuple[bytes, ...]) -> list[Record]:
        records = []
        for name in names:
            self._uses[name] -= 1
            if not self._uses[name]:
                del self._uses[name]
                del self._frames[name]
                records.append(Record(_BODY + name, None))
        return records
