"""Our own messages: signed once, logged before they leave, repeated byte for byte.

This is the last line before the signature, and does not trust the rules: a vote or a proposal of a round in which
we signed one already is that one again, whatever is asked for. What does not live here: what to say (``core``).
"""

from __future__ import annotations

from consensus.engine import Send
from consensus.tendermint.messages import (
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Propose,
    Vote,
    sign_precommit,
    sign_prevote,
    sign_proposal,
)
from consensus.tendermint.records import PROPOSAL, compute_slot_key, compute_vote_kind
from consensus.tendermint.state import Height, TendermintState
from consensus.tendermint.steps import NO_ROUND
from primitives.codec import encode


class Voice:
    """Speaks for one ``TendermintState``."""

    def __init__(self, state: TendermintState) -> None:
        self._state = state

    def propose(self, height: Height, round: int, digest: bytes, valid_round: int) -> Proposal | None:
        """Line 19. ``None`` while the payload is not here: after a restart it comes from the pins."""
        state = self._state
        own = height.proposal
        if own is not None and own.round == round:
            digest = own.digest
        held = height.held.get(digest)
        if held is None:
            return None
        if own is None or own.round != round:
            own = sign_proposal(
                state.committee, state.signer, state.index, round, height.number, digest, valid_round
            )
            height.proposal = own
            self.log(height, PROPOSAL, encode(own))
        height.book.touch(round).proposal = own
        height.proposal_proof = self._find_proof(height, own)
        again = self.build_propose(height)
        if again is not None:
            state.outbox.send.append(Send(None, encode(again)))
        return own

    def build_propose(self, height: Height) -> Propose | None:
        """Our proposal of this round as it was sent, for members that lack it."""
        own = height.proposal
        if own is None or own.round != height.book.round or own.digest not in height.held:
            return None
        if own.valid_round != NO_ROUND and height.proposal_proof is None:
            return None  # A restart kept only the proof of a later round; the next proposer carries that.
        return Propose(own, height.held[own.digest].payload, height.proposal_proof)

    def prevote(self, height: Height, round: int, value: bytes) -> Prevote:
        """Lines 24, 26, 30, 32 and 59; once per round."""
        cast = height.prevotes.get(round)
        if cast is not None:
            return cast
        state = self._state
        vote = sign_prevote(state.committee, state.signer, state.index, round, height.number, value)
        height.prevotes[round] = vote
        entry = height.book.touch(round)
        if entry.proposal is not None and entry.proposal.digest == value and entry.proposal != height.proposal:
            # Others' proposals are logged with our vote: until then a restart may forget them without harm.
            self.log(height, PROPOSAL, encode(entry.proposal))
        self._publish(height, vote)
        return vote

    def precommit(self, height: Height, round: int, value: bytes) -> Precommit:
        """Lines 40, 45 and 63; once per round. Its lock stands before it in the same output."""
        cast = height.precommits.get(round)
        if cast is not None:
            return cast
        state = self._state
        vote = sign_precommit(state.committee, state.signer, state.index, round, height.number, value)
        height.precommits[round] = vote
        self._publish(height, vote)
        return vote

    def repeat_votes(self, height: Height, to: int | None, first_round: int) -> None:
        """Our votes of this round and the one before, but none below ``first_round``, to one member or all."""
        for vote in height.own_votes:
            if vote.round >= first_round:
                self._state.outbox.send.append(Send(to, encode(vote)))

    def log(self, height: Height, kind: bytes, value: bytes) -> None:
        """Make it durable, as a record that goes with its height."""
        key = compute_slot_key(height.number, kind)
        height.logged.add(key)
        self._state.outbox.log(key, value)

    def _publish(self, height: Height, vote: Vote) -> None:
        data = encode(vote)
        self.log(height, compute_vote_kind(vote), data)
        height.book.add_vote(vote)
        self._state.outbox.send.append(Send(None, data))

    def _find_proof(self, height: Height, proposal: Proposal) -> PrevoteCertificate | None:
        if proposal.valid_round == NO_ROUND:
            return None
        return height.book.find_polka(height.number, proposal.valid_round, proposal.digest) or _matching(
            height.valid, proposal
        )


def _matching(valid: PrevoteCertificate | None, proposal: Proposal) -> PrevoteCertificate | None:
    return valid if valid is not None and valid.round == proposal.valid_round else None
