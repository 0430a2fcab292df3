"""HotStuff's mutants: each breaks one rule whose loss costs safety or liveness, and names the seed that kills it.

Some of the bugs are those of ``tests.consensus.hotstuff.mutants``, where a unit rule catches each; here campaigns
have to find them in runs, knowing nothing of what is broken.

Not here, because neither safety nor liveness hangs on them:

| rule | what its loss costs, and where it is held |
|---|---|
| leaders extend the highest certificate | their view: others refuse, and a status or a timeout brings the |
| | certificate; ``rules.check_leaders_extend_the_highest_certificate`` |
| f + 1 timeouts are joined | time: whoever has work gives up by its own timer; |
| | ``rules.check_f_plus_1_timeouts_are_joined`` |
| votes come out with timeouts | blocks: of 3f + 1 leaders in turn, f dead, some three in a row are alive, and |
| | commit; ``rules.check_a_dead_collector_loses_no_block`` |
| silent leaders get less time | time; ``rules.check_a_dead_member_costs_little_after_its_first_view`` |
| overdue work ends a term | fairness, where one leads many views; ``rules.check_overdue_work_ends_a_term`` |
| the window bounds votes; one vote of each is kept | memory; ``rules.check_the_window_bounds_votes``, |
| | ``rules.check_floods_are_bounded`` |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from consensus.committee import Committee
from consensus.engine import Send
from consensus.hotstuff import building, messages, ordering, reading
from consensus.hotstuff.building import Building
from consensus.hotstuff.engine import HotStuffFactory
from consensus.hotstuff.exchange import Exchange
from consensus.hotstuff.messages import (
    ROOT_VIEW,
    Block,
    CommitProof,
    Phase,
    Proposal,
    Propose,
    QuorumCertificate,
    TimeoutCertificate,
    Vote,
    compute_block_id,
    entry_of,
    extend,
    make_root,
    repeat,
    sign_proposal,
    sign_vote,
)
from consensus.hotstuff.ordering import Ordering
from consensus.hotstuff.safety import is_justified
from consensus.hotstuff.state import HotStuffState
from consensus.hotstuff.views import Views
from consensus.pacemaker import ExponentialPacemaker
from primitives.codec import encode
from primitives.errors import RemoteError
from primitives.hashing import hash_tagged
from primitives.signing import SIGNATURE_BYTES
from tests.consensus.hotstuff.mutants import MUTANTS as BROKEN
from tests.simulation.mutants.counting import ONE_LESS, TWO_F_PLUS_1, count_whatever_they_say
from tests.simulation.mutants.hunts import Hunt, Twins
from tests.simulation.mutants.lying import LyingEngine
from tests.simulation.mutants.planting import Liar, Plant, PlantedFactory, plant_all, replace_in, share
from tests.simulation.mutants.table import Mutant

# --- counting ----------------------------------------------------------------------------------------------


def _require_any_signers(signers: tuple[int, ...], signatures: tuple[bytes, ...], committee: Committee) -> None:
    if not len(signers) == len(signatures) == committee.quorum:
        raise RemoteError("MALFORMED", "not enough signers")


_READ_REPEATED: Final = replace_in(reading, "_require_signers", _require_any_signers)


# --- committing --------------------------------------------------------------------------------------------


def _is_child(parent: Block, child: Block) -> bool:
    return child.parent == compute_block_id(parent)


_COMMIT_ANY_CHILD: Final = plant_all(
    replace_in(ordering, "commits", _is_child), replace_in(reading, "commits", _is_child)
)


def _find_own_commit(self: Ordering, certificate: QuorumCertificate) -> tuple[CommitProof, ...]:
    return (CommitProof(certificate, certificate),)


_COMMIT_AT_ONCE: Final = plant_all(
    replace_in(Ordering, "_find_commits", _find_own_commit),
    replace_in(reading, "commits", lambda parent, child: True),
)


# --- locks and views ---------------------------------------------------------------------------------------


def _forget_lock(patch: Any) -> None:
    """Whoever gives a view up begins anew from the root."""
    honest = Views._time_out

    def time_out(self: Views, view: int) -> None:
        self.state.highest = make_root(self.state.checker._root.block.slot)
        honest(self, view)

    patch.setattr(Views, "_time_out", time_out)


_NEVER_GROW: Final = replace_in(ExponentialPacemaker, "on_view_failed", lambda self: None)


def _sign_no_view(patch: Any) -> None:
    honest = messages.compute_statement

    def compute(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
        return honest(committee, phase, 0 if phase is Phase.TIMEOUT else view, slot, digest)

    patch.setattr(messages, "compute_statement", compute)


# --- liars -------------------------------------------------------------------------------------------------


def _leads(*, needs_timeouts: bool) -> Plant:
    """Extends the lowest certificate that leaves room for a payload, whatever was reported or certified since; at
    least with timeouts of the view before, or without any."""

    def is_enough(view: int, justify: QuorumCertificate, timeouts: TimeoutCertificate | None) -> bool:
        is_led_to = timeouts is not None and timeouts.view == view - 1
        return justify.block.view == view - 1 or is_led_to or not needs_timeouts

    return plant_all(
        replace_in(building, "is_justified", is_enough),
        replace_in(Building, "propose", _extending_stale(Building.propose)),
        replace_in(Building, "on_payload_built", _extending_stale(Building.on_payload_built)),
    )


def _extending_stale(method: Any) -> Any:
    """The method, as if a certificate of long ago were the highest."""

    def call(self: Building, *arguments: Any) -> Any:
        state = self.state
        highest = state.highest
        usable = [known for known in self.ordering.recent.values() if known.block.slot >= state.tree.height]
        stale = min(usable, key=lambda known: known.block.view, default=highest)
        state.highest = stale
        try:
            return method(self, *arguments)
        finally:
            if state.highest is stale:
                state.highest = highest

    return call


_EXTEND_STALE: Final = Liar(_leads(needs_timeouts=True))


def _keep_votes(patch: Any) -> None:
    """Votes for others' proposals stay with the liar, and so the certificates that it alone can make."""
    send_vote = Ordering.send_vote

    def keep_vote(self: Ordering, to: int | None) -> None:
        state = self.state
        if state.proposal is not None and state.proposal.sender == state.index:
            send_vote(self, to)
        elif state.vote is not None and self.needs_vote(state.vote):
            self.on_vote(state.vote)

    patch.setattr(Ordering, "send_vote", keep_vote)


def _hoard(patch: Any) -> None:
    """Member 0, which keeps its votes and so the certificates that it alone can make, reports no lock, and is a
    silent leader until it has certificates of two branches. Then it goes on with the lower one as often as rules
    let it. Its processes share what they know."""
    adopt, time_out = Ordering.adopt, Views._time_out

    def adopt_and_keep(self: Ordering, certificate: QuorumCertificate) -> None:
        if certificate.block.view != ROOT_VIEW:
            _hoarded(self.state)[compute_block_id(certificate.block)] = certificate
        adopt(self, certificate)

    def report_nothing(self: Views, view: int) -> None:
        state = self.state
        highest, state.highest = state.highest, make_root(0)
        try:
            time_out(self, view)
        finally:
            if state.highest.block.view < highest.block.view:
                state.highest = highest

    def propose(self: Building) -> None:
        state = self.state
        is_free = state.proposal is None and state.ballot.may_vote(state.view)
        chosen = (
            _choose_branch(state) if is_free and state.terms.compute_leader(state.view) == state.index else None
        )
        if chosen is not None:
            self.ordering.learn(entry_of(chosen.block))
            state.highest = chosen
            self._send(repeat(chosen.block, state.view), None)

    patch.setattr(Ordering, "adopt", adopt_and_keep)
    patch.setattr(Views, "_time_out", report_nothing)
    patch.setattr(Exchange, "_answer", lambda self, status: False)
    patch.setattr(Building, "propose", propose)


def _hoarded(state: HotStuffState) -> dict[bytes, QuorumCertificate]:
    """All certificates that any process of the liar has seen."""
    return share(state.committee, "_hoarded", dict[bytes, QuorumCertificate])


def _choose_branch(state: HotStuffState) -> QuorumCertificate | None:
    """The lower of the two branches' highest certificates, in the lowest undecided slot that has two."""
    slots: dict[int, dict[bytes, QuorumCertificate]] = {}
    for known in _hoarded(state).values():
        branches = slots.setdefault(known.block.slot, {})
        best = branches.get(known.block.digest)
        if best is None or best.block.view < known.block.view:
            branches[known.block.digest] = known
    for slot in sorted(slots):
        if slot <= state.tree.height or len(slots[slot]) < 2:
            continue
        for branch in sorted(slots[slot].values(), key=lambda known: known.block.view):
            if is_justified(state.view, branch, state.timeouts):
                return branch
    return None


_HOARD: Final = Liar(plant_all(_keep_votes, _hoard))


@dataclass(slots=True)
class _Ambush:
    """What a liar that leads two views in a row keeps to itself: the certificate of the view before them, the block
    that it proposes in the first of them once that view was given up, and the votes that this got."""

    hidden: QuorumCertificate
    late: Block
    votes: dict[int, Vote] = field(default_factory=dict)
    is_sent: bool = False
    is_sprung: bool = False


def _ambush(patch: Any) -> None:
    """Member 0, which keeps its votes, and where it leads two views in a row, v and v + 1, also the certificate of
    view v − 1. It is silent in v until others gave v up, and makes timeouts of that with its own, which it tells
    nobody. Only then comes its proposal of v. Votes for it commit the block of view v − 1, which it shows to one
    voter alone; in v + 1 its timeouts let it extend the block below. Its processes share what they know."""
    certify, time_out = Ordering._certify, Views._time_out
    needs_vote, on_vote, honest_propose = Ordering.needs_vote, Ordering.on_vote, Building.propose

    def certify_and_hide(self: Ordering, block: Block, tally: Any) -> None:
        state, quorum = self.state, self.state.committee.quorum
        leads = all(state.terms.compute_leader(block.view + ahead) == state.index for ahead in (1, 2))
        identity = compute_block_id(block)
        if not leads or block.slot <= state.tip.slot or not tally.has_quorum(identity, quorum):
            certify(self, block, tally)
            return
        hidden = _certify(block, tally.votes_for(identity, quorum))
        state.checker.note_verified(hidden)
        _ambushes(state).setdefault(block.view + 1, _Ambush(hidden, repeat(block, block.view + 1)))

    def time_out_alone(self: Views, view: int) -> None:
        sent = len(self.state.outbox.send)
        time_out(self, view)
        if view in _ambushes(self.state):
            del self.state.outbox.send[sent:]

    def needs_late_vote(self: Ordering, vote: Vote) -> bool:
        ambush = _ambushes(self.state).get(vote.block.view)
        return (ambush is not None and vote.block == ambush.late) or needs_vote(self, vote)

    def take_late_vote(self: Ordering, vote: Vote) -> None:
        state = self.state
        ambush = _ambushes(state).get(vote.block.view)
        if ambush is None or vote.block != ambush.late:
            on_vote(self, vote)
            return
        ambush.votes[vote.sender] = vote
        if len(ambush.votes) < state.committee.quorum or ambush.is_sprung:
            return
        ambush.is_sprung = True
        votes = [ambush.votes[sender] for sender in sorted(ambush.votes)][: state.committee.quorum]
        state.outbox.transmit(vote.sender, CommitProof(ambush.hidden, _certify(ambush.late, votes)))

    def propose(self: Building) -> None:
        state = self.state
        if state.view in _ambushes(state):
            return
        ambush = _ambushes(state).get(state.view - 1)
        if ambush is None or ambush.is_sprung or state.timeouts is None:
            honest_propose(self)
        elif not ambush.is_sent:
            ambush.is_sent = True
            late = sign_proposal(state.committee, state.signer, state.index, ambush.late, ambush.hidden, None)
            state.outbox.transmit(None, Propose(late, None))
            ambush.votes[state.index] = sign_vote(state.committee, state.signer, state.index, ambush.late)

    patch.setattr(Ordering, "_certify", certify_and_hide)
    patch.setattr(Ordering, "needs_vote", needs_late_vote)
    patch.setattr(Ordering, "on_vote", take_late_vote)
    patch.setattr(Views, "_time_out", time_out_alone)
    patch.setattr(Building, "propose", propose)
    patch.setattr(Exchange, "_answer", lambda self, status: False)
    patch.setattr(Exchange, "send_own", lambda self, to: None)


def _ambushes(state: HotStuffState) -> dict[int, _Ambush]:
    """By the first of the liar's two views."""
    return share(state.committee, "_ambushes", dict[int, _Ambush])


def _certify(block: Block, votes: Sequence[Vote]) -> QuorumCertificate:
    """From q votes for the block, by increasing sender."""
    signers, signatures = [vote.sender for vote in votes], [vote.signature for vote in votes]
    return QuorumCertificate(block, tuple(signers), tuple(signatures))


_AMBUSH: Final = Liar(plant_all(_keep_votes, _ambush))


class _ForgingTimeouts(LyingEngine):
    """Shows timeouts of nobody that report no lock, where it extends a certificate that is not the last view's."""

    def alter(self, send: Send) -> tuple[Send, ...]:
        message = reading.decode_message(send.message, self.committee)[1]
        if (
            not isinstance(message, Propose)
            or message.proposal.justify.block.view == message.proposal.block.view - 1
        ):
            return (send,)
        quorum = self.committee.quorum
        forged = TimeoutCertificate(
            message.proposal.block.view - 1,
            (ROOT_VIEW,) * quorum,
            tuple(range(quorum)),
            (bytes(SIGNATURE_BYTES),) * quorum,
        )
        proposal = msgspec.structs.replace(message.proposal, timeouts=forged)
        return (msgspec.structs.replace(send, message=encode(Propose(proposal, message.payload))),)


class _ForgingCertificates(LyingEngine):
    """Extends a block of the last view that nobody proposed, with votes of nobody."""

    def alter(self, send: Send) -> tuple[Send, ...]:
        message = reading.decode_message(send.message, self.committee)[1]
        if not isinstance(message, Propose) or message.payload is None or message.proposal.block.view <= 1:
            return (send,)
        proposal, quorum = message.proposal, self.committee.quorum
        view, base = proposal.block.view, proposal.justify.block
        invented = msgspec.structs.replace(base, view=view - 1, digest=_invent(base))
        signatures = (bytes(SIGNATURE_BYTES),) * quorum
        certificate = QuorumCertificate(invented, tuple(range(quorum)), signatures)
        lie = self._propose(extend(invented, view, proposal.block.digest), certificate)
        return (msgspec.structs.replace(send, message=encode(Propose(lie, message.payload))),)

    def _propose(self, block: Block, justify: QuorumCertificate) -> Proposal:
        return sign_proposal(self.committee, self.signer, self.index, block, justify, None)


class _Withholding(LyingEngine):
    """Proposes payloads that exist nowhere."""

    def alter(self, send: Send) -> tuple[Send, ...]:
        message = reading.decode_message(send.message, self.committee)[1]
        if not isinstance(message, Propose) or message.payload is None:
            return (send,)
        old = message.proposal
        block = msgspec.structs.replace(old.block, digest=_invent(old.block))
        lie = sign_proposal(self.committee, self.signer, self.index, block, old.justify, old.timeouts)
        return (msgspec.structs.replace(send, message=encode(Propose(lie, None))),)


def _invent(block: Block) -> bytes:
    """The digest of no payload."""
    return hash_tagged(b"rialto/invented", compute_block_id(block))


# --- the table ---------------------------------------------------------------------------------------------

_HOTSTUFF: Final = HotStuffFactory()
TWINS: Final = Twins()
LONG: Final = Twins(rounds=16)
"""Attacks that take several views, after some in which they are prepared."""


def _mutant(name: str, plant: Plant, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    return Mutant(name, PlantedFactory(_HOTSTUFF, plant, liar), hunt, seed, within)


def _broken(
    known: str, hunt: Hunt, seed: int, within: int, liar: Liar | None = None, plant: Plant = lambda patch: None
) -> Mutant:
    """One of those that unit rules catch, under the engine's own name, by which hunts know its views."""
    factory = PlantedFactory(BROKEN[known], plant, liar)
    factory.name = _HOTSTUFF.name
    return Mutant(known, factory, hunt, seed, within)


MUTANTS: Final = (
    _broken("votes twice in a view", TWINS, 2, 50),
    _broken("votes in a view that it gave up", LONG, 37, 200, _AMBUSH),
    _broken("votes in lower views", TWINS, 0, 20),
    _broken("votes before they are durable", TWINS, 0, 5),
    _broken("votes for unjustified proposals", TWINS, 323, 600, _EXTEND_STALE),
    _broken("votes below the locks that timeouts report", TWINS, 323, 600, _EXTEND_STALE),
    _broken(
        "believes timeout certificates",
        TWINS,
        3,
        50,
        Liar(_leads(needs_timeouts=False), _ForgingTimeouts),
    ),
    _broken("believes quorum certificates", TWINS, 0, 20, Liar(wrap=_ForgingCertificates)),
    _broken("votes without the payload", TWINS, 0, 50, Liar(wrap=_Withholding)),
    _mutant("counts to q - 1", ONE_LESS, TWINS, 14, 100),
    _mutant("counts to 2f + 1 of five", TWO_F_PLUS_1, Twins(nodes=5, rounds=16), 96, 300, _EXTEND_STALE),
    _broken("counts a sender twice", TWINS, 17, 100, None, _READ_REPEATED),
    _mutant("counts votes for other blocks", count_whatever_they_say, TWINS, 4, 50),
    _mutant("commits on views that are not consecutive", _COMMIT_ANY_CHILD, LONG, 239, 400, _HOARD),
    _mutant("commits in one phase", _COMMIT_AT_ONCE, TWINS, 1, 50),
    _mutant("forgets the lock", _forget_lock, TWINS, 1, 50, _EXTEND_STALE),
    _broken("forgets the lock at a restart", LONG, 4, 50, _EXTEND_STALE),
    _broken("forgets its vote at a restart", TWINS, 10, 100),
    _broken("forgets its timeout at a restart", TWINS, 78, 200),
    _broken("forgets its proposal at a restart", TWINS, 10, 100),
    _broken("drops the lock from timeouts", TWINS, 14, 100, _EXTEND_STALE),
    _mutant("gives views up under one name", _sign_no_view, TWINS, 0, 20),
    _mutant("waits no longer after a failed view", _NEVER_GROW, TWINS, 3, 50),
    _broken("never steps up", TWINS, 5, 50),
    _broken("never gives up", TWINS, 1, 50),
    _broken("never repeats a block", TWINS, 2, 50),
    _broken("answers no status", LONG, 20, 100),
)
