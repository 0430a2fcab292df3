"""Carries out what the core says: votes, obtains payloads, decides, and goes from height to height.

The core (``core``) says *what* is voted, ``voice`` signs, logs and sends it, and it comes back to the core as our
own, for the paper's processes hear themselves.

A proposal reaches the core when its payload and bodies are durable here and its validity is known, so nobody
prevotes what it does not hold. Meanwhile timeoutPropose runs. What does not live here: which messages are wanted
(``RoundBook``, ``engine``), timers (``deadlines``) and re-sending (``status``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from consensus.engine import (
    NULL_DIGEST,
    BuildPayload,
    CancelWish,
    Decided,
    ObtainPayload,
    PayloadBuilt,
    PayloadHeld,
    WorkLevel,
    compute_payload_digest,
)
from consensus.tally import Standing
from consensus.tendermint import steps
from consensus.tendermint.evidence import (
    CONFLICTING_PRECOMMIT,
    CONFLICTING_PREVOTE,
    CONFLICTING_PROPOSAL,
    accuse,
)
from consensus.tendermint.messages import (
    DecisionCertificate,
    Precommit,
    Prevote,
    Proposal,
    Propose,
    Vote,
)
from consensus.tendermint.reading import is_certificate_signed
from consensus.tendermint.records import (
    DECIDED,
    LOCKED,
    ROUND,
    VALID,
    CurrentRound,
    HeightRecords,
    Lock,
    compute_slot_key,
)
from consensus.tendermint.restart import create_height, restore_height
from consensus.tendermint.round_book import PAST_ROUNDS
from consensus.tendermint.state import DecidedHeight, Height, HeldPayload, TendermintState
from consensus.tendermint.voice import Voice
from primitives.codec import encode
from primitives.errors import LocalError
from primitives.signing import SignatureScheme

_MAX_FAILURES_AT_ONCE: Final = 64
"""Rounds skipped in one step that count for the pacemaker: no cap is so many doublings above its base."""


@dataclass(frozen=True, slots=True)
class _OpenWish:
    ticket: int
    height: int
    round: int
    ancestors: tuple[bytes, ...]


class Ordering:
    """Acts on the current height of one ``TendermintState``."""

    def __init__(self, state: TendermintState, voice: Voice, scheme: SignatureScheme) -> None:
        self._state = state
        self._voice = voice
        self._scheme = scheme
        self._wish: _OpenWish | None = None
        self._tickets = 0

    # --- from height to height -----------------------------------------------------------------------------

    def open_height(self) -> bool:
        """Begin with the lowest undecided height (line 54) if the window allows it; whether it is a new one."""
        state = self._state
        number = state.open_height
        if number > state.last_slot or state.height is not None:
            return False
        records = state.unread.pop(number, None)
        height = state.height = self._make_height(number, records)
        if records is None:
            self._run(height, steps.StartRound(0))
        else:
            self._resume(height)
        return True

    def _make_height(self, number: int, records: HeightRecords | None) -> Height:
        if records is None:
            return create_height(self._state, number)
        return restore_height(self._state, number, records)

    def _resume(self, height: Height) -> None:
        """After a restart: say again what was logged, for it may never have left, and ask for what we lack."""
        self._voice.repeat_votes(height, None, 0)
        self._note_failures(height.round)
        for digest in sorted({*height.book.proposed_digests, *_known(height.core.valid_value)}):
            self._obtain(height, digest, None, range(self._state.committee.size), proven=True)
        self._run(height, steps.StartRound(height.book.round))
        if height.valid is not None:
            self._run(height, steps.PolkaProven(height.valid.round, height.valid.digest))
        for prevote in height.prevotes.values():
            self._run(height, steps.Prevote(prevote.sender, prevote.round, prevote.digest))
        for precommit in height.precommits.values():
            self._run(height, steps.Precommit(precommit.sender, precommit.round, precommit.digest))

    def leave(self, height: Height) -> None:
        """It is decided or certified."""
        assert self._state.height is height, "we leave the height that we are at"
        self._state.height = None
        self._state.pacemaker.on_progress()

    def announce_decision(self, certificate: DecisionCertificate) -> None:
        """Tell the replica (again, after a restart) what a height was decided as."""
        sources = self._others(certificate.signers)
        decided = Decided(certificate.height, certificate.digest, encode(certificate), sources)
        self._state.outbox.decided.append(decided)

    # --- messages; ``needs`` was asked ---------------------------------------------------------------------

    def on_propose(self, height: Height, message: Propose) -> None:
        """Accept the first proposal for its round; keep a second one beside it as evidence."""
        proposal, proof = message.proposal, message.proof
        known = height.book.peek(proposal.round)
        if known is not None and known.proposal is not None:
            known.is_proposer_accused = True
            self._state.outbox.evidence.append(accuse(CONFLICTING_PROPOSAL, known.proposal, proposal))
            return
        if proof is not None and not is_certificate_signed(proof, self._state.committee, self._scheme):
            return  # The proposer's signature does not cover the proof, so this accuses nobody.
        self._make_room(height, proposal.sender, proposal.round)
        height.book.add_proposal(message)
        if proposal.round == height.round:
            self._run(height, *self._take_up_proposal(height))

    def on_vote(self, height: Height, vote: Vote) -> None:
        """Count it for exactly its value; a quorum of precommits decides even without the proposal."""
        self._make_room(height, vote.sender, vote.round)
        if height.book.add_vote(vote) is Standing.CONTRADICTED:
            self._accuse_voter(height, vote)
            return
        self._run(height, _to_input(vote))
        if isinstance(vote, Precommit):
            self._decide_without_proposal(height, vote)

    def on_decision(self, certificate: DecisionCertificate) -> None:
        """Decide, whatever round we are in."""
        self._decide(certificate)

    def on_timeout(self, height: Height, kind: steps.TimeoutKind) -> None:
        """A timeout of the current round ran out."""
        height.scheduled.pop(kind, None)
        self._run(height, steps.Timeout(kind, height.round))

    def _make_room(self, height: Height, sender: int, round: int) -> None:
        dropped = height.book.make_room(sender, round)
        if dropped is not None:
            height.core.forget(sender, dropped)

    def _accuse_voter(self, height: Height, vote: Vote) -> None:
        entry = height.book.touch(vote.round)
        if isinstance(vote, Prevote):
            first: Vote | None = entry.prevotes.vote_of(vote.sender)
            kind = CONFLICTING_PREVOTE
        else:
            first, kind = entry.precommits.vote_of(vote.sender), CONFLICTING_PRECOMMIT
        assert first is not None, "a contradiction has something to contradict"
        self._state.outbox.evidence.append(accuse(kind, first, vote))

    # --- payloads ------------------------------------------------------------------------------------------

    def on_payload_held(self, height: Height, event: PayloadHeld) -> None:
        """Bytes and bodies are durable with the records of this same output: now we may vote for them."""
        if not height.is_relevant(event.digest):
            return
        height.held[event.digest] = HeldPayload(event.payload, event.valid)
        if height.due is not None and height.due[1] == event.digest:
            self._run(height, *self._propose(height, *height.due))
        for round in height.book.find_rounds_of(event.digest):
            entry = height.book.peek(round)
            if entry is not None and entry.proposal is not None:
                self._run(height, _tell_core(entry.proposal, event.valid))

    def on_payload_built(self, event: PayloadBuilt) -> None:
        """Propose it (line 19), unless the wish was cancelled meanwhile. What we built we hold."""
        height = self._state.height
        if height is None or self._wish is None or self._wish.ticket != event.ticket:
            return
        if len(event.payload) > self._state.parameters.max_payload_bytes:
            raise LocalError(f"a payload of {len(event.payload)} bytes is over the network's limit")
        self._wish = None
        height.is_value_wanted = False
        digest = compute_payload_digest(event.payload)
        height.held[digest] = HeldPayload(event.payload, True)
        self._run(height, steps.ValueReady(height.round, digest))

    def update_wish(self) -> None:
        """Keep one ``BuildPayload`` open while the core waits for a value and there is work."""
        wanted = self._find_wanted()
        wish = self._wish
        if wish is not None and (wanted is None or not _covers(wish, wanted)):
            self._state.outbox.wishes.append(CancelWish(wish.ticket))
            self._wish = None
        if wanted is not None and self._wish is None:
            self._tickets += 1
            number, round, ancestors = wanted
            self._wish = _OpenWish(self._tickets, number, round, ancestors)
            self._state.outbox.wishes.append(BuildPayload(self._tickets, number, ancestors, allow_null=False))

    def _find_wanted(self) -> tuple[int, int, tuple[bytes, ...]] | None:
        state, height = self._state, self._state.height
        if height is None or not height.is_value_wanted or height.core.step is not steps.Step.PROPOSE:
            return None
        if state.work is WorkLevel.IDLE and self._wish is None:
            return None
        ancestors = [state.decided[number].certificate.digest for number in range(state.stable + 1, height.number)]
        return height.number, height.round, tuple(ancestors)

    def _obtain(
        self, height: Height, digest: bytes, payload: bytes | None, sources: Iterable[int], *, proven: bool
    ) -> None:
        if digest not in height.held:
            wish = ObtainPayload(height.number, digest, payload, self._others(sources), proven)
            self._state.outbox.wishes.append(wish)

    # --- what the core says --------------------------------------------------------------------------------

    def _run(self, height: Height, *inputs: steps.StepInput) -> None:
        """One step after the other, our own messages among them, until the core has nothing to say or the height
        is decided."""
        waiting = deque(inputs)
        while waiting and self._state.height is height:
            for output in height.core.handle(waiting.popleft()):
                waiting.extend(self._carry_out(height, output))

    def _carry_out(self, height: Height, output: steps.StepOutput) -> tuple[steps.StepInput, ...]:
        """What the core hears of it in turn."""
        match output:
            case steps.NewRound(round=round):
                return self._enter_round(height, round)
            case steps.GetValue(round=round):
                return self._get_value(height, round)
            case steps.BroadcastProposal(round=round, value=value, valid_round=valid_round):
                return self._propose(height, round, value, valid_round)
            case steps.BroadcastPrevote(round=round, value=value):
                return (_to_input(self._voice.prevote(height, round, value)),)
            case steps.BroadcastPrecommit(round=round, value=value):
                return (_to_input(self._voice.precommit(height, round, value)),)
            case steps.ScheduleTimeout(kind=kind):
                height.scheduled[kind] = None
            case steps.Locked(round=round, value=value):
                self._voice.log(height, LOCKED, encode(Lock(round, value)))
            case steps.ValidValueSet(round=round, value=value):
                self._keep_valid(height, round, value)
            case steps.Decide(round=round, value=value):
                certificate = height.book.find_decision(height.number, round, value)
                assert certificate is not None, "the core counts what the book holds"
                self._decide(certificate)
            case _:
                assert_never(output)
        return ()

    def _enter_round(self, height: Height, round: int) -> tuple[steps.StepInput, ...]:
        """Lines 11-13: log where we are before anything is said there, and take up what came early."""
        state = self._state
        if round > height.book.round:
            self._note_failures(round - height.book.round)
            state.rounds_failed += 1
            self._voice.log(height, ROUND, encode(CurrentRound(round)))
        height.book.enter(round)
        height.core.forget_below(round - PAST_ROUNDS)
        height.scheduled.clear()
        height.is_value_wanted = False
        height.due = None
        height.entered_ms = state.now_ms
        height.prevotes = {number: vote for number, vote in height.prevotes.items() if number >= round - 1}
        height.precommits = {number: vote for number, vote in height.precommits.items() if number >= round - 1}
        height.held = {
            digest: held
            for digest, held in height.held.items()
            if digest == NULL_DIGEST or height.is_relevant(digest)
        }
        return self._take_up_proposal(height)

    def _note_failures(self, count: int) -> None:
        for _ in range(min(count, _MAX_FAILURES_AT_ONCE)):
            self._state.pacemaker.on_view_failed()

    def _take_up_proposal(self, height: Height) -> tuple[steps.StepInput, ...]:
        """Tell the core of this round's proposal, now if its payload is known, else when it is."""
        entry = height.book.peek(height.book.round)
        if entry is None or entry.proposal is None:
            return ()
        proposal, payload, proof = entry.proposal, entry.payload, entry.proof
        entry.payload = entry.proof = None
        inputs: list[steps.StepInput] = []
        if proof is not None:
            height.book.add_proof(proof)
            inputs.append(steps.PolkaProven(proof.round, proof.digest))
        held = height.held.get(proposal.digest)
        if held is not None:
            inputs.append(_tell_core(proposal, held.is_valid))
        elif payload is not None:
            signers = () if proof is None else proof.signers
            sources = (proposal.sender, *signers)
            self._obtain(height, proposal.digest, payload, sources, proven=proof is not None)
        return tuple(inputs)

    # --- proposing and locking -----------------------------------------------------------------------------

    def _get_value(self, height: Height, round: int) -> tuple[steps.StepInput, ...]:
        """Line 18; after a restart we may have proposed in this round already, and propose nothing else."""
        own = height.proposal
        if own is not None and own.round == round:
            return self._propose(height, round, own.digest, own.valid_round)
        height.is_value_wanted = True
        return ()

    def _propose(self, height: Height, round: int, digest: bytes, valid_round: int) -> tuple[steps.StepInput, ...]:
        """Line 19, at once or when the payload is here; meanwhile time must not stand still for us."""
        proposal = self._voice.propose(height, round, digest, valid_round)
        if proposal is None:
            height.due = (round, digest, valid_round)
            height.scheduled.setdefault(steps.TimeoutKind.PROPOSE, None)
            return ()
        height.due = None
        told = _tell_core(proposal, height.held[proposal.digest].is_valid)
        if height.proposal_proof is None:
            return (told,)
        # The prevotes of that round may be forgotten; like everybody else we have them from the proposal.
        return (steps.PolkaProven(proposal.valid_round, proposal.digest), told)

    def _keep_valid(self, height: Height, round: int, value: bytes) -> None:
        proof = height.book.find_polka(height.number, round, value)
        assert proof is not None, "the core counts what the book holds"
        height.valid = proof
        self._voice.log(height, VALID, encode(proof))

    # --- deciding ------------------------------------------------------------------------------------------

    def _decide_without_proposal(self, height: Height, vote: Precommit) -> None:
        """Lines 49-51 ask for the proposal as well; a quorum that precommitted a value holds it, and the replica
        fetches it from them."""
        if self._state.height is not height or vote.digest == steps.NIL:
            return
        certificate = height.book.find_decision(height.number, vote.round, vote.digest)
        if certificate is not None:
            self._decide(certificate)

    def _decide(self, certificate: DecisionCertificate) -> None:
        state, height = self._state, self._state.height
        number = certificate.height
        key = compute_slot_key(number, DECIDED)
        keys = {key}
        if height is not None and height.number == number:
            keys |= height.logged
            self.leave(height)
        elif number in state.unread:
            keys |= state.unread.pop(number).keys
        state.outbox.log(key, encode(certificate))
        state.decided[number] = DecidedHeight(certificate, frozenset(keys))
        state.note_progress()
        self.announce_decision(certificate)

    def _others(self, members: Iterable[int]) -> tuple[int, ...]:
        """The members without us and without repetitions, in the order given."""
        return tuple(member for member in dict.fromkeys(members) if member != self._state.index)


def _covers(wish: _OpenWish, wanted: tuple[int, int, tuple[bytes, ...]]) -> bool:
    """Whether the open wish is still good: what was certified since may stay in its list of ancestors."""
    number, round, ancestors = wanted
    if (wish.height, wish.round) != (number, round):
        return False
    return wish.ancestors[len(wish.ancestors) - len(ancestors) :] == ancestors


def _to_input(vote: Vote) -> steps.StepInput:
    if isinstance(vote, Prevote):
        return steps.Prevote(vote.sender, vote.round, vote.digest)
    return steps.Precommit(vote.sender, vote.round, vote.digest)


def _tell_core(proposal: Proposal, is_valid: bool) -> steps.StepInput:
    return steps.Proposal(proposal.round, proposal.digest, proposal.valid_round, is_valid)


def _known(digest: bytes | None) -> tuple[bytes, ...]:
    return () if digest is None else (digest,)
