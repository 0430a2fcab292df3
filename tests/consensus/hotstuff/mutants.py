"""HotStuff with one bug each, as factories: by name, to be run like any other engine.

Every mutant makes one mistake and nothing else, in objects of its own: nothing is patched globally, so honest
engines and mutants may run side by side. ``KILLERS`` names the rule that catches each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from consensus.committee import Committee
from consensus.engine import EngineFactory, PayloadBuilt
from consensus.hotstuff import reading
from consensus.hotstuff.building import Building
from consensus.hotstuff.deadlines import Deadlines
from consensus.hotstuff.engine import HotStuffEngine, HotStuffFactory
from consensus.hotstuff.exchange import Exchange
from consensus.hotstuff.messages import (
    Block,
    CommitProof,
    Proposal,
    Propose,
    QuorumCertificate,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
    compute_block_id,
    extends,
    make_root,
)
from consensus.hotstuff.ordering import Ordering
from consensus.hotstuff.proofs import ProofChecker
from consensus.hotstuff.records import HIGHEST, PROPOSAL, TIMEOUT, VOTE
from consensus.hotstuff.safety import Ballot, names_its_parent
from consensus.hotstuff.state import Outbox
from consensus.hotstuff.views import Views
from primitives.codec import Wire, encode
from primitives.errors import RemoteError
from tests.consensus.hotstuff import rules

Plant = Callable[[HotStuffEngine], None]


class MutantFactory(HotStuffFactory):
    """Makes engines and lets ``plant`` break each of them before its first event; ``forgets`` are keys of the log
    that a restart does not find."""

    def __init__(self, name: str, plant: Plant = lambda engine: None, forgets: tuple[bytes, ...] = ()) -> None:
        self.name = name
        self._plant = plant
        self._forgets = forgets

    def create(self, *arguments: Any, **options: Any) -> HotStuffEngine:
        engine = super().create(*arguments, **options)
        self._plant(engine)
        return engine

    def restore(self, *arguments: Any, **options: Any) -> HotStuffEngine:
        *others, records = arguments
        kept = {key: value for key, value in records.items() if key not in self._forgets}
        engine = super().restore(*others, kept, **options)
        self._plant(engine)
        return engine


def _swap(attribute: str, kind: type) -> Plant:
    """The engine's part of this name gets the methods of ``kind``."""

    def plant(engine: HotStuffEngine) -> None:
        getattr(engine, attribute).__class__ = kind

    return plant


def _swap_of_state(attribute: str, kind: type) -> Plant:
    def plant(engine: HotStuffEngine) -> None:
        getattr(engine._state, attribute).__class__ = kind

    return plant


# --- voting ------------------------------------------------------------------------------------------------


class _EagerOrdering(Ordering):
    """Votes for every proposal of its view."""

    __slots__ = ()

    def needs_propose(self, message: Propose) -> bool:
        proposal = message.proposal
        return (
            proposal.block.view >= self.state.view
            and proposal.sender == self.state.terms.compute_leader(proposal.block.view)
            and (self.state.proposal is None or self.state.proposal.block != proposal.block)
        )

    def on_propose(self, message: Propose) -> None:
        if message.proposal.block.view == self.state.view:
            self.state.proposal = None
            self.state.ballot.voted = min(self.state.ballot.voted, self.state.view - 1)
        Ordering.on_propose(self, message)


class _RelentingBallot(Ballot):
    """A timeout is no promise."""

    __slots__ = ()

    def may_vote(self, view: int) -> bool:
        return view > self.voted and view >= self.first_view


class _NostalgicOrdering(Ordering):
    """Votes for proposals of lower views, once each."""

    __slots__ = ()

    def needs_propose(self, message: Propose) -> bool:
        return True

    def on_propose(self, message: Propose) -> None:
        state, proposal = self.state, message.proposal
        if proposal.block.view >= state.view:
            Ordering.on_propose(self, message)
            return
        state.ballot.voted, state.ballot.gave_up = proposal.block.view - 1, 0
        current, state.proposal = state.proposal, proposal
        if message.payload is not None:
            state.held[proposal.block.slot, proposal.block.digest] = message.payload
        self.vote()
        state.proposal = current


class _ForgetfulOutbox(Outbox):
    """Votes are sent and logged with the next record."""

    __slots__ = ()

    def log(self, key: bytes, value: Wire) -> bytes:
        if key == VOTE:
            return encode(value)
        return Outbox.log(self, key, value)


class _TrustingOrdering(Ordering):
    """Votes for whatever a leader proposes in its view, above whatever certificate."""

    __slots__ = ()

    def _is_sound(self, proposal: Proposal) -> bool:
        return self._holds(proposal) and names_its_parent(proposal)

    def _holds(self, proposal: Proposal) -> bool:
        try:
            self.state.checker.verify_certificate(proposal.justify)
            if proposal.timeouts is not None:
                self.state.checker.verify_timeouts(proposal.timeouts)
        except RemoteError:
            return False
        return extends(proposal.block, proposal.justify.block)


class _LockBlindOrdering(_TrustingOrdering):
    """Does not compare the proposal's certificate with the locks that the timeouts report."""

    __slots__ = ()

    def _is_sound(self, proposal: Proposal) -> bool:
        view, timeouts = proposal.block.view, proposal.timeouts
        comes_next = proposal.justify.block.view == view - 1 or (timeouts is not None and timeouts.view == view - 1)
        return comes_next and names_its_parent(proposal) and self._holds(proposal)


class _CarelessChecker(ProofChecker):
    """Timeout certificates are believed."""

    def verify_timeouts(self, timeouts: TimeoutCertificate) -> None:
        pass


class _CredulousChecker(ProofChecker):
    """Quorum certificates are believed."""

    def verify_certificate(self, certificate: QuorumCertificate) -> None:
        pass


class _LooseOrdering(Ordering):
    """Votes before it holds the payload."""

    __slots__ = ()

    def is_votable(self, block: Block) -> bool:
        return block.slot <= self.state.tree.height + self.state.parameters.window_slots


class _EndlessOrdering(Ordering):
    """Votes beyond the window."""

    __slots__ = ()

    def is_votable(self, block: Block) -> bool:
        return self.state.is_held(block.slot, block.digest)


# --- counting ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WeakCommittee(Committee):
    """One member less is a quorum."""

    @cached_property
    def quorum(self) -> int:
        return (self.size + self.faults) // 2


class WeakQuorumFactory(HotStuffFactory):
    """Everybody counts to q − 1, in certificates that come as well."""

    name = "quorum off by one"

    def create(self, committee: Committee, *arguments: Any, **options: Any) -> HotStuffEngine:
        return super().create(_weaken(committee), *arguments, **options)

    def restore(self, committee: Committee, *arguments: Any, **options: Any) -> HotStuffEngine:
        return super().restore(_weaken(committee), *arguments, **options)

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        return super().decode_message(data, _weaken(committee))


def _weaken(committee: Committee) -> _WeakCommittee:
    return _WeakCommittee(
        committee.chain, committee.shard, committee.incarnation, committee.epoch, committee.members
    )


class _RepeatingOrdering(Ordering):
    """Counts a member's vote as often as it comes."""

    __slots__ = ()

    def needs_vote(self, vote: Vote) -> bool:
        return vote.block.view >= self.state.view

    def on_vote(self, vote: Vote) -> None:
        if vote.sender not in self.votes or self.votes[vote.sender].block != vote.block:
            Ordering.on_vote(self, vote)
            return
        matching = [known for known in self.votes.values() if known.block == vote.block]
        if len(matching) + 1 >= self.state.committee.quorum:
            signers = sorted([*(known.sender for known in matching), vote.sender])
            signatures = tuple(self.votes[signer].signature for signer in signers)
            certificate = QuorumCertificate(vote.block, tuple(signers), signatures)
            self.state.checker.note_verified(certificate)
            self.adopt(certificate)


class _MixingOrdering(Ordering):
    """Counts all votes of a view, whatever they are for."""

    __slots__ = ()

    def on_vote(self, vote: Vote) -> None:
        known = self.votes.get(vote.sender)
        if known is None or known.block.view < vote.block.view:
            self.votes[vote.sender] = vote
        of_view = [cast for cast in self.votes.values() if cast.block.view == vote.block.view]
        if len(of_view) >= self.state.committee.quorum and vote.block.view >= self.state.view:
            chosen = sorted(of_view, key=lambda cast: cast.sender)[: self.state.committee.quorum]
            certificate = QuorumCertificate(
                vote.block, tuple(cast.sender for cast in chosen), tuple(cast.signature for cast in chosen)
            )
            self.state.checker.note_verified(certificate)
            self.adopt(certificate)


# --- committing --------------------------------------------------------------------------------------------


class _HastyOrdering(Ordering):
    """A certified child commits its parent, whatever views lie between."""

    __slots__ = ()

    def _find_commits(self, certificate: QuorumCertificate) -> tuple[CommitProof, ...]:
        parent = self.recent.get(certificate.block.parent)
        return () if parent is None else (CommitProof(parent, certificate),)


class HastyFactory(MutantFactory):
    """Reads the proofs of such commits too, as everybody would who made the mistake."""

    def decode_message(self, data: bytes, committee: Committee) -> tuple[int, Any]:
        strict, reading.commits = reading.commits, _is_child
        try:
            return super().decode_message(data, committee)
        finally:
            reading.commits = strict


def _is_child(parent: Block, child: Block) -> bool:
    return child.parent == compute_block_id(parent)


class _ImpatientOrdering(Ordering):
    """A certificate commits its own block: one phase."""

    __slots__ = ()

    def _find_commits(self, certificate: QuorumCertificate) -> tuple[CommitProof, ...]:
        parent = self.recent.get(certificate.block.parent, certificate)
        return (CommitProof(certificate, certificate), CommitProof(parent, certificate))

    def _commit(self, proof: CommitProof) -> None:
        if self.state.commit is not None and proof.child.block.view == self.state.commit.child.block.view:
            return
        Ordering._commit(self, proof)


# --- leaving views -----------------------------------------------------------------------------------------


class _ReticentViews(Views):
    """Timeouts report no lock."""

    __slots__ = ()

    def _time_out(self, view: int) -> None:
        state = self.state
        highest, state.highest = state.highest, make_root(state.checker._root.block.slot)
        try:
            Views._time_out(self, view)
        finally:
            if highest.block.view > state.highest.block.view:
                state.highest = highest


class _DeafViews(Views):
    """Does not learn the locks that others report; proposes on its own certificate."""

    __slots__ = ()

    def on_timeout(self, message: Timeout) -> None:
        if self.newest.get(message.sender) is None and message.view >= self.state.view:
            self.newest[message.sender] = message
            self.proceed()


class _StaleBuilding(Building):
    """Extends its own certificate, whatever the timeouts say."""

    __slots__ = ()

    def _is_our_turn(self) -> bool:
        state = self.state
        leads = state.terms.compute_leader(state.view) == state.index
        return leads and state.proposal is None and state.ballot.may_vote(state.view)


def _plant_stale_leader(engine: HotStuffEngine) -> None:
    engine._views.__class__ = _DeafViews
    engine._building.__class__ = _StaleBuilding


class _LonelyViews(Views):
    """Joins nobody's timeouts."""

    __slots__ = ()

    def _compute_view_to_join(self) -> int | None:
        return None


class _StubbornViews(Views):
    """Gives up one view and waits."""

    __slots__ = ()

    def step_up(self) -> None:
        pass


class _SecretiveOrdering(Ordering):
    """A vote is for the next leader alone, alive or not."""

    __slots__ = ()

    def send_vote(self, to: int | None) -> None:
        assert self.state.vote is not None
        Ordering.send_vote(self, self.state.terms.compute_leader(self.state.vote.block.view + 1))


class _PatientDeadlines(Deadlines):
    """No leader is ever waited for less long than T."""

    __slots__ = ()

    def _compute_view(self) -> int | None:
        silent, self.state.silent = self.state.silent, set()
        try:
            return Deadlines._compute_view(self)
        finally:
            self.state.silent = silent


class _ContentDeadlines(Deadlines):
    """Never complains."""

    __slots__ = ()

    def compute_complaint(self) -> int | None:
        return None


class _EternalDeadlines(_ContentDeadlines):
    """A leader has all the time in the world."""

    __slots__ = ()

    def _compute_view(self) -> int | None:
        return None


# --- going on, and repairing -------------------------------------------------------------------------------


class _FullBuilding(Building):
    """Proposes where there is a payload, and never repeats."""

    __slots__ = ()

    def _send(self, block: Block, payload: bytes | None) -> None:
        if payload is not None:
            Building._send(self, block, payload)

    def on_payload_built(self, event: PayloadBuilt) -> None:
        if event.payload:
            Building.on_payload_built(self, event)


class _SilentExchange(Exchange):
    """Answers no status."""

    __slots__ = ()

    def _answer(self, status: Status) -> bool:
        return False


class _HoardingOrdering(Ordering):
    """Keeps every vote that comes, for whatever view."""

    __slots__ = ()

    def on_vote(self, vote: Vote) -> None:
        self.votes[vote.sender + 1_000 * vote.block.view] = vote
        Ordering.on_vote(self, vote)


def _make(*mutants: MutantFactory | WeakQuorumFactory) -> Mapping[str, EngineFactory]:
    return {mutant.name: mutant for mutant in mutants}


MUTANTS = _make(
    MutantFactory("votes twice in a view", _swap("_ordering", _EagerOrdering)),
    MutantFactory("votes in a view that it gave up", _swap_of_state("ballot", _RelentingBallot)),
    MutantFactory("votes in lower views", _swap("_ordering", _NostalgicOrdering)),
    MutantFactory("votes before they are durable", _swap_of_state("outbox", _ForgetfulOutbox)),
    MutantFactory("votes for unjustified proposals", _swap("_ordering", _TrustingOrdering)),
    MutantFactory("votes below the locks that timeouts report", _swap("_ordering", _LockBlindOrdering)),
    MutantFactory("believes timeout certificates", _swap_of_state("checker", _CarelessChecker)),
    MutantFactory("believes quorum certificates", _swap_of_state("checker", _CredulousChecker)),
    MutantFactory("votes without the payload", _swap("_ordering", _LooseOrdering)),
    MutantFactory("votes beyond the window", _swap("_ordering", _EndlessOrdering)),
    WeakQuorumFactory(),
    MutantFactory("counts a sender twice", _swap("_ordering", _RepeatingOrdering)),
    MutantFactory("counts votes for other blocks", _swap("_ordering", _MixingOrdering)),
    HastyFactory("commits on views that are not consecutive", _swap("_ordering", _HastyOrdering)),
    HastyFactory("commits in one phase", _swap("_ordering", _ImpatientOrdering)),
    MutantFactory("forgets the lock at a restart", forgets=(HIGHEST, PROPOSAL)),
    MutantFactory("forgets its vote at a restart", forgets=(VOTE, PROPOSAL)),
    MutantFactory("forgets its timeout at a restart", forgets=(TIMEOUT,)),
    MutantFactory("forgets its proposal at a restart", forgets=(VOTE, PROPOSAL)),
    MutantFactory("drops the lock from timeouts", _swap("_views", _ReticentViews)),
    MutantFactory("extends its own stale certificate", _plant_stale_leader),
    MutantFactory("joins no timeouts", _swap("_views", _LonelyViews)),
    MutantFactory("never steps up", _swap("_views", _StubbornViews)),
    MutantFactory("tells its vote to nobody else", _swap("_ordering", _SecretiveOrdering)),
    MutantFactory("is patient with the dead", _swap("_deadlines", _PatientDeadlines)),
    MutantFactory("never complains", _swap("_deadlines", _ContentDeadlines)),
    MutantFactory("never gives up", _swap("_deadlines", _EternalDeadlines)),
    MutantFactory("never repeats a block", _swap("_building", _FullBuilding)),
    MutantFactory("answers no status", _swap("_exchange", _SilentExchange)),
    MutantFactory("keeps every vote", _swap("_ordering", _HoardingOrdering)),
)

KILLERS: Mapping[str, Callable[[EngineFactory], None]] = {
    "votes twice in a view": rules.check_one_vote_per_view,
    "votes in a view that it gave up": rules.check_no_vote_in_a_view_that_was_given_up,
    "votes in lower views": rules.check_no_vote_in_a_lower_view,
    "votes before they are durable": rules.check_votes_are_durable_before_they_leave,
    "votes for unjustified proposals": rules.check_a_vote_needs_a_justified_proposal,
    "votes below the locks that timeouts report": rules.check_a_vote_needs_a_justified_proposal,
    "believes timeout certificates": rules.check_timeout_certificates_are_verified,
    "believes quorum certificates": rules.check_certificates_are_verified,
    "votes without the payload": rules.check_a_vote_waits_for_its_payload,
    "votes beyond the window": rules.check_the_window_bounds_votes,
    "quorum off by one": rules.check_quorums_count_distinct_members,
    "counts a sender twice": rules.check_quorums_count_distinct_members,
    "counts votes for other blocks": rules.check_only_matching_votes_count,
    "commits on views that are not consecutive": rules.check_commits_need_consecutive_views,
    "commits in one phase": rules.check_commits_need_consecutive_views,
    "forgets the lock at a restart": rules.check_timeouts_report_the_lock,
    "forgets its vote at a restart": rules.check_a_restart_repeats_the_same_vote,
    "forgets its timeout at a restart": rules.check_a_restart_keeps_what_was_given_up,
    "forgets its proposal at a restart": rules.check_a_leader_proposes_once_per_view,
    "drops the lock from timeouts": rules.check_timeouts_report_the_lock,
    "extends its own stale certificate": rules.check_leaders_extend_the_highest_certificate,
    "joins no timeouts": rules.check_f_plus_1_timeouts_are_joined,
    "never steps up": rules.check_a_split_over_views_heals,
    "tells its vote to nobody else": rules.check_a_dead_collector_loses_no_block,
    "is patient with the dead": rules.check_a_dead_member_costs_little_after_its_first_view,
    "never complains": rules.check_overdue_work_ends_a_term,
    "never gives up": rules.check_storms_end,
    "never repeats a block": rules.check_one_payload_is_decided_and_then_all_is_silent,
    "answers no status": rules.check_lost_messages_are_sent_again,
    "keeps every vote": rules.check_floods_are_bounded,
}
