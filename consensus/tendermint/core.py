"""Algorithm 1 of arXiv 1807.04938 for one height, one input at a time.

Theory of operation. ``handle`` notes one input in the message log and then applies the *upon* rules until none has
anything to do; what they did is returned in order. Each rule cites its lines:

| rule                        | lines | while                                    | effect                          |
|-----------------------------|-------|------------------------------------------|---------------------------------|
| ``_decide``                 | 49-51 | undecided                                | decide                          |
| ``_skip_to_later_round``    | 55-56 |                                          | start the later round           |
| ``_prevote_fresh``          | 22-27 | step = propose, valid_round = −1         | prevote the value or nil        |
| ``_prevote_reproposed``     | 28-33 | step = propose, 0 ≤ valid_round < round  | prevote the value or nil        |
| ``_await_more_prevotes``    | 34-35 | step = prevote, first time               | schedule timeoutPrevote         |
| ``_follow_polka``           | 36-43 | step ≥ prevote, first time               | lock, precommit, set validValue |
| ``_precommit_nil``          | 44-46 | step = prevote                           | precommit nil                   |
| ``_await_more_precommits``  | 47-48 | first time                               | schedule timeoutPrecommit       |

Three things differ from the letter, none of them in what is voted. getValue() takes time (``GetValue``,
``ValueReady``), so a proposer that waits for it schedules timeoutPropose like everybody else. What is broadcast is
not delivered to ourselves here: the caller does it, as an input of its own. Line 28's prevotes may come as a proof
(``PolkaProven``). Where several rules hold at once the paper leaves the order open; here it is that of the table.

n need not be 3f + 1, so 2f + 1 reads quorum q (see ``consensus.committee``); f + 1 is at least one honest member.

The log keeps what it is given: the caller bounds it with ``forget`` and ``forget_below``. What does not live here:
heights, signatures, payloads, durations, duplicates on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from consensus.tally import Tally
from consensus.tendermint.steps import (
    NIL,
    NO_ROUND,
    BroadcastPrecommit,
    BroadcastPrevote,
    BroadcastProposal,
    Decide,
    GetValue,
    Locked,
    NewRound,
    PolkaProven,
    Precommit,
    Prevote,
    Proposal,
    ScheduleTimeout,
    StartRound,
    Step,
    StepInput,
    StepOutput,
    Timeout,
    TimeoutKind,
    ValidValueSet,
    ValueReady,
)


@dataclass(frozen=True, slots=True)
class CoreSetup:
    """Who we are, what a quorum is, and proposer(h, round) of this height."""

    index: int
    quorum: int
    one_honest: int
    proposer_of: Callable[[int], int]


@dataclass(slots=True)
class _RoundLog:
    """What was heard of one round, and which *first time* rules fired in it."""

    proposal: Proposal | None = None
    prevotes: Tally[None] = field(default_factory=Tally)
    precommits: Tally[None] = field(default_factory=Tally)
    proven: set[bytes] = field(default_factory=set)
    has_awaited_prevotes: bool = False
    has_followed_polka: bool = False
    has_awaited_precommits: bool = False


class TendermintCore:
    """One member in one height. Values are digests."""

    def __init__(self, setup: CoreSetup) -> None:
        self._setup = setup
        self._log: dict[int, _RoundLog] = {}
        self._outputs: list[StepOutput] = []
        self.round = NO_ROUND
        self.step = Step.PROPOSE
        self.locked_round = NO_ROUND
        self.locked_value: bytes | None = None
        self.valid_round = NO_ROUND
        self.valid_value: bytes | None = None
        self.decision: bytes | None = None

    def restore(
        self, round: int, step: Step, locked: tuple[int, bytes] | None, valid: tuple[int, bytes] | None
    ) -> None:
        """Take back what a restart must not forget: round and step, (lockedRound, lockedValue), (validRound,
        validValue). A round in which nothing was voted begins again with ``StartRound``."""
        self.round = round - 1 if step is Step.PROPOSE else round
        self.step = step
        if locked is not None:
            self.locked_round, self.locked_value = locked
        if valid is not None:
            self.valid_round, self.valid_value = valid

    # --- one step ------------------------------------------------------------------------------------------

    def handle(self, step_input: StepInput) -> tuple[StepOutput, ...]:
        """Take one input; the outputs of this step, in order. After the decision there are none."""
        if self.decision is not None:
            return ()
        match step_input:
            case StartRound(round=round):
                if round > self.round:
                    self._start_round(round)
            case ValueReady(round=round, value=value):
                self._on_value_ready(round, value)
            case Proposal(round=round):
                entry = self._touch(round)
                entry.proposal = entry.proposal or step_input
            case Prevote(sender=sender, round=round, value=value):
                self._touch(round).prevotes.add(sender, value, None)
            case Precommit(sender=sender, round=round, value=value):
                self._touch(round).precommits.add(sender, value, None)
            case PolkaProven(round=round, value=value):
                self._touch(round).proven.add(value)
            case Timeout():
                self._on_timeout(step_input)
            case _:
                assert_never(step_input)
        self._apply_rules()
        outputs = tuple(self._outputs)
        self._outputs.clear()
        return outputs

    def forget(self, sender: int, round: int) -> None:
        """Drop what ``sender`` voted in ``round``, to make room."""
        entry = self._log.get(round)
        if entry is not None:
            entry.prevotes.remove(sender)
            entry.precommits.remove(sender)

    def forget_below(self, round: int) -> None:
        """Drop the log of the rounds below."""
        for number in [number for number in self._log if number < round]:
            del self._log[number]

    def _touch(self, round: int) -> _RoundLog:
        entry = self._log.get(round)
        if entry is None:
            entry = self._log[round] = _RoundLog()
        return entry

    # --- rounds, lines 11-21 and 57-67 ---------------------------------------------------------------------

    def _start_round(self, round: int) -> None:
        """Lines 11-21."""
        self.round = round
        self.step = Step.PROPOSE
        self._outputs.append(NewRound(round))
        if self._setup.proposer_of(round) == self._setup.index:
            if self.valid_value is not None:
                self._outputs.append(BroadcastProposal(round, self.valid_value, self.valid_round))
                return
            self._outputs.append(GetValue(round))
        self._outputs.append(ScheduleTimeout(TimeoutKind.PROPOSE, round))

    def _on_value_ready(self, round: int, value: bytes) -> None:
        """Lines 18 and 19, when the value is here; too late it is not proposed."""
        is_ours = self._setup.proposer_of(round) == self._setup.index
        has_proposal = round in self._log and self._log[round].proposal is not None
        if is_ours and round == self.round and self.step is Step.PROPOSE and not has_proposal:
            self._outputs.append(BroadcastProposal(round, value, NO_ROUND))

    def _on_timeout(self, timeout: Timeout) -> None:
        """Lines 57-67."""
        if timeout.round != self.round:
            return
        match timeout.kind:
            case TimeoutKind.PROPOSE:
                if self.step is Step.PROPOSE:
                    self._prevote(NIL)
            case TimeoutKind.PREVOTE:
                if self.step is Step.PREVOTE:
                    self._precommit(NIL)
            case TimeoutKind.PRECOMMIT:
                self._start_round(self.round + 1)
            case _:
                assert_never(timeout.kind)

    # --- the upon rules, lines 22-56 -----------------------------------------------------------------------

    def _apply_rules(self) -> None:
        """Until none has anything to do. Each moves a step, a round or a flag forward, so this ends."""
        if self.round == NO_ROUND:
            return  # line 10 has not happened
        while self.decision is None and (
            self._decide()
            or self._skip_to_later_round()
            or self._prevote_fresh()
            or self._prevote_reproposed()
            or self._await_more_prevotes()
            or self._follow_polka()
            or self._precommit_nil()
            or self._await_more_precommits()
        ):
            pass

    def _decide(self) -> bool:
        """Lines 49-51: a valid proposal and a quorum of precommits for it, in whatever round."""
        for round in sorted(self._log):
            proposal = self._log[round].proposal
            if proposal is None or not proposal.is_valid:
                continue
            if self._log[round].precommits.has_quorum(proposal.value, self._setup.quorum):
                self.decision = proposal.value
                self._outputs.append(Decide(round, proposal.value))
                return True
        return False

    def _skip_to_later_round(self) -> bool:
        """Lines 55-56: one honest member is in that round already."""
        for round in sorted(self._log, reverse=True):
            if round > self.round and self._count_senders(round) >= self._setup.one_honest:
                self._start_round(round)
                return True
        return False

    def _prevote_fresh(self) -> bool:
        """Lines 22-27: a lock yields to nothing but a proof of lock, which a fresh proposal has not."""
        proposal = self._find_proposal(Step.PROPOSE)
        if proposal is None or proposal.valid_round != NO_ROUND:
            return False
        is_free = self.locked_round == NO_ROUND or self.locked_value == proposal.value
        self._prevote(proposal.value if proposal.is_valid and is_free else NIL)
        return True

    def _prevote_reproposed(self) -> bool:
        """Lines 28-33: a polka at or after our lock's round unlocks us."""
        proposal = self._find_proposal(Step.PROPOSE)
        if proposal is None or not 0 <= proposal.valid_round < self.round:
            return False
        if not self._has_polka(proposal.valid_round, proposal.value):
            return False
        is_free = self.locked_round <= proposal.valid_round or self.locked_value == proposal.value
        self._prevote(proposal.value if proposal.is_valid and is_free else NIL)
        return True

    def _await_more_prevotes(self) -> bool:
        """Lines 34-35: a quorum prevoted, for whatever; the rest gets a little time."""
        entry = self._touch(self.round)
        if self.step is not Step.PREVOTE or entry.has_awaited_prevotes:
            return False
        if len(entry.prevotes) < self._setup.quorum:
            return False
        entry.has_awaited_prevotes = True
        self._outputs.append(ScheduleTimeout(TimeoutKind.PREVOTE, self.round))
        return True

    def _follow_polka(self) -> bool:
        """Lines 36-43: lock and precommit while it is time for it, know the valid value in any case."""
        entry = self._touch(self.round)
        proposal = entry.proposal
        if self.step < Step.PREVOTE or entry.has_followed_polka or proposal is None or not proposal.is_valid:
            return False
        if not self._has_polka(self.round, proposal.value):
            return False
        entry.has_followed_polka = True
        self.valid_value, self.valid_round = proposal.value, self.round
        self._outputs.append(ValidValueSet(self.round, proposal.value))
        if self.step is Step.PREVOTE:
            self.locked_value, self.locked_round = proposal.value, self.round
            self._outputs.append(Locked(self.round, proposal.value))
            self._precommit(proposal.value)
        return True

    def _precommit_nil(self) -> bool:
        """Lines 44-46."""
        if self.step is not Step.PREVOTE or not self._has_polka(self.round, NIL):
            return False
        self._precommit(NIL)
        return True

    def _await_more_precommits(self) -> bool:
        """Lines 47-48: a quorum precommitted, for whatever; the rest gets a little time."""
        entry = self._touch(self.round)
        if entry.has_awaited_precommits or len(entry.precommits) < self._setup.quorum:
            return False
        entry.has_awaited_precommits = True
        self._outputs.append(ScheduleTimeout(TimeoutKind.PRECOMMIT, self.round))
        return True

    # --- what the rules ask and do -------------------------------------------------------------------------

    def _find_proposal(self, step: Step) -> Proposal | None:
        """This round's proposal while we are at ``step``."""
        entry = self._log.get(self.round)
        return None if entry is None or self.step is not step else entry.proposal

    def _has_polka(self, round: int, value: bytes) -> bool:
        """Whether a quorum prevoted ``value`` in ``round``, heard one by one or proven in one piece."""
        entry = self._log.get(round)
        if entry is None:
            return False
        return value in entry.proven or entry.prevotes.has_quorum(value, self._setup.quorum)

    def _count_senders(self, round: int) -> int:
        """How many members were heard in ``round``, with whatever message."""
        entry = self._log[round]
        senders = {*entry.prevotes.members, *entry.precommits.members}
        if entry.proposal is not None:
            senders.add(self._setup.proposer_of(round))
        return len(senders)

    def _prevote(self, value: bytes) -> None:
        self.step = Step.PREVOTE
        self._outputs.append(BroadcastPrevote(self.round, value))

    def _precommit(self, value: bytes) -> None:
        self.step = Step.PRECOMMIT
        self._outputs.append(BroadcastPrecommit(self.round, value))
