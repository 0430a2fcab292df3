"""What a follower may start from: one certified beacon block and the registry as of it.

A member that joins by snapshot has executed none of the beacon blocks that its shard has consumed. It takes the
registry from the summary that a certified beacon header commits to, so it trusts the beacon's certificate and
nothing else, and follows block by block from there. ``registered_at`` is not in the summary; nothing that is
executed depends on it (it only helps to share out turns to submit), so it counts as the base's own height.

What does not live here: following (``crosslink.follower``), and asking for a base (``node.beacon_follow``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from consensus.certificate import Certificate, verify_certificate
from consensus.committee import Committee
from crosslink.bundle import MAX_DESCENDANTS
from crosslink.conservation import BeaconSummary
from crosslink.followed_registry import BaseTip, FollowerBase
from crosslink.header import ShardHeader, compute_header_hash
from crosslink.header_rules import validate_header
from primitives.codec import Wire, decode
from primitives.errors import RemoteError
from primitives.merkle import compute_root
from primitives.signing import SignatureScheme

MAX_BASE_PROOF_BYTES: Final = 1 << 20
"""Every shard has a tip of some 60 bytes in the summary, and each descendant is a header."""


class BeaconBase(Wire, frozen=True):
    """``certificate`` is of ``header``, or of the last of ``descendants``, which chain onto it. ``summary`` is the
    encoded ``BeaconSummary`` that the header commits to."""

    header: ShardHeader
    certificate: Certificate
    descendants: Annotated[tuple[ShardHeader, ...], msgspec.Meta(max_length=MAX_DESCENDANTS)]
    summary: bytes


def verify_certified(
    header: ShardHeader,
    certificate: Certificate,
    descendants: Sequence[ShardHeader],
    committee: Committee,
    scheme: SignatureScheme,
) -> None:
    """Raise ``RemoteError`` unless ``certificate`` is of ``header`` or of the last of ``descendants``, which chain
    onto it, all of this committee's chain and epoch."""
    last, last_hash = header, compute_header_hash(header)
    for descendant in descendants:
        validate_header(descendant, committee.chain)
        if (descendant.height, descendant.parent) != (last.height + 1, last_hash):
            raise RemoteError("MALFORMED", "the descendants do not chain", penalise=True)
        last, last_hash = descendant, compute_header_hash(descendant)
    term = (committee.shard, committee.incarnation, committee.epoch)
    for shown in (header, *descendants):
        if (shown.shard, shown.incarnation, shown.epoch) != term:
            raise RemoteError("WRONG_EPOCH", "a header of another epoch", penalise=True)
    if (certificate.height, certificate.header_hash) != (last.height, last_hash):
        raise RemoteError("MALFORMED", "the certificate is of another header", penalise=True)
    verify_certificate(certificate, committee, scheme)


def verify_base(data: bytes, height: int, committee: Committee, scheme: SignatureScheme) -> FollowerBase:
    """The base at beacon block ``height`` that ``data`` (a ``BeaconBase``) proves; raises ``RemoteError``."""
    base: BeaconBase = decode(BeaconBase, data, max_bytes=MAX_BASE_PROOF_BYTES)
    validate_header(base.header, committee.chain)
    if base.header.height != height:
        raise RemoteError("UNSOLICITED", f"a base at {base.header.height} where {height} was asked for")
    verify_certified(base.header, base.certificate, base.descendants, committee, scheme)
    if compute_root([base.summary]) != base.header.summary_root:
        raise RemoteError("BAD_BODY", "a summary that the header does not commit to", penalise=True)
    summary: BeaconSummary = decode(BeaconSummary, base.summary, max_bytes=MAX_BASE_PROOF_BYTES)
    tips = tuple(
        BaseTip(
            tip.shard,
            tip.incarnation,
            tip.height,
            tip.hash,
            tip.beacon_ref_height,
            height if tip.height else 0,
            tip.frozen,
        )
        for tip in summary.tips
        if tip.height or tip.frozen
    )
    return FollowerBase(height, compute_header_hash(base.header), tips)
