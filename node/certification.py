"""From executed to certified: our attestations out, certificates in, heights in order.

Theory of operation. Each executed block is attested (unless a certificate is here already) and waits in
``uncertified``. The highest certificate at or below the executed height certifies everything up to it. A block
that stays uncertified for long is attested again, the very same bytes, and a status goes along, so that whoever has
the certificate answers with it: a lost last vote leaves no block uncertified. ``Diverged`` is raised where a
certificate names another header than ours, or no header can get a quorum any more.

What does not live here: collecting (``node.attestations``), logging what we attest (``node.executor``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.certificate import Attestation, Certificate, attest
from consensus.committee import Committee
from consensus.engine import Evidence
from crosslink.header import ShardHeader
from node.attestations import AttestationPool, Collected
from node.chain_records import build_certificate_records
from node.effects_draft import EffectsDraft
from node.events import BlockCertified, Lane, StoreWrite
from node.executor import Diverged, ExecutedBlock
from node.peers import Peers
from node.vote_records import Pins, build_certificate_record
from node.wire import FrameKind, Status
from primitives.codec import encode
from primitives.signing import Signer

STRAY_GAP_MS: Final = 1_000
"""Least time between two attestations of one member that are shown to the others because they contradict what is
certified: whoever got the other one from it then has evidence."""
CERTIFICATE_GAP_MS: Final = 250
"""Least time between two certificates that we send to a member that is behind."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Blocks that became certified, in order; ``certificate`` is of the last one."""

    blocks: tuple[ExecutedBlock, ...]
    certificate: Certificate


class Certifier:
    """Owns the certified height."""

    def __init__(
        self,
        committee: Committee,
        signer: Signer,
        pool: AttestationPool,
        peers: Peers,
        pins: Pins,
        certificate: Certificate | None,
        genesis_hash: bytes,
        uncertified: tuple[ExecutedBlock, ...],
    ) -> None:
        """``certificate`` is the highest in the chain store; ``uncertified`` the executed blocks above it."""
        self._committee = committee
        self._signer = signer
        self._pool = pool
        self._peers = peers
        self._pins = pins
        self._genesis_hash = genesis_hash
        self._certificate = certificate
        self.height = 0 if certificate is None else certificate.height
        """The certified height."""
        self._uncertified = {block.header.height: block for block in uncertified}
        self._progress_ms = 0
        self._resent_ms = 0
        self._told_height = -1
        self._certificate_sent_ms: dict[int, int] = {}
        self._shown_ms: dict[int, int] = {}

    @property
    def certificate(self) -> Certificate | None:
        """The highest certificate whose block is executed here."""
        return self._certificate

    def find_uncertified(self, height: int) -> ExecutedBlock | None:
        """An executed block that waits."""
        return self._uncertified.get(height)

    # --- in --------------------------------------------------------------------------------------------

    def on_executed(self, block: ExecutedBlock, draft: EffectsDraft, *, attests: bool) -> Collected:
        """Attest a block that was just executed (and logged in the same draft)."""
        self._uncertified[block.header.height] = block
        if not attests:
            return Collected()
        attestation = attest(self._committee, self._signer, block.header.height, block.hash)
        self._peers.broadcast(draft, Lane.VOTES, FrameKind.ATTESTATION, encode(attestation))
        return self._check(self._pool.add_own(attestation))

    def attest_recovered(self) -> tuple[ShardHeader, ...]:
        """After a restart: what is executed and uncertified is attested (again; signing is deterministic). Returns
        the headers: one whose certificate was here before the crash and is lost was never attested by us."""
        blocks = tuple(self._uncertified.values())
        for block in blocks:
            self._check(self._pool.add_own(attest(self._committee, self._signer, block.header.height, block.hash)))
        return tuple([block.header for block in blocks])

    def on_attestation(self, attestation: Attestation) -> Evidence | None:
        """Another member's; raises ``RemoteError``, or ``Diverged``. Returns evidence against a member."""
        return self._check(self._pool.add(attestation)).evidence

    def on_certificate(self, certificate: Certificate) -> bool:
        """A whole certificate; raises ``RemoteError``. True if it is news."""
        return self._pool.add_certificate(certificate)

    def needs_attestation(self, height: int) -> bool:
        """Whether a block at ``height`` that is executed now has no certificate yet."""
        return self._pool.highest < height

    def _check(self, collected: Collected) -> Collected:
        if collected.split is None:
            return collected
        block = self._uncertified.get(collected.split)
        raise Diverged(
            f"the attestations of block {collected.split} can give no header a quorum any more",
            () if block is None else (encode(block.header),),
        )

    # --- forward ---------------------------------------------------------------------------------------

    def advance(self, executed_height: int, draft: EffectsDraft, now_ms: int) -> Advance | None:
        """Move the certified height; adds the notices, the store write and the log record to the draft."""
        certificate = self._pool.best_certificate(executed_height)
        if certificate is None:
            return None
        blocks = []
        covering = certificate
        certificates = []
        for height in range(certificate.height, self.height, -1):
            block = self._uncertified.pop(height)
            own = self._pool.certificate_at(height)
            if own is not None:
                _require_same_header(own, block)
                covering = own
                certificates.append(own)
            blocks.append((block, covering))
        blocks.reverse()
        for done, proof in blocks:
            draft.certified.append(BlockCertified(done.header, done.hash, proof, done.receipts, done.events))
        for own in reversed(certificates):
            self._show_strays(own, draft, now_ms)
            draft.writes.append(StoreWrite(tuple(build_certificate_records(own))))
        draft.persist.append(build_certificate_record(certificate))
        self._pins.note_certificate(certificate.height)
        self._pool.settle(certificate.height)
        self._certificate = certificate
        self.height = certificate.height
        self._progress_ms = now_ms
        return Advance(tuple(done for done, _ in blocks), certificate)

    def _show_strays(self, certificate: Certificate, draft: EffectsDraft, now_ms: int) -> None:
        """A member that attests one header to some and another to others contradicts itself before nobody, unless
        those who got the wrong one show it round."""
        for stray in self._pool.list_strays(certificate):
            shown_ms = self._shown_ms.get(stray.signer)
            if shown_ms is None or now_ms - shown_ms >= STRAY_GAP_MS:
                self._shown_ms[stray.signer] = now_ms
                self._peers.broadcast(draft, Lane.VOTES, FrameKind.ATTESTATION, encode(stray))

    # --- telling ---------------------------------------------------------------------------------------

    def tell(self, draft: EffectsDraft, now_ms: int, resend_after_ms: int, *, has_work: bool) -> None:
        """Every so often: a status where it changed, and where work waits for too long, what we have for it.

        The status also where no block waits: the one that was told when we certified may be lost, and then a
        member that lacks that block never asks for it, while an engine that orders one height after the other
        waits for that member."""
        is_waiting = has_work or bool(self._uncertified)
        stalled = is_waiting and now_ms - max(self._progress_ms, self._resent_ms) >= resend_after_ms
        if stalled:
            self._resent_ms = now_ms
            for attestation in self._pool.own_attestations(self._peers.own_index):
                self._peers.broadcast(draft, Lane.VOTES, FrameKind.ATTESTATION, encode(attestation))
        if stalled or self._told_height != self.height:
            self._told_height = self.height
            self._peers.broadcast(draft, Lane.VOTES, FrameKind.STATUS, self.encode_status())

    def greet(self, index: int, draft: EffectsDraft) -> None:
        """A member is connected again: it gets our status and what it may have missed."""
        self._peers.send(draft, index, Lane.VOTES, FrameKind.STATUS, self.encode_status())
        for attestation in self._pool.own_attestations(self._peers.own_index):
            self._peers.send(draft, index, Lane.VOTES, FrameKind.ATTESTATION, encode(attestation))

    def answer_status(self, index: int, certified_height: int, draft: EffectsDraft, now_ms: int) -> None:
        """A member that is behind gets our highest certificate."""
        if self._certificate is None or certified_height >= self.height:
            return
        sent_ms = self._certificate_sent_ms.get(index)
        if sent_ms is not None and now_ms - sent_ms < CERTIFICATE_GAP_MS:
            return
        self._certificate_sent_ms[index] = now_ms
        self._peers.send(draft, index, Lane.VOTES, FrameKind.CERTIFICATE, encode(self._certificate))

    def encode_status(self) -> bytes:
        """How far we are."""
        certificate = self._certificate
        header_hash = self._genesis_hash if certificate is None else certificate.header_hash
        return encode(Status(self.height, header_hash))


def _require_same_header(certificate: Certificate, block: ExecutedBlock) -> None:
    if block.hash != certificate.header_hash:
        raise Diverged(
            f"a certificate of our committee names another header than ours at height {certificate.height}",
            (encode(block.header), encode(certificate)),
        )
