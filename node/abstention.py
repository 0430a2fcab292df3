"""Whether this member may sign anything, and how one that lost its votes comes back.

Theory of operation

    (start) ──standing FORGOTTEN, or chain below its until_height──▶ ABSTAINING
    (start) ──else──▶ ASKING
    ASKING ──q − 1 members answered, none knows more of us than our log──▶ VOTING (or RETURNING): the engine starts
    ASKING ──a member returns something that we signed and our log lacks──▶ FORGOTTEN is logged, opened anew
    ABSTAINING ──q members told where they are──▶ until_height, first_view are logged
    ABSTAINING ──until_height is certified here──▶ RETURNING is logged, the engine's records go, opened anew
    RETURNING ──the engine is in the view that it asks for──▶ VOTING is logged

While ASKING the engine is there and hears nothing; while ABSTAINING there is none. Either way blocks are executed
as they are certified, and nothing is voted for, proposed, attested, timed out or asked for.

*Asking is safe and live.* A committee cannot go on without q − 1 others of ours, so waiting for them costs an
answer's round trip and nothing else; a brand-new network starts as soon as q are up, because members that ask
answer too. Who has lost votes itself is no witness. What is asked for is our own signature: a liar can hide
what it knows of us and can make nothing up. Undetected stays a loss of which all q − 1 witnesses have heard
nothing, or say nothing; then a member that forgot is one faulty member, as before.

*Returning is safe.* Let C be the highest height that the lost log knew certified. q members attested C and q
others answer us now, so at least one honest member did both. It attested C when its engine had decided it,
within the window of L slots above what it knew certified: the highest certificate H among the answers is at
least C − L. We voted for no slot above C + L ≤ H + 2L. When that is certified, every vote that we forgot is
settled. As to views: we asked for, or gave up, a view w only once q members had come to w − 1; as above an
honest one of them answers, so w ≤ R + 1 with R the highest view in the answers, and first_view = R + 2 is above
everything that we ever signed for a view. The engine may then say truthfully, for first_view, that it has
nothing above its certificate.

Bounds: one report per member. What does not live here: what others tell (``node.recollection``), the engine
(``node.engine_driver``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from consensus.certificate import Attestation, verify_attestation, verify_certificate
from consensus.committee import Committee
from consensus.engine import EngineFactory, EngineStatistics, Record
from crosslink.header import ShardHeader, compute_header_hash
from node.effects_draft import EffectsDraft
from node.events import Lane
from node.peers import Peers
from node.recall_frames import RecallRequest, RecallResponse
from node.standing import FORGOTTEN, Standing, StandingKind, build_standing_record
from node.vote_records import RecoveredLog, build_engine_records, build_height_record
from node.wire import FrameKind
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.signing import SignatureScheme

ASK_GAP_MS: Final = 250
"""Between two questions to one member while we may not vote: an answer is lost with its link."""
WISH_GAP_MS: Final = 1_000
SETTLED_WINDOWS: Final = 2
VIEWS_ABOVE: Final = 2


class Phase(Enum):
    """See the module; the value is what the API shows."""

    ASKING = "asking"
    VOTING = "voting"
    ABSTAINING = "abstaining"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class _Report:
    """Where a member that has lost nothing is."""

    height: int
    view: int


class Abstention:
    """The gate of one replica's life: what it does next is decided when it is opened anew."""

    def __init__(
        self,
        committee: Committee,
        scheme: SignatureScheme,
        factory: EngineFactory,
        peers: Peers,
        window_slots: int,
        log: RecoveredLog,
        certified_height: int,
        needed_answers: int | None,
        nonce: int,
    ) -> None:
        """``needed_answers`` is how many others must answer before we vote: q − 1 for ``None``."""
        self._committee = committee
        self._scheme = scheme
        self._factory = factory
        self._peers = peers
        self._window_slots = window_slots
        self._standing = log.standing
        self._is_fresh = log.standing is None and not (log.engine or log.attested or log.highest_executed)
        self._attested: Mapping[int, ShardHeader] = log.attested
        self._engine_keys = tuple(sorted(log.engine))
        self._needed = committee.quorum - 1 if needed_answers is None else needed_answers
        self._nonce = nonce
        self._asked_ms: dict[int, int] = {}
        self._answered: dict[int, None] = {}
        self._reports: dict[int, _Report] = {}
        self._wished_ms: int | None = None
        self._logged_height = log.highest_executed
        self._is_asking = not self._is_below(certified_height)
        self._is_open = False

    def _is_below(self, certified_height: int) -> bool:
        """Whether the log says that we have to abstain at this height."""
        standing = self._standing
        if standing is None:
            return False
        return standing.kind == StandingKind.FORGOTTEN or certified_height < standing.until_height

    # --- reads -----------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where we are."""
        if self._is_asking:
            return Phase.ASKING
        if not self._is_open:
            return Phase.ABSTAINING
        is_returning = self._standing is not None and self._standing.kind == StandingKind.RETURNING
        return Phase.RETURNING if is_returning else Phase.VOTING

    @property
    def is_open(self) -> bool:
        """Whether the engine may run, and blocks be attested."""
        return self._is_open

    @property
    def has_engine(self) -> bool:
        """Whether there is an engine in this life, silent or not."""
        return self._is_asking or self._is_open

    @property
    def first_view(self) -> int:
        """What a fresh engine is told."""
        return 0 if self._standing is None else self._standing.first_view

    @property
    def until_height(self) -> int:
        """What has to be certified before we vote (again); 0 while that is not known, or nothing was lost."""
        return 0 if self._standing is None else self._standing.until_height

    def explain(self) -> str | None:
        """Why nothing is signed, in one sentence; ``None`` where we vote."""
        match self.phase:
            case Phase.ASKING:
                found = f"{len(self._answered)} of {self._needed}"
                return f"asking the other members whether our vote log is the newest: {found} answered"
            case Phase.ABSTAINING if self.until_height:
                return f"votes were lost: abstains until block {self.until_height} is certified"
            case Phase.ABSTAINING:
                found = f"{len(self._reports)} of {self._committee.quorum}"
                return f"votes were lost: abstains; members that told where they are: {found}"
            case Phase.RETURNING:
                return "votes were lost: has returned, and waits for the view that it asked for"
            case Phase.VOTING:
                return None

    # --- events ----------------------------------------------------------------------------------------

    def start(self, draft: EffectsDraft) -> None:
        """The life begins."""
        if self._is_asking and not self._needed:
            self._open(draft)
        elif not self._is_asking:
            draft.alarms.append(f"abstains from voting: {self.explain()}")

    def on_link_up(self, index: int, draft: EffectsDraft, now_ms: int) -> None:
        """A member can be asked."""
        if not self._is_open:
            self._ask(index, draft, now_ms)

    def on_tick(self, statistics: EngineStatistics, draft: EffectsDraft, now_ms: int) -> None:
        """Every so often: ask again, wish again, or see that we are back."""
        if not self._is_open:
            for member in self._peers.others:
                if self._peers.is_connected(member.index) and self._is_wanted(member.index, now_ms):
                    self._ask(member.index, draft, now_ms)
            return
        if self.phase is not Phase.RETURNING:
            return
        if statistics.asked_view <= statistics.view:
            self._log(Standing(StandingKind.VOTING, self.until_height, self.first_view), draft)
        elif self._wished_ms is None or now_ms - self._wished_ms >= WISH_GAP_MS:
            self._wished_ms = now_ms
            request = RecallRequest(self._nonce, 0, statistics.asked_view)
            self._peers.broadcast(draft, Lane.VOTES, FrameKind.RECALL_REQUEST, encode(request))

    def on_certified(self, height: int, executed: int, draft: EffectsDraft) -> None:
        """Everything up to ``height`` is settled, and executed up to ``executed``."""
        standing = self._standing
        if self.has_engine or standing is None or not standing.until_height or height < standing.until_height:
            return
        if standing.kind == StandingKind.FORGOTTEN:
            self._log(Standing(StandingKind.RETURNING, standing.until_height, standing.first_view), draft)
            # What an old copy of the log knew is not what we signed last.
            draft.persist.extend(build_engine_records([Record(key, None) for key in self._engine_keys]))
        draft.persist.append(build_height_record(executed))
        draft.reopens = True

    def on_response(self, index: int, response: RecallResponse, draft: EffectsDraft) -> None:
        """A member's answer; raises ``RemoteError`` where it is none, or proves less than it claims."""
        if response.nonce != self._nonce:
            raise RemoteError("UNSOLICITED", "an answer to what nobody asked in this life")
        if self._is_open or index in self._answered or index in self._reports:
            return
        if self._is_asking:
            self._hear_witness(index, response, draft)
        elif not self.until_height and not response.is_abstaining:
            self._hear_report(index, response, draft)

    # --- asking ----------------------------------------------------------------------------------------

    def _is_wanted(self, index: int, now_ms: int) -> bool:
        gap_ms = WISH_GAP_MS if self.until_height else ASK_GAP_MS
        has_said = index in self._answered or index in self._reports
        return not has_said and now_ms - self._asked_ms.get(index, now_ms - gap_ms) >= gap_ms

    def _ask(self, index: int, draft: EffectsDraft, now_ms: int) -> None:
        self._asked_ms[index] = now_ms
        request = RecallRequest(self._nonce, 0 if self._is_asking else self.until_height, 0)
        self._peers.send(draft, index, Lane.VOTES, FrameKind.RECALL_REQUEST, encode(request))

    def _hear_witness(self, index: int, response: RecallResponse, draft: EffectsDraft) -> None:
        if self._shows_more(response):
            self._log(FORGOTTEN, draft)
            draft.alarms.append(
                f"abstains from voting: member {index} has something that we signed and our vote log lacks: it is "
                "an old copy, or this key votes elsewhere"
            )
            draft.reopens = True
            return
        if not response.is_abstaining:
            self._answered[index] = None
            if len(self._answered) >= self._needed:
                self._open(draft)

    def _open(self, draft: EffectsDraft) -> None:
        self._is_asking = False
        self._is_open = True
        if self._standing is None:
            self._log(Standing(StandingKind.VOTING, 0, 0), draft)

    def _log(self, standing: Standing, draft: EffectsDraft) -> None:
        self._standing = standing
        draft.persist.append(build_standing_record(standing))

    def _shows_more(self, response: RecallResponse) -> bool:
        """Whether a member returns our own signature on what our log does not know. A log that was never allowed to
        vote knows of nothing. Any other notes in one commit that a block is executed and that it is attested."""
        attestation = response.attestation
        if self._is_fresh:
            return self._is_own_attestation(attestation) or self._is_own_message(response.message)
        if attestation is None:
            return False
        logged = self._attested.get(attestation.height)
        is_other = logged is not None and compute_header_hash(logged) != attestation.header_hash
        is_newer = attestation.height > self._logged_height
        return (is_other or is_newer) and self._is_own_attestation(attestation)

    def _is_own_attestation(self, attestation: Attestation | None) -> bool:
        if attestation is None or attestation.signer != self._peers.own_index:
            return False
        try:
            verify_attestation(attestation, self._committee, self._scheme)
        except RemoteError:
            return False
        return True

    def _is_own_message(self, data: bytes) -> bool:
        if not data:
            return False
        try:
            signer, message = self._factory.decode_message(data, self._committee)
            self._factory.verify_message(signer, message, self._committee, self._scheme)
        except RemoteError:
            return False
        return signer == self._peers.own_index

    # --- abstaining ------------------------------------------------------------------------------------

    def _hear_report(self, index: int, response: RecallResponse, draft: EffectsDraft) -> None:
        """q members other than us: see the module."""
        height = 0
        if response.certificate is not None:
            verify_certificate(response.certificate, self._committee, self._scheme)
            height = response.certificate.height
        self._reports[index] = _Report(height, response.view)
        if len(self._reports) < self._committee.quorum:
            return
        highest = max(report.height for report in self._reports.values())
        view = max(report.view for report in self._reports.values())
        until = highest + SETTLED_WINDOWS * self._window_slots
        self._log(Standing(StandingKind.FORGOTTEN, until, view + VIEWS_ABOVE), draft)
        draft.alarms.append(f"abstains from voting: {self.explain()}")
        self._reports = {}
        self._asked_ms = {}
