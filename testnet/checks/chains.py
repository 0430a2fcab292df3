"""Checks of the chains: ``prefix``, ``certificates``, ``monotone``. Each is fed every block of every member.

    prefix        members of a committee serve the same block at the same height
    certificates  blocks chain onto each other, and every one is covered by a certificate with a quorum of distinct
                  signers out of the genesis committee
    monotone      along a chain nothing runs backwards; and what a member once showed, before a restart or in an
                  earlier check, it still shows

Blocks of one member come in ascending order without gaps; members may interleave. What does not live here: reading
blocks (``testnet.checks.walk``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from consensus.certificate import Certificate, verify_certificate
from consensus.committee import Committee
from crosslink.header import ShardHeader
from primitives.errors import RemoteError
from primitives.identifiers import format_committee
from primitives.signing import SignatureScheme
from testnet.checks.verdicts import Findings, Verdict


@dataclass(frozen=True, slots=True)
class ServedBlock:
    """One block as one member serves it; ``hash`` is computed from the header, not taken from the answer."""

    member: str
    shard: int
    header: ShardHeader
    hash: bytes
    certificate: Certificate


class PrefixCheck:
    """Holds the first hash seen at each height, and who showed it."""

    name = "prefix"

    def __init__(self) -> None:
        self._findings = Findings()
        self._hashes: dict[tuple[int, int], tuple[bytes, str]] = {}
        self._members: set[str] = set()

    def on_block(self, block: ServedBlock) -> None:
        """One block of one member."""
        self._members.add(block.member)
        place = (block.shard, block.header.height)
        first, shown_by = self._hashes.setdefault(place, (block.hash, block.member))
        if first != block.hash:
            self._findings.add(
                f"{format_committee(block.shard)} height {block.header.height}: {block.member} has "
                f"{block.hash.hex()[:16]}, {shown_by} has {first.hex()[:16]}"
            )

    def conclude(self) -> Verdict:
        """Agreement, as far as anything was seen."""
        if not self._hashes:
            self._findings.add("no member showed a block")
        return self._findings.conclude(
            self.name, f"{len(self._members)} members agree on all of {len(self._hashes)} blocks"
        )


class CertificateCheck:
    """Verifies each certificate once, and that each block is its subject or an ancestor of it.

    A certificate of a higher block covers its ancestors, so such blocks wait until that height is shown.
    """

    name = "certificates"

    def __init__(self, committees: Mapping[int, Committee], scheme: SignatureScheme) -> None:
        self._committees = committees
        self._scheme = scheme
        self._findings = Findings()
        self._last: dict[str, ServedBlock] = {}
        self._awaited: dict[str, dict[int, bytes]] = {}
        self._verified: set[tuple[int, Certificate]] = set()
        self._blocks = 0

    def on_block(self, block: ServedBlock) -> None:
        """One block of one member."""
        self._blocks += 1
        header = block.header
        committee = self._committees[block.shard]
        place = f"{block.member} height {header.height}"
        if (header.chain, header.shard) != (committee.chain, committee.shard):
            self._findings.add(f"{place}: the header is of another chain or shard")
        last = self._last.get(block.member)
        if last is not None and (header.height, header.parent) != (last.header.height + 1, last.hash):
            self._findings.add(f"{place}: does not chain onto height {last.header.height}")
        self._last[block.member] = block
        self._check_awaited(block, place)
        self._check_certificate(block, committee, place)

    def is_waiting(self, member: str) -> bool:
        """Whether a block of ``member`` is covered by a height that it has not shown yet."""
        return bool(self._awaited.get(member))

    def _check_awaited(self, block: ServedBlock, place: str) -> None:
        expected = self._awaited.get(block.member, {}).pop(block.header.height, None)
        if expected is not None and expected != block.hash:
            self._findings.add(f"{place}: an earlier block's certificate is for another block at this height")

    def _check_certificate(self, block: ServedBlock, committee: Committee, place: str) -> None:
        certificate = block.certificate
        if certificate.height == block.header.height:
            if certificate.header_hash != block.hash:
                self._findings.add(f"{place}: the certificate is for another block")
        elif certificate.height > block.header.height:
            self._awaited.setdefault(block.member, {})[certificate.height] = certificate.header_hash
        else:
            self._findings.add(f"{place}: the certificate is for a lower height, {certificate.height}")
        if (block.shard, certificate) in self._verified:
            return
        try:
            verify_certificate(certificate, committee, self._scheme)
        except RemoteError as error:
            self._findings.add(f"{place}: {error.message}")
            return
        self._verified.add((block.shard, certificate))

    def conclude(self) -> Verdict:
        """Every block is covered."""
        for member, heights in sorted(self._awaited.items()):
            for height in sorted(heights):
                self._findings.add(f"{member}: height {height} is said to cover earlier blocks, but is not shown")
        if not self._blocks:
            self._findings.add("no member showed a block")
        return self._findings.conclude(
            self.name, f"{self._blocks} served blocks covered by {len(self._verified)} verified certificates"
        )


class MonotoneCheck:
    """Along a chain times, beacon references, inbox cursors, incarnations and epochs never fall."""

    name = "monotone"

    def __init__(self) -> None:
        self._findings = Findings()
        self._last: dict[str, ServedBlock] = {}
        self._first_height: dict[str, int] = {}
        self._blocks = 0
        self._memories = 0

    def on_block(self, block: ServedBlock) -> None:
        """One block of one member."""
        self._blocks += 1
        last = self._last.get(block.member)
        self._last[block.member] = block
        if last is None:
            self._first_height[block.member] = block.header.height
            return
        before, after = _list_growing(last.header), _list_growing(block.header)
        for name in before:
            if after[name] < before[name]:
                self._findings.add(
                    f"{block.member} height {block.header.height}: {name} falls from {before[name]} "
                    f"to {after[name]}"
                )

    def on_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """What members said about themselves while the network ran, in order of time."""
        highest: dict[str, int] = {}
        for sample in samples:
            member, height = sample.get("member"), sample.get("certified_height")
            if not isinstance(member, str) or not isinstance(height, int):
                continue
            self._memories += 1
            if height < highest.get(member, 0):
                self._findings.add(f"{member}: showed certified height {highest[member]}, and later only {height}")
            highest[member] = max(height, highest.get(member, 0))
        for member, height in sorted(highest.items()):
            last = self._last.get(member)
            if last is not None and last.header.height < height:
                self._findings.add(
                    f"{member}: showed certified height {height} before, now only {last.header.height}"
                )

    def on_memory(self, shard: int, height: int, block_hash: bytes, now: bytes | None) -> None:
        """What an earlier check saw at a height, and what is shown ``now`` (``None``: nothing)."""
        self._memories += 1
        if now != block_hash:
            shown = "nothing" if now is None else now.hex()[:16]
            self._findings.add(
                f"{format_committee(shard)} height {height}: was {block_hash.hex()[:16]} in an earlier check, "
                f"now {shown}"
            )

    def conclude(self) -> Verdict:
        """Nothing ran backwards."""
        if not self._blocks:
            self._findings.add("no member showed a block")
        return self._findings.conclude(
            self.name, f"{self._blocks} served blocks and {self._memories} earlier sightings run forwards"
        )


def _list_growing(header: ShardHeader) -> dict[str, Any]:
    cursor = header.inbox_cursor
    return {
        "timestamp_ms": header.timestamp_ms,
        "beacon_ref": header.beacon_ref.height,
        "inbox_cursor": (cursor.beacon_height, cursor.record, cursor.leaf),
        "incarnation": header.incarnation,
        "epoch": header.epoch,
    }
