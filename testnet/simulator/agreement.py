"""Agreement: one chain per committee, certified by distinct members, that never goes back.

Rules, for honest members: at each height all see the same header; a header extends the one below; a certificate has
exactly q distinct members, counted and verified here again; the heights that a process certifies come in order,
once each; a restarted process has never forgotten the certificate of what it told before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from consensus.certificate import Certificate, compute_attestation_message
from consensus.committee import Committee
from node.events import BlockCertified
from primitives.signing import SignatureScheme
from testnet.simulator.checker import Checker, Verdicts
from testnet.simulator.host import SimulatedHost


def compute_identity(header: object) -> bytes:
    """The header's hash, from the definition of the format and not through its own function."""
    encoded = msgspec.msgpack.encode(header)
    tag = b"rialto/header"
    return sha256(bytes([len(tag)]) + tag + len(encoded).to_bytes(4, "big") + encoded).digest()


class AgreementChecker(Checker):
    """All committees of a world, by shard number."""

    name = "prefix"

    def __init__(self, verdicts: Verdicts, committees: Mapping[int, Committee], scheme: SignatureScheme) -> None:
        super().__init__(verdicts)
        self._committees = committees
        self._scheme = scheme
        self._hashes: dict[int, dict[int, bytes]] = {shard: {} for shard in committees}
        self._told: dict[tuple[str, int], int] = {}
        self._highest: dict[str, int] = {}
        self._proven: set[tuple[int, Certificate]] = set()

    def certified_height(self, shard: int) -> int:
        """The highest height that any honest member of ``shard`` has certified."""
        return max(self._hashes[shard], default=0)

    def on_started(self, host: SimulatedHost) -> None:
        assert host.replica is not None, "it just started"
        # A block that came by catching up is in the chain store alone, and a power failure may take it; its
        # certificate is in the vote log, so the process knows what it has to fetch again.
        logged = [int.from_bytes(key[1:], "big") for key in host.disk.vote_log.load() if key[:1] == b"c"]
        height = max([host.replica.statistics().certified_height, *logged])
        told = self._highest.get(host.name, 0)
        if height < told:
            self.fail(host.name, f"comes back with {height} certified after it told of {told}")

    def on_certified(self, host: SimulatedHost, block: BlockCertified) -> None:
        shard, height = host.member.shard, block.header.height
        hashes = self._hashes[shard]
        if compute_identity(block.header) != block.header_hash:
            self.fail(host.name, f"names header {height} by another hash")
        known = hashes.setdefault(height, block.header_hash)
        if known != block.header_hash:
            self.fail(host.name, f"certified {block.header_hash.hex()[:16]} at {height}, others {known.hex()[:16]}")
        parent = hashes.get(height - 1)
        if parent is not None and parent != block.header.parent:
            self.fail(host.name, f"block {height} does not extend block {height - 1}")
        told = self._told.get((host.name, host.lives))
        if told is not None and height != told + 1:
            self.fail(host.name, f"told of {height} after {told} in one life")
        self._told[host.name, host.lives] = height
        self._highest[host.name] = max(height, self._highest.get(host.name, 0))
        self._check_certificate(host, block)

    def _check_certificate(self, host: SimulatedHost, block: BlockCertified) -> None:
        certificate, committee = block.certificate, self._committees[host.member.shard]
        if certificate.height < block.header.height:
            self.fail(host.name, f"certifies {block.header.height} by a certificate of {certificate.height}")
        known = self._hashes[committee.shard].setdefault(certificate.height, certificate.header_hash)
        if known != certificate.header_hash:
            self.fail(host.name, f"two certified headers at {certificate.height}")
        key = committee.shard, certificate
        if key not in self._proven:
            self._proven.add(key)
            self._prove(host, certificate, committee)

    def _prove(self, host: SimulatedHost, certificate: Certificate, committee: Committee) -> None:
        size = len(committee.members)
        needed = (size + (size - 1) // 3) // 2 + 1
        distinct = len(set(certificate.signers))
        if distinct != needed or distinct != len(certificate.signatures):
            self.fail(host.name, f"a certificate of {distinct} members where {needed} are needed")
            return
        message = compute_attestation_message(committee, certificate.height, certificate.header_hash)
        for index, signature in zip(certificate.signers, certificate.signatures, strict=True):
            if not self._scheme.verify(committee.members[index], message, signature):
                self.fail(host.name, f"a certificate with a bad signature of member {index}")

    def on_quiescence(self, hosts: Sequence[SimulatedHost]) -> None:
        """The live members of a committee have the same tip in the end."""
        tips: dict[int, set[int]] = {}
        for host in hosts:
            assert host.replica is not None, "live hosts have a replica"
            tips.setdefault(host.member.shard, set()).add(host.replica.statistics().certified_height)
        for shard, heights in tips.items():
            if len(heights) > 1:
                self.fail(f"shard {shard}", f"ends at different heights: {sorted(heights)}")
