"""The signed messages of one height, by round: what certificates, evidence and later rounds are made from.

One proposal per round and one vote per (sender, round, type): the first stands. Rounds that are over are kept for a
while, for late precommits; of the rounds ahead only the newest few of each sender, for a sender that is far ahead
matters by where it is now (line 55), and a faulty one fills only its own share. What does not live here: counting
for the rules, which is the core's; it is told what is dropped here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consensus.tally import Standing, Tally
from consensus.tendermint.messages import (
    DecisionCertificate,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Proposal,
    Propose,
    Vote,
)

PAST_ROUNDS: Final = 4
"""Rounds behind ours that are kept. Precommits that come later still have a decision certificate in their place."""
FUTURE_ROUNDS: Final = 4
"""Rounds ahead of ours of which one sender's messages are kept. Some f + 1 honest members are always within one
round of the foremost, and send the votes of their last two again, so line 55 needs no more."""


@dataclass(slots=True)
class RoundMessages:
    """What was heard of one round. ``payload`` and ``proof`` are the proposal's until the round is entered."""

    proposal: Proposal | None = None
    payload: bytes | None = None
    proof: PrevoteCertificate | None = None
    is_proposer_accused: bool = False
    prevotes: Tally[Prevote] = field(default_factory=Tally)
    precommits: Tally[Precommit] = field(default_factory=Tally)


class RoundBook:
    """``round`` is the one we are in."""

    __slots__ = ("_future", "_proofs", "_quorum", "_rounds", "round")

    def __init__(self, quorum: int) -> None:
        self.round = 0
        self._quorum = quorum
        self._rounds: dict[int, RoundMessages] = {}
        self._future: dict[int, list[int]] = {}
        self._proofs: dict[tuple[int, bytes], PrevoteCertificate] = {}

    # --- what is worth a signature check -------------------------------------------------------------------

    def admits(self, sender: int, round: int) -> bool:
        """Whether there is room for a message of this round, perhaps in place of an older one ahead of us."""
        if round <= self.round:
            return round >= self.round - PAST_ROUNDS
        known = self._future.get(sender, [])
        return round in known or len(known) < FUTURE_ROUNDS or round > known[0]

    def needs_vote(self, vote: Vote) -> bool:
        """Whether it could change anything, or contradicts what its sender said."""
        if not self.admits(vote.sender, vote.round):
            return False
        entry = self._rounds.get(vote.round)
        if entry is not None:
            tally = entry.prevotes if isinstance(vote, Prevote) else entry.precommits
            if tally.has_voted(vote.sender):
                return tally.contradicts(vote.sender, vote.digest)
            if tally.has_any_quorum(self._quorum):
                return False
        # Of rounds that are over only the precommits matter (line 49): line 28 has its proof with the proposal.
        return vote.round >= self.round or isinstance(vote, Precommit)

    def needs_proposal(self, proposal: Proposal) -> bool:
        """Whether it is the first of our round or one ahead, or contradicts that. Its proposer was checked."""
        if proposal.round < self.round or not self.admits(proposal.sender, proposal.round):
            return False
        entry = self._rounds.get(proposal.round)
        if entry is None or entry.proposal is None:
            return True
        known = entry.proposal
        differs = (known.digest, known.valid_round) != (proposal.digest, proposal.valid_round)
        return differs and not entry.is_proposer_accused

    # --- filling -------------------------------------------------------------------------------------------

    def make_room(self, sender: int, round: int) -> int | None:
        """Note that ``sender`` speaks of ``round``; the round of its that had to go for it, if one had to."""
        if round <= self.round:
            return None
        known = self._future.setdefault(sender, [])
        if round in known:
            return None
        known.append(round)
        known.sort()
        if len(known) <= FUTURE_ROUNDS:
            return None
        dropped = known.pop(0)
        self._drop(sender, dropped)
        return dropped

    def add_vote(self, vote: Vote) -> Standing:
        """Count it unless its sender voted before in this round."""
        entry = self.touch(vote.round)
        if isinstance(vote, Prevote):
            return entry.prevotes.add(vote.sender, vote.digest, vote)
        return entry.precommits.add(vote.sender, vote.digest, vote)

    def add_proposal(self, message: Propose) -> None:
        """Keep the first proposal of its round."""
        entry = self.touch(message.proposal.round)
        assert entry.proposal is None, "the first proposal stands"
        entry.proposal, entry.payload, entry.proof = message.proposal, message.payload, message.proof

    def add_proof(self, proof: PrevoteCertificate) -> None:
        """A proof of lock whose signatures are good."""
        self._proofs[proof.round, proof.digest] = proof

    def enter(self, round: int) -> None:
        """We are in ``round`` now; what is too old goes."""
        self.round = round
        oldest = round - PAST_ROUNDS
        for number in [number for number in self._rounds if number < oldest]:
            del self._rounds[number]
        self._proofs = {key: proof for key, proof in self._proofs.items() if key[0] >= oldest}
        for sender, known in self._future.items():
            self._future[sender] = [number for number in known if number > round]

    def touch(self, round: int) -> RoundMessages:
        """The messages of a round."""
        entry = self._rounds.get(round)
        if entry is None:
            entry = self._rounds[round] = RoundMessages()
        return entry

    def _drop(self, sender: int, round: int) -> None:
        entry = self._rounds.get(round)
        if entry is None:
            return
        entry.prevotes.remove(sender)
        entry.precommits.remove(sender)
        if entry.proposal is not None and entry.proposal.sender == sender:
            entry.proposal = entry.payload = entry.proof = None
        if entry.proposal is None and not len(entry.prevotes) and not len(entry.precommits):
            del self._rounds[round]

    # --- what it adds up to --------------------------------------------------------------------------------

    def peek(self, round: int) -> RoundMessages | None:
        """The messages of a round of which there are any."""
        return self._rounds.get(round)

    def find_rounds_of(self, digest: bytes) -> tuple[int, ...]:
        """The rounds up to ours whose proposal has this digest."""
        return tuple(
            number
            for number in sorted(self._rounds)
            if number <= self.round and _proposes(self._rounds[number], digest)
        )

    def find_polka(self, height: int, round: int, digest: bytes) -> PrevoteCertificate | None:
        """The proof that a quorum prevoted this, from the votes heard or as it came."""
        entry = self._rounds.get(round)
        if entry is None or not entry.prevotes.has_quorum(digest, self._quorum):
            return self._proofs.get((round, digest))
        votes = entry.prevotes.votes_for(digest, self._quorum)
        signers = tuple(vote.sender for vote in votes)
        return PrevoteCertificate(round, height, digest, signers, tuple(vote.signature for vote in votes))

    def find_decision(self, height: int, round: int, digest: bytes) -> DecisionCertificate | None:
        """The certificate, if a quorum precommitted this."""
        entry = self._rounds.get(round)
        if entry is None or not entry.precommits.has_quorum(digest, self._quorum):
            return None
        votes = entry.precommits.votes_for(digest, self._quorum)
        signers = tuple(vote.sender for vote in votes)
        return DecisionCertificate(round, height, digest, signers, tuple(vote.signature for vote in votes))

    def list_precommits(self, round: int) -> tuple[Precommit, ...]:
        """What takes whoever hears it out of the round (line 47): a quorum for whatever values, or nothing."""
        entry = self._rounds.get(round)
        if entry is None or len(entry.precommits) < self._quorum:
            return ()
        return entry.precommits.list_votes()

    def count_voters(self, round: int, without: int) -> int:
        """How many members other than ``without`` voted in ``round``."""
        entry = self._rounds.get(round)
        if entry is None:
            return 0
        return len({*entry.prevotes.members, *entry.precommits.members} - {without})

    @property
    def proposed_digests(self) -> set[bytes]:
        """What the proposals of the rounds that are kept name."""
        return {entry.proposal.digest for entry in self._rounds.values() if entry.proposal is not None}

    @property
    def buffered_bytes(self) -> int:
        """Payloads of proposals for rounds ahead."""
        return sum(len(entry.payload) for entry in self._rounds.values() if entry.payload is not None)


def _proposes(entry: RoundMessages, digest: bytes) -> bool:
    return entry.proposal is not None and entry.proposal.digest == digest
