"""PBFT: the default engine.

Theory of operation
-------------------

One ``PbftState``, three parts that act on it, and this file, which takes events and keeps the timers.

| event                     | guard                                 | effect                         | part        |
|---------------------------|---------------------------------------|--------------------------------|-------------|
| ``Started``               |                                       | restart: re-send and re-ask    | engine      |
| pre-prepare               | in view, window, proposer's, first    | PROPOSED; obtain the payload   | ordering    |
| ``PayloadHeld`` valid     | the slot's digest                     | log, send prepare (commit)     | ordering    |
| prepare                   | in view, window, not proposer's       | q − 1: PREPARED, log, commit   | ordering    |
| commit                    | of the installed view, in window      | q: DECIDED                     | ordering    |
| commit certificate        | slot open, any view                   | DECIDED                        | ordering    |
| ``PayloadBuilt``          | the open wish                         | log, send pre-prepare          | ordering    |
| view change               | newer than the sender's last          | f + 1: join; q: timer, or lead | view_change |
| new view                  | ≥ what we ask for, O recomputed       | enter; adopt O                 | view_change |
| status, ``PeerConnected`` |                                       | re-send what it lacks          | status      |
| ``Certified``             | above the stable height               | the window moves               | engine      |
| timer ``view``            | in a view, waiting, no progress for T | ask for view + 1               | engine      |
| timer ``complaint``       | work overdue, in the view for T       | ask for view + 1               | engine      |
| timer ``new-view``        | q view changes since T                | ask for target + 1             | engine      |
| timer ``resend``          | something open, no progress           | status, view change to all     | engine      |

T doubles per failed view, is capped, and is the base again after progress. With nothing to order and nothing
open every timer is off. A complaint about the leader is made at once in a view that lasted T already, else when
it has, so each leader gets one T and no member complains twice within it.

``needs`` holds every guard, so that a message which changes nothing costs no signature check; ``handle`` asks
it again. What does not live here: payloads' contents, attestations and catching up, which are the replica's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    WorkLevel,
)
from consensus.pacemaker import TimerSet
from consensus.pbft.deadlines import (
    NEW_VIEW_TIMER,
    RESEND_TIMER,
    VIEW_TIMER,
    Deadlines,
)
from consensus.pbft.evidence import verify_evidence
from consensus.pbft.messages import (
    STATUS_TAG,
    Commit,
    CommitCertificate,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Status,
    ViewChange,
)
from consensus.pbft.ordering import Ordering
from consensus.pbft.proofs import ProofChecker
from consensus.pbft.reading import decode_message, verify_message
from consensus.pbft.records import RestoredLog, restore_log
from consensus.pbft.restart import create_state, is_of_epoch, load_slot
from consensus.pbft.status import StatusExchange
from consensus.pbft.view_change import ViewChanger
from consensus.pbft.window import Slot
from primitives.errors import LocalError
from primitives.signing import SignatureScheme, Signer


class PbftEngine:
    """One member's PBFT; satisfies ``consensus.engine.Engine``."""

    def __init__(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        log: RestoredLog,
        first_view: int = 0,
    ) -> None:
        """``first_view`` above 0 is what a member asks for that does not know what it signed in earlier views."""
        self._first_view = first_view
        self._state = create_state(committee, signer, parameters, certificate)
        self._ordering = Ordering(self._state)
        checker = ProofChecker(
            committee, scheme, self._state.schedule, parameters.window_slots, self._state.base_height
        )
        self._views = ViewChanger(self._state, self._ordering, checker)
        self._statuses = StatusExchange(self._state)
        self._deadlines = Deadlines(self._state, self._views)
        self._timers = TimerSet()
        self._unread = dict(sorted(log.slots.items()))
        self._is_restored = log != RestoredLog()
        self._restore(log)

    # --- events --------------------------------------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> Output:
        """Take one event; see the table at the head of this file."""
        state = self._state
        state.now_ms = now_ms
        view = state.view
        match event:
            case MessageReceived(signer=signer, message=message):
                self._on_message(signer, message)
            case PayloadHeld():
                self._ordering.on_payload_held(event)
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
                self._statuses.send_view_change(member)
            case Started():
                self._on_started()
            case _:
                assert_never(event)
        if state.work is WorkLevel.OVERDUE:
            self._complain_when_due()
        if state.view != view:
            self._take_up_backlog()
        self._ordering.propose()
        return state.outbox.flush(self._timers.update(self._deadlines.compute(), now_ms))

    def needs(self, signer: int, message: Message) -> bool:
        """Whether a decoded message could change anything; ours come back to us only as echoes."""
        if signer == self._state.index and not isinstance(message, CommitCertificate):
            return False
        match message:
            case Prepare():
                return self._ordering.needs_prepare(message)
            case Commit():
                return self._ordering.needs_commit(message)
            case PrePrepare():
                return self._ordering.needs_pre_prepare(message)
            case CommitCertificate():
                return self._ordering.needs_commit_certificate(message)
            case ViewChange():
                return self._views.needs_view_change(message)
            case NewView():
                return self._views.needs_new_view(message)
            case Status():
                return True
            case _:
                assert_never(message)

    def _on_message(self, signer: int, message: Message) -> None:
        if not self.needs(signer, message):
            return
        match message:
            case Prepare():
                self._ordering.on_prepare(message)
            case Commit():
                self._ordering.on_commit(message)
            case PrePrepare():
                self._ordering.on_pre_prepare(message)
            case CommitCertificate():
                self._ordering.on_commit_certificate(message)
            case ViewChange():
                self._views.on_view_change(message)
            case NewView():
                self._views.on_new_view(message)
            case Status():
                self._statuses.on_status(message)
            case _:
                assert_never(message)

    def _on_certified(self, height: int, certificate: Certificate) -> None:
        """The stable checkpoint moves; what came early for the slots that entered the window is taken up."""
        state = self._state
        if height <= state.window.stable:
            return
        if is_of_epoch(certificate, state.committee):
            state.certificate = certificate
        for slot in state.window.advance(height):
            state.outbox.settle(slot.logged, certificate)
        state.note_progress()
        self._resume(self._load_slots())
        self._views.adopt_carried()
        self._take_up_backlog()

    def _take_up_backlog(self) -> None:
        window = self._state.window
        for sender, message in self._state.backlog.take(self._state.view, window.stable, window.last):
            self._on_message(sender, message)

    # --- timers --------------------------------------------------------------------------------------------

    def _on_timer(self, timer: str) -> None:
        """Timers may fire early or late; what counts is the deadline."""
        now_ms = self._state.now_ms
        self._timers.on_fired(timer)
        due_ms = self._deadlines.compute().get(timer)
        if due_ms is None or now_ms < due_ms:
            return
        if timer in (VIEW_TIMER, NEW_VIEW_TIMER):
            self._ask_for_next_view()
        elif timer == RESEND_TIMER:
            self._resend()
        # A complaint that is due is made at the end of every event.

    def _ask_for_next_view(self) -> None:
        self._views.ask_for_next()

    def _complain_when_due(self) -> None:
        due_ms = self._deadlines.compute_complaint_deadline()
        if due_ms is not None and due_ms <= self._state.now_ms:
            self._ask_for_next_view()

    def _resend(self) -> None:
        self._statuses.send_status(None)
        self._statuses.send_view_change(None)
        self._deadlines.status_sent_ms = self._state.now_ms
        self._views.sent_ms = self._state.now_ms

    # --- restart -------------------------------------------------------------------------------------------

    def _restore(self, log: RestoredLog) -> None:
        """Take back what the log holds. Nothing is sent before ``Started``."""
        state = self._state
        if log.new_view is not None:
            self._views.install(log.new_view)
        state.target = log.current.target
        if log.view_change is not None and log.view_change.view > state.view:
            state.view_change = log.view_change
            self._views.newest[state.index] = log.view_change
        self._load_slots()

    def _load_slots(self) -> tuple[Slot, ...]:
        """Fill slots of the window from the log. The chain's store may be behind our votes: what lies above the
        window waits here, so that we vote no differently when the window reaches it again."""
        state = self._state
        loaded: list[Slot] = []
        for number in [number for number in self._unread if number <= state.window.last]:
            entry = self._unread.pop(number)
            if number <= state.window.stable:
                state.outbox.settle(entry.keys, state.certificate)
            else:
                loaded.append(load_slot(state, number, entry))
        return tuple(loaded)

    def _resume(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot.decided is not None:
                self._ordering.announce_decision(slot)
            if slot.proposal is not None:
                self._ordering.resume(slot)

    def _on_started(self) -> None:
        """After a restart: what was logged may never have left, been answered, or been applied."""
        if self._first_view > self._state.target:
            # Asking is all it does until then: no vote for a lower view, and what it says it has prepared above its
            # certificate, nothing, is true whatever it signed before.
            self._views.ask_for(self._first_view)
        if not self._is_restored:
            return
        state = self._state
        state.view_entered_ms = state.now_ms
        self._resume(self._state.window)
        self._views.adopt_carried()
        self._statuses.send_own_votes()
        self._resend()
        self._views.proceed()

    # --- reading -------------------------------------------------------------------------------------------

    def statistics(self) -> EngineStatistics:
        """A snapshot for the API and the metrics."""
        state = self._state
        in_flight = held_bytes = 0
        for slot in state.window:
            in_flight += slot.is_in_flight
            held_bytes += sum([len(payload) for payload in slot.held.values()])
        return EngineStatistics(
            view=state.view,
            primary=state.compute_proposer(state.window.stable + 1),
            last_certified=state.window.stable,
            slots_in_flight=in_flight,
            view_changes=self._views.counts.entered,
            buffered_bytes=state.backlog.buffered_bytes + held_bytes,
            asked_view=state.target,
        )


class PbftFactory:
    """The entry point ``pbft`` of the group ``rialto.engines``; satisfies ``EngineFactory``."""

    name = "pbft"
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
    ) -> PbftEngine:
        """A fresh engine above ``certificate``, in view 0 or asking for ``first_view``. Raises ``LocalError`` where
        the parameters make no sense."""
        return PbftEngine(committee, signer, scheme, parameters, certificate, RestoredLog(), first_view)

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> PbftEngine:
        """The engine as its own records left it; raises ``LocalError`` where they are not its own."""
        index = committee.index_of(signer.public_key)
        if index is None:
            raise LocalError("this key is not a member of the committee")
        log = restore_log(records, index, committee, scheme)
        if log.stable is not None and (certificate is None or certificate.height < log.stable.height):
            certificate = log.stable  # The chain's store lost its end; we voted there and must not again.
        return PbftEngine(committee, signer, scheme, parameters, certificate, log)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        """See ``reading.decode_message``."""
        return decode_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        """See ``reading.verify_message``."""
        verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        """See ``consensus.pbft.evidence``."""
        return verify_evidence(evidence, committee, scheme, parameters)
