"""Tendermint's mutants: each breaks one rule whose loss costs safety or liveness, and names the seed that kills it.

Some of the bugs are those of ``tests.consensus.tendermint.mutants``, where a unit rule catches each; here the
campaign has to find them in runs, knowing nothing of what is broken. The lines are those of Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from consensus.committee import Committee
from consensus.engine import (
    Engine,
    Event,
    MessageReceived,
    Output,
    Send,
    compute_payload_digest,
)
from consensus.tendermint import messages, ordering, reading
from consensus.tendermint.core import TendermintCore
from consensus.tendermint.engine import TendermintFactory
from consensus.tendermint.messages import (
    DecisionCertificate,
    Phase,
    Precommit,
    Prevote,
    PrevoteCertificate,
    Propose,
    sign_precommit,
    sign_prevote,
    sign_proposal,
)
from consensus.tendermint.ordering import Ordering
from consensus.tendermint.state import Height, HeldPayload
from consensus.tendermint.steps import NIL, NO_ROUND
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import SIGNATURE_BYTES, Signer
from tests.consensus.tendermint.mutants import MUTANTS as BROKEN
from tests.simulation.mutants.counting import (
    ONE_LESS,
    TWO_F_PLUS_1,
    count_every_message,
    count_whatever_they_say,
)
from tests.simulation.mutants.hunts import Hunt, Twins
from tests.simulation.mutants.lying import LyingEngine
from tests.simulation.mutants.planting import Liar, Plant, PlantedFactory, plant_all, replace_in, share
from tests.simulation.mutants.table import Mutant

# --- quorums -----------------------------------------------------------------------------------------------


def _require_any_signers(certificate: Any, committee: Committee) -> None:
    if not len(certificate.signers) == len(certificate.signatures) == committee.quorum:
        raise RemoteError("MALFORMED", "not enough signers")


_COUNT_EVERY_MESSAGE: Final = plant_all(
    count_every_message, replace_in(reading, "require_certificate_shape", _require_any_signers)
)


# --- what a signature covers -------------------------------------------------------------------------------


def _leave_out(*parts: str) -> Plant:
    """Statements that name no phase, no round or no height."""
    honest = messages.compute_statement

    def compute(committee: Committee, phase: Phase, round: int, height: int, digest: bytes) -> bytes:
        voting = phase in (Phase.PREVOTE, Phase.PRECOMMIT)
        return honest(
            committee,
            Phase.PREVOTE if voting and "phase" in parts else phase,
            0 if "round" in parts else round,
            0 if "height" in parts else height,
            digest,
        )

    return plant_all(
        replace_in(messages, "compute_statement", compute), replace_in(reading, "compute_statement", compute)
    )


# --- locks -------------------------------------------------------------------------------------------------


def _believe_proofs(patch: Any) -> None:
    """No signature in a proof of lock is looked at."""
    patch.setattr(ordering, "is_certificate_signed", lambda certificate, committee, scheme: True)


# --- liars -------------------------------------------------------------------------------------------------


def _propose_fresh(patch: Any) -> None:
    """Leads with a value of its own whatever it knows to be valid, and votes for it whatever it is locked on."""
    honest = TendermintCore._start_round

    def start(self: TendermintCore, round: int) -> None:
        self.locked_round, self.locked_value = NO_ROUND, None
        self.valid_round, self.valid_value = NO_ROUND, None
        honest(self, round)

    patch.setattr(TendermintCore, "_start_round", start)


class _Forging(LyingEngine):
    """Says of its fresh proposals that they had a polka in the round before, with signatures of nobody."""

    def alter(self, send: Send) -> tuple[Send, ...]:
        message = reading.decode_message(send.message, self.committee)[1]
        if not isinstance(message, Propose) or message.proposal.round == 0:
            return (send,)
        old, quorum = message.proposal, self.committee.quorum
        round = old.round - 1
        proposal = sign_proposal(self.committee, self.signer, self.index, old.round, old.height, old.digest, round)
        signatures = (bytes(SIGNATURE_BYTES),) * quorum
        proof = PrevoteCertificate(round, old.height, old.digest, tuple(range(quorum)), signatures)
        return (msgspec.structs.replace(send, message=encode(Propose(proposal, message.payload, proof))),)


class _Rushing(LyingEngine):
    """Votes in a round far ahead beside each vote."""

    def alter(self, send: Send) -> tuple[Send, ...]:
        vote = reading.decode_message(send.message, self.committee)[1]
        if not isinstance(vote, Prevote):
            return (send,)
        ahead = sign_prevote(self.committee, self.signer, self.index, vote.round + 8, vote.height, NIL)
        return (msgspec.structs.replace(send, message=encode(ahead)), send)


class _Usurping(LyingEngine):
    """Proposes what it hears proposed under its own name, with a payload of its own."""

    def handle(self, event: Event, now_ms: int) -> Output:
        output = self.engine.handle(event, now_ms)
        if not isinstance(event, MessageReceived) or not isinstance(event.message, Prevote):
            return output
        vote = event.message
        payload = b"usurped %d %d" % (vote.height, vote.round)
        digest = compute_payload_digest(payload)
        proposal = sign_proposal(
            self.committee, self.signer, self.index, vote.round + 1, vote.height, digest, NO_ROUND
        )
        return replace(output, send=(*output.send, Send(None, encode(Propose(proposal, payload, None)))))


@dataclass(slots=True)
class _Memory:
    """What member 0 knows: its processes share it, and restarts forget nothing. ``polkas`` are proofs and payloads
    by height and value, the oldest first; ``turns`` says how many values had polkas when a round was led."""

    polkas: dict[int, dict[bytes, tuple[PrevoteCertificate, HeldPayload]]] = field(default_factory=dict)
    turns: dict[tuple[int, int], int] = field(default_factory=dict)
    precommits: dict[tuple[int, int, bytes], dict[int, Precommit]] = field(default_factory=dict)
    split: set[int] = field(default_factory=set)


def _propose_oldest(patch: Any) -> None:
    """Leads with values of its own until it has seen polkas of two, then with the older one; decides nothing that
    others have not decided."""
    start_round, keep_valid, get_value = TendermintCore._start_round, Ordering._keep_valid, Ordering._get_value

    def start_free(self: TendermintCore, round: int) -> None:
        self.locked_round, self.locked_value = NO_ROUND, None
        self.valid_round, self.valid_value = NO_ROUND, None
        start_round(self, round)

    def keep_all(self: Ordering, height: Height, round: int, value: bytes) -> None:
        keep_valid(self, height, round, value)
        known = share(self._state.committee, "_memory", _Memory).polkas.setdefault(height.number, {})
        if height.valid is not None and value in height.held:
            known.setdefault(value, (height.valid, height.held[value]))

    def get_oldest(self: Ordering, height: Height, round: int) -> Any:
        polkas = share(self._state.committee, "_memory", _Memory).polkas.get(height.number, {})
        known = [(proof, held) for proof, held in polkas.values() if proof.round < round]
        if len(known) < 2:
            return get_value(self, height, round)
        height.valid, held = known[0]
        height.held[height.valid.digest] = held
        return self._propose(height, round, height.valid.digest, height.valid.round)

    patch.setattr(TendermintCore, "_start_round", start_free)
    patch.setattr(TendermintCore, "_decide", lambda self: False)
    patch.setattr(Ordering, "_keep_valid", keep_all)
    patch.setattr(Ordering, "_get_value", get_oldest)
    patch.setattr(Ordering, "_decide_without_proposal", lambda self, height, vote: None)


class _Splitting(LyingEngine):
    """Tells two members alone what it proposes. Until it has a polka in a height its prevotes stay with it, so that
    nobody else sees that one; then they help. Its precommits complete certificates of decisions that nobody but
    itself has: when there are two of one height, each goes to somebody else."""

    def __init__(self, engine: Engine, committee: Committee, signer: Signer) -> None:
        super().__init__(engine, committee, signer)
        self._others = tuple([member for member in range(committee.size) if member != self.index])
        self._chosen = self._others[: committee.quorum - 1]
        self._memory = share(committee, "_memory", _Memory)

    def choose_audience(self, message: Propose | Prevote, turn: int) -> tuple[int, ...]:
        """Who hears what belongs to a proposal that we made when we had polkas of so many values."""
        return self._chosen if turn or isinstance(message, Propose) else ()

    def handle(self, event: Event, now_ms: int) -> Output:
        output = super().handle(event, now_ms)
        if isinstance(event, MessageReceived) and isinstance(event.message, Precommit):
            output = replace(output, send=(*output.send, *self._take(event.message)))
        return output

    def needs(self, signer: int, message: Any) -> bool:
        return isinstance(message, Precommit) or super().needs(signer, message)

    def alter(self, send: Send) -> tuple[Send, ...]:
        message = reading.decode_message(send.message, self.committee)[1]
        match message:
            case Propose():
                height, round = message.proposal.height, message.proposal.round
                turn = self._memory.turns.setdefault((height, round), len(self._memory.polkas.get(height, ())))
                audience = self.choose_audience(message, turn)
            case Prevote():
                turn = self._memory.turns.get((message.height, message.round))
                audience = () if turn is None else self.choose_audience(message, turn)
            case Precommit():
                audience = ()
            case _:
                return (send,)
        return tuple([msgspec.structs.replace(send, to=to) for to in audience if send.to in (None, to)])

    def _take(self, vote: Precommit) -> tuple[Send, ...]:
        """Both decisions, when the second one is complete."""
        if vote.digest == NIL:
            return ()
        place = (vote.height, vote.round, vote.digest)
        own = sign_precommit(self.committee, self.signer, self.index, vote.round, vote.height, vote.digest)
        self._memory.precommits.setdefault(place, {self.index: own})[vote.sender] = vote
        complete = {
            digest: self._certify(votes)
            for (height, _, digest), votes in self._memory.precommits.items()
            if height == vote.height and len(votes) >= self.committee.quorum
        }
        if len(complete) < 2 or vote.height in self._memory.split:
            return ()
        self._memory.split.add(vote.height)
        first, second = tuple(complete.values())[:2]
        return (Send(self._others[-1], encode(first)), Send(self._others[0], encode(second)))

    def _certify(self, votes: dict[int, Precommit]) -> DecisionCertificate:
        chosen = [votes[sender] for sender in sorted(votes)][: self.committee.quorum]
        first = chosen[0]
        signers, signatures = [vote.sender for vote in chosen], [vote.signature for vote in chosen]
        return DecisionCertificate(first.round, first.height, first.digest, tuple(signers), tuple(signatures))


class _Relocking(_Splitting):
    """Shows one member alone the first polka. The next proposal is for those whom that did not lock, and its polka
    locks the one again, with another; then it comes back to the first value, for whoever forgot."""

    def choose_audience(self, message: Propose | Prevote, turn: int) -> tuple[int, ...]:
        if isinstance(message, Propose):
            return self._others if turn else self._chosen
        return (self._chosen[-1:], self._chosen)[turn] if turn < 2 else self._others


# --- the table ---------------------------------------------------------------------------------------------

_TENDERMINT: Final = TendermintFactory()
TWINS: Final = Twins()
FIVE: Final = Twins(nodes=5)
LONG: Final = Twins(rounds=16)
"""Attacks that take several rounds of one height, and then a restart."""
_SPLIT: Final = Liar(_propose_oldest, _Splitting)
_RELOCK: Final = Liar(_propose_oldest, _Relocking)


def _mutant(name: str, plant: Plant, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    return Mutant(name, PlantedFactory(_TENDERMINT, plant, liar), hunt, seed, within)


def _broken(name: str, known: str, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    """One of those that unit rules catch."""
    return Mutant(name, PlantedFactory(BROKEN[known], lambda patch: None, liar), hunt, seed, within)


MUTANTS: Final = (
    _broken("the lock is forgotten", "forgets-the-lock", TWINS, 20, 200, Liar(_propose_fresh)),
    _broken("an older polka unlocks", "unlocks-by-an-older-polka", TWINS, 10, 100, _SPLIT),
    _mutant("proofs of lock are believed", _believe_proofs, TWINS, 112, 400, Liar(_propose_fresh, _Forging)),
    _broken("the valid value is forgotten", "forgets-the-valid-value", TWINS, 0, 100),
    _broken("a prevote is followed without a polka", "precommits-without-polka", TWINS, 0, 20),
    _mutant("q - 1 members are a quorum", ONE_LESS, TWINS, 0, 20),
    _mutant("a quorum is 2f + 1 of five", TWO_F_PLUS_1, FIVE, 165, 400),
    _mutant("repeated votes count again", _COUNT_EVERY_MESSAGE, TWINS, 0, 20),
    _mutant("votes count whatever they are for", count_whatever_they_say, TWINS, 0, 20),
    _mutant("a prevote is good as a precommit", _leave_out("phase"), TWINS, 0, 20),
    _mutant("a vote is good for every round", _leave_out("round"), TWINS, 0, 20),
    _mutant("a vote is good for every height", _leave_out("height"), TWINS, 0, 20),
    _broken("votes leave before they are logged", "votes-before-persisting", TWINS, 0, 5),
    _broken("votes go at a restart", "votes-not-restored", TWINS, 10, 100),
    _broken("locks go at a restart", "lock-not-restored", TWINS, 18, 100, Liar(_propose_fresh)),
    _broken("later locks go at a restart", "logs-only-the-first-lock", LONG, 47, 200, _RELOCK),
    _broken("the last proposal wins", "takes-the-last-proposal", TWINS, 0, 20),
    _broken("anybody proposes", "accepts-any-proposer", TWINS, 3, 100, Liar(wrap=_Usurping)),
    _broken("invalid payloads get votes", "prevotes-invalid-payloads", TWINS, 3, 50),
    _broken("nil votes count for nothing", "does-not-count-nil", TWINS, 1, 20),
    _broken("split votes are waited for", "waits-for-split-votes", TWINS, 1, 20),
    _broken("timeouts never grow", "timeouts-never-grow", TWINS, 0, 50),
    _broken("later rounds pull nobody along", "never-skips-rounds", TWINS, 105, 200),
    _broken("one member pulls everybody along", "skips-rounds-for-anybody", TWINS, 0, 50, Liar(wrap=_Rushing)),
    _broken("nothing is sent again", "sends-nothing-again", TWINS, 0, 20),
    _broken("decision certificates are ignored", "ignores-certificates", TWINS, 4, 100),
)
