"""Submissions: consecutive headers of one shard with everything that the beacon needs to register them.

What lives here: the wire format, the pure checks (everything that the bytes and the genesis decide), and what
a checked submission says. What does not: the checks against what is registered (``crosslink.registry``).

A submission's identity is the hash over the tip's hash and over headers and bodies, never over certificate
bytes: two submitters with different signer subsets say the same thing. Tags of beacon transactions: 1 headers,
2 fork report, 3 evidence. Retired: none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec

from consensus.certificate import Certificate
from crosslink.header import MAX_HEADER_BYTES, ShardHeader, compute_header_hash
from crosslink.header_rules import validate_header, validate_succession
from crosslink.messages import Message, TransferLock, TransferVerdict, Verdict, decode_message
from crosslink.records import Delivery
from crosslink.summary import ShardSummary, compute_summary_root, validate_summary_order
from primitives.codec import Wire, encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters

MAX_WIRE_HEADERS: Final = 1_024
"""Bounds the decoder whatever the genesis says; ``submission_headers`` is the protocol's own limit."""
_ENVELOPE_BYTES: Final = 16 << 10
"""What a submission holds besides headers, leaves and summary: a certificate of a committee of 100 is 7 KiB."""
_LEAF_OVERHEAD_BYTES: Final = 3


class SubmittedHeader(Wire, frozen=True):
    """A header in full and all its outbox leaves in order."""

    header: ShardHeader
    leaves: tuple[bytes, ...]


class SubmitHeaders(Wire, frozen=True, tag=1):
    """Consecutive headers, the last one's summary and its certificate."""

    headers: Annotated[tuple[SubmittedHeader, ...], msgspec.Meta(min_length=1, max_length=MAX_WIRE_HEADERS)]
    summary: ShardSummary
    certificate: Certificate


@dataclass(slots=True)
class ChannelTally:
    """What a submission says on the channels to and from one other shard; sums by asset.

    ``first_lock`` and ``first_verdict`` mean nothing where the count is 0.
    """

    first_lock: int = 0
    locks: int = 0
    locked: dict[int, int] = field(default_factory=dict)
    first_verdict: int = 0
    verdicts: int = 0
    accepted: dict[int, int] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckedSubmission:
    """A submission that passed every pure check; its certificate's signatures apart.

    ``hashes`` are the headers', ``leaves`` the outbox by destination (ascending) in order, ``tallies`` the same
    messages added up by other shard (ascending).
    """

    id: bytes
    headers: tuple[ShardHeader, ...]
    hashes: tuple[bytes, ...]
    leaves: dict[int, tuple[bytes, ...]]
    tallies: dict[int, ChannelTally]
    message_count: int
    summary: ShardSummary
    certificate: Certificate

    @property
    def shard(self) -> int:
        """The shard whose headers these are."""
        return self.headers[0].shard

    @property
    def tip(self) -> ShardHeader:
        """The last header, the one that the certificate is of."""
        return self.headers[-1]

    @property
    def tip_hash(self) -> bytes:
        """The last header's hash."""
        return self.hashes[-1]

    def list_deliveries(self) -> tuple[Delivery, ...]:
        """The commitments to what goes where."""
        return tuple(
            Delivery(destination, len(leaves), compute_root(leaves)) for destination, leaves in self.leaves.items()
        )


def check_submission(
    message: SubmitHeaders, chain: bytes, shards: Collection[int], parameters: ProtocolParameters
) -> CheckedSubmission:
    """Every check that needs the bytes and the genesis alone; raises ``RemoteError``.

    ``shards`` are the user shards of the genesis.
    """
    if len(message.headers) > parameters.submission_headers:
        raise RemoteError("TOO_LARGE", f"more than {parameters.submission_headers} headers", penalise=True)
    count = sum(len(submitted.leaves) for submitted in message.headers)
    if count > parameters.messages_per_beacon_block:
        limit = parameters.messages_per_beacon_block
        raise RemoteError("TOO_LARGE", f"more than {limit} messages in one submission", penalise=True)
    hashes = _check_chaining(message, chain, shards, parameters)
    _check_certificate_and_summary(message, hashes[-1])
    leaves: dict[int, list[bytes]] = {}
    tallies: dict[int, ChannelTally] = {}
    for submitted in message.headers:
        if compute_root(submitted.leaves) != submitted.header.outbox_root:
            raise RemoteError("BAD_BODY", "the leaves are not those that the header commits to", penalise=True)
        for leaf in submitted.leaves:
            decoded = decode_message(leaf, parameters.message_bytes)
            _check_binding(decoded, submitted.header, shards)
            _tally(decoded, tallies)
            leaves.setdefault(decoded.destination, []).append(leaf)
    headers = tuple(submitted.header for submitted in message.headers)
    return CheckedSubmission(
        id=hash_tagged(b"rialto/submission", hashes[-1], encode(message.headers)),
        headers=headers,
        hashes=hashes,
        leaves={destination: tuple(leaves[destination]) for destination in sorted(leaves)},
        tallies={other: tallies[other] for other in sorted(tallies)},
        message_count=count,
        summary=message.summary,
        certificate=message.certificate,
    )


def _check_chaining(
    message: SubmitHeaders, chain: bytes, shards: Collection[int], parameters: ProtocolParameters
) -> tuple[bytes, ...]:
    hashes: list[bytes] = []
    parent: ShardHeader | None = None
    for submitted in message.headers:
        header = submitted.header
        validate_header(header, chain)
        if header.shard not in shards:
            raise RemoteError("UNKNOWN_SHARD", f"the genesis has no shard {header.shard}", penalise=True)
        if parent is not None:
            validate_succession(parent, hashes[-1], header, parameters.beacon_ref_step_blocks)
        hashes.append(compute_header_hash(header))
        parent = header
    return tuple(hashes)


def _check_certificate_and_summary(message: SubmitHeaders, tip_hash: bytes) -> None:
    tip, certificate = message.headers[-1].header, message.certificate
    if (certificate.incarnation, certificate.epoch) != (tip.incarnation, tip.epoch):
        raise RemoteError("WRONG_EPOCH", "the certificate is of another incarnation or epoch", penalise=True)
    if (certificate.height, certificate.header_hash) != (tip.height, tip_hash):
        raise RemoteError("MALFORMED", "the certificate is of another header than the last", penalise=True)
    validate_summary_order(message.summary)
    if compute_summary_root(message.summary) != tip.summary_root:
        raise RemoteError("BAD_BODY", "the summary is not the one that the last header commits to", penalise=True)


def _check_binding(message: Message, header: ShardHeader, shards: Collection[int]) -> None:
    if message.chain != header.chain or message.source != header.shard:
        raise RemoteError("BAD_BODY", "a leaf that is bound to another chain or source", penalise=True)
    if message.destination not in shards:
        raise RemoteError("BAD_BODY", f"a leaf for shard {message.destination}, which is none", penalise=True)


def _tally(message: Message, tallies: dict[int, ChannelTally]) -> None:
    """Count one message; raises ``RemoteError`` at a gap inside the submission."""
    tally = tallies.get(message.destination)
    if tally is None:
        tally = tallies[message.destination] = ChannelTally()
    match message:
        case TransferLock():
            if not tally.locks:
                tally.first_lock = message.sequence
            expected = tally.first_lock + tally.locks
            tally.locks += 1
            sums = tally.locked
        case TransferVerdict():
            if not tally.verdicts:
                tally.first_verdict = message.sequence
            expected = tally.first_verdict + tally.verdicts
            tally.verdicts += 1
            sums = tally.accepted if message.verdict is Verdict.ACCEPTED else tally.returned
    if message.sequence != expected:
        raise RemoteError("BAD_BODY", "a gap in the sequences of a channel", penalise=True)
    sums[message.asset] = sums.get(message.asset, 0) + message.amount


# --- for submitters ----------------------------------------------------------------------------------------


def encode_submission(headers: Sequence[SubmittedHeader], summary: ShardSummary, certificate: Certificate) -> bytes:
    """The beacon transaction; ``summary`` and ``certificate`` are the last header's."""
    return encode(SubmitHeaders(tuple(headers), summary, certificate))


def count_submittable(
    headers: Sequence[SubmittedHeader], summary_bytes: int, parameters: ProtocolParameters
) -> int:
    """How many of ``headers``, from the first, fit one submission; at least 1 where there is any.

    A submission must end at a certified header: the caller goes back from here to the last one that is.
    """
    size = _ENVELOPE_BYTES + summary_bytes
    messages = 0
    for index, submitted in enumerate(headers[: parameters.submission_headers]):
        size += MAX_HEADER_BYTES + sum(len(leaf) + _LEAF_OVERHEAD_BYTES for leaf in submitted.leaves)
        messages += len(submitted.leaves)
        if index and (size > parameters.submission_bytes or messages > parameters.messages_per_beacon_block):
            return index
    return min(len(headers), parameters.submission_headers)
