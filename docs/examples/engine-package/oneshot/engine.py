"""The protocol: one slot at a time, views from 0 in each.

Theory of operation
-------------------

| event                      | guard                                         | effect                             |
|----------------------------|-----------------------------------------------|------------------------------------|
| leader, work, view entered | nothing proposed in the view yet              | build (or fetch what was prepared) |
| `PayloadBuilt`             | our wish                                      | log, send the proposal             |
| proposal                   | of a view ≥ ours that we have not left, first | enter the view, obtain the payload |
| `PayloadHeld`              | valid, of the view's proposal                 | log, send PREPARE                  |
| q PREPAREs                 | in our view, we prepared it                   | log the quorum, log, send COMMIT   |
| q COMMITs, or a decision   | any view                                      | log, decide                        |
| timer `view`               | waiting for T without progress                | leave: log, send TIMEOUT           |
| TIMEOUTs of f + 1          | of views that we have not left                | leave the highest that f + 1 left  |
| q TIMEOUTs of one view     | not below ours                                | enter the next view                |
| timer `resend`, peer       | something open                                | say again what we said, same bytes |
| `Certified`                | above                                         | forget the slot, begin the next    |

*Safe*, because a member commits only what q prepared, a TIMEOUT carries the newest such quorum and ends its
sender's votes up to that view, and a proposal above view 0 shows q TIMEOUTs and repeats the newest quorum in them:
any q TIMEOUTs contain one of an honest member that committed. *Live*, because views grow until a correct leader has
time enough, and whoever is behind is drawn along. *Bounded*, because of each member only the newest vote of each
phase, the newest timeout and one proposal are kept, for this slot and the next.

What this leaves out, for shortness: several slots in flight, so throughput is a round trip a block.
"""

from __future__ import annotations

from typing import Any, Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import (
    BuildPayload,
    CancelWish,
    Certified,
    Decided,
    EngineParameters,
    EngineStatistics,
    Event,
    Evidence,
    MessageReceived,
    ObtainPayload,
    Output,
    PayloadBuilt,
    PayloadHeld,
    PeerConnected,
    Record,
    Send,
    Started,
    TimerFired,
    Wish,
    Work,
    WorkLevel,
    compute_payload_digest,
)
from consensus.leader import create_leader_schedule
from consensus.pacemaker import TimerSet, create_pacemaker
from oneshot.messages import (
    Decision,
    Message,
    Phase,
    Propose,
    Quorum,
    Timeout,
    Vote,
    find_newest_prepared,
    make_propose,
    make_timeout,
    make_vote,
    phase_of,
    sender_of,
    sign_propose,
    sign_timeout,
    sign_vote,
    slot_of,
    view_of,
)
from oneshot.records import STABLE, Log, View, name_vote
from primitives.codec import encode
from primitives.errors import LocalError
from primitives.signing import Signer

VIEW_TIMER: Final = "view"
RESEND_TIMER: Final = "resend"
_RESEND_SHARE: Final = 2
"""What was lost is said again after half a view timeout, before anybody gives the leader up."""


class OneShotEngine:
    """One member's engine; satisfies ``consensus.engine.Engine``."""

    def __init__(
        self, committee: Committee, signer: Signer, parameters: EngineParameters, height: int, log: Log
    ) -> None:
        index = committee.index_of(signer.public_key)
        if index is None:
            raise LocalError("this key is not a member of the committee")
        if parameters.window_slots < 1 or parameters.extra:
            raise LocalError("window_slots must be at least 1, and this engine has no parameters of its own")
        self._committee, self._signer, self._index = committee, signer, index
        self._parameters = parameters
        self._schedule = create_leader_schedule(committee, parameters)
        self._pacemaker = create_pacemaker(parameters)
        self._timers = TimerSet()
        self._work = WorkLevel.IDLE
        self._now_ms = 0
        self._tickets = 0
        self._stable: Certificate | None = None
        self._early: dict[tuple[str, int], Message] = {}
        self._persist: list[Record] = []
        self._send: list[Send] = []
        self._wishes: list[Wish] = []
        self._decided: list[Decided] = []
        self._evidence: list[Evidence] = []
        self._begin(height + 1)
        self._take_back(log)

    def _begin(self, slot: int) -> None:
        """Everything about a slot, empty."""
        self._slot = slot
        self._view = 0
        self._left = -1
        self._entry: tuple[Timeout, ...] = ()
        self._proposal: Propose | None = None
        self._held: bytes | None = None
        self._votes: dict[tuple[int, int], Vote] = {}
        self._timeouts: dict[int, Timeout] = {}
        self._prepared: Quorum | None = None
        self._decision: Decision | None = None
        self._accused: set[tuple[int, int, int]] = set()
        self._wish: BuildPayload | None = None
        self._fetching: bytes | None = None
        self._since_ms: int | None = None
        self._resent_ms: int | None = None

    def _take_back(self, log: Log) -> None:
        """What our log holds of this slot."""
        if log.view is not None:
            self._view, self._entry = log.view.view, log.view.timeouts
        self._prepared, self._decision = log.prepared, log.decision
        for vote in log.votes:
            self._votes[vote.phase, self._index] = vote
        if log.timeout is not None:
            self._left = log.timeout.view
            self._timeouts[self._index] = log.timeout
        if log.proposal is not None and log.proposal.view == self._view:
            self._proposal = log.proposal

    # --- events --------------------------------------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> Output:
        """Take one event; see the table at the head of this file."""
        self._now_ms = now_ms
        match event:
            case MessageReceived(signer=signer, message=message):
                if self.needs(signer, message):
                    self._on_message(message)
            case PayloadBuilt(ticket=ticket, payload=payload):
                if self._wish is not None and self._wish.ticket == ticket:
                    self._propose(payload)
            case PayloadHeld():
                self._on_held(event)
            case Work(level=level):
                self._work = level
            case Certified(height=height, certificate=certificate):
                self._on_certified(height, certificate)
            case TimerFired(timer=timer):
                self._on_timer(timer)
            case PeerConnected(member=member):
                self._repeat(member)
            case Started():
                self._on_started()
        self._lead()
        return self._flush()

    def needs(self, signer: int, message: Message) -> bool:
        """Whether a message could change anything: of this slot, or early for the next, and news of its sender."""
        slot = slot_of(message)
        if slot == self._slot + 1:
            known = self._early.get((type(message).__name__ + str(phase_of(message)), signer))
            return known is None or view_of(message) > view_of(known)
        if slot != self._slot or self._decision is not None:
            return False
        match message:
            case Decision():
                return True
            case Vote():
                known_vote = self._votes.get((message.phase, message.sender))
                return known_vote is None or self._is_news(message, known_vote, message.digest != known_vote.digest)
            case Timeout():
                known_timeout = self._timeouts.get(message.sender)
                return known_timeout is None or message.view > known_timeout.view
            case Propose():
                if message.sender != self._leader(message.view) or message.view < max(self._view, self._left + 1):
                    return False
                known = self._proposal
                return known is None or self._is_news(message, known, message.payload != known.payload)

    def _is_news(self, message: Vote | Propose, known: Vote | Propose, is_other: bool) -> bool:
        """Newer than what we know of its sender, or in contradiction to it, which is evidence once."""
        if message.view != known.view:
            return message.view > known.view
        return is_other and (phase_of(message), message.view, message.sender) not in self._accused

    def _on_message(self, message: Message) -> None:
        slot = slot_of(message)
        if slot == self._slot + 1:
            signer = sender_of(message)
            self._early[type(message).__name__ + str(phase_of(message)), signer] = message
            return
        match message:
            case Decision():
                self._decide(message)
            case Vote():
                self._on_vote(message)
            case Timeout():
                self._timeouts[message.sender] = message
                self._follow_timeouts()
            case Propose():
                self._on_propose(message)

    def _on_propose(self, message: Propose) -> None:
        known = self._proposal
        if known is not None and known.view == message.view:
            self._accuse(known, message)
            return
        self._enter(message.view, message.timeouts)
        self._proposal = message
        self._obtain(message)

    def _obtain(self, proposal: Propose) -> None:
        digest = compute_payload_digest(proposal.payload)
        proven = find_newest_prepared(proposal.timeouts) is not None
        self._wishes.append(ObtainPayload(self._slot, digest, proposal.payload, (proposal.sender,), proven))

    def _on_held(self, event: PayloadHeld) -> None:
        """Bytes and bodies are durable with the records of this output: we may vote, or repeat the proposal."""
        if event.slot != self._slot or not event.valid:
            return
        if event.digest == self._fetching:
            self._propose(event.payload)
        elif self._proposal is not None and event.digest == compute_payload_digest(self._proposal.payload):
            self._prepare(event.digest)

    # --- voting --------------------------------------------------------------------------------------------

    def _prepare(self, digest: bytes) -> None:
        self._held = digest
        own = self._votes.get((Phase.PREPARE, self._index))
        is_open = self._view > self._left and self._decision is None
        if is_open and (own is None or own.view < self._view):
            self._vote(Phase.PREPARE, digest)
        self._count_prepares()

    def _vote(self, phase: Phase, digest: bytes) -> None:
        unsigned = make_vote(phase, self._view, self._slot, digest, self._index)
        vote = sign_vote(self._committee, self._signer, unsigned)
        self._log(name_vote(phase), vote)
        self._votes[phase, self._index] = vote
        self._say(vote)

    def _on_vote(self, vote: Vote) -> None:
        known = self._votes.get((vote.phase, vote.sender))
        if known is not None and known.view == vote.view:
            self._accuse(known, vote)
            return
        self._votes[vote.phase, vote.sender] = vote
        if vote.phase == Phase.PREPARE:
            self._count_prepares()
        else:
            self._count_commits(vote)

    def _count_prepares(self) -> None:
        """q prepares of our own view and digest, ours among them: lock it, and commit."""
        own = self._votes.get((Phase.PREPARE, self._index))
        committed = self._votes.get((Phase.COMMIT, self._index))
        if own is None or own.view != self._view or self._view <= self._left:
            return
        quorum = self._find_quorum(own)
        if quorum is None or (committed is not None and committed.view >= self._view):
            return
        self._prepared = quorum
        self._log("prepared", quorum)
        self._vote(Phase.COMMIT, own.digest)
        self._count_commits(self._votes[Phase.COMMIT, self._index])

    def _count_commits(self, vote: Vote) -> None:
        quorum = self._find_quorum(vote)
        if quorum is not None:
            self._decide(Decision(quorum))

    def _find_quorum(self, like: Vote) -> Quorum | None:
        """Exactly q votes that say the same as ``like``."""
        place = (like.phase, like.view, like.digest)
        votes = [vote for _, vote in sorted(self._votes.items()) if (vote.phase, vote.view, vote.digest) == place]
        if len(votes) < self._committee.quorum:
            return None
        chosen = votes[: self._committee.quorum]
        signers = tuple(vote.sender for vote in chosen)
        signatures = tuple(vote.signature for vote in chosen)
        return Quorum(like.phase, like.view, self._slot, like.digest, signers, signatures)

    def _decide(self, decision: Decision) -> None:
        if self._decision is not None:
            return
        self._decision = decision
        self._log("decision", decision)
        self._pacemaker.on_progress()
        self._cancel_wish()
        self._announce(decision)

    def _announce(self, decision: Decision) -> None:
        quorum = decision.quorum
        self._decided.append(Decided(self._slot, quorum.digest, encode(decision), quorum.signers))

    def _accuse(self, first: Vote | Propose, second: Vote | Propose) -> None:
        """Both are signed by one member, for one place, and differ."""
        self._accused.add((phase_of(second), second.view, second.sender))
        kind = "conflicting-proposals" if isinstance(second, Propose) else "conflicting-votes"
        messages = sorted((encode(first), encode(second)))
        self._evidence.append(Evidence(kind, second.sender, tuple(messages)))

    # --- views ---------------------------------------------------------------------------------------------

    def _leader(self, view: int) -> int:
        """Every slot and every view is the next member's turn."""
        return self._schedule.compute_view_leader(self._slot + view)

    def _enter(self, view: int, timeouts: tuple[Timeout, ...]) -> None:
        if view <= self._view:
            return
        self._view, self._entry = view, timeouts
        self._proposal = self._held = None
        self._cancel_wish()
        self._since_ms = None
        self._log("view", View(self._slot, view, timeouts))

    def _leave(self, view: int) -> None:
        """No vote of ours in ``view`` or below any more."""
        if view <= self._left or self._decision is not None:
            return
        self._left = view
        unsigned = make_timeout(view, self._slot, self._prepared, self._index)
        timeout = sign_timeout(self._committee, self._signer, unsigned)
        self._log("timeout", timeout)
        self._timeouts[self._index] = timeout
        self._pacemaker.on_view_failed()
        self._cancel_wish()
        self._say(timeout)
        self._follow_timeouts()

    def _follow_timeouts(self) -> None:
        """Leave what f + 1 left, one of whom is honest; enter the view after one that q left."""
        left = sorted((timeout.view for timeout in self._timeouts.values()), reverse=True)
        faults, quorum = self._committee.faults, self._committee.quorum
        if len(left) > faults and left[faults] > max(self._left, self._view - 1):
            self._leave(left[faults])
        for view in sorted(set(left), reverse=True):
            timeouts = [timeout for _, timeout in sorted(self._timeouts.items()) if timeout.view == view]
            if len(timeouts) >= quorum and view >= self._view:
                self._enter(view + 1, tuple(timeouts[:quorum]))
                return

    # --- leading -------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """As the leader of a view without a proposal: fetch what was prepared, else build something new."""
        is_ours = self._leader(self._view) == self._index and self._view > self._left
        if not is_ours or self._decision is not None or self._proposal is not None:
            return
        if self._wish is not None or self._fetching is not None:
            return
        prepared = find_newest_prepared(self._entry)
        if prepared is not None:
            self._fetching = prepared.digest
            self._wishes.append(ObtainPayload(self._slot, prepared.digest, None, prepared.signers, proven=True))
        elif self._work is not WorkLevel.IDLE:
            self._tickets += 1
            self._wish = BuildPayload(self._tickets, self._slot, (), allow_null=False)
            self._wishes.append(self._wish)

    def _propose(self, payload: bytes) -> None:
        self._wish = self._fetching = None
        unsigned = make_propose(self._view, self._slot, payload, self._entry, self._index)
        proposal = sign_propose(self._committee, self._signer, unsigned)
        self._log("proposal", proposal)
        self._proposal = proposal
        self._say(proposal)
        # What we built, and what we fetched, is pinned by our replica already.
        self._prepare(compute_payload_digest(payload))

    def _cancel_wish(self) -> None:
        if self._wish is not None:
            self._wishes.append(CancelWish(self._wish.ticket))
        self._wish = self._fetching = None

    # --- slots and restarts --------------------------------------------------------------------------------

    def _on_certified(self, height: int, certificate: Certificate) -> None:
        if height < self._slot:
            return
        self._stable = certificate
        self._cancel_wish()
        early = self._early if height == self._slot else {}
        self._early = {}
        self._begin(height + 1)
        self._pacemaker.on_progress()
        for (_, signer), message in sorted(early.items()):
            if self.needs(signer, message):
                self._on_message(message)

    def _on_started(self) -> None:
        """What was logged may never have left, been answered or been applied."""
        if self._decision is not None:
            self._announce(self._decision)
        elif self._proposal is not None:
            self._obtain(self._proposal)
        self._repeat(None)

    def _repeat(self, to: int | None) -> None:
        """Say again what we last said about this slot, byte for byte."""
        own: list[Message | None] = [self._decision]
        if self._decision is None:
            is_ours = self._proposal is not None and self._proposal.sender == self._index
            own = [self._proposal if is_ours else None, self._timeouts.get(self._index)]
            own += [self._votes.get((phase, self._index)) for phase in (Phase.PREPARE, Phase.COMMIT)]
        self._send += [Send(to, encode(message)) for message in own if message is not None]

    # --- timers --------------------------------------------------------------------------------------------

    def _compute_deadlines(self) -> dict[str, int | None]:
        """A view times out while we wait for it; what is open is repeated. With nothing open both are off."""
        credible = len({sender for _, sender in self._votes} | set(self._timeouts)) > self._committee.faults
        is_open = self._work is not WorkLevel.IDLE or self._proposal is not None or credible
        is_waiting = is_open and self._decision is None and self._view > self._left
        if not is_waiting:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = self._now_ms
        if not is_open and self._decision is None:
            self._resent_ms = None
        elif self._resent_ms is None:
            self._resent_ms = self._now_ms
        patience = min(self._parameters.resend_ms, max(1, self._parameters.base_timeout_ms // _RESEND_SHARE))
        return {
            VIEW_TIMER: None if self._since_ms is None else self._since_ms + self._pacemaker.timeout_ms,
            RESEND_TIMER: None if self._resent_ms is None else self._resent_ms + patience,
        }

    def _on_timer(self, timer: str) -> None:
        """Timers may fire early or late: the deadline counts."""
        self._timers.on_fired(timer)
        due_ms = self._compute_deadlines().get(timer)
        if due_ms is None or self._now_ms < due_ms:
            return
        if timer == VIEW_TIMER:
            self._leave(self._view)
        else:
            self._resent_ms = self._now_ms
            self._repeat(None)

    # --- output --------------------------------------------------------------------------------------------

    def _log(self, key: str, value: Any) -> None:
        """A record replaces the one of the slot before, which is certified by now."""
        self._persist.append(Record(key.encode(), encode(value)))

    def _say(self, message: Message) -> None:
        self._send.append(Send(None, encode(message)))

    def _flush(self) -> Output:
        if self._persist and self._stable is not None:
            # The chain's store may lose its end in a power cut; this proves which slots we must not vote for anew.
            self._persist.append(Record(STABLE, encode(self._stable)))
            self._stable = None
        output = Output(
            persist=tuple(self._persist),
            send=tuple(self._send),
            timers=self._timers.update(self._compute_deadlines(), self._now_ms),
            wishes=tuple(self._wishes),
            decided=tuple(self._decided),
            evidence=tuple(self._evidence),
        )
        for collected in (self._persist, self._send, self._wishes, self._decided, self._evidence):
            collected.clear()
        return output

    def statistics(self) -> EngineStatistics:
        """A snapshot for the API and the metrics."""
        kept = [message for message in (self._proposal, *self._early.values()) if isinstance(message, Propose)]
        return EngineStatistics(
            view=self._view,
            primary=self._leader(self._view),
            last_certified=self._slot - 1,
            slots_in_flight=int(self._proposal is not None or self._decision is not None),
            view_changes=self._view,
            buffered_bytes=sum(len(message.payload) for message in kept),
        )
