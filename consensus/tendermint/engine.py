"""Tendermint as an engine: one height after the other, each by Algorithm 1 of arXiv 1807.04938.

Theory of operation
-------------------

``core`` is the algorithm for one height and knows neither time nor signatures. ``Ordering`` carries out what it
says, ``Deadlines`` keeps its timeouts, ``StatusExchange`` stands in for the paper's gossip, and this file takes
events and says which messages are wanted.

| event                      | guard                                  | effect                             | lines |
|----------------------------|----------------------------------------|------------------------------------|-------|
| a height is reached        | below it all decided; in the window    | round 0 begins; early messages     | 10-21 |
| proposal                   | proposer's first for this round, later | obtain the payload                 |       |
| proposal with valid round  | its proof of lock is signed            | the same, without asking the clock | 28    |
| ``PayloadHeld``            | of a proposal here                     | valid: prevote it; invalid: nil    | 22-33 |
| prevote                    | first of its sender in its round       | q: lock, precommit; nil; or wait   | 34-46 |
| precommit                  | first of its sender in its round       | q: DECIDED, or wait                | 47-51 |
| prevote, precommit         | f + 1 in a later round                 | that round begins                  | 55-56 |
| decision certificate       | height in the window and undecided     | DECIDED, in whatever round         | 49-54 |
| ``PayloadBuilt``           | the open wish                          | log, send proposal                 | 18-19 |
| timers propose … precommit | of this round                          | nil vote; the next round           | 57-67 |
| timer ``resend``           | something open, no progress            | status and our votes to all        |       |
| status, ``PeerConnected``  |                                        | re-send what it lacks              |       |
| ``Certified``              | above the stable height                | the window moves                   | 52-54 |

*Slot and height, view and round.* A slot is a height; rounds begin at 0 with every height, and are what statistics
call the view. Heights run ahead of certification by at most ``window_slots``.

*Censorship.* The proposer of (height, round) moves on with every height and every round, so work that one proposer
leaves out is proposed by the next one that comes up, one height later: ``Work(OVERDUE)`` asks for nothing more than
what is on its way, and is taken as PENDING. A proposer that proposes nothing at all loses its round to
timeoutPropose, which runs while work is pending.

*Idle.* With nothing to order no payload is asked for, no timeout runs and no round ends, unless a height is open
(``deadlines``).

*Restarts.* Votes, proposal, lock, valid value with its proof, round and decision are in the log before anything
that depends on them leaves, and a height resumes from them (``restart``). Memory lost with the log is not this
engine's to mend; its rounds begin anew with each height, so ``first_view`` means nothing to it.

``needs`` holds every guard, so that a message which changes nothing costs no signature check; ``handle`` asks it
again. What does not live here: payloads' contents, attestations and catching up, which are the replica's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import (
    Certified,
    EngineParameters,
    EngineStatistics,
    Event,
    Evidence,
    EvidencePosition,
    MessageReceived,
    Output,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Started,
    TimerFired,
    Work,
)
from consensus.pacemaker import TimerSet
from consensus.tendermint import evidence as offences
from consensus.tendermint.deadlines import RESEND_TIMER, TIMEOUTS, Deadlines
from consensus.tendermint.messages import (
    STATUS_TAG,
    DecisionCertificate,
    Message,
    Precommit,
    Prevote,
    Propose,
    Status,
    Vote,
)
from consensus.tendermint.ordering import Ordering
from consensus.tendermint.reading import decode_message, verify_message
from consensus.tendermint.records import RestoredLog, restore_log
from consensus.tendermint.restart import create_state, is_of_epoch
from consensus.tendermint.state import DecidedHeight
from consensus.tendermint.status import StatusExchange
from consensus.tendermint.voice import Voice
from primitives.errors import LocalError
from primitives.signing import SignatureScheme, Signer


class TendermintEngine:
    """One member's Tendermint; satisfies ``consensus.engine.Engine``."""

    def __init__(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        log: RestoredLog,
    ) -> None:
        self._state = create_state(committee, signer, parameters, certificate)
        voice = Voice(self._state)
        self._ordering = Ordering(self._state, voice, scheme)
        self._statuses = StatusExchange(self._state, voice)
        self._deadlines = Deadlines(self._state)
        self._timers = TimerSet()
        self._state.unread = dict(sorted(log.heights.items()))
        self._is_restored = bool(log.heights)
        self._take_up_decisions()

    # --- events --------------------------------------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> Output:
        """Take one event; see the table at the head of this file."""
        state = self._state
        state.now_ms = now_ms
        match event:
            case MessageReceived(signer=signer, message=message):
                self._on_message(signer, message)
            case PayloadHeld():
                if state.height is not None and state.height.number == event.slot:
                    self._ordering.on_payload_held(state.height, event)
            case PayloadBuilt():
                self._ordering.on_payload_built(event)
            case Work(level=level):
                state.work = level
            case Certified(height=height, certificate=certificate):
                self._on_certified(height, certificate)
            case TimerFired(timer=timer):
                self._on_timer(timer)
            case PeerConnected(member=member):
                self._statuses.send_status(member)
            case Started():
                self._on_started()
            case _:
                assert_never(event)
        self._go_on()
        self._ordering.update_wish()
        return state.outbox.flush(self._timers.update(self._deadlines.compute(), now_ms))

    def needs(self, signer: int, message: Message) -> bool:
        """Whether a decoded message could change anything; ours come back to us only as echoes."""
        if signer == self._state.index and not isinstance(message, DecisionCertificate):
            return False
        match message:
            case Prevote() | Precommit():
                return self._needs_vote(message)
            case Propose():
                return self._needs_propose(message)
            case DecisionCertificate(height=height):
                state = self._state
                return state.stable < height <= state.last_slot and height not in state.decided
            case Status():
                return True
            case _:
                assert_never(message)

    def _needs_vote(self, vote: Vote) -> bool:
        height = self._state.height
        if height is not None and vote.height == height.number:
            return height.book.needs_vote(vote)
        return self._is_early(vote.height) and self._state.backlog.admits(vote)

    def _needs_propose(self, message: Propose) -> bool:
        """Only the proposer of (height, round) proposes (lines 22, 28)."""
        state, proposal = self._state, message.proposal
        if len(message.payload) > state.parameters.max_payload_bytes:
            return False
        if proposal.sender != state.compute_proposer(proposal.round, proposal.height):
            return False
        if state.height is not None and proposal.height == state.height.number:
            return state.height.book.needs_proposal(proposal)
        return self._is_early(proposal.height) and state.backlog.admits(message)

    def _is_early(self, number: int) -> bool:
        """A height that we have not reached, at most a window ahead."""
        state = self._state
        open_height = state.open_height
        is_later = number > open_height or (number == open_height and state.height is None)
        return is_later and number not in state.decided and number <= open_height + state.parameters.window_slots

    def _on_message(self, signer: int, message: Message) -> None:
        if not self.needs(signer, message):
            return
        height = self._state.height
        match message:
            case Propose(proposal=proposal):
                if height is not None and proposal.height == height.number:
                    self._ordering.on_propose(height, message)
                else:
                    self._state.backlog.add(message)
            case Prevote() | Precommit():
                if height is not None and message.height == height.number:
                    self._ordering.on_vote(height, message)
                else:
                    self._state.backlog.add(message)
            case DecisionCertificate():
                self._ordering.on_decision(message)
            case Status():
                self._statuses.on_status(message)
            case _:
                assert_never(message)

    def _go_on(self) -> None:
        """From height to height, as far as decisions, early messages and the window lead."""
        while self._ordering.open_height():
            assert self._state.height is not None, "a height was opened"
            for sender, early in self._state.backlog.take(self._state.height.number):
                self._on_message(sender, early)

    def _on_certified(self, number: int, certificate: Certificate) -> None:
        """Everything at or below is settled: its records may go, and the window moves."""
        state = self._state
        if number <= state.stable:
            return
        if is_of_epoch(certificate, state.committee):
            state.certificate = certificate
        if state.height is not None and state.height.number <= number:
            state.outbox.settle(state.height.logged, certificate)
            self._ordering.leave(state.height)
        for decided in [height for height in sorted(state.decided) if height <= number]:
            entry = state.decided.pop(decided)
            state.outbox.settle(entry.keys, certificate)
            state.settle(entry.certificate)
        for unread in [height for height in state.unread if height <= number]:
            state.outbox.settle(state.unread.pop(unread).keys, certificate)
        state.stable = number
        state.note_progress()
        for late in self._take_up_decisions():
            self._ordering.announce_decision(late.certificate)

    # --- timers --------------------------------------------------------------------------------------------

    def _on_timer(self, timer: str) -> None:
        """Timers may fire early or late; what counts is the deadline."""
        now_ms = self._state.now_ms
        self._timers.on_fired(timer)
        due_ms = self._deadlines.compute().get(timer)
        if due_ms is None or now_ms < due_ms:
            return
        if timer == RESEND_TIMER:
            self._deadlines.status_sent_ms = now_ms
            self._statuses.send_status(None)
        elif self._state.height is not None:
            self._ordering.on_timeout(self._state.height, TIMEOUTS[timer])

    # --- restart -------------------------------------------------------------------------------------------

    def _take_up_decisions(self) -> tuple[DecidedHeight, ...]:
        """What the log holds decided enters the window with its height. The chain's store may be behind our
        decisions: what lies above the window waits, as do the votes of the height that was open."""
        state = self._state
        taken: list[DecidedHeight] = []
        for number in [number for number in state.unread if number <= state.last_slot]:
            entry = state.unread[number]
            if number <= state.stable:
                state.outbox.settle(entry.keys, state.certificate)
                if entry.decided is not None:
                    state.settle(entry.decided)
                del state.unread[number]
            elif entry.decided is not None:
                state.decided[number] = DecidedHeight(entry.decided, frozenset(entry.keys))
                taken.append(state.decided[number])
                del state.unread[number]
        return tuple(taken)

    def _on_started(self) -> None:
        """After a restart: what was logged may never have left, been answered, or been applied. The open height
        speaks for itself when it is opened."""
        if not self._is_restored:
            return
        for number in sorted(self._state.decided):
            self._ordering.announce_decision(self._state.decided[number].certificate)
        self._go_on()
        self._statuses.send_status(None)

    # --- reading -------------------------------------------------------------------------------------------

    def statistics(self) -> EngineStatistics:
        """A snapshot for the API and the metrics; ``view`` is the round of the open height."""
        state, height = self._state, self._state.height
        round = 0 if height is None else height.round
        held = 0
        if height is not None:
            held = height.book.buffered_bytes + sum(len(entry.payload) for entry in height.held.values())
        return EngineStatistics(
            view=round,
            primary=state.compute_proposer(round, state.open_height),
            last_certified=state.stable,
            slots_in_flight=len(state.decided) + (height is not None and height.has_proposal),
            view_changes=state.rounds_failed,
            buffered_bytes=state.backlog.buffered_bytes + held,
        )


class TendermintFactory:
    """The entry point ``tendermint`` of the group ``rialto.engines``; satisfies ``EngineFactory``."""

    name = "tendermint"
    unbinding_tags = (STATUS_TAG,)
    """What a member says again differently at the same place: where it stands."""

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> TendermintEngine:
        """A fresh engine above ``certificate``. Raises ``LocalError`` where the parameters make no sense."""
        return TendermintEngine(committee, signer, scheme, parameters, certificate, RestoredLog())

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> TendermintEngine:
        """The engine as its own records left it; raises ``LocalError`` where they are not its own."""
        index = committee.index_of(signer.public_key)
        if index is None:
            raise LocalError("this key is not a member of the committee")
        log = restore_log(records, index, committee, scheme)
        if log.stable is not None and (certificate is None or certificate.height < log.stable.height):
            certificate = log.stable  # The chain's store lost its end; we voted there and must not again.
        return TendermintEngine(committee, signer, scheme, parameters, certificate, log)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        """See ``reading.decode_message``."""
        return decode_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        """See ``reading.verify_message``."""
        verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        """See ``consensus.tendermint.evidence``; no parameter matters to what a member may sign."""
        return offences.verify_evidence(evidence, committee, scheme)
