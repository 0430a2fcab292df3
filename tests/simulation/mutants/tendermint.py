"""Tendermint's mutants: each breaks one rule whose loss costs safety or liveness, and names the seed that kills it.

Some of the bugs are those of ``tests.consensus.tendermint.mutants``, where a unit rule catches each; here the
campaign has to find them in runs, knowing nothing of what is broken. The lines are those of Algorithm 1.

Rules whose loss costs safety or liveness, and that no campaign was seen to miss in some 600 to 1,000 seeds:

| rule | what a run would have to bring, and where the rule is held |
|---|---|
| lines 28-29: an older polka unlocks nobody | two polkas of one height, and one member alone that decides by the |
| | second: ``rules.check_an_earlier_polka_does_not_unlock`` |
| a second lock of a height survives a restart | two locks of one height, and then a restart between the only |
| | decision and the next round: ``rules.check_a_later_lock_survives_a_restart`` |
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from consensus.committee import Committee
from consensus.engine import (
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
    Phase,
    Prevote,
    PrevoteCertificate,
    Propose,
    sign_prevote,
    sign_proposal,
)
from consensus.tendermint.steps import NIL, NO_ROUND
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import SIGNATURE_BYTES
from tests.consensus.tendermint.mutants import MUTANTS as BROKEN
from tests.simulation.mutants.counting import (
    ONE_LESS,
    TWO_F_PLUS_1,
    count_every_message,
    count_whatever_they_say,
)
from tests.simulation.mutants.hunts import Hunt, Twins
from tests.simulation.mutants.lying import LyingEngine
from tests.simulation.mutants.planting import Liar, Plant, PlantedFactory, plant_all, replace_in
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


# --- the table ---------------------------------------------------------------------------------------------

_TENDERMINT: Final = TendermintFactory()
TWINS: Final = Twins()
FIVE: Final = Twins(nodes=5)


def _mutant(name: str, plant: Plant, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    return Mutant(name, PlantedFactory(_TENDERMINT, plant, liar), hunt, seed, within)


def _broken(name: str, known: str, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    """One of those that unit rules catch."""
    return Mutant(name, PlantedFactory(BROKEN[known], lambda patch: None, liar), hunt, seed, within)


MUTANTS: Final = (
    _broken("the lock is forgotten", "forgets-the-lock", TWINS, 20, 200, Liar(_propose_fresh)),
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
