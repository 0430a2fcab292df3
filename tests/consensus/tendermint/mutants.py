"""Tendermint with one bug each, as factories: by name, to be run like any other engine.

Every mutant makes one mistake and nothing else, in an object of its own: nothing is patched globally, so honest
engines and mutants may run side by side. ``KILLERS`` names the rule that catches each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from consensus.engine import EngineFactory, Send
from consensus.tendermint import steps
from consensus.tendermint.core import TendermintCore
from consensus.tendermint.engine import TendermintEngine, TendermintFactory
from consensus.tendermint.messages import DecisionCertificate, Message, Propose, Vote
from consensus.tendermint.ordering import Ordering
from consensus.tendermint.records import HeightRecords
from consensus.tendermint.state import Height
from consensus.tendermint.steps import NIL, NO_ROUND, Step
from consensus.tendermint.voice import Voice
from primitives.codec import encode
from primitives.signing import SignatureScheme
from tests.consensus.tendermint import rules


class MutantFactory(TendermintFactory):
    """Makes engines and lets ``plant`` break each of them before its first event."""

    def __init__(self, name: str, plant: Callable[[TendermintEngine], None]) -> None:
        self.name = name
        self._plant = plant

    def create(self, *arguments: Any, **options: Any) -> TendermintEngine:
        engine = super().create(*arguments, **options)
        self._plant(engine)
        return engine

    def restore(self, *arguments: Any, **options: Any) -> TendermintEngine:
        engine = super().restore(*arguments, **options)
        self._plant(engine)
        return engine


def _replace_core(core: type[TendermintCore]) -> Callable[[TendermintEngine], None]:
    """Every height runs by this core."""

    def alter(height: Height) -> None:
        height.core.__class__ = core

    return _alter_heights(alter)


def _alter_heights(alter: Callable[[Height], None]) -> Callable[[TendermintEngine], None]:
    def plant(engine: TendermintEngine) -> None:
        ordering = engine._ordering
        make_height = ordering._make_height

        def make(number: int, records: HeightRecords | None) -> Height:
            height = make_height(number, records)
            alter(height)
            return height

        ordering._make_height = make  # type: ignore[method-assign]

    return plant


# --- locks -------------------------------------------------------------------------------------------------


class _ForgetfulCore(TendermintCore):
    """A lock lasts as long as its round."""

    def _start_round(self, round: int) -> None:
        self.locked_round, self.locked_value = NO_ROUND, None
        super()._start_round(round)


class _AnyPolkaUnlocksCore(TendermintCore):
    """Line 29 without ``lockedRound ≤ valid_round``."""

    def _prevote_reproposed(self) -> bool:
        locked = self.locked_round, self.locked_value
        self.locked_round = NO_ROUND
        done = super()._prevote_reproposed()
        self.locked_round, self.locked_value = locked
        return done


class _CredulousCore(TendermintCore):
    """Line 28 without its prevotes: the valid round is believed."""

    def _prevote_reproposed(self) -> bool:
        proposal = self._find_proposal(Step.PROPOSE)
        if proposal is None or not 0 <= proposal.valid_round < self.round:
            return False
        is_free = self.locked_round <= proposal.valid_round or self.locked_value == proposal.value
        self._prevote(proposal.value if proposal.is_valid and is_free else NIL)
        return True


def _believe_proofs(engine: TendermintEngine) -> None:
    """No signature in a proof of lock is looked at, and the core needs none."""
    _replace_core(_CredulousCore)(engine)
    engine._ordering._scheme = _BlindScheme()


class _BlindScheme(SignatureScheme):
    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return True


class _FreshCore(TendermintCore):
    """Lines 15-16 forgotten: every proposal is a fresh value."""

    def _start_round(self, round: int) -> None:
        valid = self.valid_round, self.valid_value
        self.valid_round, self.valid_value = NO_ROUND, None
        super()._start_round(round)
        self.valid_round, self.valid_value = valid


# --- counting ----------------------------------------------------------------------------------------------


def _lower_quorum(height: Height) -> None:
    height.core._setup = replace(height.core._setup, quorum=height.core._setup.quorum - 1)
    height.book._quorum -= 1


class _DoubleCountingCore(TendermintCore):
    """The round's proposer counts once by its votes and once more for having proposed."""

    def handle(self, step_input: steps.StepInput) -> tuple[steps.StepOutput, ...]:
        match step_input:
            case steps.Prevote(sender=sender, round=round) | steps.Precommit(sender=sender, round=round):
                if sender == self._setup.proposer_of(round):
                    entry = self._touch(round)
                    tally = entry.prevotes if isinstance(step_input, steps.Prevote) else entry.precommits
                    tally.add(-1, step_input.value, None)
            case _:
                pass
        return super().handle(step_input)


def _count_twice(height: Height) -> None:
    height.core.__class__ = _DoubleCountingCore
    height.book._quorum -= 1  # so that its certificates are as short as its counts


class _HastyCore(TendermintCore):
    """Precommits what it prevoted, without a polka."""

    def _follow_polka(self) -> bool:
        entry = self._touch(self.round)
        if self.step is not Step.PREVOTE or entry.proposal is None or not entry.proposal.is_valid:
            return False
        if entry.prevotes.count(entry.proposal.value) == 0 or entry.has_followed_polka:
            return False
        entry.has_followed_polka = True
        self._precommit(entry.proposal.value)
        return True


class _NilDeafCore(TendermintCore):
    """Lines 34, 44 and 47 count votes for values only."""

    def handle(self, step_input: steps.StepInput) -> tuple[steps.StepOutput, ...]:
        match step_input:
            case steps.Prevote(value=value) | steps.Precommit(value=value) if value == NIL:
                return ()
            case _:
                return super().handle(step_input)


class _InvalidCore(TendermintCore):
    """valid(v) is not asked."""

    def handle(self, step_input: steps.StepInput) -> tuple[steps.StepOutput, ...]:
        if isinstance(step_input, steps.Proposal):
            step_input = replace(step_input, is_valid=True)
        return super().handle(step_input)


# --- the log -----------------------------------------------------------------------------------------------


def _vote_before_persisting(engine: TendermintEngine) -> None:
    voice, outbox = engine._ordering._voice, engine._state.outbox

    def publish(height: Height, vote: Vote) -> None:
        height.book.add_vote(vote)
        outbox.send.append(Send(None, encode(vote)))

    voice._publish = publish  # type: ignore[method-assign]


def _edit_records(edit: Callable[[HeightRecords], None]) -> Callable[[TendermintEngine], None]:
    """What a restarted engine reads is not all that was written."""

    def plant(engine: TendermintEngine) -> None:
        for records in engine._state.unread.values():
            edit(records)

    return plant


def _drop_lock(records: HeightRecords) -> None:
    records.locked = records.valid = None


def _drop_votes(records: HeightRecords) -> None:
    records.prevotes, records.precommits = {}, {}


def _keep_older_locks(engine: TendermintEngine) -> None:
    """The first lock of a height is logged, later ones are not."""
    voice = engine._ordering._voice
    log = Voice.log

    def log_once(height: Height, kind: bytes, value: bytes) -> None:
        is_later_lock = kind == b"locked" and any(key.endswith(b"/locked") for key in height.logged)
        if not is_later_lock:
            log(voice, height, kind, value)

    voice.log = log_once  # type: ignore[method-assign]


# --- rounds ------------------------------------------------------------------------------------------------


class _ImpatientPacemaker:
    """Every round gets the base."""

    def __init__(self, base_ms: int) -> None:
        self.timeout_ms = base_ms

    def on_view_failed(self) -> None:
        """Nothing grows."""

    def on_progress(self) -> None:
        """Nothing shrinks."""


def _never_grow(engine: TendermintEngine) -> None:
    engine._state.pacemaker = _ImpatientPacemaker(engine._state.parameters.base_timeout_ms)


class _LonelyCore(TendermintCore):
    """Lines 55-56 forgotten."""

    def _skip_to_later_round(self) -> bool:
        return False


class _OneVoiceCore(TendermintCore):
    """Lines 55-56 believe one member."""

    def _skip_to_later_round(self) -> bool:
        honest, self._setup = self._setup, replace(self._setup, one_honest=1)
        done = super()._skip_to_later_round()
        self._setup = honest
        return done


class _PatientCore(TendermintCore):
    """Lines 34-35 forgotten: a split vote is waited for for ever."""

    def _await_more_prevotes(self) -> bool:
        return False


# --- everybody's turn, everybody's messages ----------------------------------------------------------------


def _accept_any_proposer(engine: TendermintEngine) -> None:
    def needs_propose(message: Propose) -> bool:
        height = engine._state.height
        return (
            height is not None
            and message.proposal.height == height.number
            and (height.book.needs_proposal(message.proposal))
        )

    engine._needs_propose = needs_propose  # type: ignore[method-assign]


def _send_nothing_again(engine: TendermintEngine) -> None:
    engine._statuses.send_status = lambda to: None  # type: ignore[method-assign]


def _ignore_certificates(engine: TendermintEngine) -> None:
    needs = TendermintEngine.needs

    def needs_no_certificate(signer: int, message: Message) -> bool:
        return not isinstance(message, DecisionCertificate) and needs(engine, signer, message)

    engine.needs = needs_no_certificate  # type: ignore[method-assign]


def _replace_first_proposal(engine: TendermintEngine) -> None:
    """The last proposal of a round wins, and is voted for again."""
    ordering = engine._ordering
    on_propose = Ordering.on_propose

    def on_last(height: Height, message: Propose) -> None:
        entry = height.book.peek(message.proposal.round)
        if entry is not None and entry.proposal is not None:
            entry.proposal = None
            height.prevotes.pop(message.proposal.round, None)
            height.core.step = Step.PROPOSE
            height.core._touch(message.proposal.round).proposal = None
        on_propose(ordering, height, message)

    ordering.on_propose = on_last  # type: ignore[method-assign]


_PLANTS: Mapping[str, tuple[Callable[[TendermintEngine], None], Callable[[EngineFactory], None]]] = {
    "forgets-the-lock": (_replace_core(_ForgetfulCore), rules.check_a_lock_holds),
    "unlocks-by-an-older-polka": (
        _replace_core(_AnyPolkaUnlocksCore),
        rules.check_an_earlier_polka_does_not_unlock,
    ),
    "unlocks-without-proof": (_believe_proofs, rules.check_a_forged_proof_does_not_unlock),
    "forgets-the-valid-value": (_replace_core(_FreshCore), rules.check_the_valid_value_is_proposed_again),
    "quorum-off-by-one": (_alter_heights(_lower_quorum), rules.check_quorums_count_distinct_members),
    "counts-the-proposer-twice": (_alter_heights(_count_twice), rules.check_quorums_count_distinct_members),
    "precommits-without-polka": (_replace_core(_HastyCore), rules.check_quorums_count_distinct_members),
    "does-not-count-nil": (_replace_core(_NilDeafCore), rules.check_nil_votes_end_a_round),
    "prevotes-invalid-payloads": (_replace_core(_InvalidCore), rules.check_an_invalid_payload_gets_nil),
    "votes-before-persisting": (_vote_before_persisting, rules.check_votes_are_durable_before_they_leave),
    "lock-not-restored": (_edit_records(_drop_lock), rules.check_a_lock_survives_a_restart),
    "votes-not-restored": (_edit_records(_drop_votes), rules.check_a_restart_repeats_the_same_votes),
    "logs-only-the-first-lock": (_keep_older_locks, rules.check_a_later_lock_survives_a_restart),
    "timeouts-never-grow": (_never_grow, rules.check_timeouts_grow_are_capped_and_shrink),
    "never-skips-rounds": (_replace_core(_LonelyCore), rules.check_later_rounds_pull_us_along),
    "skips-rounds-for-anybody": (_replace_core(_OneVoiceCore), rules.check_later_rounds_pull_us_along),
    "waits-for-split-votes": (_replace_core(_PatientCore), rules.check_a_split_vote_ends_too),
    "accepts-any-proposer": (_accept_any_proposer, rules.check_only_the_proposer_proposes),
    "takes-the-last-proposal": (_replace_first_proposal, rules.check_contradictions_are_evidence),
    "sends-nothing-again": (_send_nothing_again, rules.check_lost_votes_are_sent_again),
    "ignores-certificates": (_ignore_certificates, rules.check_late_precommits_are_sent_again),
}

MUTANTS: Mapping[str, EngineFactory] = {
    name: MutantFactory(f"tendermint-{name}", plant) for name, (plant, _) in _PLANTS.items()
}
KILLERS: Mapping[str, Callable[[EngineFactory], None]] = {name: rule for name, (_, rule) in _PLANTS.items()}
MUTANT_CORES: tuple[type[TendermintCore], ...] = (
    _ForgetfulCore,
    _AnyPolkaUnlocksCore,
    _CredulousCore,
    _FreshCore,
    _DoubleCountingCore,
    _HastyCore,
    _NilDeafCore,
    _InvalidCore,
    _LonelyCore,
    _OneVoiceCore,
    _PatientCore,
)
"""Those that break the core alone, for whatever compares cores."""
