"""The proofs inside view changes and new views, and the proposals that follow from a set of view changes.

A prepared proof is a proposal and q − 1 prepares of others: q members, of which any other quorum shares an
honest one, so two proofs for one (view, slot) name one digest. Everything here is a pure function of messages
and committee; the memory of what was verified only saves repeating it when a new view carries view changes
that arrived before. What does not live here: when to change the view (``view_change``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.certificate import verify_certificate
from consensus.committee import Committee
from consensus.engine import NULL_DIGEST
from consensus.leader import LeaderSchedule
from consensus.pbft.messages import NewView, Phase, PreparedProof, ViewChange
from consensus.pbft.reading import is_proposal_signed, is_vote_signed, verify_message
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SignatureScheme

_REMEMBERED_PER_MEMBER: Final = 4
"""View changes whose verification is remembered, per member: the newest views of a stormy minute."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a new view must propose for one slot, and who holds the payload (empty for a null)."""

    slot: int
    digest: bytes
    holders: tuple[int, ...]


def compute_stable_height(view_change: ViewChange, base_height: int) -> int:
    """The height that a view change proves stable; without a certificate, where the epoch began."""
    return base_height if view_change.certificate is None else view_change.certificate.height


def compute_checkpoint(view_changes: tuple[ViewChange, ...], base_height: int) -> int:
    """The highest proven stable height: O starts above it (PBFT §4.4, min-s)."""
    return max(compute_stable_height(view_change, base_height) for view_change in view_changes)


def compute_carried(view_changes: tuple[ViewChange, ...], base_height: int) -> tuple[Carried, ...]:
    """O: for every slot above the checkpoint up to the last one proven prepared, the payload of the
    *highest-view* proof, or null where nobody proves any (PBFT §4.4)."""
    checkpoint = compute_checkpoint(view_changes, base_height)
    best: dict[int, PreparedProof] = {}
    for view_change in view_changes:
        for proof in view_change.prepared:
            known = best.get(proof.proposal.slot)
            if known is None or _rank(proof) > _rank(known):
                best[proof.proposal.slot] = proof
    last = max((slot for slot in best if slot > checkpoint), default=checkpoint)
    return tuple(_carry(slot, best.get(slot)) for slot in range(checkpoint + 1, last + 1))


def _rank(proof: PreparedProof) -> tuple[int, bytes]:
    """Views decide. The digest only makes the choice independent of order; two proofs of one view agree."""
    return proof.proposal.view, proof.proposal.digest


def _carry(slot: int, proof: PreparedProof | None) -> Carried:
    if proof is None:
        return Carried(slot, NULL_DIGEST, ())
    return Carried(slot, proof.proposal.digest, (proof.proposal.sender, *proof.signers))


class ProofChecker:
    """Verifies what the readers of messages left to the engine."""

    def __init__(
        self,
        committee: Committee,
        scheme: SignatureScheme,
        schedule: LeaderSchedule,
        window_slots: int,
        base_height: int,
    ) -> None:
        self._committee = committee
        self._scheme = scheme
        self._schedule = schedule
        self._window_slots = window_slots
        self._base_height = base_height
        self._verified: dict[bytes, None] = {}

    def verify_view_change(self, view_change: ViewChange) -> None:
        """Raise ``RemoteError`` unless its signature, its certificate and each of its proofs are good.

        At most 1 + q + L · q signatures, once per distinct view change.
        """
        identity = hash_tagged(b"rialto/pbft/verified", encode(view_change))
        if identity in self._verified:
            return
        verify_message(view_change.sender, view_change, self._committee, self._scheme)
        if view_change.certificate is not None:
            verify_certificate(view_change.certificate, self._committee, self._scheme)
        stable = compute_stable_height(view_change, self._base_height)
        for proof in view_change.prepared:
            position = proof.proposal
            if not stable < position.slot <= stable + self._window_slots:
                raise RemoteError("MALFORMED", "a proof for a slot outside the sender's window", penalise=True)
            if position.view >= view_change.view:
                raise RemoteError("MALFORMED", "a proof from a view that was not left", penalise=True)
            self._verify_proof(proof)
        if len(self._verified) >= _REMEMBERED_PER_MEMBER * self._committee.size:
            self._verified.pop(next(iter(self._verified)))  # insertion order: the oldest
        self._verified[identity] = None

    def _verify_proof(self, proof: PreparedProof) -> None:
        """The proposer is the slot's own, or the view's leader, who re-proposes in its new view. An honest
        member signs one thing per (view, slot), as proposer or as voter, so either kind intersects."""
        position = proof.proposal
        leaders = (
            self._schedule.compute_proposer(position.view, position.slot),
            self._schedule.compute_view_leader(position.view),
        )
        if position.sender not in leaders:
            raise RemoteError("NOT_THE_PROPOSER", "a proof for a proposal of somebody else", penalise=True)
        if not is_proposal_signed(position, self._committee, self._scheme):
            raise RemoteError("BAD_SIGNATURE", "a proof with a bad proposal", penalise=True)
        for member, signature in zip(proof.signers, proof.signatures, strict=True):
            if not is_vote_signed(self._committee, self._scheme, Phase.PREPARE, position, member, signature):
                raise RemoteError("BAD_SIGNATURE", "a proof with a bad prepare", penalise=True)

    def verify_new_view(self, new_view: NewView) -> None:
        """Raise ``RemoteError`` unless the view's leader sent it, every view change is good and for this view,
        and the proposals are exactly those that we compute from them ourselves."""
        if new_view.sender != self._schedule.compute_view_leader(new_view.view):
            raise RemoteError("NOT_THE_LEADER", "a new view of somebody else", penalise=True)
        for view_change in new_view.view_changes:
            if view_change.view != new_view.view:
                raise RemoteError("BAD_NEW_VIEW", "a view change for another view", penalise=True)
            self.verify_view_change(view_change)
        expected = [(carried.slot, carried.digest) for carried in self.compute_expected(new_view)]
        if [(proposal.slot, proposal.digest) for proposal in new_view.proposals] != expected:
            raise RemoteError("BAD_NEW_VIEW", "the proposals do not follow from the view changes", penalise=True)
        for proposal in new_view.proposals:
            if (proposal.view, proposal.sender) != (new_view.view, new_view.sender):
                raise RemoteError("BAD_NEW_VIEW", "a proposal of another view or member", penalise=True)
            if not is_proposal_signed(proposal, self._committee, self._scheme):
                raise RemoteError("BAD_SIGNATURE", "a new view with a bad proposal", penalise=True)

    def compute_expected(self, new_view: NewView) -> tuple[Carried, ...]:
        """O, recomputed from V."""
        return compute_carried(new_view.view_changes, self._base_height)
