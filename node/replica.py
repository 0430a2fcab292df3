"""The replica: the sans-IO heart of a node. One event in, the effects of it out.

Theory of operation. ``handle`` dispatches one event, ``work`` does one bounded chunk of queued work (at most 16
signature verifications, or one block of catch-up); where something can follow the cascade then runs until nothing
moves:

    payload obtained → engine votes → slot decided → executed → attested → certified → engine's window moves
    → payload built → …

Everything on the way is a component of its own (see ``node.assembly`` for who is given what); this file only joins
them. All of one event's effects are in one draft, so records precede messages however long the cascade was.

    client → verification → mempool → dissemination → peers        (transactions)
    engine wish → obtaining → pins → engine                        (votes need durable bodies)
    engine decision, catch_up → executor → certification → engine  (one path keyed by height)

Nothing is signed before ``node.abstention`` says so: until then the engine is silent, and blocks are executed as
they are certified. ``Diverged`` ends the replica: both headers are stored, ``Effects.halt`` says why, and nothing
is handled any more.
"""

from __future__ import annotations

from typing import Final, assert_never

from consensus.engine import (
    NULL_PAYLOAD,
    BuildPayload,
    CancelWish,
    Certified,
    Decided,
    ObtainPayload,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    SetTimer,
    Started,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.engine import Event as EngineEvent
from consensus.engine import TimerFired as EngineTimerFired
from crosslink.block import Readiness
from node.assembly import build_components
from node.beacon_follow import BEACON_TIMER
from node.components import Components
from node.dissemination import settle_block
from node.effects_draft import EffectsDraft
from node.engine_driver import ENGINE_TIMER_PREFIX
from node.events import (
    NO_EFFECTS,
    Effects,
    FrameReceived,
    Lane,
    LinkDown,
    LinkUp,
    ReplicaEvent,
    Start,
    SubmissionReply,
    TimerFired,
    TransactionsSubmitted,
)
from node.evidence import KeptEvidence
from node.executor import RELEASE_TIMER, Diverged, ResolvedPayload
from node.inbound import Inbound
from node.members import Member
from node.mempool import TransactionStatus
from node.payload import is_full
from node.range_executor import RangeExecutor
from node.replica_setup import ReplicaSetup
from node.replica_statistics import ReplicaStatistics, collect_statistics
from node.snapshot import SNAPSHOT_TIMER
from node.verification import BatchChecked
from node.wake_ups import WakeUps
from node.wire import FrameKind
from node.work_level import WorkGauge

TICK_TIMER: Final = "tick"
FLUSH_TIMER: Final = "flush"
BUILD_TIMER: Final = "build"
FETCH_TIMER: Final = "fetch"
TICK_MS: Final = 250
"""Statuses, censorship clocks, readiness, re-sending: nothing there needs to be more precise."""
MAX_CASCADE: Final = 256
"""Rounds of one event's cascade; a window of slots takes a few each. More would be an engine in a loop."""


class Replica:
    """One member of one committee. Built whole by ``open_replica``."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._inbound = Inbound(parts, self._feed)
        self._ranges = RangeExecutor(parts, self._apply)
        self._wake_ups = WakeUps()
        self._gauge = WorkGauge(parts)
        self._view = parts.driver.statistics().view
        self._primary = parts.driver.statistics().primary
        self._is_stirred = False
        self._has_joined = False
        self._certified_wall_ms: int | None = None
        self._is_halted = False
        self._is_over = False

    # --- the three entries -----------------------------------------------------------------------------

    def handle(self, event: ReplicaEvent, now_ms: int) -> Effects:
        """Take one event. ``now_ms`` is monotonic."""
        if self._is_over:
            return NO_EFFECTS
        draft = EffectsDraft()
        try:
            self._is_stirred = self._dispatch(event, draft, now_ms) or self._is_stirred
            if self._is_stirred:
                self._settle(draft, now_ms)
        except Diverged as diverged:
            self._halt(diverged, draft)
        self._is_over = self._is_over or draft.reopens
        return draft.finish()

    def work(self, now_ms: int) -> Effects:
        """One bounded chunk of queued work; call it between events while ``busy``."""
        if self._is_over:
            return NO_EFFECTS
        draft = EffectsDraft()
        try:
            for outcome in self._parts.verification.work():
                match outcome:
                    case SubmissionReply():
                        self._inbound.on_reply(outcome, draft, now_ms)
                    case BatchChecked():
                        self._inbound.on_batch_checked(outcome, now_ms)
                    case _:
                        assert_never(outcome)
            self._ranges.execute_next(draft, now_ms)
            self._settle(draft, now_ms)
        except Diverged as diverged:
            self._halt(diverged, draft)
        self._is_over = self._is_over or draft.reopens
        return draft.finish()

    @property
    def busy(self) -> bool:
        """Whether ``work`` has something to do."""
        return not self._is_over and (self._parts.verification.busy or self._ranges.busy)

    # --- dispatch --------------------------------------------------------------------------------------

    def _dispatch(self, event: ReplicaEvent, draft: EffectsDraft, now_ms: int) -> bool:
        """Take the event; false where nothing can follow from it (unless the engine has stirred)."""
        match event:
            case FrameReceived(member=member, kind=kind, body=body):
                return self._inbound.on_frame(member, kind, body, draft, now_ms)
            case TimerFired(timer=timer):
                self._on_timer(timer, draft, now_ms)
            case TransactionsSubmitted():
                refused = self._parts.verification.add_submission(event)
                if refused is not None:
                    draft.replies.append(refused)
                return False  # ``work`` looks at it.
            case LinkUp(member=member):
                self._on_link_up(member, draft, now_ms)
            case LinkDown(member=member):
                self._on_link_down(member)
            case Start():
                self._on_start(draft, now_ms)
            case _:
                assert_never(event)
        return True

    def _on_start(self, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        draft.persist.extend(parts.first_records)
        draft.writes.extend(parts.first_writes)
        for height, digest in parts.recovered_decisions:
            parts.obtaining.decide(Decided(height, digest, b"", ()), now_ms)
        draft.timers.append(SetTimer(TICK_TIMER, TICK_MS))
        parts.abstention.start(draft)
        self._gauge.update_readiness(self._view, now_ms)

    def _join(self, draft: EffectsDraft, now_ms: int) -> None:
        """From now on we sign: attest what is executed and waits, and let the engine begin with what it missed."""
        parts = self._parts
        self._has_joined = True
        self._gauge.told = WorkLevel.IDLE
        draft.persist.extend(parts.executor.log_attested(parts.certifier.attest_recovered()))
        early = parts.driver.open()
        self._feed(Started(), draft, now_ms)
        certificate = parts.certifier.certificate
        if certificate is not None:
            self._feed(Certified(certificate.height, certificate), draft, now_ms)
        for member in parts.peers.others:
            if parts.peers.is_connected(member.index):
                parts.certifier.greet(member.index, draft)
                self._feed(PeerConnected(member.index), draft, now_ms)
        for member, body in early:
            self._inbound.on_frame(member, FrameKind.ENGINE, body, draft, now_ms)

    def _on_link_up(self, member: Member, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        if parts.peers.is_own_committee(member):
            parts.peers.connect(member)
            self._gauge.update_readiness(self._view, now_ms)
            parts.abstention.on_link_up(member.index, draft, now_ms)
            parts.certifier.greet(member.index, draft)
            self._inbound.resend_own_batches(member, draft)
            self._feed(PeerConnected(member.index), draft, now_ms)
        else:
            parts.link.on_link_up(member, draft, now_ms)

    def _on_link_down(self, member: Member) -> None:
        parts = self._parts
        if parts.peers.is_own_committee(member):
            parts.peers.disconnect(member)
            parts.catch_up.on_lost(member.index)
        else:
            parts.link.on_link_down(member)

    def _on_timer(self, timer: str, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        if timer.startswith(ENGINE_TIMER_PREFIX):
            self._feed(EngineTimerFired(timer.removeprefix(ENGINE_TIMER_PREFIX)), draft, now_ms)
        elif timer == TICK_TIMER:
            self._on_tick(draft, now_ms)
        elif timer == BEACON_TIMER:
            parts.link.on_tick(draft, now_ms)
        elif timer.startswith(RELEASE_TIMER):
            parts.pool.forget_executed(parts.executor.on_release_timer(timer, draft))
        elif timer == SNAPSHOT_TIMER:
            parts.snapshots.on_timer(parts.executor.height, draft, now_ms)
        else:
            # The others only wake the cascade, which looks at everything that time can move.
            self._wake_ups.note_fired(timer)

    def _on_tick(self, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        draft.timers.append(SetTimer(TICK_TIMER, TICK_MS))
        has_work = self._gauge.told is not WorkLevel.IDLE
        parts.certifier.tell(draft, now_ms, parts.limits.resend_after_ms, has_work=has_work)
        parts.executor.sync_if_due(draft, now_ms)
        parts.link.on_tick(draft, now_ms)
        self._check_censorship(draft, now_ms)
        parts.recollection.write(draft)
        parts.abstention.on_tick(parts.driver.statistics(), draft, now_ms)
        self._gauge.update_readiness(self._view, now_ms)
        parts.snapshots.on_tick(parts.executor.height, draft, now_ms)

    def _check_censorship(self, draft: EffectsDraft, now_ms: int) -> None:
        verdict = self._parts.censorship.check(now_ms)
        for batch in verdict.relay:
            self._parts.peers.broadcast(draft, Lane.BULK, FrameKind.BATCH, batch.frame)
        self._gauge.is_overdue = verdict.overdue

    # --- the engine ------------------------------------------------------------------------------------

    def _feed(self, event: EngineEvent, draft: EffectsDraft, now_ms: int) -> None:
        """One event to the engine; wishes and decisions are noted and honoured by the cascade."""
        parts = self._parts
        output = parts.driver.feed(event, draft, now_ms)
        if not (output.persist or output.wishes or output.decided or output.evidence):
            return  # A vote was counted, and that was all.
        self._is_stirred = True
        self._note_view(now_ms)
        for wish in output.wishes:
            match wish:
                case BuildPayload():
                    parts.proposer.open(wish)
                case ObtainPayload():
                    parts.proposer.note_proposal(now_ms)
                    parts.obtaining.want(wish, now_ms)
                case CancelWish(ticket=ticket):
                    parts.proposer.cancel(ticket)
                case _:
                    assert_never(wish)
        for decided in output.decided:
            self._on_decided(decided, now_ms)
        for evidence in output.evidence:
            parts.evidence.keep(evidence, draft)

    def _on_decided(self, decided: Decided, now_ms: int) -> None:
        parts = self._parts
        if decided.slot > parts.executor.height:
            parts.obtaining.decide(decided, now_ms)
            return
        block = parts.certifier.find_uncertified(decided.slot)
        if block is not None and block.header.payload_digest != decided.digest:
            raise Diverged(f"height {decided.slot} was decided twice, differently", (decided.digest,))

    # --- the cascade -----------------------------------------------------------------------------------

    def _settle(self, draft: EffectsDraft, now_ms: int) -> None:
        """Let everything follow from what just happened; nothing does once the replica is to be opened anew. Most
        of the time nearly nothing can, so what would have nothing to look at is not asked."""
        if draft.reopens:
            return
        if not self._has_joined and self._parts.abstention.is_open:
            self._join(draft, now_ms)
        self._run_cascade(draft, now_ms)
        self._is_stirred = False
        self._follow_up(draft, now_ms)

    def _run_cascade(self, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        for _ in range(MAX_CASCADE):
            moved = False
            if parts.obtaining.tasks:
                moved = self._answer_payloads(draft, now_ms)
                moved |= self._execute_decided(draft, now_ms)
            if parts.attestations.certificates:
                moved |= self._certify(draft, now_ms)
            if parts.proposer.wish is not None:
                moved |= self._build_payload(draft, now_ms)
            moved |= self._tell_work(draft, now_ms)
            if not moved:
                return
        raise AssertionError("the cascade of one event does not end")

    def _answer_payloads(self, draft: EffectsDraft, now_ms: int) -> bool:
        parts = self._parts
        ready = parts.obtaining.advance(now_ms)
        for task in ready:
            assert task.data is not None and task.is_valid is not None, "a ready task is complete"
            if task.is_valid:
                draft.persist.extend(parts.pins.pin(task.slot, task.digest, task.data, task.ordered_batches()))
            self._feed(PayloadHeld(task.slot, task.digest, task.data, task.is_valid), draft, now_ms)
        return bool(ready)

    def _execute_decided(self, draft: EffectsDraft, now_ms: int) -> bool:
        parts = self._parts
        moved = False
        while (task := parts.obtaining.decided_task(parts.executor.height + 1)) is not None:
            if task.is_valid is None:
                break
            if not task.is_valid:
                raise Diverged(f"a quorum decided an invalid payload for height {task.slot}", (task.digest,))
            if not parts.executor.can_apply(task.payload):
                break
            self._apply(task.resolve(), draft, now_ms)
            parts.catch_up.note_decided()
            moved = True
        return moved

    def _apply(self, resolved: ResolvedPayload, draft: EffectsDraft, now_ms: int) -> None:
        """Execute the next height, whoever brought it."""
        parts = self._parts
        attests = self._has_joined and parts.certifier.needs_attestation(parts.executor.height + 1)
        block = parts.executor.apply(resolved, draft, now_ms, attest=attests)
        height = block.header.height
        settle_block(parts.pool, parts.mempool, resolved.batches, height)
        if resolved.payload is not None:
            parts.censorship.on_block(resolved.batches, is_full(resolved.payload, parts.parameters), now_ms)
        parts.catch_up.note_executed(height, now_ms)
        self._gauge.note_block()
        collected = parts.certifier.on_executed(block, draft, attests=attests)
        assert collected.evidence is None, "our own attestation contradicts nobody"
        self._gauge.update_readiness(self._view, now_ms)

    def _certify(self, draft: EffectsDraft, now_ms: int) -> bool:
        parts = self._parts
        advance = parts.certifier.advance(parts.executor.height, draft, now_ms)
        if advance is None:
            return False
        height = advance.certificate.height
        self._certified_wall_ms = parts.wall()
        parts.executor.note_certified(height)
        parts.obtaining.settle(height)
        parts.link.on_certified(advance.blocks, advance.certificate, draft, now_ms)
        self._feed(Certified(height, advance.certificate), draft, now_ms)
        parts.abstention.on_certified(height, parts.executor.height, draft)
        return True

    def _build_payload(self, draft: EffectsDraft, now_ms: int) -> bool:
        parts = self._parts
        is_wanted = self._gauge.readiness is not Readiness.IDLE
        built = parts.proposer.build(parts.executor.height, parts.obtaining.find_batches_of, is_wanted, now_ms)
        if built is None:
            return False
        if built.unsent is not None:
            parts.peers.broadcast(draft, Lane.BULK, FrameKind.BATCH, built.unsent.frame)
        if built.data != NULL_PAYLOAD:
            slot, digest = built.wish.slot, compute_payload_digest(built.data)
            parts.obtaining.adopt(slot, digest, built.data, built.batches, now_ms)
            draft.persist.extend(parts.pins.pin(slot, digest, built.data, built.batches))
        self._feed(PayloadBuilt(built.wish.ticket, built.data), draft, now_ms)
        return True

    def _tell_work(self, draft: EffectsDraft, now_ms: int) -> bool:
        level = self._gauge.measure()
        if level is self._gauge.told:
            return False
        self._gauge.told = level
        self._feed(Work(level), draft, now_ms)
        return True

    def _note_view(self, now_ms: int) -> None:
        statistics = self._parts.driver.statistics()
        if statistics.view == self._view:
            return
        self._view = statistics.view
        # Engines whose views pass while all is well may keep a leader for many of them.
        if statistics.primary != self._primary:
            self._primary = statistics.primary
            self._gauge.is_overdue = False
            self._parts.censorship.on_leader_changed(now_ms)

    # --- what follows the cascade ----------------------------------------------------------------------

    def _follow_up(self, draft: EffectsDraft, now_ms: int) -> None:
        parts = self._parts
        if draft.reopens:
            return
        if parts.mempool.pending_count:
            self._flush_if_due(draft, now_ms)
        self._fetch(draft, now_ms)
        if self._gauge.told is not WorkLevel.IDLE:
            build_delay = parts.proposer.compute_delay(parts.executor.height, now_ms)
            self._wake_ups.plan(BUILD_TIMER, build_delay, draft, now_ms)

    def _flush_if_due(self, draft: EffectsDraft, now_ms: int) -> None:
        """Our next batch, where it is time for it."""
        parts = self._parts
        delay = parts.maker.compute_delay(now_ms)
        if delay == 0:
            batch = parts.maker.make(parts.executor.height, now_ms)
            if batch is not None:
                parts.peers.broadcast(draft, Lane.BULK, FrameKind.BATCH, batch.frame)
                if self._build_payload(draft, now_ms):
                    self._settle(draft, now_ms)
            delay = parts.maker.compute_delay(now_ms)
        self._wake_ups.plan(FLUSH_TIMER, delay, draft, now_ms)

    def _fetch(self, draft: EffectsDraft, now_ms: int) -> None:
        """Ask for bodies, payloads, ranges and beacon blocks that are missing for long enough."""
        parts = self._parts
        if parts.obtaining.tasks:
            requests = parts.obtaining.collect_requests(now_ms)
            if requests:
                self._inbound.send_fetches(requests, draft)
            self._wake_ups.plan(FETCH_TIMER, parts.obtaining.compute_delay(now_ms), draft, now_ms)
        if parts.link.follows:
            awaited, proposer = parts.obtaining.awaited_beacon()
            if awaited > parts.link.height:
                parts.link.on_awaited(awaited, proposer, draft, now_ms)
        for index, request in parts.snapshots.plan_ranges(parts.executor.height, now_ms):
            self._inbound.send_range_request(index, request, draft)

    # --- the end ---------------------------------------------------------------------------------------

    def _halt(self, diverged: Diverged, draft: EffectsDraft) -> None:
        self._is_halted = self._is_over = True
        self._parts.evidence.keep_divergence(self._parts.peers.own_index, diverged.messages, draft)
        draft.halt = diverged.sentence

    # --- queries ---------------------------------------------------------------------------------------

    def transaction_state(self, transaction: bytes) -> TransactionStatus:
        """What this member can say about a transaction id; *accepted* is not acknowledged, *certified* is."""
        found = self._parts.chain.find_transaction(transaction)
        if found is None:
            return self._parts.mempool.status(transaction)
        certified = found[0] <= self._parts.certifier.height
        return TransactionStatus.CERTIFIED if certified else TransactionStatus.ACCEPTED

    @property
    def standing(self) -> tuple[str, str | None]:
        """(a ``node.abstention.Phase``, why nothing is signed or ``None``)."""
        abstention = self._parts.abstention
        return abstention.phase.value, abstention.explain()

    def list_evidence(self) -> tuple[KeptEvidence, ...]:
        """What is kept against members of our committee, oldest first."""
        return self._parts.evidence.list_items()

    def statistics(self) -> ReplicaStatistics:
        """A snapshot."""
        return collect_statistics(
            self._parts,
            self._certified_wall_ms,
            self._gauge.told,
            self._inbound.muted_frames,
            is_halted=self._is_halted,
        )


def open_replica(setup: ReplicaSetup) -> Replica:
    """The replica as its store and vote log left it, or a fresh one above genesis; it is silent before ``Start``.

    Raises ``LocalError`` where store and log are damaged, of another chain, or do not belong together (a vote log
    that is missing or older than the chain: the member might contradict its own votes).
    """
    return Replica(build_components(setup))
