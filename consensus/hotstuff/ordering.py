"""Proposals, votes, certificates, commits: the normal case (Jolteon Fig. 2, HotStuff-2 §3).

    leader of v, certificate or timeouts of v − 1 ──▶ proposal of v to all
    first proposal of v by its leader, justified, payload held ──▶ log it and our vote, vote to the leader of v + 1
    q votes for one block of v ──▶ its certificate: view v + 1
    certificates of a block and of its child in the next view ──▶ the block and its ancestors are decided

While the highest certified block is undecided, a leader proposes at once: the next payload if there is one that
waits, else a repetition, which costs a round of votes and no height. With everything decided it waits for work. The
leader that sees a commit with which everything is decided tells everybody, for no proposal may follow. What does
not live here: leaving views (``views``), re-sending (``exchange``), building (``building``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus.engine import Decided, Evidence, ObtainPayload, PayloadHeld
from consensus.hotstuff.messages import (
    ROOT_VIEW,
    Block,
    CommitProof,
    Entry,
    Proposal,
    Propose,
    QuorumCertificate,
    TimeoutCertificate,
    Vote,
    compute_block_id,
    entry_of,
    extends,
    sign_vote,
)
from consensus.hotstuff.records import COMMIT, HIGHEST, PROPOSAL, VOTE, compute_entry_key
from consensus.hotstuff.safety import commits, is_justified, names_its_parent
from consensus.hotstuff.state import HotStuffState
from consensus.tally import Tally
from primitives.codec import encode
from primitives.errors import RemoteError

RECENT_CERTIFICATES: Final = 8
"""Certificates that are remembered to find parent and child: they come in order but for a reordered few."""


@dataclass(slots=True)
class Ordering:
    """Acts on one ``HotStuffState``. ``enter_view`` is called with a view, and the timeouts that lead there, if
    they do. ``votes`` are the newest of each member, ``blocked`` is a commit that waits for entries we lack."""

    state: HotStuffState
    enter_view: Callable[[int, TimeoutCertificate | None], None]
    votes: dict[int, Vote] = field(default_factory=dict)
    recent: dict[bytes, QuorumCertificate] = field(default_factory=dict)
    blocked: CommitProof | None = None
    accused: dict[tuple[str, int], int] = field(default_factory=dict)

    # --- what is worth a signature check -------------------------------------------------------------------

    def needs_propose(self, message: Propose) -> bool:
        """Whether it is the first proposal of its view by the view's leader, or contradicts that one. However far
        ahead: it comes with what leads to its view."""
        state, proposal = self.state, message.proposal
        view = proposal.block.view
        if view < state.view or proposal.sender != state.terms.compute_leader(view):
            return False
        if message.payload is not None and len(message.payload) > state.parameters.max_payload_bytes:
            return False
        if view > state.view or state.proposal is None:
            return True
        return self._contradicts("proposal", proposal.sender, view, state.proposal.block, proposal.block)

    def needs_vote(self, vote: Vote) -> bool:
        """Whether it could complete a certificate that we lack, or contradicts its sender's last vote. The newest
        of each member is kept, so a flood of views yet to come only spoils its sender's own vote."""
        if vote.block.view < self.state.view:
            return False
        known = self.votes.get(vote.sender)
        if known is None or vote.block.view > known.block.view:
            return True
        return vote.block.view == known.block.view and self._contradicts(
            "vote", vote.sender, vote.block.view, known.block, vote.block
        )

    def needs_certificate(self, certificate: QuorumCertificate) -> bool:
        """Whether it is higher than all that we know."""
        return certificate.block.view > self.state.tip.view

    def needs_commit(self, proof: CommitProof) -> bool:
        """Whether it decides something, or certifies more than we know; in whatever view we are."""
        decides = proof.parent.block.slot > self.state.decided and self.blocked != proof
        return decides or self.needs_certificate(proof.child)

    def _contradicts(self, kind: str, member: int, view: int, first: Block, second: Block) -> bool:
        """Two blocks of one view; the first time that we see it of this member there."""
        return first != second and self.accused.get((kind, member), 0) < view

    # --- messages ------------------------------------------------------------------------------------------

    def on_propose(self, message: Propose) -> None:
        """Go where its certificates lead, keep the first of its view, vote for it once its payload is held."""
        state, proposal = self.state, message.proposal
        if not self._is_sound(proposal):
            state.counts.refused += 1
            return
        self.adopt(proposal.justify)
        if proposal.timeouts is not None and proposal.timeouts.view >= state.view:
            self.enter_view(proposal.timeouts.view + 1, proposal.timeouts)
        if proposal.block.view != state.view:
            return
        if state.proposal is not None:
            self._accuse("proposal", proposal.sender, proposal.block.view, state.proposal, proposal)
            return
        state.proposal = proposal
        self._obtain(proposal, message.payload)
        self.vote()

    def _is_sound(self, proposal: Proposal) -> bool:
        """Whether its certificates hold and let it extend the block that it extends."""
        if not is_justified(proposal.block.view, proposal.justify, proposal.timeouts):
            return False
        if not names_its_parent(proposal) or not extends(proposal.block, proposal.justify.block):
            return False
        try:
            self.state.checker.verify_certificate(proposal.justify)
            if proposal.timeouts is not None:
                self.state.checker.verify_timeouts(proposal.timeouts)
        except RemoteError:
            return False
        return True

    def on_vote(self, vote: Vote) -> None:
        """Keep the newest of each member; q for one block certify it."""
        known = self.votes.get(vote.sender)
        if known is not None and known.block.view == vote.block.view:
            self._accuse("vote", vote.sender, vote.block.view, known, vote)
            return
        self.votes[vote.sender] = vote
        tally: Tally[Vote] = Tally()
        for member, cast in self.votes.items():
            if cast.block.view == vote.block.view:
                tally.add(member, compute_block_id(cast.block), cast)
        self._certify(vote.block, tally)

    def _certify(self, block: Block, tally: Tally[Vote]) -> None:
        quorum = self.state.committee.quorum
        identity = compute_block_id(block)
        if block.view < self.state.view or not tally.has_quorum(identity, quorum):
            return
        votes = tally.votes_for(identity, quorum)
        certificate = QuorumCertificate(
            block, tuple(vote.sender for vote in votes), tuple(vote.signature for vote in votes)
        )
        state = self.state
        state.checker.note_verified(certificate)
        leads = state.terms.compute_leader(block.view + 1) == state.index
        self.adopt(certificate)
        if leads and not state.is_undecided and state.commit is not None and state.commit.child == certificate:
            state.outbox.transmit(None, state.commit)

    def on_commit_proof(self, proof: CommitProof) -> None:
        """Both certificates were verified with the message."""
        for certificate in (proof.parent, proof.child):
            self.state.checker.note_verified(certificate)
            self.adopt(certificate)

    def on_certificate(self, certificate: QuorumCertificate) -> None:
        """Verified with the message."""
        self.state.checker.note_verified(certificate)
        self.adopt(certificate)

    def on_payload_held(self, event: PayloadHeld) -> None:
        """Bytes and bodies are durable with the records of this same output: now we may vote for them."""
        state = self.state
        wanted = [state.tip] if state.proposal is None else [state.tip, state.proposal.block]
        if event.valid and any((event.slot, event.digest) == (block.slot, block.digest) for block in wanted):
            state.held[event.slot, event.digest] = event.payload
            self.vote()

    # --- certificates and commits --------------------------------------------------------------------------

    def adopt(self, certificate: QuorumCertificate) -> None:
        """Take a verified certificate in: raise the lock, commit what it commits, enter the view after its own."""
        state, block = self.state, certificate.block
        is_known = block.view == state.tip.view or compute_block_id(block) in self.recent
        if is_known or block.view == ROOT_VIEW:
            return
        self.learn(entry_of(block))
        self.note_recent(certificate)
        if block.view > state.tip.view:
            state.highest = certificate
            state.outbox.log(HIGHEST, certificate)
        for proof in self._find_commits(certificate):
            self._commit(proof)
        if block.view >= state.view:
            self.enter_view(block.view + 1, None)

    def _find_commits(self, certificate: QuorumCertificate) -> tuple[CommitProof, ...]:
        """The commits that it completes, as the child of one that we know or, where they came in disorder, as the
        parent."""
        pairs = [(known, certificate) for known in self.recent.values()]
        pairs += [(certificate, known) for known in self.recent.values()]
        return tuple(CommitProof(parent, child) for parent, child in pairs if commits(parent.block, child.block))

    def note_recent(self, certificate: QuorumCertificate) -> None:
        """Remember it as a possible parent or child."""
        if len(self.recent) >= RECENT_CERTIFICATES:
            self.recent.pop(next(iter(self.recent)))  # insertion order: the oldest
        self.recent[compute_block_id(certificate.block)] = certificate

    def learn(self, entry: Entry) -> None:
        """The entry of a certified block is logged before another certificate may replace its own in the log."""
        state = self.state
        gone = state.tree.learn(entry)
        if gone is None:
            return
        key = compute_entry_key(entry)
        forgotten = [compute_entry_key(old) for old in gone]
        state.outbox.log(key, entry)
        state.outbox.settle(forgotten, None)
        state.keys[entry.slot] = [kept for kept in state.keys.get(entry.slot, []) if kept not in forgotten] + [key]

    def _commit(self, proof: CommitProof) -> None:
        """Decide the parent and its ancestors, once all of them are known here."""
        state = self.state
        if state.commit is not None and proof.child.block.view <= state.commit.child.block.view:
            return
        path = state.tree.trace(entry_of(proof.parent.block))
        if proof.parent.block.slot > state.tree.height and path.missing is not None:
            if self.blocked is None or proof.child.block.view > self.blocked.child.block.view:
                self.blocked = proof
            return
        self.blocked = None
        state.commit = proof
        state.outbox.log(COMMIT, proof)
        if proof.parent.block.slot > state.decided:
            first = state.decided + 1
            state.decided = proof.parent.block.slot
            state.note_progress()
            self.announce(first)

    def retry_commit(self) -> None:
        """Entries were learned, or a height was certified."""
        if self.blocked is not None:
            self._commit(self.blocked)

    def announce(self, first: int) -> None:
        """Tell the replica (again, after a restart) what the slots from ``first`` were decided as."""
        state = self.state
        if state.commit is None:
            return
        proof = encode(state.commit)
        sources = self._others(state.commit.parent.signers)
        for entry in state.tree.trace(entry_of(state.commit.parent.block)).entries:
            if entry.slot >= first:
                state.outbox.decided.append(Decided(entry.slot, entry.digest, proof, sources))

    # --- voting --------------------------------------------------------------------------------------------

    def vote(self) -> None:
        """Vote for this view's proposal if the rules let us, its payload is held and its slot in the window."""
        state, proposal = self.state, self.state.proposal
        if (
            proposal is None
            or not state.ballot.may_vote(proposal.block.view)
            or not self.is_votable(proposal.block)
        ):
            return
        block = proposal.block
        vote = sign_vote(state.committee, state.signer, state.index, block)
        state.vote = vote
        state.ballot.voted = block.view
        state.outbox.log(PROPOSAL, proposal)
        state.outbox.log(VOTE, vote)
        leader = state.terms.compute_leader(block.view + 1)
        self.send_vote(None if leader in state.silent else leader)

    def is_votable(self, block: Block) -> bool:
        """Depends on messages, ``PayloadHeld.valid`` and the certified height alone. What repeats a settled slot
        helps those who are behind; a payload for a settled slot is none that a quorum would take."""
        state = self.state
        assert state.proposal is not None, "a vote is for a proposal"
        repeats = block.slot == state.proposal.justify.block.slot
        if not repeats and block.slot <= state.tree.height:
            return False
        return block.slot <= state.tree.height + state.parameters.window_slots and state.is_held(
            block.slot, block.digest
        )

    def send_vote(self, to: int | None) -> None:
        """Our last vote, again or for the first time; to ourselves it is given."""
        state = self.state
        assert state.vote is not None, "there is a vote to send"
        if to != state.index:
            state.outbox.transmit(to, state.vote)
        if (to is None or to == state.index) and self.needs_vote(state.vote):
            self.on_vote(state.vote)

    def _obtain(self, proposal: Proposal, payload: bytes | None) -> None:
        """A repeated payload, and one that is passed on without its bytes, is fetched. A quorum vouches for what is
        repeated: it is not asked for the clock."""
        state, block = self.state, proposal.block
        # Others may be a window ahead of what is certified here. What is further comes by catching up; pinning it
        # view by view would be without bound.
        is_far = block.slot > state.tree.height + 2 * state.parameters.window_slots
        if is_far or state.is_held(block.slot, block.digest):
            return
        proven = block.slot == proposal.justify.block.slot
        sources = self._others((*(proposal.justify.signers if proven else ()), proposal.sender))
        wish = ObtainPayload(block.slot, block.digest, None if proven else payload, sources, proven)
        state.outbox.wishes.append(wish)

    def resume(self) -> None:
        """After a restart: ask again for the payload of the view's proposal."""
        if self.state.proposal is not None:
            self._obtain(self.state.proposal, None)
            self.vote()

    # --- leaving a view ------------------------------------------------------------------------------------

    def forget_view(self) -> None:
        """The view changed: payloads that only its proposal named need not stay in memory."""
        state = self.state
        state.proposal = None
        tip = (state.tip.slot, state.tip.digest)
        state.held = {tip: state.held[tip]} if tip in state.held else {}

    def _accuse(self, kind: str, culprit: int, view: int, first: Proposal | Vote, second: Proposal | Vote) -> None:
        self.accused[kind, culprit] = view
        messages = tuple(sorted((encode(first), encode(second))))
        self.state.outbox.evidence.append(Evidence(f"conflicting-{kind}", culprit, messages))

    def _others(self, members: Iterable[int]) -> tuple[int, ...]:
        """The members without us and without repetitions, in the order given."""
        return tuple(member for member in dict.fromkeys(members) if member != self.state.index)
