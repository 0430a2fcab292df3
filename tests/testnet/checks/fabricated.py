"""Chains, certificates and summaries made up for the tests of the checks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from consensus.certificate import Certificate, compute_attestation_message
from consensus.committee import Committee
from crosslink.header import NO_BEACON_REF, START_CURSOR, ShardHeader, compute_header_hash
from crosslink.summary import AssetSummary, PeerAmounts, PeerSummary, ShardSummary
from primitives.hashing import ZERO_DIGEST
from primitives.signing import Ed25519Signer
from testnet.checks.chains import ServedBlock

CHAIN = bytes(range(32))
SIGNERS = [Ed25519Signer(bytes([index + 1]) * 32) for index in range(4)]
COMMITTEE = Committee(CHAIN, 0, 0, 0, tuple(signer.public_key for signer in SIGNERS))
COMMITTEES = {0: COMMITTEE}


def make_chain(length: int, **changes: Any) -> list[ShardHeader]:
    """Headers that chain onto each other; ``changes`` are fields of all."""
    headers: list[ShardHeader] = []
    parent = ZERO_DIGEST
    for height in range(1, length + 1):
        header = msgspec.structs.replace(
            ShardHeader(
                chain=CHAIN,
                shard=0,
                incarnation=0,
                epoch=0,
                height=height,
                parent=parent,
                payload_digest=ZERO_DIGEST,
                timestamp_ms=1_000 + height,
                state_root=ZERO_DIGEST,
                receipts_root=ZERO_DIGEST,
                outbox_root=ZERO_DIGEST,
                summary_root=ZERO_DIGEST,
                inbox_cursor=START_CURSOR,
                beacon_ref=NO_BEACON_REF,
                next_committee_root=ZERO_DIGEST,
            ),
            **changes,
        )
        headers.append(header)
        parent = compute_header_hash(header)
    return headers


def certify(header: ShardHeader, signers: Sequence[int] = (0, 1, 2)) -> Certificate:
    """A good certificate of ``header``."""
    header_hash = compute_header_hash(header)
    message = compute_attestation_message(COMMITTEE, header.height, header_hash)
    signatures = tuple(SIGNERS[index].sign(message) for index in signers)
    return Certificate(0, 0, header.height, header_hash, tuple(signers), signatures)


def serve(
    headers: Sequence[ShardHeader], member: str = "s0v0", certificates: Sequence[Certificate] | None = None
) -> list[ServedBlock]:
    """The blocks as ``member`` shows them, each with its own certificate unless others are given."""
    proofs = [certify(header) for header in headers] if certificates is None else certificates
    return [
        ServedBlock(member, 0, header, compute_header_hash(header), proof)
        for header, proof in zip(headers, proofs, strict=True)
    ]


def make_asset(**changes: int) -> AssetSummary:
    """A shard that holds what was minted on it: 1,000."""
    base = AssetSummary(
        asset=0, cash=900, reserved=0, fees=60, insurance=40, pools=0, clearing=0, dust=0, minted=1_000, burned=0
    )
    return msgspec.structs.replace(base, **changes)


def make_peer(peer: int, **changes: int) -> PeerSummary:
    """One end of two channels; names of ``PeerAmounts`` and of ``PeerSummary``."""
    amounts = {name: changes.pop(name, 0) for name in ("sent", "refunded", "burned", "released")}
    base = PeerSummary(
        peer=peer, next_send=0, next_recv=0, next_ack=0, open_count=0, amounts=(PeerAmounts(asset=0, **amounts),)
    )
    return msgspec.structs.replace(base, **changes)


def make_summary(peer: PeerSummary, **asset: int) -> ShardSummary:
    return ShardSummary((make_asset(**asset),), (peer,))


def with_hash(block: ServedBlock, block_hash: bytes) -> ServedBlock:
    return replace(block, hash=block_hash)
