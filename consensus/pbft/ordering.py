"""The normal case: a slot's way from a proposal to a decision (PBFT §4.2).

    EMPTY ── pre-prepare of the slot's proposer ──▶ PROPOSED ── payload held and valid ──▶ our prepare
    PROPOSED ── q − 1 matching prepares of others than the proposer ──▶ PREPARED ── payload held ──▶ our commit
    any ── q matching commits, or a commit certificate ──▶ DECIDED

Whether a vote is cast depends on the messages and on ``PayloadHeld.valid`` alone: never on our mempool, clock
or state, or members would disagree about votes that they owe each other. What does not live here: changing the
view (``view_change``) and re-sending (``status``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.engine import (
    BuildPayload,
    CancelWish,
    Decided,
    Evidence,
    ObtainPayload,
    PayloadBuilt,
    PayloadHeld,
    Send,
    WorkLevel,
    compute_payload_digest,
)
from consensus.pbft.backlog import FUTURE_VIEWS
from consensus.pbft.evidence import CONFLICTING_COMMIT, CONFLICTING_PRE_PREPARE, CONFLICTING_PREPARE
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Prepare,
    PreparedProof,
    PrePrepare,
    Proposal,
    Vote,
    sign_commit,
    sign_prepare,
    sign_proposal,
)
from consensus.pbft.records import COMMIT, DECIDED, PREPARE, PREPARED, PROPOSAL
from consensus.pbft.state import PbftState
from consensus.pbft.window import Slot
from consensus.tally import Standing
from primitives.codec import encode
from primitives.errors import LocalError


@dataclass(frozen=True, slots=True)
class _OpenWish:
    ticket: int
    slot: int
    ancestors: tuple[bytes, ...]


class Ordering:
    """Acts on the slots of one ``PbftState``."""

    def __init__(self, state: PbftState) -> None:
        self._state = state
        self._wish: _OpenWish | None = None
        self._tickets = 0

    # --- what is worth a signature check -------------------------------------------------------------------

    def needs_pre_prepare(self, message: PrePrepare) -> bool:
        """Whether it is the first proposal for its slot by the member whose turn it is, or contradicts that."""
        state, proposal = self._state, message.proposal
        if len(message.payload) > state.parameters.max_payload_bytes:
            return False
        if self._is_early(proposal.view, proposal.slot):
            return state.backlog.admits(message)
        if proposal.view != state.view or state.is_changing_view or proposal.slot not in state.window:
            return False
        if proposal.slot <= state.floor or proposal.sender != state.compute_proposer(proposal.slot):
            return False
        slot = state.window.peek(proposal.slot)
        if slot is None or slot.proposal is None:
            return slot is None or slot.decided is None or slot.decided.digest == proposal.digest
        return slot.proposal.digest != proposal.digest and not slot.proposer_accused

    def needs_prepare(self, vote: Prepare) -> bool:
        """Whether it could complete a prepared proof. The proposer's vote is its proposal: it has no other."""
        state = self._state
        if self._is_early(vote.view, vote.slot):
            return state.backlog.admits(vote)
        if vote.view != state.view or state.is_changing_view or vote.slot not in state.window:
            return False
        if vote.sender == state.compute_proposer(vote.slot):
            return False
        slot = state.window.peek(vote.slot)
        if slot is None:
            return True
        if slot.prepares.has_voted(vote.sender):
            return slot.prepares.contradicts(vote.sender, vote.digest)
        is_prepared = slot.prepared is not None and slot.prepared.proposal.view == state.view
        return not is_prepared and slot.decided is None

    def needs_commit(self, vote: Commit) -> bool:
        """Whether it could decide its slot; also while our own view change waits, for deciding is no vote."""
        state = self._state
        if self._is_early(vote.view, vote.slot):
            return state.backlog.admits(vote)
        if vote.view != state.view or vote.slot not in state.window:
            return False
        slot = state.window.peek(vote.slot)
        if slot is None:
            return True
        if slot.commits.has_voted(vote.sender):
            return slot.commits.contradicts(vote.sender, vote.digest)
        return slot.decided is None

    def needs_commit_certificate(self, certificate: CommitCertificate) -> bool:
        """Whether the slot is still open, in whatever view the certificate is."""
        if certificate.slot not in self._state.window:
            return False
        slot = self._state.window.peek(certificate.slot)
        return slot is None or slot.decided is None

    def _is_early(self, view: int, slot: int) -> bool:
        """For a view that we may enter next, or for the window after ours."""
        state = self._state
        if not state.window.stable < slot <= state.window.last + state.window.size:
            return False
        if view == state.view:
            return slot > state.window.last
        return max(state.view + 1, state.target) <= view <= max(state.view, state.target) + FUTURE_VIEWS

    # --- messages ------------------------------------------------------------------------------------------

    def on_pre_prepare(self, message: PrePrepare) -> None:
        """Accept the first proposal for the slot; keep a second one beside it as evidence."""
        state, proposal = self._state, message.proposal
        if self._is_early(proposal.view, proposal.slot):
            state.backlog.add(message)
            return
        slot = state.window.touch(proposal.slot)
        if slot.proposal is not None:
            slot.proposer_accused = True
            self._accuse(CONFLICTING_PRE_PREPARE, proposal.sender, slot.proposal, proposal)
            return
        self._accept(slot, proposal, message.payload, (proposal.sender,))

    def on_prepare(self, vote: Prepare) -> None:
        """Count it for exactly its digest."""
        if self._is_early(vote.view, vote.slot):
            self._state.backlog.add(vote)
            return
        slot = self._state.window.touch(vote.slot)
        if slot.prepares.add(vote.sender, vote.digest, vote) is Standing.CONTRADICTED:
            self._accuse(CONFLICTING_PREPARE, vote.sender, slot.prepares.vote_of(vote.sender), vote)
            return
        self._advance(slot)

    def on_commit(self, vote: Commit) -> None:
        """Count it for exactly its digest; q of them decide."""
        if self._is_early(vote.view, vote.slot):
            self._state.backlog.add(vote)
            return
        slot = self._state.window.touch(vote.slot)
        if slot.commits.add(vote.sender, vote.digest, vote) is Standing.CONTRADICTED:
            self._accuse(CONFLICTING_COMMIT, vote.sender, slot.commits.vote_of(vote.sender), vote)
            return
        self._decide_by_votes(slot, vote.digest)

    def on_commit_certificate(self, certificate: CommitCertificate) -> None:
        """Decide, whatever view we are in."""
        self._decide(self._state.window.touch(certificate.slot), certificate)

    def on_payload_held(self, event: PayloadHeld) -> None:
        """Bytes and bodies are durable with the records of this same output: now we may vote for them."""
        slot = self._state.window.peek(event.slot)
        if slot is None or not event.valid or not slot.is_relevant(event.digest):
            return
        slot.held[event.digest] = event.payload
        self._advance(slot)

    # --- proposing -----------------------------------------------------------------------------------------

    def propose(self) -> None:
        """Keep one ``BuildPayload`` open while it is our turn, there is work and the window has room."""
        slot = self._find_slot_to_propose()
        ancestors = () if slot is None else self._collect_ancestors(slot)
        if self._wish is not None and (slot != self._wish.slot or not _covers(self._wish.ancestors, ancestors)):
            self._state.outbox.wishes.append(CancelWish(self._wish.ticket))
            self._wish = None
        if slot is not None and self._wish is None:
            self._tickets += 1
            self._wish = _OpenWish(self._tickets, slot, ancestors)
            self._state.outbox.wishes.append(BuildPayload(self._tickets, slot, ancestors, allow_null=False))

    def _find_slot_to_propose(self) -> int | None:
        """The lowest slot that nobody proposed, if it is ours."""
        state = self._state
        if state.is_changing_view:
            return None
        if state.work is WorkLevel.IDLE and self._wish is None:
            return None
        for number in range(state.window.stable + 1, state.window.last + 1):
            slot = state.window.peek(number)
            if slot is None or slot.settled_digest is None:
                is_free = number > max(state.floor, state.carried_to)
                return number if is_free and state.compute_proposer(number) == state.index else None
        return None

    def _collect_ancestors(self, number: int) -> tuple[bytes, ...]:
        slots = [self._state.window.peek(below) for below in range(self._state.window.stable + 1, number)]
        return tuple(slot.settled_digest for slot in slots if slot is not None and slot.settled_digest is not None)

    def on_payload_built(self, event: PayloadBuilt) -> None:
        """Propose it, unless the wish was cancelled meanwhile. What we built we hold."""
        state = self._state
        if self._wish is None or self._wish.ticket != event.ticket:
            return
        if len(event.payload) > state.parameters.max_payload_bytes:
            raise LocalError(f"a payload of {len(event.payload)} bytes is over the network's limit")
        slot = state.window.touch(self._wish.slot)
        self._wish = None
        digest = compute_payload_digest(event.payload)
        proposal = sign_proposal(state.committee, state.signer, state.index, state.view, slot.number, digest)
        slot.proposal = proposal
        slot.held[digest] = event.payload
        state.outbox.log_slot(slot, PROPOSAL, encode(proposal))
        state.outbox.send.append(Send(None, encode(PrePrepare(proposal, event.payload))))
        self._advance(slot)

    # --- a new view, a restart -----------------------------------------------------------------------------

    def adopt(self, proposal: Proposal, sources: tuple[int, ...]) -> None:
        """Accept what a verified new view proposes again. Its payload is proven: q − 1 or more held it, so it is
        fetched without asking the clock, and only this slot's vote waits for it."""
        slot = self._state.window.touch(proposal.slot)
        if slot.proposal is None and (slot.decided is None or slot.decided.digest == proposal.digest):
            self._accept(slot, proposal, None, sources)

    def resume(self, slot: Slot) -> None:
        """After a restart: ask again for the payload of a proposal that we had accepted."""
        assert slot.proposal is not None, "there is something to resume"
        everybody = (slot.proposal.sender, *range(self._state.committee.size))
        self._obtain(slot, slot.proposal.digest, None, everybody)
        self._advance(slot)

    def announce_decision(self, slot: Slot) -> None:
        """Tell the replica (again, after a restart) what the slot was decided as."""
        assert slot.decided is not None, "there is a decision to announce"
        certificate = slot.decided
        sources = self._others(certificate.signers)
        self._state.outbox.decided.append(Decided(slot.number, certificate.digest, encode(certificate), sources))

    # --- the rules -----------------------------------------------------------------------------------------

    def _accept(self, slot: Slot, proposal: Proposal, payload: bytes | None, sources: Iterable[int]) -> None:
        slot.proposal = proposal
        self._obtain(slot, proposal.digest, payload, sources)
        self._advance(slot)

    def _obtain(self, slot: Slot, digest: bytes, payload: bytes | None, sources: Iterable[int]) -> None:
        if digest not in slot.held:
            proven = payload is None
            wish = ObtainPayload(slot.number, digest, payload, self._others(sources), proven)
            self._state.outbox.wishes.append(wish)

    def _advance(self, slot: Slot) -> None:
        """Apply every rule that has become true, in the order of the phases."""
        proposal = slot.proposal
        if proposal is None or self._state.is_changing_view:
            return
        self._prepare(slot, proposal)
        self._record_prepared(slot, proposal)
        self._commit(slot, proposal)

    def _prepare(self, slot: Slot, proposal: Proposal) -> None:
        state = self._state
        if slot.prepare is not None or proposal.sender == state.index or proposal.digest not in slot.held:
            return
        vote = sign_prepare(state.committee, state.signer, state.index, state.view, slot.number, proposal.digest)
        slot.prepare = vote
        # The proposal is logged with our vote, not before: until then a restart may forget it without harm.
        state.outbox.log_slot(slot, PROPOSAL, encode(proposal))
        self._publish(slot, PREPARE, vote)
        slot.prepares.add(state.index, vote.digest, vote)

    def _record_prepared(self, slot: Slot, proposal: Proposal) -> None:
        """q distinct members: the proposer by its proposal, and q − 1 others by their prepares."""
        state = self._state
        others = state.committee.quorum - 1
        if slot.prepared is not None and slot.prepared.proposal.view == state.view:
            return
        if not slot.prepares.has_quorum(proposal.digest, others):
            return
        votes = slot.prepares.votes_for(proposal.digest, others)
        slot.prepared = PreparedProof(
            proposal, tuple(vote.sender for vote in votes), tuple(vote.signature for vote in votes)
        )
        state.outbox.log_slot(slot, PREPARED, encode(slot.prepared))

    def _commit(self, slot: Slot, proposal: Proposal) -> None:
        state = self._state
        if slot.commit is not None or slot.prepared is None or slot.prepared.proposal.view != state.view:
            return
        if proposal.digest not in slot.held:
            return
        vote = sign_commit(state.committee, state.signer, state.index, state.view, slot.number, proposal.digest)
        slot.commit = vote
        self._publish(slot, COMMIT, vote)
        slot.commits.add(state.index, vote.digest, vote)
        self._decide_by_votes(slot, vote.digest)

    def _publish(self, slot: Slot, kind: bytes, vote: Vote) -> None:
        data = encode(vote)
        self._state.outbox.log_slot(slot, kind, data)
        self._state.outbox.send.append(Send(None, data))

    def _decide_by_votes(self, slot: Slot, digest: bytes) -> None:
        quorum = self._state.committee.quorum
        if slot.decided is not None or not slot.commits.has_quorum(digest, quorum):
            return
        votes = slot.commits.votes_for(digest, quorum)
        signers = tuple(vote.sender for vote in votes)
        signatures = tuple(vote.signature for vote in votes)
        self._decide(slot, CommitCertificate(self._state.view, slot.number, digest, signers, signatures))

    def _decide(self, slot: Slot, certificate: CommitCertificate) -> None:
        slot.decided = certificate
        self._state.outbox.log_slot(slot, DECIDED, encode(certificate))
        self._state.note_progress()
        self.announce_decision(slot)

    def _accuse(self, kind: str, culprit: int, first: Proposal | Vote | None, second: Proposal | Vote) -> None:
        assert first is not None, "a contradiction has something to contradict"
        self._state.outbox.evidence.append(Evidence(kind, culprit, (encode(first), encode(second))))

    def _others(self, members: Iterable[int]) -> tuple[int, ...]:
        """The members without us and without repetitions, in the order given."""
        return tuple(member for member in dict.fromkeys(members) if member != self._state.index)


def _covers(wished: tuple[bytes, ...], ancestors: tuple[bytes, ...]) -> bool:
    """Whether a wish with these ancestors is still good: what was certified since may stay in its list."""
    return wished[len(wished) - len(ancestors) :] == ancestors
