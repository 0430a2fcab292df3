"""Attestations of our committee: collecting them, forming certificates, seeing what cannot be.

Theory of operation. For each height within the window around the certified one, the first verified attestation
of each member is kept (for a while after certification too, to notice a second one). q matching ones form the
certificate. A second, different attestation by one member is evidence. Where the attestations of a height can no
longer give any header a quorum, or a certificate names another header than ours, the committee has diverged and the
replica halts: more than f members are faulty, or we are.

Bounds: one attestation per member and height, heights up to ``WINDOWS`` windows above the certified one. What does
not live here: when our own attestation is logged and sent (``node.executor``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.certificate import Attestation, Certificate, verify_attestation, verify_certificate
from consensus.committee import Committee
from consensus.engine import Evidence
from consensus.evidence import DOUBLE_ATTESTATION
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

WINDOWS: Final = 4
"""How many windows ahead of us attestations are kept: a member that is further behind needs ranges anyway."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What an attestation led to; nothing in it most of the time. ``split`` names a height without a possible
    quorum."""

    certificate: Certificate | None = None
    evidence: Evidence | None = None
    split: int | None = None


NOTHING: Final = Collected()


class AttestationPool:
    """Attestations by height and member, and certificates above the certified height."""

    def __init__(
        self, committee: Committee, scheme: SignatureScheme, window_slots: int, certified_height: int
    ) -> None:
        self._committee = committee
        self._scheme = scheme
        self._window = window_slots
        self._reach = WINDOWS * window_slots
        self._certified = certified_height
        self._by_height: dict[int, dict[int, Attestation]] = {}
        self.certificates: dict[int, Certificate] = {}
        """Above the certified height; others only look whether there are any."""

    # --- attestations ----------------------------------------------------------------------------------

    def add(self, attestation: Attestation) -> Collected:
        """A member's attestation, from whomever it came. Raises ``RemoteError`` where it is not signed by a
        member, or too far ahead. Duplicates and settled heights cost no signature check."""
        height, signer = attestation.height, attestation.signer
        if height > self._certified + self._reach:
            raise RemoteError("TOO_FAR_AHEAD", f"an attestation for height {height}")
        known = self._by_height.get(height, {}).get(signer)
        if known is not None and known.header_hash == attestation.header_hash:
            return NOTHING
        if known is None and height <= self._certified:
            self._keep_late(attestation)
            return NOTHING
        if known is None and height in self.certificates:
            return NOTHING
        verify_attestation(attestation, self._committee, self._scheme)
        if known is None:
            return self.add_own(attestation)
        if height <= self._certified and not self._is_signed(known):
            self._by_height[height][signer] = attestation
            return NOTHING
        return Collected(evidence=Evidence(DOUBLE_ATTESTATION, signer, (encode(known), encode(attestation))))

    def _keep_late(self, attestation: Attestation) -> None:
        """The last votes of a settled height are kept unverified: only a second, different one makes it worth
        looking at them."""
        signed = self._by_height.get(attestation.height)
        if signed is not None and 0 <= attestation.signer < self._committee.size:
            signed[attestation.signer] = attestation

    def _is_signed(self, attestation: Attestation) -> bool:
        try:
            verify_attestation(attestation, self._committee, self._scheme)
        except RemoteError:
            return False
        return True

    def add_own(self, attestation: Attestation) -> Collected:
        """An attestation that needs no verification any more."""
        height = attestation.height
        if height <= self._certified:
            return NOTHING
        signed = self._by_height.setdefault(height, {})
        signed[attestation.signer] = attestation
        if height in self.certificates:
            return NOTHING
        return self._tally(height, attestation.header_hash, signed)

    def _tally(self, height: int, header_hash: bytes, signed: Mapping[int, Attestation]) -> Collected:
        quorum = self._committee.quorum
        votes: dict[bytes, int] = {}
        for attestation in signed.values():
            votes[attestation.header_hash] = votes.get(attestation.header_hash, 0) + 1
        if votes[header_hash] < quorum:
            unheard = self._committee.size - len(signed)
            split = max(votes.values()) + unheard < quorum
            return Collected(split=height) if split else NOTHING
        signers = sorted(index for index, vote in signed.items() if vote.header_hash == header_hash)[:quorum]
        certificate = Certificate(
            self._committee.incarnation,
            self._committee.epoch,
            height,
            header_hash,
            tuple(signers),
            tuple([signed[index].signature for index in signers]),
        )
        self.certificates[height] = certificate
        return Collected(certificate=certificate)

    # --- certificates ----------------------------------------------------------------------------------

    def add_certificate(self, certificate: Certificate) -> bool:
        """A certificate that somebody sent; true if it is news. Raises ``RemoteError``. Unlike attestations they
        are taken from any height ahead, but only the highest beyond the window is kept."""
        height = certificate.height
        if height <= self._certified or height in self.certificates:
            return False
        beyond = [known for known in self.certificates if known > self._certified + self._reach]
        if height > self._certified + self._reach and beyond and height <= beyond[0]:
            return False
        verify_certificate(certificate, self._committee, self._scheme)
        if height > self._certified + self._reach:
            for known in beyond:
                del self.certificates[known]
        self.certificates[height] = certificate
        return True

    def certificate_at(self, height: int) -> Certificate | None:
        """The certificate of exactly this height above the certified one."""
        return self.certificates.get(height)

    def best_certificate(self, executed_height: int) -> Certificate | None:
        """The highest certificate at or below ``executed_height``."""
        heights = [height for height in self.certificates if height <= executed_height]
        return self.certificates[max(heights)] if heights else None

    @property
    def highest(self) -> int:
        """The highest height that a certificate proves."""
        return max(self.certificates, default=self._certified)

    def list_strays(self, certificate: Certificate) -> tuple[Attestation, ...]:
        """Verified attestations of another header than the certified one, at a height that is not settled yet."""
        signed = self._by_height.get(certificate.height, {})
        return tuple(
            signed[index] for index in sorted(signed) if signed[index].header_hash != certificate.header_hash
        )

    def settle(self, height: int) -> None:
        """Everything at or below ``height`` is certified and its certificates are stored."""
        self._certified = height
        for settled in [known for known in self._by_height if known <= height - self._window]:
            del self._by_height[settled]
        for settled in [known for known in self.certificates if known <= height]:
            del self.certificates[settled]

    def own_attestations(self, index: int) -> tuple[Attestation, ...]:
        """Ours above the certified height, in order of height: re-sent until they are certified."""
        return tuple(
            signed[index]
            for height, signed in sorted(self._by_height.items())
            if height > self._certified and index in signed
        )
