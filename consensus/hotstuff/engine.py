"""Two-phase HotStuff: chained, linear while all is well, a new leader for every view.

Theory of operation
-------------------

One ``HotStuffState``, parts that act on it, and this file, which takes events and keeps the timers.

| event                     | guard                               | effect                            | part     |
|---------------------------|-------------------------------------|-----------------------------------|----------|
| ``Started``               |                                     | restart: re-send and re-ask       | engine   |
| proposal                  | its leader's first, ours or later   | go to its view; obtain payload    | ordering |
| ``PayloadHeld`` valid     | the proposal's, justified           | log, vote to the next leader      | ordering |
| vote                      | not of an earlier view              | q: certificate, next view         | ordering |
| certificate (in anything) | higher than ours                    | lock; commit on 2-chain; view + 1 | ordering |
| commit proof              | decides or certifies more, any view | decide                            | ordering |
| ``PayloadBuilt``          | the open wish                       | log, propose                      | building |
| timeout                   | newest of its sender, not over      | f + 1: join; q: certificate       | views    |
| timeout certificate       | ours or a later view                | next view                         | views    |
| status, ``PeerConnected`` |                                     | re-send what it lacks             | exchange |
| entry request, entries    |                                     | serve, learn what is missing      | exchange |
| ``Certified``             | above the certified height          | the tree is cut                   | engine   |
| timer ``view``            | waiting for the leader, T passed    | timeout                           | views    |
| timer ``complaint``       | work overdue, the term lasted T     | timeout                           | views    |
| timer ``step``            | q gave up, no certificate for T     | timeout for the view after        | views    |
| timer ``resend``          | something open, no progress         | status, timeout to all            | exchange |

Slot = height of the payload chain: blocks that repeat a slot (``messages``) use none. While a payload is
uncommitted, leaders propose without a pause, payloads if any wait, else repetitions, of which two at most follow
the last payload when no view fails; then everybody is silent and every timer off. Two hops a view: a payload is
decided after five hops at an idle committee, and every view under load.

Censorship: each view has another leader, so whoever holds overdue work proposes it itself at most n views later,
and views pass while there is work. With terms (R > 1, see ``terms``) overdue work is a complaint about the leader,
as soon as its term lasted for T; f + 1 complaints are joined by all, q end the term.

A member that was away (restart, partition) is led on by any certificate: to the view after it, and to what it
commits. Entries below that are asked for by identity; what others have settled already comes as ``Certified``.

``needs`` holds every guard, so that a message which changes nothing costs no signature check; ``handle`` asks
it again. What does not live here: payloads' contents, attestations and catching up, which are the replica's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

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
from consensus.hotstuff.building import Building
from consensus.hotstuff.deadlines import (
    RESEND_TIMER,
    STEP_TIMER,
    VIEW_TIMER,
    Deadlines,
)
from consensus.hotstuff.evidence import verify_evidence
from consensus.hotstuff.exchange import Exchange
from consensus.hotstuff.messages import (
    UNBINDING_TAGS,
    CommitProof,
    EntryRequest,
    EntryResponse,
    Message,
    Propose,
    QuorumCertificate,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from consensus.hotstuff.reading import decode_message, verify_message
from consensus.hotstuff.records import FIRST_VIEW, FirstView, RestoredLog, restore_log
from consensus.hotstuff.restart import create_state, is_of_epoch, load_log
from consensus.hotstuff.views import Views
from consensus.pacemaker import TimerSet
from primitives.errors import LocalError
from primitives.signing import SignatureScheme, Signer

_FROM_ANYBODY: Final = (QuorumCertificate, TimeoutCertificate, CommitProof)
"""What has no sender of its own: that one arrives says of nobody that it is there."""


class HotStuffEngine:
    """One member's HotStuff; satisfies ``consensus.engine.Engine``."""

    def __init__(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        log: RestoredLog,
    ) -> None:
        self._state = create_state(committee, signer, scheme, parameters, certificate, log.first_view)
        self._views = Views(self._state)
        self._ordering = self._views.ordering
        self._building = Building(self._state, self._ordering)
        self._exchange = Exchange(self._state, self._ordering)
        self._deadlines = Deadlines(self._state, self._views)
        self._timers = TimerSet()
        self._is_restored = not log.is_empty
        load_log(self._views, log)

    # --- events --------------------------------------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> Output:
        """Take one event; see the table at the head of this file."""
        state = self._state
        state.now_ms = now_ms
        match event:
            case MessageReceived(signer=signer, message=message):
                if not isinstance(message, _FROM_ANYBODY):
                    self._views.note_heard(signer)
                self._on_message(signer, message)
            case PayloadHeld():
                self._ordering.on_payload_held(event)
            case PayloadBuilt():
                self._building.on_payload_built(event)
            case Work(level=level):
                state.work = level
            case Certified(height=height, certificate=certificate):
                self._on_certified(height, certificate)
            case TimerFired(timer=timer):
                self._on_timer(timer)
            case PeerConnected(member=member):
                self._views.note_heard(member)
                self._exchange.send_status(member)
                self._exchange.send_own(member)
            case Started():
                self._on_started()
            case _:
                assert_never(event)
        if state.work is WorkLevel.OVERDUE:
            self._complain_when_due()
        self._building.propose()
        self._exchange.find_missing()
        return state.outbox.flush(self._timers.update(self._deadlines.compute(), now_ms))

    def needs(self, signer: int, message: Message) -> bool:
        """Whether a decoded message could change anything; ours come back to us only as echoes, but for
        certificates, which merely name us."""
        match message:
            case QuorumCertificate():
                return self._ordering.needs_certificate(message)
            case CommitProof():
                return self._ordering.needs_commit(message)
            case TimeoutCertificate():
                return self._views.needs_timeouts(message)
            case _ if signer == self._state.index:
                return False
            case Vote():
                return self._ordering.needs_vote(message)
            case Propose():
                return self._ordering.needs_propose(message)
            case Timeout():
                return self._views.needs_timeout(message)
            case EntryResponse():
                return self._exchange.needs_entries(message)
            case Status() | EntryRequest():
                return True
            case _:
                assert_never(message)

    def _on_message(self, signer: int, message: Message) -> None:
        if not self.needs(signer, message):
            return
        match message:
            case Vote():
                self._ordering.on_vote(message)
            case Propose():
                self._ordering.on_propose(message)
            case QuorumCertificate():
                self._ordering.on_certificate(message)
            case CommitProof():
                self._ordering.on_commit_proof(message)
            case Timeout():
                self._views.on_timeout(message)
            case TimeoutCertificate():
                self._views.on_timeouts(message)
            case Status():
                self._exchange.on_status(message)
            case EntryRequest():
                self._exchange.on_entry_request(message)
            case EntryResponse():
                self._exchange.on_entries(message)
            case _:
                assert_never(message)

    def _on_certified(self, height: int, certificate: Certificate) -> None:
        """The tree is cut at the new height, the window moves, and what waited for either goes on."""
        state = self._state
        if height <= state.tree.height:
            return
        if is_of_epoch(certificate, state.committee):
            state.certificate = certificate
        for slot in [slot for slot in state.keys if slot <= height]:
            state.outbox.settle(state.keys.pop(slot), certificate)
        state.tree.settle(height)
        state.decided = max(state.decided, height)
        state.note_progress()
        self._ordering.retry_commit()
        self._ordering.vote()

    # --- timers --------------------------------------------------------------------------------------------

    def _on_timer(self, timer: str) -> None:
        """Timers may fire early or late; what counts is the deadline."""
        now_ms = self._state.now_ms
        self._timers.on_fired(timer)
        due_ms = self._deadlines.compute().get(timer)
        if due_ms is None or now_ms < due_ms:
            return
        if timer == VIEW_TIMER:
            self._views.give_up()
        elif timer == STEP_TIMER:
            self._views.step_up()
        elif timer == RESEND_TIMER:
            self._resend()
        # A complaint that is due is made at the end of every event.

    def _complain_when_due(self) -> None:
        due_ms = self._deadlines.compute_complaint()
        if due_ms is not None and due_ms <= self._state.now_ms:
            self._views.give_up()

    def _resend(self) -> None:
        self._exchange.send_status(None)
        self._exchange.send_own(None)
        self._deadlines.status_sent_ms = self._state.now_ms
        self._views.sent_ms = self._state.now_ms

    # --- restart -------------------------------------------------------------------------------------------

    def _on_started(self) -> None:
        """After a restart: what was logged may never have left, been answered, or been applied."""
        state = self._state
        if state.ballot.first_view > 0:
            state.outbox.log(FIRST_VIEW, FirstView(state.ballot.first_view))
        if not self._is_restored:
            return
        state.view_entered_ms = state.now_ms
        self._ordering.announce(state.tree.height + 1)
        self._ordering.resume()
        self._resend()
        self._views.proceed()

    # --- reading -------------------------------------------------------------------------------------------

    def statistics(self) -> EngineStatistics:
        """A snapshot for the API and the metrics."""
        state = self._state
        height = state.tree.height
        blocks = [state.tip]
        if state.proposal is not None:
            blocks.append(state.proposal.block)
        # What others have certified further on is nothing that we work on: it comes by catching up.
        slots = [block.slot for block in blocks if block.slot <= height + state.parameters.window_slots]
        if state.vote is not None:
            slots.append(state.vote.block.slot)
        return EngineStatistics(
            view=state.view,
            primary=state.terms.compute_leader(state.view),
            last_certified=height,
            slots_in_flight=max(0, max(slots, default=0) - height),
            view_changes=state.counts.failed_views,
            buffered_bytes=sum(len(payload) for payload in state.held.values()),
            asked_view=max(state.view, state.ballot.voted, state.ballot.gave_up),
        )


class HotStuffFactory:
    """The entry point ``hotstuff`` of the group ``rialto.engines``; satisfies ``EngineFactory``."""

    name = "hotstuff"
    unbinding_tags = UNBINDING_TAGS

    def create(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        first_view: int = 0,
    ) -> HotStuffEngine:
        """A fresh engine above ``certificate``. Raises ``LocalError`` where the parameters make no sense."""
        log = RestoredLog(first_view=first_view)
        return HotStuffEngine(committee, signer, scheme, parameters, certificate, log)

    def restore(
        self,
        committee: Committee,
        signer: Signer,
        scheme: SignatureScheme,
        parameters: EngineParameters,
        certificate: Certificate | None,
        records: Mapping[bytes, bytes],
    ) -> HotStuffEngine:
        """The engine as its own records left it; raises ``LocalError`` where they are not its own."""
        index = committee.index_of(signer.public_key)
        if index is None:
            raise LocalError("this key is not a member of the committee")
        log = restore_log(records, index, committee, scheme)
        if log.stable is not None and (certificate is None or certificate.height < log.stable.height):
            certificate = log.stable  # The chain's store lost its end; the entries lead down to this.
        return HotStuffEngine(committee, signer, scheme, parameters, certificate, log)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        """See ``reading.decode_message``."""
        return decode_message(data, committee)

    def verify_message(self, signer: int, message: Any, committee: Committee, scheme: SignatureScheme) -> None:
        """See ``reading.verify_message``."""
        verify_message(signer, message, committee, scheme)

    def verify_evidence(
        self, evidence: Evidence, committee: Committee, scheme: SignatureScheme, parameters: EngineParameters
    ) -> EvidencePosition:
        """See ``evidence.verify_evidence``; the parameters do not matter to it."""
        return verify_evidence(evidence, committee, scheme)
