"""Forks: two certified headers at one height of one shard and incarnation, and who signed both.

A certificate commits to all ancestors of its header, so either side may prove its contested header by a path of
headers up to a certified descendant. Different signer subsets for one header are nothing. What does not live
here: what the beacon does about a fork (``crosslink.registry``).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from consensus.certificate import Certificate, verify_certificate
from consensus.committee import Committee
from crosslink.header import ShardHeader, compute_header_hash
from crosslink.header_rules import validate_header
from primitives.codec import Wire
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

MAX_PATH_HEADERS: Final = 256
"""As many as a submission has; a fork deeper than that is reported by its own submission first."""


class CertifiedPath(Wire, frozen=True):
    """Consecutive headers from the contested one to one that ``certificate`` certifies."""

    headers: Annotated[tuple[ShardHeader, ...], msgspec.Meta(min_length=1, max_length=MAX_PATH_HEADERS)]
    certificate: Certificate


class ReportFork(Wire, frozen=True, tag=2):
    """Two certified paths that start at one height with different headers. Convinces everybody by itself."""

    first: CertifiedPath
    second: CertifiedPath


def validate_path(path: CertifiedPath, chain: bytes) -> bytes:
    """The hash of the contested header; raises ``RemoteError`` unless the headers chain up to the certificate."""
    contested = previous = b""
    for header in path.headers:
        validate_header(header, chain)
        if previous and header.parent != previous:
            raise RemoteError("MALFORMED", "the headers of a path do not chain", penalise=True)
        previous = compute_header_hash(header)
        contested = contested or previous
    first, last, certificate = path.headers[0], path.headers[-1], path.certificate
    if last.height - first.height != len(path.headers) - 1:
        raise RemoteError("MALFORMED", "the headers of a path skip heights", penalise=True)
    if (certificate.height, certificate.header_hash) != (last.height, previous):
        raise RemoteError("MALFORMED", "the certificate is of another header than the path's last", penalise=True)
    for header in path.headers:
        if (header.shard, header.incarnation, header.epoch) != (
            first.shard,
            certificate.incarnation,
            certificate.epoch,
        ):
            raise RemoteError("MALFORMED", "a path of several shards or epochs", penalise=True)
    return contested


def validate_report(report: ReportFork, chain: bytes) -> tuple[bytes, bytes]:
    """Both contested hashes; raises ``RemoteError`` unless the report shows a fork. Signatures apart."""
    hashes = validate_path(report.first, chain), validate_path(report.second, chain)
    one, other = report.first.headers[0], report.second.headers[0]
    if (one.shard, one.incarnation, one.height) != (other.shard, other.incarnation, other.height):
        raise RemoteError("MALFORMED", "the two paths start at different places", penalise=True)
    if hashes[0] == hashes[1]:
        raise RemoteError("NO_FORK", "both paths start with the same header", penalise=True)
    return hashes


def verify_report(report: ReportFork, committee: Committee, scheme: SignatureScheme) -> None:
    """Raise ``RemoteError`` unless the committee certified both sides."""
    verify_certificate(report.first.certificate, committee, scheme)
    verify_certificate(report.second.certificate, committee, scheme)


def name_guilty(first: Certificate, second: Certificate, committee: Committee) -> tuple[bytes, ...]:
    """The keys that signed both, by index; at least f + 1, because quorums overlap in that many."""
    both = sorted(set(first.signers) & set(second.signers))
    return tuple(committee.members[index] for index in both)
